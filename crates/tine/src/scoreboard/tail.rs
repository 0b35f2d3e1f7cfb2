//! A worker's last lines: a ring in shared memory that survives the worker.
//!
//! Kept apart from the records, so that a worker that says nothing costs no page: how much is in the ring
//! stands in the record. One writer, its worker (a panicking thread beside it at worst garbles a line);
//! the supervisor reads it when the worker has died, as bytes of a stranger's.

use std::sync::atomic::Ordering::Relaxed;

use super::record::Record;
use crate::shared::Region;

/// Words of a ring: 2 KiB.
pub(super) const RING: usize = 256;
/// Bytes of a line, at most; what is longer is cut.
const LINE_BYTES: usize = 512;
/// Lines that are read back, at most.
const LINES: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(super) region: Region,
    pub(super) base: usize,
    /// Where it stands how many words were ever written.
    pub(super) record: Record,
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What was written with it: `e`, `w`, `i`, `d` for a level, `p` for a panic; or anything.
    pub(crate) tag: char,
    pub(crate) text: String,
}

impl Tail {
    /// Adds a line. No system call. In the worker.
    pub(crate) fn push(&self, tag: char, text: &str) {
        let mut end = text.len().min(LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = format!("{tag}{}\n", &text[..end]);
        let words = line.as_bytes().chunks(8);
        let mut at = self.record.logged().fetch_add(words.len() as u64, Relaxed);
        for bytes in words {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.word(at).store(u64::from_le_bytes(word), Relaxed);
            at = at.wrapping_add(1);
        }
    }

    fn word(&self, at: u64) -> &std::sync::atomic::AtomicU64 {
        &self.region.words()[self.base + (at % RING as u64) as usize]
    }

    /// The last lines, the oldest first; every byte may be nonsense. In the supervisor.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let written = self.record.logged().load(Relaxed);
        let kept = written.min(RING as u64);
        let words = (0..kept).map(|index| (written - kept).wrapping_add(index));
        let bytes: Vec<u8> = words
            .flat_map(|at| self.word(at).load(Relaxed).to_le_bytes())
            .filter(|&byte| byte != 0)
            .collect();
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        // What follows the last end of a line, and what is left of one that was written over.
        lines.pop();
        if written > kept && !lines.is_empty() {
            lines.remove(0);
        }
        let last = lines.len().saturating_sub(LINES);
        lines[last..].iter().filter_map(|line| read(line)).collect()
    }
}

fn read(line: &[u8]) -> Option<Line> {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    let text = String::from_utf8_lossy(line);
    let mut chars = text.chars().map(printable);
    Some(Line { tag: chars.next()?, text: chars.collect() })
}

#[cfg(test)]
mod tests {
    use super::super::Scoreboard;
    use super::*;

    fn texts(tail: &Tail) -> Vec<String> {
        tail.lines().into_iter().map(|line| format!("{} {}", line.tag, line.text)).collect()
    }

    #[test]
    fn lines_are_read_back_in_order() {
        let board = Scoreboard::create(1, 2).expect("a board");
        let tail = board.tail(1);
        assert_eq!(texts(&tail), [""; 0]);
        tail.push('i', "exactly");
        tail.push('e', "größer als acht Bytes");
        assert_eq!(texts(&tail), ["i exactly", "e größer als acht Bytes"]);
        assert_eq!(texts(&board.tail(0)), [""; 0], "another worker's");
        board.record(1).clear();
        assert_eq!(texts(&tail), [""; 0], "a new worker begins with none");
    }

    #[test]
    fn only_the_last_are_kept_and_none_is_torn() {
        let tail = Scoreboard::create(1, 1).expect("a board").tail(0);
        for number in 0..1000 {
            tail.push('i', &format!("line {number} of a thousand"));
        }
        let all = texts(&tail);
        assert_eq!((all.len(), all[15].as_str()), (16, "i line 999 of a thousand"));
        assert_eq!(all[0], "i line 984 of a thousand");
        tail.push('w', &"ä".repeat(1000));
        let last = texts(&tail).pop().expect("a line");
        assert_eq!(last, format!("w {}", "ä".repeat(256)));
    }

    #[test]
    fn any_bytes_can_be_read() {
        let board = Scoreboard::create(1, 1).expect("a board");
        let tail = board.tail(0);
        for pattern in [u64::MAX, u64::from_le_bytes(*b"\n\x1b[2J\n\xff\n"), 1, 0] {
            board.record(0).logged().store(pattern, Relaxed);
            for word in 0..RING as u64 {
                tail.word(word).store(pattern, Relaxed);
            }
            let lines = tail.lines();
            assert!(lines.len() <= LINES);
            assert!(!lines.iter().any(|line| line.text.chars().any(char::is_control)));
        }
    }
}
