//! What a connection has read and not used yet.
//!
//! The room is the thread's, lent for as long as there is something in it: an idle connection has none.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The room of a thread, in bytes.
const ROOM: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// All of it is initialised, so that it can be read into.
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes are used.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "no more than there is can be used");
        if self.start == self.end {
            self.give_back();
        }
    }

    /// Reads what there is, behind what there is; how much, 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut buffer = ReadBuf::new(&mut self.room[self.end..]);
        let read = Pin::new(stream).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        self.end += count;
        if self.is_empty() {
            self.give_back();
        }
        ready!(read)?;
        Poll::Ready(Ok(count))
    }

    /// Room for more: by moving what is there to the front, or by growing. What calls this bounds how much may wait.
    fn make_room(&mut self) {
        if self.room.is_empty() {
            self.room = SPARE.take();
            self.room.resize(ROOM, 0);
        } else if self.end == self.room.len() {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.room.len() {
                self.room.resize(2 * self.end, 0);
            }
        }
    }

    fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        let room = std::mem::take(&mut self.room);
        if room.len() == ROOM {
            // While a thread ends it may be gone.
            let _ = SPARE.try_with(|spare| spare.set(room));
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.give_back();
    }
}
