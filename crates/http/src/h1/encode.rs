//! An answer's bytes: its head, the frames of its chunks, its trailers, and exactly how many they are.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::decode::remove_forbidden;
use super::fields::parts;
use super::head::Head;

/// What an answer must know of its request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// HEAD: the answer has no body, and says of it what GET's would.
    head: bool,
    connect: bool,
    /// HTTP/1.0: no chunks, and a connection that is kept says so.
    old: bool,
    /// It asked for another protocol.
    upgrades: bool,
    /// The client takes trailers (`TE: trailers`).
    trailers: bool,
}

impl Asked {
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            head: head.method == Method::HEAD,
            connect: head.method == Method::CONNECT,
            old: head.version < Version::HTTP_11,
            upgrades: head.upgrades,
            trailers: head.trailers,
        }
    }
}

/// How an answer's body is framed (RFC 9112, section 6.3), so what the driver has to send of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none to be sent.
    Empty,
    /// So many bytes, no fewer and no more.
    Length(u64),
    /// In chunks; with trailers at the end where the client takes them.
    Chunked { trailers: bool },
    /// Up to the end of the connection.
    UntilClose,
    /// The connection is another protocol's from here on.
    Upgraded,
}

/// A head as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    /// Whether the connection is kept after this answer.
    pub(crate) keeps: bool,
    /// Bytes of the head.
    pub(crate) bytes: usize,
}

/// Appends an answer's head to `out`.
///
/// `exact`: the length of its body, if that is known. `keeps`: the connection may be kept as far as the client
/// and the server go; the service's own `Connection: close` ends it, too. `date`: what `Date` says where the
/// service does not (RFC 9110, section 6.6.1).
///
/// What a service says of the framing is replaced by what is true: `Transfer-Encoding` always; `Content-Length`
/// where the body's length is known to be another, where it is no number, and where there can be none. A status
/// that is no final answer (1xx but 101 to a request that asked for it) becomes 500 without a body.
pub(crate) fn head(
    out: &mut Vec<u8>,
    answer: &Parts,
    exact: Option<u64>,
    asked: Asked,
    keeps: bool,
    date: &HeaderValue,
) -> Encoded {
    let start = out.len();
    let switches = answer.status == StatusCode::SWITCHING_PROTOCOLS && asked.upgrades;
    let is_final = switches || !answer.status.is_informational();
    let (status, exact) = match is_final {
        true => (answer.status, exact),
        false => (StatusCode::INTERNAL_SERVER_ERROR, Some(0)),
    };
    status_line(out, status);
    let said = if is_final { Said::write(out, &answer.headers) } else { Said::default() };
    let (framing, length) = frame(status, &said, exact, asked, switches);
    let keeps = keeps && is_final && !said.close && framing != Framing::UntilClose;
    if !said.date {
        field(out, "date", date.as_bytes());
    }
    if let Some(length) = length {
        field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
    }
    if let Framing::Chunked { .. } = framing {
        field(out, "transfer-encoding", b"chunked");
    }
    match (keeps, framing) {
        (_, Framing::Upgraded) => {}
        (false, _) if !said.close => field(out, "connection", b"close"),
        (true, _) if asked.old => field(out, "connection", b"keep-alive"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Encoded { status, framing, keeps, bytes: out.len() - start }
}

/// What a service says of the framing and the connection.
#[derive(Debug, Default)]
struct Said {
    /// The one length, if it is a number.
    length: Option<u64>,
    lengths: usize,
    close: bool,
    date: bool,
    /// Which trailers come.
    trailer: bool,
}

impl Said {
    /// Appends a service's fields, those that are replaced left out.
    fn write(out: &mut Vec<u8>, headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            let value = value.as_bytes();
            if name == CONTENT_LENGTH {
                said.lengths += 1;
                said.length = number(value).filter(|_| said.lengths == 1);
                continue;
            } else if name == TRANSFER_ENCODING {
                continue;
            } else if name == CONNECTION {
                if value.eq_ignore_ascii_case(b"keep-alive") {
                    continue;
                }
                said.close |= parts(value).any(|it| it.eq_ignore_ascii_case(b"close"));
            }
            said.date |= name == DATE;
            said.trailer |= name == TRAILER;
            field(out, name.as_str(), value);
        }
        said
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// How the body is framed, and what `Content-Length` says.
fn frame(
    status: StatusCode,
    said: &Said,
    exact: Option<u64>,
    asked: Asked,
    switches: bool,
) -> (Framing, Option<u64>) {
    if switches || (asked.connect && status.is_success()) {
        // RFC 9110, section 9.3.6: no length, no coding.
        return (Framing::Upgraded, None);
    }
    if status == StatusCode::NO_CONTENT {
        return (Framing::Empty, None);
    }
    if status == StatusCode::NOT_MODIFIED {
        return (Framing::Empty, said.length);
    }
    if asked.head {
        // An empty body says nothing of what GET's would be.
        return (Framing::Empty, said.length.or(exact.filter(|&length| length > 0)));
    }
    match exact.or(said.length) {
        Some(0) => (Framing::Empty, Some(0)),
        Some(length) => (Framing::Length(length), Some(length)),
        None if asked.old => (Framing::UntilClose, None),
        None => {
            let trailers = asked.trailers && said.trailer;
            (Framing::Chunked { trailers }, None)
        }
    }
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    // RFC 9112, section 4: the reason may be empty, the blank before it may not be left out.
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data, which [`CHUNK_END`] follows. `size` is not 0: that would be the last one.
pub(crate) fn chunk_line(out: &mut Vec<u8>, size: u64) {
    let digits = (size.max(1).ilog2() / 4 + 1) as usize;
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(size >> (4 * place) & 15) as usize]);
    }
    out.extend_from_slice(b"\r\n");
}

/// What follows a chunk's data.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// Appends the last chunk, with these trailers.
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(mut trailers) = trailers {
        remove_forbidden(&mut trailers);
        for (name, value) in &trailers {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}
