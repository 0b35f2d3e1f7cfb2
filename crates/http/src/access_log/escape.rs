//! How values stand in a line. Nothing a client sends can end a line, a quoted value, or a terminal's
//! patience: in text what is not printable ASCII is written `\xhh`, as Apache does, in JSON `\uhhhh`.

use std::io::Write as _;
use std::net::IpAddr;

use crate::id::ConnectionId;
use crate::ipv4_text::Dotted;

/// What stands behind a value that was cut.
const CUT: &[u8] = b"...";

/// Where a line is written to, and how.
#[derive(Debug)]
pub(super) struct Out<'a> {
    pub(super) line: &'a mut Vec<u8>,
    /// Values are JSON's: with quotes, or `null`.
    pub(super) json: bool,
    /// The format has put the quotes itself.
    pub(super) quoted: bool,
    /// The most bytes of one value, as it is written.
    pub(super) value_bytes: usize,
}

impl Out<'_> {
    /// What there is not.
    pub(super) fn absent(&mut self) {
        match self.json && !self.quoted {
            true => self.line.extend_from_slice(b"null"),
            false => self.line.push(b'-'),
        }
    }

    /// A text of our own, as it is.
    pub(super) fn own(&mut self, text: &[u8]) {
        match text {
            // Often a blank.
            &[byte] => self.line.push(byte),
            _ => self.line.extend_from_slice(text),
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A text of our own, in which there is nothing to escape, in pieces.
    pub(super) fn ready(&mut self, pieces: &[&str]) {
        self.quote();
        pieces.iter().for_each(|piece| self.line.extend_from_slice(piece.as_bytes()));
        self.quote();
    }

    pub(super) fn address(&mut self, address: IpAddr) {
        self.quote();
        match address {
            IpAddr::V4(address) => self.line.extend_from_slice(Dotted::new(address).as_bytes()),
            // Writing to memory cannot fail.
            IpAddr::V6(address) => drop(write!(self.line, "{address}")),
        }
        self.quote();
    }

    /// A connection's id, or a request's.
    pub(super) fn id(&mut self, connection: ConnectionId, request: Option<u64>) {
        self.quote();
        self.line.push(b'C');
        self.number(connection.worker());
        self.line.push(b'.');
        self.number(connection.number());
        if let Some(request) = request {
            self.line.push(b'-');
            self.number(request);
        }
        self.quote();
    }

    /// A text of somebody else's, nearly always one with nothing to escape.
    pub(super) fn text(&mut self, text: &[u8]) {
        if text.len() > self.value_bytes || !is_all_plain(text) {
            return self.texts(&[text]);
        }
        self.quote();
        self.line.extend_from_slice(text);
        self.quote();
    }

    /// The same between texts of our own, all of it one value.
    pub(super) fn within(&mut self, before: &[u8], text: &[u8], behind: &[u8]) {
        let fits = before.len() + text.len() + behind.len() <= self.value_bytes;
        if !fits || !is_all_plain(text) {
            return self.texts(&[before, text, behind]);
        }
        self.quote();
        for piece in [before, text, behind] {
            self.line.extend_from_slice(piece);
        }
        self.quote();
    }

    /// A text of somebody else's, in pieces.
    pub(super) fn texts(&mut self, pieces: &[&[u8]]) {
        self.quote();
        let end = self.line.len() + self.value_bytes;
        for piece in pieces {
            if !self.piece(piece, end) {
                self.line.extend_from_slice(CUT);
                break;
            }
        }
        self.quote();
    }

    fn quote(&mut self) {
        if self.json && !self.quoted {
            self.line.push(b'"');
        }
    }

    /// Whether all of it was there before `end`.
    fn piece(&mut self, bytes: &[u8], end: usize) -> bool {
        if is_all_plain(bytes) && self.line.len() + bytes.len() <= end {
            self.line.extend_from_slice(bytes);
            return true;
        }
        let fits = |line: &Vec<u8>| line.len() + 12 <= end;
        if !self.json {
            return bytes.iter().all(|&byte| {
                let room = fits(self.line);
                if room {
                    escape(self.line, byte);
                }
                room
            });
        }
        bytes.utf8_chunks().all(|chunk| {
            let wrong = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
            chunk.valid().chars().chain(wrong.chars()).all(|c| {
                let room = fits(self.line);
                if room {
                    escape_json(self.line, c);
                }
                room
            })
        })
    }
}

/// Many at once, so all of them are looked at, wherever the first one is that is not; the last ones together with some
/// before them, because one by one they would cost as much as all others.
fn is_all_plain(bytes: &[u8]) -> bool {
    let all = |bytes: &[u8]| bytes.iter().fold(true, |plain, &byte| plain & is_plain(byte));
    if let Some(last) = bytes.last_chunk::<16>() {
        return all(bytes.as_chunks::<16>().0.as_flattened()) & all(last);
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => all(first) & all(last),
        _ => all(bytes),
    }
}

/// Printable ASCII that means nothing but itself.
fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') < 95) & (byte != b'"') & (byte != b'\\')
}

