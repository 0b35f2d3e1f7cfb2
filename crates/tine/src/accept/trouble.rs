//! What the errors of `accept(2)` mean for the worker that meets them, and what it does then.

use std::io;
use std::time::{Duration, Instant};

use super::Acceptor;
use crate::seat::{FAILURE, Leave};

/// First and longest pause when descriptors run out.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accept failures that concern one connection or pass by themselves: the next one is tried at once
/// (`accept(2)`, "Error handling"; Apache's list is A2 of its specification).
const TRANSIENT: [i32; 11] = [
    4,   // EINTR
    1,   // EPERM: a firewall's rule
    71,  // EPROTO
    92,  // ENOPROTOOPT
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
/// The listener is closed: the service stops (`EBADF`, `EINVAL`).
const CLOSED: [i32; 2] = [9, 22];
const EAGAIN: i32 = 11;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody waits here.
    Empty,
    /// Try the next connection.
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
    /// Out of descriptors or memory: nothing is taken for a while, twice as long each time. Said once an
    /// episode.
    pub(super) fn rest(&mut self, error: &io::Error) {
        self.watch.shut();
        self.end_turn();
        if self.pause.is_none() {
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
