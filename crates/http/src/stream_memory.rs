//! What the streams of HTTP/2 of a worker hold together, bounded.

use std::cell::Cell;

/// What all streams of a worker may hold, in bytes: 16,000 with small headers. One that finds no room is refused before
/// it is looked at (REFUSED_STREAM), so its client may send it again. A connection without another stream is never refused.
const HELD: usize = 64 << 20;
/// When so many bytes were given back since there were most, the freed memory goes back to the system.
const FREED: usize = 1 << 20;

/// See the module. One a worker.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    held: Cell<usize>,
    /// The most that was held since memory last went back.
    peak: Cell<usize>,
}

impl Streams {
    /// Takes so many bytes, if there is room. `must`: also if there is none.
    pub(crate) fn take(&self, bytes: usize, must: bool) -> bool {
        let sum = self.held.get() + bytes;
        if sum > HELD && !must {
            return false;
        }
        self.held.set(sum);
        self.peak.set(self.peak.get().max(sum));
        true
    }

    /// Gives them back. Returns how much should go back to the system now, if it is worth it.
    pub(crate) fn give_back(&self, bytes: usize) -> Option<usize> {
        self.held.set(self.held.get() - bytes);
        let freed = self.peak.get() - self.held.get();
        if freed < FREED {
            return None;
        }
        self.peak.set(self.held.get());
        Some(freed)
    }
}
