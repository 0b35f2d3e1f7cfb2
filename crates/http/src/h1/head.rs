//! A request's head: its line and its fields, and how long its body is.
//!
//! Every rule by which a request is refused before its body is here and in the modules this one calls, once.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::Refusal;
use super::fields::{self, Fields, elements};
use super::target;
use crate::host::is_host;

/// Longer than any method that is registered or known to be used, in bytes.
const MOST_METHOD: usize = 64;

/// What a head may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The target; more is 414.
    pub(crate) target: usize,
    /// The whole head; more is 431.
    pub(crate) head: usize,
    /// The body; a longer `Content-Length` is 413. 0 = no bound.
    pub(crate) body: u64,
}

/// How a request's body is framed: RFC 9112, section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    Empty,
    Length(u64),
    Chunked,
}

/// A request's head, as a service sees it, and what the connection must know of it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    /// `HTTP_10` or `HTTP_11`; later minor versions are spoken to as 1.1 (RFC 9112, section 2.3).
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyFraming,
    /// The client lets the connection be kept (RFC 9112, section 9.3).
    pub(crate) keeps: bool,
    /// The client waits for 100 before it sends the body (RFC 9110, section 10.1.1).
    pub(crate) expects: bool,
    /// The client asks for another protocol on the connection, or for a tunnel.
    pub(crate) upgrades: bool,
    /// The client takes trailers (`TE: trailers`).
    pub(crate) trailers: bool,
    /// It is understood, and no service is asked: the connection ends with this answer.
    pub(crate) refused: Option<Refusal>,
}

/// What came of reading.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost every request an allocation")]
pub(crate) enum Parsed {
    /// More must come.
    Partial,
    /// A head, of so many bytes.
    Head(Head, usize),
    Refused(Refusal),
}

/// Reads a head that may come in many pieces, without reading it anew for each of them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// How many bytes were there at the last attempt.
    tried: usize,
    /// How many bytes have no empty line in them.
    searched: usize,
}

impl Reader {
    /// Reads the head at the beginning of `input`, which holds all that has come of it so far.
    pub(crate) fn read(&mut self, input: &[u8], bounds: &Bounds) -> Parsed {
        if self.tried > 0 && input.len() < 2 * self.tried && input.len() <= bounds.head {
            // A head ends with an empty line; before it comes, an attempt is worth its cost only now and then.
            let from = self.searched.saturating_sub(3);
            self.searched = input.len();
            if !has_empty_line(&input[from..]) {
                return Parsed::Partial;
            }
        }
        (self.tried, self.searched) = (input.len(), input.len());
        match parse(input, bounds) {
            Ok(Some((head, used))) => {
                *self = Self::default();
                Parsed::Head(head, used)
            }
            Ok(None) => Parsed::Partial,
            Err(refusal) => Parsed::Refused(refusal),
        }
    }
}

fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn parse(input: &[u8], bounds: &Bounds) -> Result<Option<(Head, usize)>, Refusal> {
    let start = empty_lines(input);
    if input[start..] == *b"\r" {
        return Ok(None);
    }
    let Some(line) = Line::read(input, start)? else {
        return if input.len() > bounds.head { Err(TOO_LONG) } else { Ok(None) };
    };
    let is_too_long = line.target.1 - line.target.0 > bounds.target;
    let section = fields::read(input, line.end)?;
    let used = section.as_ref().map_or(input.len(), |section| section.shared.len());
    if used > bounds.head {
        return Err(if is_too_long { TOO_LONG } else { TOO_LARGE });
    }
    let Some(fields) = section else { return Ok(None) };
    let method = Method::from_bytes(&input[line.method.0..line.method.1]);
    let method = method.map_err(|_| NO_METHOD)?;
    let target = target::parse(&method, fields.shared.slice(line.target.0..line.target.1))?;
    let mut head = Head::new(method, target, line.version, fields, bounds)?;
    if is_too_long {
        head.refused = Some(TOO_LONG);
    }
    Ok(Some((head, used)))
}

/// How many bytes of empty lines stand before a request, where they are ignored (RFC 9112, section 2.2).
fn empty_lines(input: &[u8]) -> usize {
    let mut rest = input;
    while let Some(more) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
        rest = more;
    }
    input.len() - rest.len()
}

const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is longer than allowed");
const TOO_LONG: Refusal =
    Refusal::new(StatusCode::URI_TOO_LONG, "the target is longer than allowed");
