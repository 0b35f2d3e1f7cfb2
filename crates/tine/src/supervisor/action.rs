//! Everything a supervisor can do, as one closed list.
//!
//! [`super::step`] decides, [`super::run`] performs. The result of an action, its failure too, comes back
//! as an [`super::event::Event`].

use serde::{Deserialize, Serialize};

use super::event::{Exit, Overrun};
use super::state::{Nanos, Why, WorkerId};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fork a worker.
    Fork(Assignment),
    /// Send the worker a message.
    Tell(WorkerId, Tell),
    /// Send the worker `SIGTERM`.
    Terminate(WorkerId),
    /// Send the worker `SIGABRT`: a core, or a handler of its own, says what it was at.
    Abort(WorkerId),
    /// Send the worker the signal of this number.
    PassOn(WorkerId, i32),
    /// Send the worker `SIGKILL`.
    Kill(WorkerId),
    /// Wake one idle worker of the pool: a wake-up may have died with another.
    Poke(usize),
    /// Tell the pool whether a healthy worker serves in this place now.
    Staffed {
        /// The pool's index.
        pool: usize,
        /// The place's.
        place: usize,
        /// Whether.
        staffed: bool,
    },
    /// Watch the pool's listeners, or no longer: what comes there is an [`super::event::Event::Load`].
    Watch {
        /// The pool's index.
        pool: usize,
        /// Whether.
        on: bool,
    },
    /// Say that clients should be sent elsewhere, and serve on.
    LameDuck,
    /// Take no new connections; those in the queues can still be taken.
    StopNew,
    /// Shut the listeners down that only workers of our own have.
    CloseListeners,
    /// Reopen the log files.
    Reopen,
    /// Try the program that is there now, in a child.
    Probe,
    /// End that child, whatever it is at.
    EndProbe,
    /// Become that program.
    HandOver,
    /// Try the program before, and become it again.
    GoBack(Back),
    /// Give this generation this share of the connections, in thousandths; or let things be.
    Steer(Option<(u32, u32)>),
    /// Tell people.
    Note(Note),
    /// Leave the loop.
    End(Outcome),
}

/// Why the program before comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// No worker of this pool could boot.
    Boot {
        /// The last that was tried.
        worker: WorkerId,
        /// The pool's index.
        pool: usize,
        /// How the last try ended.
        exit: Exit,
    },
    /// The trial says so, or somebody.
    Trial {
        /// Which worker came to grief, if one did.
        worker: Option<WorkerId>,
        /// In words.
        text: String,
    },
}

/// What a worker is told about itself when it is forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its number; never given twice.
    pub worker: WorkerId,
    /// Index of its pool.
    pub pool: usize,
    /// Index of its place in the pool.
    pub place: usize,
    /// Generation it belongs to.
    pub generation: u32,
    /// Wait for [`Tell::Go`] before taking work.
    pub standby: bool,
    /// Leave after this many connections; 0 = no limit.
    pub max_connections: u64,
    /// Leave after this many requests; 0 = no limit.
    pub max_requests: u64,
}

/// Messages from the supervisor to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// The place is yours: take work.
    Go,
    /// Take nothing new, finish, end.
    Leave,
    /// Give memory that is free back to the system.
    Trim,
}

/// How a supervisor's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// No worker of the pool ever became ready.
    NeverReady {
        /// The pool's index.
        pool: usize,
        /// How the last try ended.
        exit: Exit,
    },
    /// Not one worker could be forked.
    CannotFork {
        /// The kernel's error number.
        errno: i32,
    },
    /// A hook of the program's said no.
    HookFailed,
    /// A worker said that the service cannot go on.
    Fatal {
        /// The pool's index.
        pool: usize,
        /// Which.
        worker: WorkerId,
    },
    /// The breaker of the pool gave up.
    Exhausted {
        /// The pool's index.
        pool: usize,
        /// Failures within its window.
        failures: u32,
    },
}

/// What a person should know; the words are made in [`crate::log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A worker is ready.
    Ready(WorkerId),
    /// A worker took its place.
    Serving(WorkerId),
    /// Every place of the start is taken; said once.
    Staffed,
    /// A worker ended.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        exit: Exit,
        /// Why it was leaving, if it was.
        why: Option<Why>,
        /// Whether that is a failure of its program.
        crash: bool,
        /// Whether it had ever been ready.
        ready: bool,
        /// Milliseconds until its place is tried again.
        retry_ms: u64,
    },
    /// Forks fail; said once an episode.
    ForkFailing {
        /// The kernel's error number.
        errno: i32,
        /// Milliseconds until the next try.
        retry_ms: u64,
    },
    /// Forks work again.
    ForkRecovered,
    /// A worker was not ready in time and is killed.
    BootTimeout(WorkerId),
    /// A handler of a worker's panicked; the worker goes on.
    Panicked(WorkerId),
    /// A worker was stopped by a signal, and is replaced.
    Halted(WorkerId),
    /// A worker is at one thing for longer than it may, and is ended.
    Overrun {
        /// Which.
        worker: WorkerId,
        /// What it is at.
        what: Overrun,
        /// For how many nanoseconds.
        ran: Nanos,
    },
    /// A worker has too much memory, and is replaced.
    Oversized {
        /// Which.
        worker: WorkerId,
        /// Its private memory, in bytes.
        private: u64,
        /// What it may have.
        limit: u64,
    },
    /// A worker did not end in time.
    Overdue {
        /// Which.
        worker: WorkerId,
        /// Whether it is killed now (else: terminated).
        killed: bool,
    },
    /// The pool changed its size.
    Resized {
        /// The pool's index.
        pool: usize,
        /// Places before.
        from: u32,
        /// Places now.
        to: u32,
    },
    /// The pool cannot be made larger, or smaller: it is at its bound.
    AtBound {
        /// The pool's index.
        pool: usize,
        /// The bound, in workers.
        workers: u32,
    },
    /// Every worker the pool may have is busy; said once an episode.
    Saturated {
        /// The pool's index.
        pool: usize,
        /// Connections in the queues.
        queued: u32,
    },
    /// Too many failures within the window; said once an episode.
    BreakerOpen {
        /// The pool's index.
        pool: usize,
        /// Failures within the window.
        failures: u32,
    },
    /// Every worker is being replaced.
    Rolling {
        /// The new generation.
        generation: u32,
    },
    /// Some are replaced, and are watched now.
    OnTrial {
        /// The new generation.
        generation: u32,
    },
    /// The trial went well: the others follow.
    Promoted {
        /// The new generation.
        generation: u32,
    },
    /// Every worker has been replaced.
    Rolled {
        /// The new generation.
        generation: u32,
    },
    /// The reload has come to nothing.
    ReloadFailed {
        /// The generation that goes on.
        generation: u32,
        /// Why.
        text: String,
    },
    /// The graceful stop begins in so many seconds.
    LameDuck {
        /// Seconds.
        seconds: u64,
    },
    /// The graceful stop has begun.
    Stopping {
        /// Workers that have to end.
        workers: usize,
        /// Seconds they have.
        seconds: u64,
    },
}
