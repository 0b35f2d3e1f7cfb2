//! How much of a file is read at once where the kernel does not send it.
//!
//! A body that wraps a file has no way to ask it for less. So what may be sent is said around the whole of it.

use std::cell::Cell;

/// The most that is read at once, in bytes: what a slow client holds of a worker's memory.
pub(crate) const PIECE: usize = 64 * 1024;

thread_local! {
    static MOST: Cell<usize> = const { Cell::new(PIECE) };
}

/// How much is to be read now.
pub(crate) fn most_read() -> usize {
    MOST.get()
}

/// Polls a body whose files are to be read so far at most: at least one byte.
pub(crate) fn with_most_read<T>(most: usize, poll: impl FnOnce() -> T) -> T {
    let _before = Before(MOST.replace(most.clamp(1, PIECE)));
    poll()
}

/// What was so before is so again, also after a panic.
struct Before(usize);

impl Drop for Before {
    fn drop(&mut self) {
        MOST.set(self.0);
    }
}
