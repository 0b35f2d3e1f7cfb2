//! What the supervisor knows: ids, counts and monotonic nanoseconds; no descriptor, no pointer.
//!
//! So it serialises, and a handover is this plus a table of descriptors. Who may change it is
//! [`super::step`] alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::action::Outcome;
pub use super::pool::{Place, Pool};
use super::reload::Reloads;
use super::scale::Sizing;
use super::turnover::Turnover;

/// Monotonic nanoseconds (`CLOCK_MONOTONIC`).
pub type Nanos = u64;

/// One second, in [`Nanos`].
pub const SECOND: Nanos = 1_000_000_000;
/// One millisecond, in [`Nanos`].
pub const MILLISECOND: Nanos = 1_000_000;

/// A worker process's number, counted from 1 over the life of the service and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u64);

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The numbers a pool is run by; resolved from its configuration and never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// A helper's: nanoseconds from one run to the next.
    pub every: Option<Nanos>,
    /// The pool's bounds at the start.
    pub sizing: Sizing,
    /// Most places the pool can ever have (its records are allocated once).
    pub capacity: u32,
    /// Connections a worker takes, drawn between the two; (0, 0) = no limit.
    pub connections: (u64, u64),
    /// Requests a worker answers, drawn between the two; (0, 0) = no limit.
    pub requests: (u64, u64),
    /// Nanoseconds a worker serves, drawn between the two; (0, 0) = no limit.
    pub age: (Nanos, Nanos),
    /// A worker must be ready within this.
    pub boot_timeout: Nanos,
    /// A worker that leaves while the service goes on must be gone within this.
    pub drain_timeout: Nanos,
    /// The same when the service stops.
    pub stop_timeout: Nanos,
    /// The service serves on for so long when it is to stop.
    #[serde(default)]
    pub lame_duck: Nanos,
    /// Between `SIGTERM` and `SIGKILL`.
    pub term_grace: Nanos,
    /// Between a worker's being stopped by a signal and `SIGKILL`.
    pub halt_grace: Nanos,
    /// A worker may be at one request for so long; 0 = for ever.
    pub request_timeout: Nanos,
    /// An isolated worker may be at one connection for so long; 0 = for ever.
    pub connection_timeout: Nanos,
    /// Bytes of private memory a worker may have, drawn between the two; (0, 0) = no limit.
    pub memory: (u64, u64),
    /// It is not replaced for that before it has served so long.
    pub min_lifetime: Nanos,
    /// How many may wait for a successor because of it at once.
    pub memory_recycles: u32,
    /// How workers that serve are replaced.
    pub turnover: Turnover,
    /// Between two shrinkings.
    pub shrink_interval: Nanos,
    /// No shrinking when a worker was forked within this.
    pub settle: Nanos,
    /// No connection for this long: down to the floor.
    pub quiet: Nanos,
    /// First and longest delay after quick failures.
    pub backoff: (Nanos, Nanos),
    /// How long a successor that is ready serves beside the one it succeeds, before that one is asked to leave.
    pub linger: Nanos,
    /// How many more than its maximum may drain at once, before no more are succeeded.
    pub draining: u32,
    /// Boot failures before the first ready worker that end the service.
    pub boot_attempts: u32,
    /// They end nothing: a place is tried for ever, and so is a new generation.
    pub persists: bool,
    /// Its workers are foreign commands, which are told once more when the service stops.
    pub command: bool,
    /// How many failures within how long open the breaker; 0 = never.
    pub breaker: (u32, Nanos),
    /// Whether an open breaker stops the service (else: only the back-off's longest delay applies).
    pub breaker_stops: bool,
    /// Whether a worker serves many connections at once; then its siblings want to know which places have
    /// a worker.
    pub multiplexed: bool,
    /// Whether a worker that says so stops the service (else: it is replaced).
    pub fatal_stops: bool,
}

/// Where the service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Serving.
    Running,
    /// Ending; the outcome is settled.
    Stopping {
        /// Whether the listeners are closed.
        closed: bool,
        /// When to look at the queues again.
        look: Nanos,
    },
    /// Over.
    Ended,
}

/// How far a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The fork is asked for.
    Forking,
    /// Forked; must be ready by then.
    Booting(Nanos),
    /// Ready, and waiting for its place.
    Standby,
    /// Takes work.
    Serving,
    /// Takes nothing new; at `next` the next rung follows.
    Draining {
        /// Why.
        why: Why,
        /// What was done last.
        rung: Rung,
        /// When to do the next.
        next: Nanos,
    },
}