const NO_METHOD: Refusal = Refusal::bad("the line does not begin with a method (RFC 9112, 3.1)");
const NO_VERSION: Refusal = Refusal::bad("the line does not end with HTTP/1.x (RFC 9112, 2.3)");

/// A request's line; its parts as places in the input.
#[derive(Debug)]
struct Line {
    method: (usize, usize),
    target: (usize, usize),
    version: Version,
    /// Where the fields begin.
    end: usize,
}

impl Line {
    /// Reads the line that begins at `start`. What cannot become one is refused before it is complete.
    fn read(input: &[u8], start: usize) -> Result<Option<Self>, Refusal> {
        let rest = &input[start..];
        let blank = match rest.starts_with(b"GET ") {
            true => 3,
            false => match rest.iter().take(MOST_METHOD + 1).position(|&byte| !is_token(byte)) {
                None if rest.len() > MOST_METHOD => return Err(NO_METHOD),
                None => return Ok(None),
                Some(blank) if blank == 0 || rest[blank] != b' ' => return Err(NO_METHOD),
                Some(blank) => blank,
            },
        };
        let from = start + blank + 1;
        let rest = &input[from..];
        let Some(length) = rest.iter().position(|&byte| byte <= b' ' || byte == 0x7f) else {
            return Ok(None);
        };
        if length == 0 || rest[length] != b' ' {
            return Err(match rest[length] {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    Refusal::bad("the line is not method, target and version (RFC 9112, 3)")
                }
                _ => Refusal::bad("a control byte in the target (RFC 9112, 3.2)"),
            });
        }
        let Some((version, size)) = version(&rest[length + 1..])? else { return Ok(None) };
        let target = (from, from + length);
        let end = target.1 + 1 + size;
        Ok(Some(Self { method: (start, start + blank), target, version, end }))
    }
}

