//! The text of a line: no longer than its bound, and nothing in it that a terminal or a reader would obey,
//! so that a client's bytes cannot forge a line (row N41).

use std::fmt::{self, Write as _};

/// What is said of a text that was cut, at its longest.
const MARK: &str = " [18446744073709551615 bytes cut]";

/// The text, escaped, in at most `room` bytes; of one that is longer, as much as fits and how much is
/// missing. A text of any length costs no more memory than that.
pub(crate) fn bounded(text: fmt::Arguments<'_>, room: usize) -> String {
    let mut line = Bounded { text: String::new(), room, cut: 0 };
    // Only a faulty `Display` fails; what it wrote before is the line.
    let _ = line.write_fmt(text);
    let Bounded { mut text, cut, .. } = line;
    if cut > 0 {
        let _ = write!(text, " [{cut} bytes cut]");
    }
    text
}

/// A text as a log line shows it: what a terminal or a reader would obey is escaped.
///
/// ```
/// assert_eq!(tine::log::escaped("v1\u{1b}[2J\n"), "v1\\u{1b}[2J\\n");
/// ```
#[must_use]
pub fn escaped(text: &str) -> String {
    bounded(format_args!("{text}"), usize::MAX)
}

struct Bounded {
    text: String,
    room: usize,
    /// Bytes that were left out at the end.
    cut: usize,
}

impl Bounded {
    fn push(&mut self, c: char, written: &str) {
        if self.cut == 0 && self.text.len() + written.len() <= self.room {
            self.text.push_str(written);
            return;
        }
        if self.cut == 0 {
            self.make_room_for_mark();
        }
        self.cut += c.len_utf8();
    }

    /// Takes back as much as the mark needs. What is taken back is counted as it is written here.
    fn make_room_for_mark(&mut self) {
        let mut keep = self.room.saturating_sub(MARK.len()).min(self.text.len());
        while !self.text.is_char_boundary(keep) {
            keep -= 1;
        }
        self.cut += self.text.len() - keep;
        self.text.truncate(keep);
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let fits = self.cut == 0 && self.text.len() + piece.len() <= self.room;
        if fits && !piece.chars().any(is_unprintable) {
            self.text.push_str(piece);
            return Ok(());
        }
        let mut written = String::new();
        for c in piece.chars() {
            written.clear();
            match is_unprintable(c) {
                true => written.extend(c.escape_default()),
                false => written.push(c),
            }
            self.push(c, &written);
        }
        Ok(())
    }
}

/// Whether a character does something rather than show something: controls, what ends a line or a paragraph
/// in Unicode, what is invisible, and what turns the direction of a text around (Unicode TR 36).
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_is_shown() {
        let text = "a\tb\0c\u{85}d\u{2028}e\u{202e}f\u{feff}g\u{7f}";
        let shown = "a\\tb\\u{0}c\\u{85}d\\u{2028}e\\u{202e}f\\u{feff}g\\u{7f}";
        assert_eq!(bounded(format_args!("{text}"), 1000), shown);
        assert_eq!(bounded(format_args!("Grüße, 世界 \\ ok"), 1000), "Grüße, 世界 \\ ok");
    }

    #[test]
    fn a_text_has_its_bound_and_says_what_is_missing() {
        let long = "x".repeat(1_000_000);
        let line = bounded(format_args!("{long}"), 100);
        assert_eq!(line, format!("{} [999933 bytes cut]", "x".repeat(67)));
        let exactly = "x".repeat(100);
        assert_eq!(bounded(format_args!("{exactly}"), 100), exactly);
        for room in [0, 1, MARK.len(), 100] {
            for text in ["\0".repeat(500), "ä".repeat(500), "a\u{202e}".repeat(500)] {
                let line = bounded(format_args!("{text}"), room);
                assert!(line.len() <= room.max(MARK.len()), "{room}: {line}");
                assert!(line.ends_with("bytes cut]"), "{line}");
            }
        }
    }

    #[test]
    fn nothing_follows_a_cut() {
        let line = bounded(format_args!("{}{}", "x".repeat(200), "y"), 100);
        assert!(!line.contains("xy") && line.contains("cut"), "{line}");
    }
}
