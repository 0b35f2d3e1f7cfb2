//! What a worker runs, how its process comes to be, and what its exit status says.

use std::fmt;
use std::rc::Rc;

use crate::worker::{BoxError, Setup, Worker};

mod command;
pub(crate) mod dialects;
mod env_dir;
pub(crate) mod environment;
mod exit;
mod passed_in;
mod producer;
mod readiness;

pub use command::Command;
pub(crate) use exit::{exit_of, exit_told, status, tell_exit};
pub(crate) use passed_in::sockets_passed_in;
pub use producer::{Passed, Producer, Spawn};
pub use readiness::{Probe, Readiness};

/// The worker's own code; returns when the worker is done.
type Serve = Rc<dyn Fn(Worker) -> Result<(), BoxError>>;
/// Code between the fork and the drop of privileges.
type Prepare = Rc<dyn Fn(&Setup<'_>) -> Result<(), BoxError>>;

/// How the process of a worker comes to be.
#[derive(Clone)]
pub(crate) enum Way {
    /// A copy of the supervisor.
    Fork,
    /// The supervisor's image once more, from the top of `main`.
    Exec,
    /// Somebody else's program, with a keeper above it.
    Command(Box<Producer>),
}

/// A pool's program: which way its workers come to be, and what they run.
///
/// | way | for | costs | `main` runs |
/// |---|---|---|---|
/// | [`Program::fork`], the default | everything that can be forked | a millisecond; memory is shared until it is written to | once |
/// | [`Program::exec`] | libraries that do not survive a fork: drivers, some runtimes | a whole start each, no memory shared | once more in each worker, up to `run` |
/// | [`Program::command`] | programs in any language that take a listening socket | their own start, and a small keeper process each | – |
#[derive(Clone)]
pub struct Program {
    pub(crate) serve: Serve,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) orphaned: Option<Rc<dyn Fn()>>,
    pub(crate) way: Way,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Fork => "fork",
            Way::Exec => "exec",
            Way::Command(_) => "command",
        };
        f.debug_struct("Program").field("way", &way).finish_non_exhaustive()
    }
}

impl Program {
    /// A worker is forked, calls `serve` once, and ends when it returns. An error before the worker was ready
    /// means that it could not boot; later, that it crashed.
    #[must_use]
    pub fn fork(serve: impl Fn(Worker) -> Result<(), BoxError> + 'static) -> Self {
        Self::new(Rc::new(serve), Way::Fork)
    }

    /// The same in a process that begins anew: the image that is running is executed again, be its file replaced
    /// or deleted, with the same arguments and environment (rows F4, F5). `main` runs from the top; the first
    /// [`crate::Service::run`] in it, which must have been built the same way, knows that it is a worker's,
    /// calls `serve`, and does not return. What only the supervisor should do before that is asked with
    /// [`crate::is_worker`]: bind sockets of one's own, above all.
    ///
    /// Shared regions are those named in the builder; what was otherwise made before `run` is made again.
    #[must_use]
    pub fn exec(serve: impl Fn(Worker) -> Result<(), BoxError> + 'static) -> Self {
        Self::new(Rc::new(serve), Way::Exec)
    }

    /// Workers are processes of a foreign program: a [`Command`], or a [`Producer`] of one for each worker.
    ///
    /// It finds the pool's listeners at their numbers (3 and on, with `LISTEN_FDS` and `LISTEN_PID`, as
    /// sd_listen_fds(3) has it), its input empty, output and error the supervisor's, every signal at its
    /// default (PIPE too, row S21) and none held back, and nothing else of the service. It is in a process group
    /// apart from the supervisor's, together with its *keeper*: a small process that stands between the two,
    /// asks it to leave with `SIGTERM`, and kills whatever it has started, other sessions' processes
    /// included, when it has ended, when its time is up, or when the supervisor is dead. Whoever kills a keeper
    /// with `SIGKILL` kills its group; a session of its own survives that. A command must stay in the foreground:
    /// what goes into the background has ended.
    ///
    /// Nobody counts its connections: so the pool has a fixed size, and no limit but an age.
    #[must_use]
    pub fn command(producer: impl Into<Producer>) -> Self {
        Self::new(Rc::new(|_| Ok(())), Way::Command(Box::new(producer.into())))
    }

    fn new(serve: Serve, way: Way) -> Self {
        Self { serve, prepare: None, orphaned: None, way }
    }

    /// Runs in the worker before its privileges are dropped: the place to read keys and password files. Of a
    /// [command](Self::command): in the process that is about to become it.
    #[must_use]
    pub fn prepare(mut self, f: impl Fn(&Setup<'_>) -> Result<(), BoxError> + 'static) -> Self {
        self.prepare = Some(Rc::new(f));
        self
    }

    /// Runs in the worker, once, when it ends because its supervisor is dead (row F11); not for a
    /// [command](Self::command), which knows nothing of it.
    #[must_use]
    pub fn on_orphaned(mut self, f: impl Fn() + 'static) -> Self {
        self.orphaned = Some(Rc::new(f));
        self
    }

    /// The producer of a pool of commands.
    pub(crate) fn producer(&self) -> Option<&Producer> {
        match &self.way {
            Way::Command(producer) => Some(producer),
            Way::Fork | Way::Exec => None,
        }
    }
}
