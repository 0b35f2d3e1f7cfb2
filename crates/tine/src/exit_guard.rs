//! Work that outlives its request or its connection, and that its worker waits for (row T5).

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

use crate::seat::Seat;

/// While one is held the worker does not leave: hold it in a task that goes on after the answer, and
/// drop it at the task's end. In the worker.
///
/// It works within the deadlines of a drain (`drain_timeout`, `stop_timeout`): a worker that is still
/// held then is killed. May be sent to other threads of the worker. A clone is
/// another one, and cheap.
#[derive(Clone)]
pub struct ExitGuard(Arc<Hold>);

/// What a guard and its clones share: counted once for all of them.
struct Hold(Arc<Guards>);

impl ExitGuard {
    /// Waits until the worker is to leave: the time to come to an end, for a connection that was
    /// upgraded above all, of which nobody else knows how to end it.
    pub async fn leaving(&self) {
        let mut told = pin!(self.0.0.told.notified());
        // Before the question, so that no word is missed in between.
        told.as_mut().enable();
        if !self.is_leaving() {
            told.await;
        }
    }

    /// Whether the worker is to leave, as far as it is known without asking the kernel.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.0.seat.is_leaving()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever waits for the last one has first begun to leave, and looks at the count after that.
        if self.0.held.fetch_sub(1, SeqCst) == 1 && self.0.seat.is_leaving() {
            self.0.released.notify_one();
        }
    }
}

impl fmt::Debug for ExitGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitGuard").field("leaving", &self.is_leaving()).finish_non_exhaustive()
    }
}

/// All guards of a worker.
#[derive(Debug)]
pub(crate) struct Guards {
    seat: Arc<Seat>,
    held: AtomicUsize,
    told: Notify,
    released: Notify,
}

impl Guards {
    pub(crate) fn new(seat: Arc<Seat>) -> Arc<Self> {
        let (told, released) = (Notify::new(), Notify::new());
        Arc::new(Self { seat, held: AtomicUsize::new(0), told, released })
    }

    pub(crate) fn hold(self: &Arc<Self>) -> ExitGuard {
        self.held.fetch_add(1, SeqCst);
        ExitGuard(Arc::new(Hold(self.clone())))
    }

    /// The worker is to leave: whoever holds one hears of it.
    pub(crate) fn tell(&self) {
        self.told.notify_waiters();
    }

    /// Waits until none is held.
    pub(crate) async fn all_released(&self) {
        while self.held.load(SeqCst) > 0 {
            self.released.notified().await;
        }
    }
}