/// The version and the line's end at the beginning of `input`, and their length.
fn version(input: &[u8]) -> Result<Option<(Version, usize)>, Refusal> {
    const MAJOR: &[u8] = b"HTTP/1.";
    let known = input.len().min(MAJOR.len());
    if input[..known] != MAJOR[..known] {
        return Err(NO_VERSION);
    }
    let Some(&minor) = input.get(MAJOR.len()) else { return Ok(None) };
    let version = match minor {
        b'0' => Version::HTTP_10,
        b'1'..=b'9' => Version::HTTP_11,
        _ => return Err(NO_VERSION),
    };
    let end = MAJOR.len() + 1;
    match (input.get(end), input.get(end + 1)) {
        // RFC 9112, section 2.2: a single LF may be taken for the end of a line.
        (Some(b'\n'), _) => Ok(Some((version, end + 1))),
        (Some(b'\r'), Some(b'\n')) => Ok(Some((version, end + 2))),
        (Some(b'\r'), None) | (None, _) => Ok(None),
        _ => Err(NO_VERSION),
    }
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// A table, for every request's method is held against it.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let (mut at, marks) = (0, *b"!#$%&'*+-.^_`|~");
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

impl Head {
    fn new(
        method: Method,
        target: Uri,
        version: Version,
        fields: Fields,
        bounds: &Bounds,
    ) -> Result<Self, Refusal> {
        let Fields { shared, mut headers, seen } = fields;
        let host = match seen.hosts {
            0 => None,
            1 => Some(&shared[seen.host.clone()]),
            _ => return Err(Refusal::bad("more than one Host (RFC 9112, 3.2)")),
        };
        check_host(host, version, target.authority().is_some())?;
        if method != Method::CONNECT {
            replace_host(&mut headers, host, &target)?;
        }
        let mut refused = None;
        let body = match (seen.codings, seen.lengths) {
            (false, false) => BodyFraming::Empty,
            (false, true) => match length(&mut headers)? {
                0 => BodyFraming::Empty,
                number => {
                    if bounds.body > 0 && number > bounds.body {
                        refused = Some(Refusal::new(
                            StatusCode::PAYLOAD_TOO_LARGE,
                            "the body is longer than allowed",
                        ));
                    }
                    BodyFraming::Length(number)
                }
            },
            (true, lengths) => {
                if lengths || version < Version::HTTP_11 {
                    return Err(Refusal::bad(
                        "Transfer-Encoding beside Content-Length or in HTTP/1.0 (RFC 9112, 6.1)",
                    ));
                }
                refused = chunked(&headers)?;
                BodyFraming::Chunked
            }
        };
        if method == Method::CONNECT && body != BodyFraming::Empty {
            // RFC 9110, section 9.3.6: nothing says what it would mean.
            return Err(Refusal::bad("CONNECT with a body"));
        }
        let is_met = !seen.expect || is_continue(&headers);
        if !is_met {
            refused.get_or_insert(Refusal::new(
                StatusCode::EXPECTATION_FAILED,
                "an expectation that nothing here meets",
            ));
        }
        let (mut keeps, mut upgrades) = (version == Version::HTTP_11, method == Method::CONNECT);
        if seen.connection {
            let has = |token: &[u8]| {
                elements(&headers, &CONNECTION).any(|it| it.eq_ignore_ascii_case(token))
            };
            keeps = !has(b"close") && (keeps || has(b"keep-alive"));
            // RFC 9110, section 7.8: HTTP/1.0 has no upgrades, and a server may ignore them. With a body of which the
            // service reads nothing, or half, that would be taken for the other protocol's first bytes.
            let may_upgrade = version == Version::HTTP_11 && body == BodyFraming::Empty;
            upgrades |= may_upgrade && headers.contains_key(UPGRADE) && has(b"upgrade");
        }
        // RFC 9110, section 10.1.1: HTTP/1.0 has no 100, and is answered without.
        let expects = seen.expect && body != BodyFraming::Empty && version >= Version::HTTP_11;
        let is_trailers = |token: &[u8]| token.eq_ignore_ascii_case(b"trailers");
        let trailers = seen.te && elements(&headers, &TE).any(is_trailers);
        Ok(Self {
            method,
            target,
            version,
            headers,
            body,
            keeps,
            expects,
            upgrades,
            trailers,
            refused,
        })
    }
}

/// RFC 9112, section 3.2: HTTP/1.1 has one `Host`. `named`: the target names a host, too.
fn check_host(host: Option<&[u8]>, version: Version, named: bool) -> Result<(), Refusal> {
    match host {
        None if version < Version::HTTP_11 => Ok(()),
        None => Err(Refusal::bad("no Host (RFC 9112, 3.2)")),
        Some(host) if !is_host(host) => {
            Err(Refusal::bad("the Host is not host[:port] (RFC 9110, 7.2)"))
        }
        Some(b"") if named => Err(Refusal::bad("an empty Host beside a target that names one")),
        Some(_) => Ok(()),
    }
}

/// RFC 9112, section 3.2.2: the authority of the target takes the place of `Host`.
fn replace_host(headers: &mut HeaderMap, host: Option<&[u8]>, target: &Uri) -> Result<(), Refusal> {
    let Some(authority) = target.authority() else { return Ok(()) };
    if host.is_none_or(|host| host != authority.as_str().as_bytes()) {
        let host = HeaderValue::from_str(authority.as_str());
        headers.insert(HOST, host.map_err(|_| Refusal::bad("the target's authority"))?);
    }
    Ok(())
}

/// RFC 9112, section 6.3: equal lengths are one; those that differ, or are no number, are an attempt to be two
/// requests.
fn length(headers: &mut HeaderMap) -> Result<u64, Refusal> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), several) = (values.next().cloned(), values.next().is_some()) else {
        return Ok(0);
    };
    let digits = first.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::bad("the Content-Length is no number (RFC 9110, 8.6)"));
    }
    let number = digits
        .iter()
        .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    if several {
        if headers.get_all(CONTENT_LENGTH).iter().any(|value| value != first) {
            return Err(Refusal::bad("lengths that differ (RFC 9112, 6.3)"));
        }
        headers.insert(CONTENT_LENGTH, first);
    }
    number.ok_or(Refusal::bad("the Content-Length has no end"))
}

/// RFC 9112, section 6.1: the last coding must be `chunked`, for nothing else says where the body ends.
/// Returns why the service cannot be asked, if a coding is below the chunks.
fn chunked(headers: &HeaderMap) -> Result<Option<Refusal>, Refusal> {
    let mut codings = elements(headers, &TRANSFER_ENCODING);
    let (mut last, mut count) = (&b""[..], 0);
    for coding in codings.by_ref() {
        (last, count) = (coding, count + 1);
    }
    if !last.eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::bad("the last Transfer-Encoding is not chunked (RFC 9112, 6.3)"));
    }
    // No service takes other codings off.
    let below = Refusal::new(StatusCode::NOT_IMPLEMENTED, "a Transfer-Encoding below the chunks");
    Ok((count > 1).then_some(below))
}

/// Whether all that the client expects is to be told that it may send the body.
fn is_continue(headers: &HeaderMap) -> bool {
    elements(headers, &EXPECT).all(|it| it.eq_ignore_ascii_case(b"100-continue"))
}
