//! A section of fields, of a request's head or behind its chunks: RFC 9112, section 5.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memchr;

use super::Refusal;

/// The most fields a section may have.
pub(super) const MOST_FIELDS: usize = 100;

/// Sections are copied one behind the other into blocks of so many bytes. A value that an application keeps keeps its block.
const BLOCK: usize = 4096;
/// The most fields that a map which is used again has room for.
const MOST_SPARE: usize = 64;

thread_local! {
    static COPIES: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static SPARE: Cell<Option<HeaderMap>> = const { Cell::new(None) };
}

/// A section that is complete.
#[derive(Debug)]
pub(super) struct Fields {
    /// All bytes up to the end of the section; the values in `headers` are slices of it.
    pub(super) shared: Bytes,
    pub(super) headers: HeaderMap,
    pub(super) seen: Seen,
}

/// Which fields a section has that decide something about its connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) hosts: usize,
    /// Where the last `Host` is.
    pub(super) host: Range<usize>,
    pub(super) lengths: bool,
    pub(super) codings: bool,
    pub(super) connection: bool,
    pub(super) expect: bool,
    pub(super) te: bool,
}

impl Seen {
    fn note(&mut self, name: &HeaderName, value: &Range<usize>) {
        if name == HOST {
            self.hosts += 1;
            self.host = value.clone();
        } else if name == CONTENT_LENGTH {
            self.lengths = true;
        } else if name == TRANSFER_ENCODING {
            self.codings = true;
        } else if name == CONNECTION {
            self.connection = true;
        } else if name == EXPECT {
            self.expect = true;
        } else if name == TE {
            self.te = true;
        }
    }
}

/// Reads the section that begins at `start` in `input`, up to its empty line. `None`: it is not complete.
///
/// A line ends with LF, and a CR before it is part of the end (RFC 9112, section 2.2).
///
/// # Errors
/// 431 for more than [`MOST_FIELDS`]; 400 for a folded line, a blank before the colon, a control byte, and
/// whatever else is no field.
pub(super) fn read(input: &[u8], start: usize) -> Result<Option<Fields>, Refusal> {
    let (mut at, mut count) = (start, 0);
    loop {
        match input[at..] {
            [b'\n', ..] => return collect(&input[..=at], start, count).map(Some),
            [b'\r', b'\n', ..] => return collect(&input[..at + 2], start, count).map(Some),
            _ => {}
        }
        let Some(length) = memchr(b'\n', &input[at..]) else { break };
        (at, count) = (at + length + 1, count + 1);
        if count > MOST_FIELDS {
            return Err(TOO_MANY);
        }
    }
    // What cannot become a request is refused before the rest of it has come.
    for line in input[start..at].split_inclusive(|&byte| byte == b'\n') {
        let (name, value) = split(line)?;
        name_of(name)?;
        HeaderValue::from_bytes(value).map_err(|_| NO_VALUE)?;
    }
    Ok(None)
}

const TOO_MANY: Refusal = Refusal::new(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "more fields than a request may have",
);
const NO_FIELD: Refusal = Refusal::bad("a line is no field (RFC 9112, 5)");
const NO_VALUE: Refusal = Refusal::bad("a control byte in a field's value (RFC 9110, 5.5)");

/// Reads a section of `count` lines that begins at `start`, and is complete.
fn collect(section: &[u8], start: usize, count: usize) -> Result<Fields, Refusal> {
    let shared = copy(section);
    let mut headers = SPARE.take().unwrap_or_default();
    headers.reserve(count);
    let (mut seen, mut at) = (Seen::default(), start);
    for _ in 0..count {
        let end = memchr(b'\n', &section[at..]).map_or(section.len(), |length| at + length + 1);
        let (name, value) = split(&section[at..end])?;
        let name = name_of(name)?;
        // A slice of `section`.
        let place = value.as_ptr().addr() - section.as_ptr().addr();
        let place = place..place + value.len();
        seen.note(&name, &place);
        let value = HeaderValue::from_maybe_shared(shared.slice(place));
        headers.append(name, value.map_err(|_| NO_VALUE)?);
        at = end;
    }
    Ok(Fields { shared, headers, seen })
}

/// The name and the value of a field's line.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let colon = memchr(b':', line).ok_or(NO_FIELD)?;
    let (mut value, is_blank) = (&line[colon + 1..], |byte: &u8| matches!(byte, b' ' | b'\t'));
    while let [first, rest @ ..] = value
        && is_blank(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(last)
    {
        value = rest;
    }
    Ok((&line[..colon], value))
}

/// A token, and nothing else: no blank stands before the colon.
fn name_of(name: &[u8]) -> Result<HeaderName, Refusal> {
    HeaderName::from_bytes(name).map_err(|_| NO_FIELD)
}

/// A copy that is cheap to share in parts: most take no memory of their own.
fn copy(bytes: &[u8]) -> Bytes {
    COPIES.with_borrow_mut(|block| {
        if block.capacity() - block.len() < bytes.len() {
            block.reserve(bytes.len().max(BLOCK));
        }
        block.extend_from_slice(bytes);
        block.split().freeze()
    })
}

/// A map whose fields are needed no more is used for the next section.
pub(super) fn recycle(mut headers: HeaderMap) {
    if headers.capacity() <= MOST_SPARE {
        headers.clear();
        SPARE.set(Some(headers));
    }
}

/// The elements of a list in all fields of this name (RFC 9110, section 5.6.1), empty ones left out.
pub(super) fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|value| parts(value.as_bytes()))
}

/// The elements of a list in one field.
pub(super) fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = value.split(|&byte| byte == b',');
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}
