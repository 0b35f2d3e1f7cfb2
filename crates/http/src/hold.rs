//! Answers that wait for company: a client that sends several requests at once gets their answers in one
//! write.
//!
//! hyper writes each answer as it is made. Small ones are copied here instead, and go out together as soon
//! as there is nothing more to be done for this client: when hyper wants to read, when its turn ends, with
//! what does not fit, or at the end. So here an answer waits for other answers of its client and for nothing else, and one
//! that comes alone costs no more than before: a write of one piece is cheaper than one of two. Where there are other
//! connections they go on from here to the [outbox](crate::outbox).
//!
//! The room is the thread's, lent to whichever connection is being served: an idle one has none.

use std::cell::Cell;
use std::io::IoSlice;

/// What may wait, in bytes.
const HOLD: usize = 16 * 1024;
/// Larger answers are not copied, in bytes; nor do they wait.
const SMALL: usize = 4 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
}

impl Hold {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies all of this, if it is small and there is room; says whether it has.
    pub(crate) fn take(&mut self, parts: &[IoSlice<'_>]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let fits = self.has_room_for(length);
        if fits {
            self.put(parts);
        }
        fits
    }

    /// The same, of one part.
    pub(crate) fn take_one(&mut self, part: &[u8]) -> bool {
        let fits = self.has_room_for(part.len());
        if fits {
            self.make_room();
            self.bytes.extend_from_slice(part);
        }
        fits
    }

    /// Copies all of this.
    pub(crate) fn put(&mut self, parts: &[IoSlice<'_>]) {
        self.make_room();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }

    fn has_room_for(&self, length: usize) -> bool {
        length <= SMALL && self.bytes.len() + length <= HOLD
    }

    fn make_room(&mut self) {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
    }

    /// Copies this in front of what has waited.
    pub(crate) fn put_first(&mut self, bytes: &[u8]) {
        let behind = self.rest().to_vec();
        self.give_back();
        self.put(&[IoSlice::new(bytes), IoSlice::new(&behind)]);
    }

    /// What is to be written.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many bytes were written, of these and perhaps of others behind them: how many of the others.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        let ours = count.min(self.bytes.len() - self.written);
        self.written += ours;
        if self.written == self.bytes.len() {
            self.give_back();
        }
        count - ours
    }

    fn give_back(&mut self) {
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > 0 {
            // While a thread ends it may be gone.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.bytes)));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_out_in_order_and_what_is_behind_it_is_told_apart() {
        let mut hold = Hold::default();
        assert!(
            hold.take(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")])
                && hold.take(&[IoSlice::new(b"ef")])
        );
        assert_eq!(hold.rest(), b"abcdef");
        assert_eq!(hold.advance(4), 0);
        assert_eq!(hold.rest(), b"ef");
        hold.put_first(b"cd");
        assert_eq!(hold.rest(), b"cdef");
        assert_eq!(hold.advance(2), 0);
        assert_eq!(hold.advance(5), 3);
        assert!(hold.is_empty() && hold.rest().is_empty());
    }

    #[test]
    fn what_is_large_or_too_much_is_not_taken_and_no_idle_connection_has_room() {
        let mut hold = Hold::default();
        let small = [0; SMALL];
        assert!(!hold.take(&[IoSlice::new(&[0; SMALL + 1])]) && hold.bytes.capacity() == 0);
        for _ in 0..HOLD / SMALL {
            assert!(hold.take(&[IoSlice::new(&small)]));
        }
        assert!(!hold.take(&[IoSlice::new(b"x")]));
        hold.advance(HOLD);
        assert_eq!(hold.bytes.capacity(), 0);
        assert!(SPARE.take().capacity() >= HOLD, "it is used again");
    }
}