/// Why a worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It reached its limit or its age, or was replaced by a newer generation.
    Recycled,
    /// The pool shrank.
    Retired,
    /// It was stopped by a signal.
    Halted,
    /// It was not ready in time.
    BootTimeout,
    /// It was at one thing for too long.
    Overrun,
    /// The service stops.
    Stop,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recycled => "to be replaced",
            Self::Retired => "the pool shrinks",
            Self::Halted => "it was stopped by a signal",
            Self::BootTimeout => "it was not ready in time",
            Self::Overrun => "it was at one thing for too long",
            Self::Stop => "the service stops",
        })
    }
}

/// The rungs of ending a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rung {
    /// Told over its channel.
    Asked,
    /// `SIGTERM` sent, or, to one that hangs, `SIGABRT`.
    Terminated,
    /// `SIGKILL` sent.
    Killed,
}

/// When a worker is to be succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Succession {
    /// As soon as the successor is ready.
    WhenReady,
    /// When it reaches its limit by itself.
    AtLimit,
}

/// What was done about a worker's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weight {
    /// Nothing.
    Fine,
    /// It was too much, and the worker was told to give back what is free.
    Trimmed,
    /// It still was too much.
    Replaced,
}

/// A worker process, from the wish for it to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Index of its pool.
    pub pool: usize,
    /// Index of its place.
    pub place: usize,
    /// Its generation.
    pub generation: u32,
    /// Its process, for people.
    pub pid: Option<u32>,
    /// How far it is.
    pub stage: Stage,
    /// When the fork was asked for.
    pub since: Nanos,
    /// When it was ready.
    pub ready_at: Option<Nanos>,
    /// When it is too old.
    pub expires: Option<Nanos>,
    /// Bytes of private memory it may have; 0 = no limit.
    pub max_memory: u64,
    /// What was done about its memory.
    pub weight: Weight,
    /// Whether, and when, it wants a successor.
    pub succession: Option<Succession>,
    /// Whether it waits for its place when ready.
    pub standby: bool,
    /// Stopped by a signal.
    pub halted: bool,
}

/// The whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Where the service is in its life.
    pub phase: Phase,
    /// How it will have ended; settled when it begins to stop.
    pub outcome: Outcome,
    /// The pools, in the plan's order.
    pub pools: Vec<Pool>,
    /// Everyone who is, or is about to be, alive.
    pub workers: BTreeMap<WorkerId, Worker>,
    /// It is to stop, and serves on until then.
    pub lame_until: Option<Nanos>,
    /// Every place of the start has been taken by a ready worker.
    pub staffed: bool,
    /// The last number given.
    pub last_worker: u64,
    /// The generation new workers belong to.
    pub generation: u32,
    /// Reloads: the one under way, what is to follow, and how the last ones ended.
    pub reloads: Reloads,
    /// Failing forks: how many in a row, and when to try again.
    pub fork_trouble: Option<(u32, Nanos)>,
    /// State of the generator behind limits and jitter; never a source of secrets.
    pub seed: u64,
}

impl State {
    /// A service that has not begun: no worker, every place of the floor wanted.
    #[must_use]
    pub fn new(rules: &[Rules], seed: u64) -> Self {
        Self {
            phase: Phase::Running,
            outcome: Outcome::Stopped,
            pools: rules.iter().map(Pool::new).collect(),
            workers: BTreeMap::new(),
            lame_until: None,
            staffed: false,
            last_worker: 0,
            generation: 1,
            reloads: Reloads::default(),
            fork_trouble: None,
            seed: seed | 1,
        }
    }

    /// Whether the service is on its way out.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Workers that take work, per pool.
    #[cfg(test)]
    pub fn serving(&self, pool: usize) -> usize {
        self.in_pool(pool).filter(|worker| worker.stage == Stage::Serving).count()
    }

    /// Workers that finish what they have, per pool.
    #[must_use]
    pub fn draining(&self, pool: usize) -> usize {
        self.in_pool(pool).filter(|worker| worker.is_draining()).count()
    }

    /// The workers of one pool.
    pub fn in_pool(&self, pool: usize) -> impl Iterator<Item = &Worker> {
        self.workers.values().filter(move |worker| worker.pool == pool)
    }

    /// A number between the two, both included; the same state gives the same numbers.
    pub fn draw(&mut self, (low, high): (u64, u64)) -> u64 {
        if high <= low {
            return low;
        }
        // xorshift64*: cheap, serialisable, and good enough to keep workers out of step.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        let random = self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D);
        let span = u128::from(high - low) + 1;
        low + u64::try_from((u128::from(random) * span) >> 64).unwrap_or(0)
    }
}

impl Worker {
    /// Whether it finishes what it has and takes nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self.stage, Stage::Draining { .. })
    }

    /// Whether it is on its way to being ready.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        matches!(self.stage, Stage::Forking | Stage::Booting(_))
    }
}
