//! A request's body: from the bytes of its connection to what it says. RFC 9112, sections 6 and 7.
//!
//! The decoder keeps no bytes but those of an incomplete trailer section, so a body that waits costs nothing.

use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};

use super::fields;
use super::head::{BodyFraming, is_token};
use crate::refusal::Refusal;

/// The most digits of a chunk's size: those of 2^64 - 1.
const MOST_DIGITS: u8 = 16;
/// The most bytes of chunk extensions in one body. Nothing uses them; they have been used to keep servers busy.
const MOST_EXTENSIONS: usize = 16 * 1024;
/// The most bytes of a trailer section.
const MOST_TRAILERS: usize = 16 * 1024;

/// What is at the beginning of the bytes that have come.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// `skip` bytes of framing, then `data` bytes of the body.
    Data { skip: usize, data: usize },
    /// The first `used` bytes, perhaps none, are framing; more must come.
    More { used: usize },
    /// The body ends with the first `used` bytes.
    End { used: usize, trailers: Option<Box<HeaderMap>> },
    /// This is no body that two readers must understand alike, or too long a one. Nothing behind it may be
    /// read as a request.
    Refused(Refusal),
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    state: State,
    /// How many bytes of the body may still come.
    left: u64,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// So many bytes are left of a body whose length was said.
    Length(u64),
    Chunk(Chunk),
    /// So many bytes are left of a chunk.
    Data(u64),
    /// Behind a chunk's data.
    DataCr,
    DataLf,
    /// Behind the last chunk; what has come of the section.
    Trailers(Vec<u8>),
    Done,
}

/// A chunk's line: where in it the next byte stands.
#[derive(Clone, Debug)]
struct Chunk {
    at: At,
    size: u64,
    digits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    /// Blanks behind the size, or behind an extension.
    Blank,
    NameStart,
    Name,
    NameEnd,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    QuoteEnd,
    Lf,
}

impl Chunk {
    const START: Self = Self { at: At::Size, size: 0, digits: 0 };

    /// Takes the next byte of the line; true at its end.
    fn take(&mut self, byte: u8) -> Result<bool, Refusal> {
        let blank = matches!(byte, b' ' | b'\t');
        self.at = match (self.at, byte) {
            (At::Lf, b'\n') => return Ok(true),
            (At::Size, byte) if byte.is_ascii_hexdigit() => return self.digit(byte),
            (At::Size, _) if self.digits == 0 => return Err(NO_SIZE),
            (At::Size | At::Blank | At::Name | At::NameEnd | At::Value | At::QuoteEnd, b'\r') => {
                At::Lf
            }
            (At::Size | At::Blank | At::Name | At::NameEnd | At::Value | At::QuoteEnd, b';') => {
                At::NameStart
            }
            (At::Size | At::Blank | At::Value | At::QuoteEnd, _) if blank => At::Blank,
            (At::NameStart | At::ValueStart | At::NameEnd, _) if blank => self.at,
            (At::Name, _) if blank => At::NameEnd,
            (At::Name | At::NameEnd, b'=') => At::ValueStart,
            (At::NameStart | At::Name, byte) if is_token(byte) => At::Name,
            (At::ValueStart, b'"') => At::Quoted,
            (At::ValueStart | At::Value, byte) if is_token(byte) => At::Value,
            (At::Quoted, b'"') => At::QuoteEnd,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, byte) if blank || byte > b' ' && byte != 0x7f => At::Quoted,
            (At::Size, _) => return Err(NO_SIZE),
            _ => return Err(Refusal::bad("a chunk's line is not as RFC 9112, 7.1, has it")),
        };
        Ok(false)
    }

    fn digit(&mut self, byte: u8) -> Result<bool, Refusal> {
        let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
        if self.digits == MOST_DIGITS {
            return Err(Refusal::bad("a chunk's size has too many digits"));
        }
        (self.digits, self.size) = (self.digits + 1, self.size << 4 | digit);
        Ok(false)
    }
}

const NO_SIZE: Refusal = Refusal::bad("a chunk does not begin with its size (RFC 9112, 7.1)");
const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than allowed");
const NO_LINE_END: Refusal = Refusal::bad("a chunk does not end with CR and LF (RFC 9112, 7.1)");

impl Decoder {
    /// `most`: the most bytes of the body; 0 = no bound.
    pub(crate) fn new(framing: BodyFraming, most: u64) -> Self {
        let state = match framing {
            BodyFraming::Empty => State::Done,
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => State::Chunk(Chunk::START),
        };
        Self { state, left: if most == 0 { u64::MAX } else { most }, extensions: 0 }
    }

