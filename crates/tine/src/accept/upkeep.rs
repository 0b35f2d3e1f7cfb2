//! What a worker does for its program while nothing comes, and when it has run out of descriptors.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// How soon again a program can be asked at the earliest, whatever it says.
const LEAST: Duration = Duration::from_millis(10);

/// Why a program is asked to tidy up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tidy {
    /// Nothing else is to be done now.
    Idle,
    /// A connection cannot be accepted, for the process or the system has no descriptor left: it is tried again after this.
    OutOfDescriptors,
}

/// What does it: says after how long it wants to be asked again; `None` if there will be nothing to do until a connection
/// comes.
type Function = Box<dyn Fn(Tidy) -> Option<Duration>>;

/// See the module. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Upkeep(Rc<Inner>);

#[derive(Default)]
struct Inner {
    tidy: RefCell<Option<Function>>,
    /// There was nothing to do when it was last asked.
    rests: Cell<bool>,
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upkeep")
    }
}

impl Upkeep {
    #[cfg(feature = "tokio")]
    pub(crate) fn is_done_by(&self, tidy: impl Fn(Tidy) -> Option<Duration> + 'static) {
        *self.0.tidy.borrow_mut() = Some(Box::new(tidy));
    }

    /// Before the worker sleeps: how long it may at most.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let next = self.0.tidy.borrow().as_ref()?(Tidy::Idle);
        self.0.rests.set(next.is_none());
        next.map(|next| next.max(LEAST))
    }

    /// Whether the worker sleeps without a bound, since there was nothing to do. Said once: it is to ask again.
    #[cfg(feature = "tokio")]
    pub(crate) fn rests(&self) -> bool {
        self.0.rests.take()
    }

    /// Has descriptors freed; whether there is anything that could.
    pub(super) fn free_descriptors(&self) -> bool {
        let tidy = self.0.tidy.borrow();
        tidy.iter().for_each(|tidy| {
            tidy(Tidy::OutOfDescriptors);
        });
        tidy.is_some()
    }
}
