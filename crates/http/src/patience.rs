//! How long a silent client keeps what others wait for.
//!
//! Where a client waits for a worker, a silent connection of that worker ends soon. Not sooner than its client can have
//! spoken: the client may be far away, and nobody repeats a first request. So the time goes by the round trip that the
//! kernel has measured on the connection.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::connection_state::{Number, Progress, Wait, nanos};
use crate::limits::{FIRST_LEAST, HEAD_LEAST, PATIENCE_MOST, ROUND_TRIPS, TICK};
use crate::socket::Watched;

/// How long a measurement holds, in nanoseconds.
const HOLDS: u64 = 1_000_000_000;

/// How far away a client is, asked only where that matters.
#[derive(Debug, Default)]
pub(crate) struct Distance {
    /// The connection's socket, since it first had to wait for its client.
    socket: OnceLock<Weak<dyn Watched>>,
    /// Nanoseconds.
    round_trip: Number,
    /// When that was measured; monotonic nanoseconds, 0 = not.
    measured: Number,
}

impl Distance {
    /// The connection has to wait for its client, on this socket.
    pub(crate) fn note_socket(&self, socket: impl FnOnce() -> Option<Arc<dyn Watched>>) {
        if self.socket.get().is_none()
            && let Some(socket) = socket()
        {
            let _ = self.socket.set(Arc::downgrade(&socket));
        }
    }

    /// A round trip to the client, in nanoseconds; 0 if it is not known. A system call a second at most.
    fn round_trip(&self, now: u64) -> u64 {
        let measured = self.measured.get();
        if measured == 0 || now > measured.saturating_add(HOLDS) {
            self.measured.set(now);
            let socket = self.socket.get().and_then(Weak::upgrade);
            let measured = socket.and_then(|socket| tine_os::diag::round_trip(&*socket).ok());
            self.round_trip.set(measured.map_or(0, nanos));
        }
        self.round_trip.get()
    }
}

impl Progress {
    /// How long it may wait for its client in what it waits for now, where others wait for what it holds; before that
    /// time is up [`least_patience`] is. Nanoseconds.
    pub(crate) fn patience(&self, now: u64) -> u64 {
        let distant = self.distance.round_trip(now).saturating_mul(ROUND_TRIPS);
        nanos(self.least_patience()).max(distant.min(nanos(PATIENCE_MOST)))
    }

    /// The same of a client that is near.
    pub(crate) fn least_patience(&self) -> Duration {
        match self.wait() {
            Wait::Head(_) => HEAD_LEAST,
            // A client that was answered repeats its next request when the connection is gone.
            _ if self.requests.get() > 0 => TICK,
            _ => FIRST_LEAST,
        }
    }

    /// Whether a client has been waited for since then, and so long that it may be given up where others wait.
    pub(crate) fn tries_patience(&self, since: u64, now: u64) -> bool {
        // The kernel is asked last.
        now >= since.saturating_add(nanos(self.least_patience()))
            && now >= since.saturating_add(self.patience(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn patience_goes_by_the_round_trip_and_has_bounds() {
        let progress = Progress::new(0);
        let patience = |milliseconds: u64| {
            progress.distance.round_trip.set(milliseconds * MILLISECOND);
            progress.distance.measured.set(1);
            progress.patience(2) / MILLISECOND
        };
        assert_eq!([0, 1, 160, 10_000].map(patience), [250, 250, 640, 1000]);
        progress.requests.set(1);
        assert_eq!([0, 1, 160, 10_000].map(patience), [100, 100, 640, 1000]);
        progress.head_began.set(1);
        assert_eq!([0, 1, 160, 10_000].map(patience), [250, 250, 640, 1000]);
    }
}
