//! What a worker runs, and what its exit status says.

use std::fmt;
use std::rc::Rc;

use tine_os::process::Change;

use crate::supervisor::event::Exit;
use crate::worker::{BoxError, Setup, Worker};

/// The worker's own code; returns when the worker is done.
type Serve = Rc<dyn Fn(Worker) -> Result<(), BoxError>>;
/// Code between the fork and the drop of privileges.
type Prepare = Rc<dyn Fn(&Setup<'_>) -> Result<(), BoxError>>;

/// A pool's program: closures of this process image, run in every worker after the fork.
#[derive(Clone)]
pub struct Program {
    pub(crate) serve: Serve,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) orphaned: Option<Rc<dyn Fn()>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// A worker calls `serve` once, and ends when it returns. An error before the worker was ready means
    /// that it could not boot; later, that it crashed.
    #[must_use]
    pub fn fork(serve: impl Fn(Worker) -> Result<(), BoxError> + 'static) -> Self {
        Self { serve: Rc::new(serve), prepare: None, orphaned: None }
    }

    /// Runs in the worker before its privileges are dropped: the place to read keys and password files.
    #[must_use]
    pub fn prepare(mut self, f: impl Fn(&Setup<'_>) -> Result<(), BoxError> + 'static) -> Self {
        self.prepare = Some(Rc::new(f));
        self
    }

    /// Runs in the worker, once, when it ends because its supervisor is dead (row F11).
    #[must_use]
    pub fn on_orphaned(mut self, f: impl Fn() + 'static) -> Self {
        self.orphaned = Some(Rc::new(f));
        self
    }
}

/// Exit statuses of a worker. Status 0: it did what it was asked. Others: it crashed.
pub(crate) mod status {
    /// It failed after it was ready.
    pub(crate) const FAILED: i32 = 1;
    /// It could not boot (`EX_SOFTWARE` of sysexits).
    pub(crate) const CANNOT_BOOT: i32 = 70;
    /// It could not drop its privileges (`EX_NOPERM`).
    pub(crate) const NO_PRIVILEGE: i32 = 77;
    /// A panic; Rust's own choice for the main thread.
    pub(crate) const PANICKED: i32 = 101;
}

/// What a child's end means; `None` for what is no end.
pub(crate) fn exit_of(change: Change) -> Option<Exit> {
    Some(match change {
        Change::Exited(0) => Exit::Clean,
        Change::Exited(status::CANNOT_BOOT) => Exit::BootFailed,
        Change::Exited(status::NO_PRIVILEGE) => Exit::PrivilegeFailed,
        Change::Exited(status::PANICKED) => Exit::Panicked,
        Change::Exited(code) => Exit::Code(code),
        Change::Signaled { signal, core } => Exit::Signal { number: signal.number(), core },
        Change::Stopped(_) | Change::Continued => return None,
    })
}
