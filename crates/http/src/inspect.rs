//! Follows the requests of an HTTP/1 connection as their bytes pass to hyper, for what hyper does not do.
//!
//! - hyper takes a bare LF in the trailer section for a part of a field, and drops what follows up to the next empty
//!   line: a pipelined request. Here every line of it that does not end in CRLF is an error (RFC 9112, section 2.2).
//! - The `http` crate refuses some bytes of a request target that clients send unescaped: `"`, `<`, `>`, a backtick
//!   and bytes that are no UTF-8. They are percent-encoded here.
//! - A request that hyper refuses is gone. Its first line is kept for the log.
//!
//! The framing is followed exactly as hyper decides it. Wherever hyper ends the connection with an error, nothing
//! needs to be followed any more ([`At::Over`]). This module goes away with hyper's HTTP/1.

/// How much of a request's first line is kept, in bytes.
pub(crate) const FIRST_LINE: usize = 256;

/// How far bytes may pass, and what is in the way of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// All of them may pass.
    None,
    /// The next byte has to be percent-encoded; it counts as seen.
    Encode,
    /// The request before it may change the protocol: it has to wait for that request's answer.
    Wait,
    /// It must not pass, and neither must any other.
    Refuse,
}

/// Where in a request the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request: empty lines may come (RFC 9112, section 2.2).
    Start,
    Method,
    Target,
    /// Behind the target, to the end of the request line.
    Version,
    /// At the beginning of a line of the header; after a CR if so.
    Line(bool),
    /// In a field's name, which matches so many bytes of this one so far.
    Name(Field, u8),
    /// In a value that matters.
    Length,
    /// In the rest of a line.
    Rest,
    /// In a body with so many bytes to come.
    Body,
    /// In the number of a chunk's size, and whether it has begun.
    Size(bool),
    /// Behind that number, to the end of the line.
    Extension,
    SizeLf,
    /// In a chunk with so many bytes to come.
    Chunk,
    ChunkCr,
    ChunkLf,
    /// At the beginning of a line of the trailer section.
    Trailer,
    /// In a field of it.
    TrailerField,
    TrailerLf,
    LastLf,
    /// Behind a request that may change the protocol.
    Waiting,
    /// A byte had to be refused.
    Refused,
    /// Nothing is followed any more.
    Over,
}

/// A field of the header that matters to where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Length,
    Coding,
    Upgrade,
}

