//! Sets of eight words, one cache line: where a key's word is found, or taken from the oldest.
//!
//! A word is a 16-bit tag of the key above a 48-bit time in microseconds. Three rules make a set exact
//! without any lock:
//!
//! 1. A word changes by one compare-and-swap, tag and time together, and its time only grows.
//! 2. Who finds its tag changes that word.
//! 3. Who does not takes the word with the smallest time, the first of equals.
//!
//! So a tag never gets two words: of two processes that missed each other's, each would have had to see
//! its own choice as the smaller one, and no time goes back. And a word that was taken away had the
//! smallest time of its set, which only grows: whoever comes back takes a word over that is no older than
//! the one it lost. A process that dies leaves a whole word, before its change or after it.
//!
//! A time more than an hour later than any that can be is no process's work and counts as 0, which heals it.

use std::sync::atomic::{AtomicU64, Ordering::Acquire};

/// Words in a set.
pub(super) const WAYS: usize = 8;
/// The last time a word can hold, microseconds: 8.9 years after the machine's start.
pub(super) const TIME_MAX: u64 = (1 << 48) - 1;
/// How far times may be ahead of what a process believes to be now, microseconds: it may have been stopped
/// after it looked at its clock.
const AHEAD_MAX: u64 = 3_600_000_000;

/// A word of a set, as it was when it was looked at.
pub(super) struct Found {
    /// Which word of the set.
    pub(super) way: usize,
    /// All of it: what a compare-and-swap expects.
    pub(super) word: u64,
    /// Its time; 0 for nonsense.
    pub(super) time: u64,
    /// Whether it has the tag; otherwise it is the oldest.
    pub(super) matches: bool,
}

/// Monotonic nanoseconds as a word's time.
pub(super) fn micros(nanos: u64) -> u64 {
    (nanos / 1000).min(TIME_MAX)
}

/// A word of this key's hash and this time, at most [`TIME_MAX`].
pub(super) fn pack(hash: u64, time: u64) -> u64 {
    hash << 48 | time
}

/// The word of this key's hash, or else the oldest. `latest` is the latest time that makes sense.
pub(super) fn seek(set: &[AtomicU64], hash: u64, latest: u64) -> Found {
    let mut oldest = Found { way: 0, word: 0, time: u64::MAX, matches: false };
    for (way, state) in set.iter().enumerate() {
        let word = state.load(Acquire);
        let time = word & TIME_MAX;
        let makes_sense = time <= latest.saturating_add(AHEAD_MAX);
        let matches = makes_sense && word >> 48 == hash & 0xffff;
        let found = Found { way, word, time: if makes_sense { time } else { 0 }, matches };
        if matches {
            return found;
        }
        if found.time < oldest.time {
            oldest = found;
        }
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: [u64; WAYS]) -> [AtomicU64; WAYS] {
        words.map(AtomicU64::new)
    }

    #[test]
    fn a_tag_is_found_and_otherwise_the_first_of_the_oldest() {
        let set = set([9, 4, 7, 4, 5, 6, 8, 9].map(|time| pack(time, time)));
        let found = seek(&set, 7, 10);
        assert_eq!((found.way, found.word, found.time, found.matches), (2, pack(7, 7), 7, true));
        let oldest = seek(&set, 1, 10);
        assert_eq!((oldest.way, oldest.time, oldest.matches), (1, 4, false));
    }

    #[test]
    fn a_time_that_cannot_be_is_taken_first_and_never_found() {
        let mut words = [pack(1, 5); WAYS];
        words[3] = pack(2, TIME_MAX);
        let found = seek(&set(words), 2, 10);
        assert_eq!((found.way, found.time, found.matches), (3, 0, false));
    }
}