/// As Apache's `ap_escape_logitem`.
fn escape(line: &mut Vec<u8>, byte: u8) {
    match byte {
        byte if is_plain(byte) => line.push(byte),
        b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
        b'\x08' => line.extend_from_slice(b"\\b"),
        b'\n' => line.extend_from_slice(b"\\n"),
        b'\r' => line.extend_from_slice(b"\\r"),
        b'\t' => line.extend_from_slice(b"\\t"),
        b'\x0b' => line.extend_from_slice(b"\\v"),
        _ => {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

/// ASCII alone (RFC 8259, section 7): so a line is as safe to look at as one of text.
fn escape_json(line: &mut Vec<u8>, c: char) {
    match u8::try_from(c) {
        Ok(byte) if is_plain(byte) => line.push(byte),
        Ok(byte @ (b'"' | b'\\')) => line.extend_from_slice(&[b'\\', byte]),
        _ => {
            for &unit in &*c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: bool, pieces: &[&[u8]]) -> String {
        let mut line = Vec::new();
        Out { line: &mut line, json, quoted: false, value_bytes: 64 }.texts(pieces);
        let whole = String::from_utf8(line).unwrap();
        let (before, text, behind) = match pieces {
            [text] => (&b""[..], *text, &b""[..]),
            [before, text, behind] => (*before, *text, *behind),
            _ => return whole,
        };
        let mut line = Vec::new();
        let mut out = Out { line: &mut line, json, quoted: false, value_bytes: 64 };
        out.within(before, text, behind);
        assert_eq!(String::from_utf8(line).unwrap(), whole);
        whole
    }

    #[test]
    fn what_could_end_a_line_or_a_value_is_shown_as_apache_shows_it() {
        for (value, shown) in [
            (&b"curl/8 (x; y)"[..], "curl/8 (x; y)"),
            (b"a\" 200 5 \"b", "a\\\" 200 5 \\\"b"),
            (b"a\\", "a\\\\"),
            (b"a\r\n\t\x08\x0b\x1b[2J\x7f\0", "a\\r\\n\\t\\b\\v\\x1b[2J\\x7f\\x00"),
            ("ä".as_bytes(), "\\xc3\\xa4"),
            (b"\xff", "\\xff"),
        ] {
            assert_eq!(text(false, &[value]), shown);
        }
    }

    #[test]
    fn a_byte_that_means_something_is_found_wherever_it_stands() {
        for length in 0..70 {
            let plain = vec![b'~'; length];
            assert!(is_all_plain(&plain), "{length}");
            for (at, byte) in (0..length).flat_map(|at| b"\x1f\x7f\"\\\xff\0\n".map(|b| (at, b))) {
                let mut bytes = plain.clone();
                bytes[at] = byte;
                assert!(!is_all_plain(&bytes), "{byte} at {at} of {length}");
            }
        }
    }

    #[test]
    fn json_reads_back_as_what_was_sent() {
        for value in ["a\" \\ b", "\r\n\t\u{8}\u{1b}", "ä 世界 🎉 \u{202e}", "", "\u{7f}"] {
            let shown = text(true, &[value.as_bytes()]);
            assert!(shown.is_ascii(), "{shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
        }
        assert_eq!(text(true, &[b"a\xffb"]), "\"a\\ufffdb\"");
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "192.0.2.7", "255.255.255.255", "::1", "2001:db8::ff"] {
            let mut line = Vec::new();
            let mut out = Out { line: &mut line, json: true, quoted: false, value_bytes: 64 };
            out.address(address.parse().unwrap());
            assert_eq!(String::from_utf8(line).unwrap(), format!("\"{address}\""));
        }
    }

    #[test]
    fn a_value_has_its_bound_and_says_that_it_was_cut() {
        for json in [false, true] {
            for value in [&[b'x'; 1000][..], &[b'"'; 1000], &[0xff; 1000], &[0; 1000]] {
                let shown = text(json, &[b"GET ", value, b" HTTP/1.1"]);
                assert!(shown.len() <= 64 + 5 && shown.contains("..."), "{shown}");
                assert!(!json || serde_json::from_str::<String>(&shown).is_ok(), "{shown}");
            }
        }
    }
}
