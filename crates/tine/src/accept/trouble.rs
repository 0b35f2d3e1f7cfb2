//! What the errors of `accept(2)` mean for the worker that meets them, and what it does then.

use std::io;
use std::time::{Duration, Instant};

use super::Acceptor;
use crate::seat::{FAILURE, Leave};

/// After so many failures in a row, each of one connection alone, it is none of theirs: a security module forbids all,
/// say.
pub(super) const IN_A_ROW: u32 = 64;
/// First and longest pause when descriptors run out, or when nothing but failures comes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How often that is said at most: where the last descriptor is used and given back all the time, each accept begins it
/// anew.
const SAID: Duration = Duration::from_secs(10);

/// Accept failures that concern one connection or pass by themselves: the next one is tried at once
/// (`accept(2)`, "Error handling"; Apache's list is A2 of its specification).
const TRANSIENT: [i32; 14] = [
    4,   // EINTR
    1,   // EPERM: a firewall's rule
    13,  // EACCES: a security module's
    64,  // ENONET
    71,  // EPROTO
    92,  // ENOPROTOOPT
    95,  // EOPNOTSUPP
    100, // ENETDOWN
    101, // ENETUNREACH
    103, // ECONNABORTED
    104, // ECONNRESET
    110, // ETIMEDOUT
    112, // EHOSTDOWN
    113, // EHOSTUNREACH
];
/// The machine or the process has run out of something: wait a little, others may free it.
const EXHAUSTED: [i32; 4] = [
    12,  // ENOMEM
    23,  // ENFILE
    24,  // EMFILE
    105, // ENOBUFS
];
/// Those of them that are about descriptors.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];
/// The listener is closed: the service stops (`EBADF`, `EINVAL`).
const CLOSED: [i32; 2] = [9, 22];
const EAGAIN: i32 = 11;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody waits here.
    Empty,
    /// Try the next connection; rest a while when they all end so.
    Transient,
    /// Rest a while.
    Exhausted,
    /// This listener is no more.
    Closed,
    /// Nothing that is known of: the worker fails.
    Unknown,
}

impl Trouble {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(EAGAIN) => Self::Empty,
            Some(code) if TRANSIENT.contains(&code) => Self::Transient,
            Some(code) if EXHAUSTED.contains(&code) => Self::Exhausted,
            Some(code) if CLOSED.contains(&code) => Self::Closed,
            _ => Self::Unknown,
        }
    }
}

impl Acceptor {
    /// Has the program free descriptors, if it is they that are used up.
    pub(super) fn tidies_after(&self, error: &io::Error) -> bool {
        let is_theirs = error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code));
        is_theirs && self.upkeep.free_descriptors()
    }

    /// Out of descriptors or memory, or nothing but failures: nothing is taken for a while, twice as long each time.
    pub(super) fn rest(&mut self, error: &io::Error) {
        self.watch.shut();
        self.end_turn();
        let was_said = self.said.is_some_and(|said| said.elapsed() < SAID);
        if self.pause.is_none() && !was_said {
            self.said = Some(Instant::now());
            self.seat.tell(FAILURE, &format!("cannot accept: {error}; trying again"));
        }
        let length = self.pause.map_or(PAUSE.0, |(_, length)| (length * 2).min(PAUSE.1));
        self.pause = Some((Instant::now() + length, length));
        self.watch.owe_all();
        // Somebody else may still have room.
        self.pass_on();
    }

    pub(super) fn close(&mut self, index: usize) {
        // Nobody of this service shuts down what is somebody else's, too.
        let deserted = self.watch.entries[index].listener.adopted();
        if self.watch.close(index) {
            self.seat.learn_why();
            self.seat.begin_to_leave(if deserted { Leave::Deserted } else { Leave::Together });
        }
    }
}
