//! Texts in a record: what is asked for, and by whom.
//!
//! A worker writes them for every request, so they are stored word by word as they come, and what is between them is
//! put there by who reads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where each part of a request's line stands, in words of the record from the line's first.
const VERB: Range<usize> = 0..2;
const PROTOCOL: Range<usize> = 2..3;
const TARGET: Range<usize> = 3..LINE;
/// Words of a request's line.
pub(super) const LINE: usize = 16;

/// A request as the scoreboard shows it, `GET /path HTTP/1.1`. Each part is cut to its room: it is for eyes.
///
/// Of a protocol that has no such lines any text is one: `"anything".into()`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLine<'a> {
    /// What is to be done: `GET`. Up to 16 bytes.
    pub verb: &'a str,
    /// With what: `/path`. Up to 104 bytes.
    pub target: &'a str,
    /// In which language: `HTTP/1.1`. Up to 8 bytes.
    pub protocol: &'a str,
}

impl<'a> From<&'a str> for RequestLine<'a> {
    fn from(target: &'a str) -> Self {
        Self { target, ..Self::default() }
    }
}

pub(super) fn put_line(words: &[AtomicU64], line: RequestLine<'_>) {
    put(&words[VERB], line.verb);
    put(&words[TARGET], line.target);
    put(&words[PROTOCOL], line.protocol);
}

pub(super) fn line(words: &[AtomicU64]) -> String {
    let parts = [VERB, TARGET, PROTOCOL].map(|part| text(&words[part]));
    let parts = parts.iter().filter(|part| !part.is_empty()).map(String::as_str);
    parts.collect::<Vec<_>>().join(" ")
}

/// Word by word, and a zero behind it where there is room: what stood there before ends with it.
pub(super) fn put(words: &[AtomicU64], text: &str) {
    let mut rest = text.as_bytes();
    for word in words {
        let Some((chunk, behind)) = rest.split_first_chunk() else {
            return word.store(end_of(text.as_bytes(), rest), Relaxed);
        };
        word.store(u64::from_le_bytes(*chunk), Relaxed);
        rest = behind;
    }
}

/// The last bytes of a text, fewer than eight, as a word with zeros behind them.
fn end_of(text: &[u8], rest: &[u8]) -> u64 {
    match text.last_chunk() {
        // At once, with bytes of the word before, which are pushed out.
        Some(last) => u64::from_le_bytes(*last).unbounded_shr(64 - 8 * rest.len() as u32),
        None => rest.iter().rev().fold(0, |end, &byte| end << 8 | u64::from(byte)),
    }
}

/// What stands there, printable whatever it is.
pub(super) fn text(words: &[AtomicU64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let printable = |c: char| if c.is_control() { '?' } else { c };
    String::from_utf8_lossy(&bytes[..end]).chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> [AtomicU64; LINE] {
        std::array::from_fn(|_| AtomicU64::new(u64::MAX))
    }

    #[test]
    fn a_text_is_read_as_it_was_written_and_shows_nothing_of_a_longer_one() {
        let words = words();
        for length in (0..=8 * LINE).rev() {
            let written: String = ('a'..='z').cycle().take(length).collect();
            put(&words, &written);
            assert_eq!(text(&words), written);
        }
        put(&words, &"x".repeat(500));
        assert_eq!(text(&words).len(), 8 * LINE);
    }

    #[test]
    fn a_line_has_blanks_between_the_parts_it_has_and_each_is_cut_for_itself() {
        let words = words();
        let long = "x".repeat(200);
        let shown = |verb, target, protocol| {
            put_line(&words, RequestLine { verb, target, protocol });
            line(&words)
        };
        assert_eq!(shown("GET", "/", "HTTP/1.1"), "GET / HTTP/1.1");
        assert_eq!(shown("", "anything at all", ""), "anything at all");
        assert_eq!(
            shown("VERSION-CONTROL", &long, "HTTP/2.0"),
            format!("VERSION-CONTROL {} HTTP/2.0", "x".repeat(104))
        );
    }

    #[test]
    fn what_is_no_text_can_be_read() {
        assert!(line(&words()).chars().all(|c| c == ' ' || c == char::REPLACEMENT_CHARACTER));
    }
}