impl Field {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Length => b"content-length",
            Self::Coding => b"transfer-encoding",
            Self::Upgrade => b"upgrade",
        }
    }

    fn begins_with(byte: u8) -> Option<Self> {
        let all = [Self::Length, Self::Coding, Self::Upgrade];
        all.into_iter().find(|field| field.name()[0] == byte.to_ascii_lowercase())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inspector {
    at: At,
    /// Bytes of the body or the chunk to come, or what its size is so far.
    left: u64,
    /// `Transfer-Encoding` was given.
    is_chunked: bool,
    /// The request may change the protocol: `Upgrade`, or CONNECT.
    may_upgrade: bool,
    /// How many letters of CONNECT the method has matched; more if it is another.
    connect: u8,
    /// Requests begun.
    number: u64,
    first_line: Vec<u8>,
}

const CONNECT: &[u8; 7] = b"CONNECT";
/// No method that is CONNECT.
const OTHER: u8 = u8::MAX;

impl Default for Inspector {
    fn default() -> Self {
        Self {
            at: At::Start,
            left: 0,
            is_chunked: false,
            may_upgrade: false,
            connect: 0,
            number: 0,
            first_line: Vec::new(),
        }
    }
}

impl Inspector {
    /// The last request that has begun, counted from 1 on its connection; 0 before the first.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The first bytes of that request's first line, without its end.
    pub(crate) fn first_line(&self) -> &[u8] {
        self.first_line.strip_suffix(b"\r").unwrap_or(&self.first_line)
    }

    /// A byte was refused: no more may be read.
    pub(crate) fn has_refused(&self) -> bool {
        self.at == At::Refused
    }

    /// What comes waits for the answer to the request that may change the protocol.
    pub(crate) fn waits(&self) -> bool {
        self.at == At::Waiting
    }

    /// The protocol did not change: requests follow.
    pub(crate) fn go_on(&mut self) {
        self.at = At::Start;
    }

    /// Nothing is followed any more.
    pub(crate) fn stop(&mut self) {
        self.at = At::Over;
    }

    /// The connection is idle, and keeps no room.
    pub(crate) fn rest(&mut self) {
        self.first_line = Vec::new();
    }

    /// Looks at the next bytes: how many may pass as they are, and what is in the way of the one behind them.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> (usize, Obstacle) {
        let mut next = 0;
        while next < bytes.len() {
            let rest = &bytes[next..];
            match self.at {
                At::Over => return (bytes.len(), Obstacle::None),
                At::Refused => return (next, Obstacle::Refuse),
                At::Waiting => return (next, Obstacle::Wait),
                At::Body | At::Chunk => next += self.pass(rest),
                At::Start => next += self.start(rest),
                At::Method | At::Target | At::Version => {
                    let (passed, encode) = self.request_line(rest);
                    self.keep(&rest[..passed + usize::from(encode)]);
                    next += passed;
                    if encode {
                        return (next, Obstacle::Encode);
                    }
                }
                At::Rest => next += self.rest_of_line(rest),
                At::Line(_) | At::Name(..) | At::Length => {
                    self.header(rest[0]);
                    next += 1;
                }
                At::TrailerField => {
                    let end = rest.iter().position(|byte| b"\r\n".contains(byte));
                    match end.map(|end| (end, rest[end])) {
                        None => next = bytes.len(),
                        Some((end, b'\r')) => {
                            self.at = At::TrailerLf;
                            next += end + 1;
                        }
                        Some((end, _)) => {
                            self.at = At::Refused;
                            next += end;
                        }
                    }
                }
                At::Trailer if rest[0] == b'\n' => self.at = At::Refused,
                At::TrailerLf | At::LastLf if rest[0] != b'\n' => self.at = At::Refused,
                _ => {
                    self.chunked(rest[0]);
                    next += 1;
                }
            }
        }
        (next, Obstacle::None)
    }

    /// Passes what is left of a body or a chunk.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= passed as u64;
        if self.left == 0 {
            if self.at == At::Chunk {
                self.at = At::ChunkCr;
            } else {
                self.end();
            }
        }
        passed
    }

    /// Skips empty lines before a request.
    fn start(&mut self, bytes: &[u8]) -> usize {
        let empty = bytes.iter().position(|byte| !b"\r\n".contains(byte));
        if empty.is_some() {
            self.at = At::Method;
            self.left = 0;
            (self.is_chunked, self.may_upgrade, self.connect) = (false, false, 0);
            self.number += 1;
            self.first_line.clear();
        }
        empty.unwrap_or(bytes.len())
    }

    /// Passes the request line, up to its end or a byte that has to be encoded.
    fn request_line(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            match (self.at, byte) {
                (_, b'\n') => {
                    self.at = At::Line(false);
                    return (index + 1, false);
                }
                (At::Method, b' ') => {
                    self.may_upgrade = usize::from(self.connect) == CONNECT.len();
                    self.at = At::Target;
                }
                (At::Method, byte) => {
                    let matches = CONNECT.get(usize::from(self.connect)) == Some(&byte);
                    self.connect = if matches { self.connect + 1 } else { OTHER };
                }
                (At::Target, b' ') => self.at = At::Version,
                (At::Target, b'"' | b'<' | b'>' | b'`' | 0x80..) if !self.may_upgrade => {
                    return (index, true);
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let room = FIRST_LINE.saturating_sub(self.first_line.len());
        self.first_line.extend_from_slice(&line[..line.len().min(room)]);
    }

    fn rest_of_line(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = line_end(bytes) else { return bytes.len() };
        self.at = At::Line(false);
        end + 1
    }

    /// A byte of the header where a field that matters may begin, or is.
    fn header(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Line(_), b'\n') => return self.headed(),
            (At::Line(false), b'\r') => At::Line(true),
            (At::Line(true), _) => At::Over,
            (At::Line(false), _) => match Field::begins_with(byte) {
                Some(field) => At::Name(field, 1),
                None => At::Rest,
            },
            (_, b'\n') => At::Line(false),
            (At::Name(field, matched), _) => self.name(field, matched, byte),
            // Only a length without blanks in it is one; hyper sees to that.
            (At::Length, b'0'..=b'9') => self.digit(10, byte - b'0', At::Length),
            (at, _) => at,
        };
    }

    fn name(&mut self, field: Field, matched: u8, byte: u8) -> At {
        match field.name().get(usize::from(matched)) {
            Some(&expected) if byte.eq_ignore_ascii_case(&expected) => {
                return At::Name(field, matched + 1);
            }
            None if byte == b':' => {}
            _ => return At::Rest,
        }
        match field {
            // Equal lengths are one, and others are refused by hyper: the last is as good as any.
            Field::Length => {
                self.left = 0;
                At::Length
            }
            // hyper refuses every coding but a last `chunked`.
            Field::Coding => {
                self.is_chunked = true;
                At::Rest
            }
            Field::Upgrade => {
                self.may_upgrade = true;
                At::Rest
            }
        }
    }

    /// One digit more of a number; hyper refuses one that is too large.
    fn digit(&mut self, radix: u64, digit: u8, then: At) -> At {
        let more = |left: u64| left.checked_mul(radix)?.checked_add(digit.into());
        match more(self.left) {
            Some(left) => {
                self.left = left;
                then
            }
            None => At::Over,
        }
    }

    /// The header is complete.
    fn headed(&mut self) {
        if self.is_chunked {
            self.left = 0;
            self.at = At::Size(false);
        } else if self.left > 0 {
            self.at = At::Body;
        } else {
            self.end();
        }
    }

    /// The request is complete.
    fn end(&mut self) {
        self.at = if self.may_upgrade { At::Waiting } else { At::Start };
    }

    /// A byte of a chunked body that is none of its data. Whatever is wrong with it, hyper refuses it, too.
    fn chunked(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Size(_), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.digit(16, digit as u8, At::Size(true))
            }
            (At::Size(true) | At::Extension, b'\r') => At::SizeLf,
            (At::Size(true), b';' | b' ' | b'\t') => At::Extension,
            (At::Extension, b'\n') => At::Over,
            (At::Extension, _) => At::Extension,
            (At::SizeLf, b'\n') if self.left == 0 => At::Trailer,
            (At::SizeLf, b'\n') => At::Chunk,
            (At::ChunkCr, b'\r') => At::ChunkLf,
            (At::ChunkLf, b'\n') => At::Size(false),
            (At::Trailer, b'\r') => At::LastLf,
            (At::Trailer, _) => At::TrailerField,
            (At::TrailerLf, b'\n') => At::Trailer,
            (At::LastLf, b'\n') => return self.end(),
            _ => At::Over,
        };
    }
}

/// Where the first LF is. Most of a header is passed by this, so it looks at eight bytes at once: a byte of `word` is zero
/// where there is one, and the lowest bit of `found` is in the first of these.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::MAX / 0xff;
    let (chunks, rest) = bytes.as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk) ^ (EACH * b'\n' as u64);
        let found = word.wrapping_sub(EACH) & !word & (EACH * 0x80);
        if found != 0 {
            return Some(8 * index + found.trailing_zeros() as usize / 8);
        }
    }
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    Some(bytes.len() - rest.len() + end)
}

#[cfg(test)]
mod tests;