    /// How many bytes the rest of the body has, if that was said.
    pub(crate) fn exact(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Reads on. `input` begins where the bytes that were used so far ended; call it again while it returns
    /// data. At the end of the body it says so once more each time.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Decoded {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match &mut self.state {
                State::Done => return Decoded::End { used, trailers: None },
                State::Length(left) | State::Data(left) if *left > 0 => {
                    let data = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    if data == 0 {
                        return Decoded::More { used };
                    }
                    *left -= data as u64;
                    return Decoded::Data { skip: used, data };
                }
                State::Length(_) => self.state = State::Done,
                State::Data(_) => self.state = State::DataCr,
                State::Trailers(section) => {
                    return match take_trailers(section, rest) {
                        Ok(Some((more, trailers))) => {
                            self.state = State::Done;
                            Decoded::End { used: used + more, trailers }
                        }
                        Ok(None) => Decoded::More { used: input.len() },
                        Err(refusal) => Decoded::Refused(refusal),
                    };
                }
                _ => {
                    let Some(&byte) = rest.first() else { return Decoded::More { used } };
                    if let Err(refusal) = self.frame(byte) {
                        return Decoded::Refused(refusal);
                    }
                    used += 1;
                }
            }
        }
    }

    /// Takes a byte of what stands around the data.
    fn frame(&mut self, byte: u8) -> Result<(), Refusal> {
        match &mut self.state {
            State::DataCr if byte == b'\r' => self.state = State::DataLf,
            State::DataLf if byte == b'\n' => self.state = State::Chunk(Chunk::START),
            State::Chunk(chunk) => {
                if !matches!(chunk.at, At::Size | At::Lf) {
                    self.extensions += 1;
                    if self.extensions > MOST_EXTENSIONS {
                        return Err(Refusal::bad("more chunk extensions than allowed"));
                    }
                }
                if chunk.take(byte)? {
                    let size = chunk.size;
                    self.left = self.left.checked_sub(size).ok_or(TOO_LARGE)?;
                    self.state =
                        if size == 0 { State::Trailers(Vec::new()) } else { State::Data(size) };
                }
            }
            _ => return Err(NO_LINE_END),
        }
        Ok(())
    }
}

/// What the trailer section has come to: how many of the bytes were its last, and its fields.
type Trailers = Option<(usize, Option<Box<HeaderMap>>)>;

/// Takes what has come of a trailer section, to its end if that is there.
///
/// Every line ends with CR and LF here: a reader that takes LF alone for the end, beside one that does not,
/// would see another request behind it.
fn take_trailers(section: &mut Vec<u8>, input: &[u8]) -> Result<Trailers, Refusal> {
    if section.is_empty() && input.starts_with(b"\r\n") {
        // As most bodies end: nothing need be kept.
        return Ok(Some((2, None)));
    }
    for (index, &byte) in input.iter().enumerate() {
        let after_cr = section.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') {
            return Err(Refusal::bad("a trailer's line does not end with CR and LF"));
        }
        section.push(byte);
        if section.len() > MOST_TRAILERS {
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the trailer section is longer than allowed",
            ));
        }
        if section == b"\r\n" {
            return Ok(Some((index + 1, None)));
        }
        if section.ends_with(b"\r\n\r\n") {
            let read = fields::read(section, 0)?;
            let mut headers = read.map(|fields| fields.headers).unwrap_or_default();
            remove_forbidden(&mut headers);
            let trailers = (!headers.is_empty()).then(|| Box::new(headers));
            return Ok(Some((index + 1, trailers)));
        }
    }
    Ok(None)
}

/// Takes out what a trailer section must not say: RFC 9110, section 6.5.1. A service may add trailers to
/// the fields of the head, where these would frame, route or authenticate the request.
pub(super) fn remove_forbidden(trailers: &mut HeaderMap) {
    const FORBIDDEN: [HeaderName; 24] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TRAILER,
        header::TE,
        header::CACHE_CONTROL,
        header::EXPECT,
        header::MAX_FORWARDS,
        header::PRAGMA,
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
    ];
    for name in &FORBIDDEN {
        trailers.remove(name);
    }
    // What a proxy in front says of its client.
    let others: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name == "forwarded"
                || name.starts_with("x-forwarded-")
                || name == "keep-alive"
                || name == "proxy-connection"
        })
        .cloned()
        .collect();
    for name in &others {
        trailers.remove(name);
    }
}
