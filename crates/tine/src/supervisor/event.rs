//! Everything that can happen to a supervisor, as one closed list.
//!
//! Signals, ends of children, messages, results of its own actions and the passing of time all arrive
//! here; [`super::step`] answers each with a list of [`super::action::Action`]s and nothing else.

use serde::{Deserialize, Serialize};
use tine_os::signal::Signal;

use super::state::{Nanos, WorkerId};
use super::trial::{Canary, Work};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Time has passed: some deadline may be over.
    Time,
    /// A person, a signal or a handle asks for something.
    Command(Command),
    /// A signal has come that is passed on to the workers; its number.
    PassOn(i32),
    /// The fork asked for was made.
    Forked {
        /// Whose.
        worker: WorkerId,
        /// The process; shown to people, never used to signal.
        pid: u32,
    },
    /// The fork asked for could not be made.
    ForkFailed {
        /// Whose.
        worker: WorkerId,
        /// The kernel's error number (`fork(2)`: `EAGAIN`, `ENOMEM`; descriptors: `EMFILE`).
        errno: i32,
    },
    /// The worker has booted and can take work.
    Ready(WorkerId),
    /// The worker will soon reach its limit and would like a successor.
    Expiring(WorkerId),
    /// The worker takes nothing new any more and ends by itself.
    Leaving(WorkerId),
    /// The worker says that the service cannot go on.
    Fatal(WorkerId),
    /// A handler of the worker's panicked; the worker goes on.
    Panicked(WorkerId),
    /// The worker was stopped by a signal (`SIGSTOP`, `SIGTSTP` …).
    Halted(WorkerId),
    /// The stopped worker runs again.
    Continued(WorkerId),
    /// The worker is at one thing for longer than it may.
    Overrun {
        /// Which.
        worker: WorkerId,
        /// What it is at.
        what: Overrun,
        /// For how many nanoseconds, as its record says.
        ran: Nanos,
    },
    /// The worker's memory was looked at: it is too much, or was the last time.
    Memory {
        /// Which.
        worker: WorkerId,
        /// Its private memory, in bytes.
        private: u64,
    },
    /// The worker is gone.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        exit: Exit,
        /// What it had done, as its record says: a hint, since the worker wrote it.
        did: Work,
    },
    /// What the workers of a pool are doing right now.
    Load {
        /// The pool's index.
        pool: usize,
        /// The view.
        load: Load,
    },
    /// A hook of the program's said no; its words are with whoever called it.
    HookFailed,
    /// No connection waits in the queue of any listener that has workers of our own (only told while stopping).
    QueuesEmpty,
    /// So many connections wait for the commands of a pool, in queues to which none are added any more (only told while
    /// stopping).
    Queued {
        /// The pool's index.
        pool: usize,
        /// How many.
        waiting: u32,
    },
    /// The program that is there now could serve: it has resolved everything.
    Probed,
    /// It could not, or did not say so, or could not take over; why.
    ReloadFailed(String),
    /// What generations have done while one is on trial.
    Observed {
        /// Workers of the one on trial, those that are alive.
        trial: Work,
        /// All workers that there ever were.
        all: Work,
    },
    /// The program before could not serve any more, or cannot take over; why, and why it should.
    NoWayBack(String),
    /// This is the new program, with all that the one before has left.
    TookOver,
}

/// What can be asked of a running supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Serve on for the lame-duck time, if there is one, finish what is in flight, then end. Asked again it means
    /// [`Command::Drain`] while that time lasts, and [`Command::StopNow`] after it.
    Stop,
    /// The same without the lame-duck time.
    Drain,
    /// The same, however often it is asked.
    Finish,
    /// End at once.
    StopNow,
    /// Have the program that is there now take over, and replace every worker, new ones ready first.
    Reload,
    /// The same, with a trial before all workers are replaced.
    Rollout(Canary),
    /// The trial has gone well enough: replace all.
    Promote,
    /// Have the generation before the reload that is under way come back.
    Abort,
    /// Reopen the log files.
    Reopen,
    /// One worker more in the first pool.
    Grow,
    /// One worker fewer in the first pool, never below one.
    Shrink,
    /// Known, and answered by nothing: a terminal's resize is no reason to stop a server.
    Nothing,
}

/// What a worker can be at for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overrun {
    /// An isolated worker's request.
    Request,
    /// An isolated worker's connection.
    Connection,
    /// A multiplexed worker's turn, in whichever request.
    Turn,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Status 0.
    Clean,
    /// It said that it could not boot.
    BootFailed,
    /// There was no command to run.
    NoCommand,
    /// It could not become the user it should be.
    PrivilegeFailed,
    /// A handler panicked.
    Panicked,
    /// It said that the service cannot go on.
    Fatal,
    /// Any other status.
    Code(i32),
    /// Killed by a signal.
    Signal {
        /// Its number.
        number: i32,
        /// Whether the kernel wrote a core file.
        core: bool,
    },
    /// Killed by `SIGKILL`, which the supervisor had not sent, while the kernel killed for want of memory.
    OutOfMemory,
}

/// What a pool's workers are doing: the input of sizing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Serving workers that could take a connection now.
    pub idle: Vec<WorkerId>,
    /// Serving workers that cannot.
    pub busy: u32,
    /// Connections that wait in the listeners' queues.
    pub queued: u32,
    /// Connections taken so far by all workers; only its changes matter.
    pub taken: u64,
}

impl Exit {
    /// Whether the worker ended by its own will, and so may have told why.
    #[must_use]
    pub fn is_explained(self) -> bool {
        matches!(
            self,
            Self::BootFailed
                | Self::NoCommand
                | Self::PrivilegeFailed
                | Self::Fatal
                | Self::Code(_)
        )
    }

    /// Whether somebody else ended it: a signal that no fault of its own raises (`signal(7)`).
    #[must_use]
    pub fn is_from_outside(self) -> bool {
        let asked = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::KILL, Signal::TERM];
        let Self::Signal { number, .. } = self else { return false };
        Signal::from_number(number).is_some_and(|signal| asked.contains(&signal))
    }
}
