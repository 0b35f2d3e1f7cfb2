//! The values a line can have, and how each is written.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, Request, Uri, Version};
use tine_tls::Agreed;

use super::clock::Clock;
use super::escape::Out;
use crate::client::{Client, Origin};
use crate::refusal::FIRST_LINE;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
}

impl Unit {
    fn of(self, time: Duration) -> u64 {
        let count = match self {
            Self::Seconds => u128::from(time.as_secs()),
            Self::Milliseconds => time.as_millis(),
            Self::Microseconds => time.as_micros(),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// What is known of a TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    Protocol,
    Cipher,
    Host,
    Resumed,
}

impl Session {
    fn of(self, tls: &Agreed) -> Option<&str> {
        match self {
            Self::Protocol => Some(tls.protocol()),
            Self::Cipher => Some(tls.cipher()),
            Self::Host => tls.server_name(),
            Self::Resumed => Some(if tls.resumed() { "Resumed" } else { "Initial" }),
        }
    }
}

/// One value. [`super`]'s table says what each is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Client,
    LogName,
    Peer,
    PeerPort,
    Local,
    LocalPort,
    Common,
    Iso,
    Since(Unit),
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Host,
    Asked(HeaderName),
    Before,
    RequestId,
    ConnectionId,
    Pid,
    Tls(Session),
    User,
    Answered(HeaderName),
    Status,
    Body,
    BodyOrDash,
    Sent,
    Took(Unit),
    End,
}

/// When a value is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// When the request comes.
    Request,
    /// When it is answered.
    Answer,
    /// When the answer has been handed over.
    End,
}

/// A request, as it comes.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(super) client: &'a Client,
    pub(super) origin: &'a Origin,
    /// Nothing of a request that could not be read.
    pub(super) head: Option<Head<'a>>,
    /// How such a request begins, as far as that is known.
    pub(super) first_line: &'a [u8],
    /// When it came, in monotonic nanoseconds.
    pub(super) now: u64,
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome<'a> {
    /// Who has asked, if the service says so.
    pub(super) user: &'a [u8],
    /// `None`: there was no answer.
    pub(super) status: Option<u16>,
    pub(super) body: u64,
    pub(super) sent: u64,
    pub(super) took: Duration,
    pub(super) end: End,
}

/// What became of the connection (`%X`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The answer did not get to its end.
    Aborted,
    /// It may be used again.
    Kept,
    /// It is closed.
    Closed,
}

impl Field {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Answered(_) => Phase::Answer,
            Self::User
            | Self::Status
            | Self::Body
            | Self::BodyOrDash
            | Self::Sent
            | Self::Took(_)
            | Self::End => Phase::End,
            _ => Phase::Request,
        }
    }

    /// A value of [`Phase::Request`].
    pub(super) fn ask(&self, out: &mut Out<'_>, asked: &Asked<'_>, clock: &mut Clock) {
        let Asked { client, origin, .. } = asked;
        let host = |out: &mut Out<'_>, address| match address {
            Some(address) => out.address(address),
            None => out.absent(),
        };
        let port = |out: &mut Out<'_>, address: Option<std::net::SocketAddr>| match address {
            Some(address) => out.number(address.port().into()),
            None => out.absent(),
        };
        match self {
            Self::Client => host(out, client.address),
            Self::Peer => host(out, client.peer.map(|peer| peer.ip())),
            Self::PeerPort => port(out, client.peer),
            Self::Local => host(out, origin.local.map(|local| local.ip().to_canonical())),
            Self::LocalPort => port(out, origin.local),
            Self::Common if out.json => {
                let common = clock.common(asked.now);
                out.ready(&[&common[1..common.len() - 1]]);
            }
            Self::Common => out.own(clock.common(asked.now).as_bytes()),
            Self::Iso => {
                let milliseconds = 1000 + clock.at(asked.now).subsec_millis();
                let mut digits = itoa::Buffer::new();
                let digits = &digits.format(milliseconds)[1..];
                out.ready(&[clock.iso(asked.now), ".", digits, "Z"]);
            }
            Self::Since(unit) => out.number(unit.of(clock.at(asked.now))),
            Self::Before => out.number(client.id.number().saturating_sub(1)),
            Self::RequestId => out.id(client.id.connection(), Some(client.id.number())),
            Self::ConnectionId => out.id(client.id.connection(), None),
            Self::Pid => out.number(std::process::id().into()),
            Self::Tls(which) => match origin.tls.as_deref().and_then(|tls| which.of(tls)) {
                Some(value) => out.text(value.as_bytes()),
                None => out.absent(),
            },
            _ => match &asked.head {
                Some(head) => self.ask_head(out, head),
                None => self.ask_first_line(out, asked.first_line),
            },
        }
    }

    fn ask_first_line(&self, out: &mut Out<'_>, line: &[u8]) {
        match self {
            Self::RequestLine if line.len() >= FIRST_LINE => out.texts(&[line, b"..."]),
            Self::RequestLine if !line.is_empty() => out.text(line),
            _ => out.absent(),
        }
    }

    fn ask_head(&self, out: &mut Out<'_>, head: &Head<'_>) {
        let Head { method, uri, version, headers } = head;
        match self {
            Self::RequestLine => {
                // As nearly every request has it: a path alone, in one of our own words. Over HTTP/2 the authority is no part
                // of the line.
                let absolute = *version != Version::HTTP_2 && uri.authority().is_some();
                let target = uri.path_and_query().filter(|_| !absolute);
                match (verb(method), target) {
                    (Some(verb), Some(target)) => {
                        out.within(verb, target.as_str().as_bytes(), ending(*version).as_bytes());
                    }
                    (None, Some(target)) => {
                        let whole = format!("{method} {target}{}", ending(*version));
                        out.text(whole.as_bytes());
                    }
                    (_, None) => {
                        let whole = format!("{method} {uri}{}", ending(*version));
                        out.text(whole.as_bytes());
                    }
                }
            }
            Self::Method => out.text(method.as_str().as_bytes()),
            Self::Path => out.text(uri.path().as_bytes()),
            Self::Query => match uri.query() {
                Some(query) => out.within(b"?", query.as_bytes(), b""),
                None => out.ready(&[]),
            },
            Self::Protocol => out.ready(&[protocol(*version)]),
            Self::Host => match host(uri, headers) {
                Some(host) => out.text(host),
                None => out.absent(),
            },
            Self::Asked(name) => header(out, headers, name),
            _ => out.absent(),
        }
    }

    /// A value of [`Phase::Answer`]; there may be none.
    pub(super) fn answer(&self, out: &mut Out<'_>, answer: Option<&HeaderMap>) {
        match (self, answer) {
            (Self::Answered(name), Some(headers)) => header(out, headers, name),
            _ => out.absent(),
        }
    }

    /// A value of [`Phase::End`].
    pub(super) fn end(&self, out: &mut Out<'_>, outcome: &Outcome<'_>) {
        match self {
            Self::User if outcome.user.is_empty() => out.absent(),
            Self::User => out.text(outcome.user),
            Self::Status => match outcome.status {
                Some(status) => out.number(status.into()),
                None => out.absent(),
            },
            Self::BodyOrDash if outcome.body == 0 => out.absent(),
            Self::Body | Self::BodyOrDash => out.number(outcome.body),
            Self::Sent => out.number(outcome.sent),
            Self::Took(unit) => out.number(unit.of(outcome.took)),
            Self::End => out.ready(&[match outcome.end {
                End::Aborted => "X",
                End::Kept => "+",
                End::Closed => "-",
            }]),
            _ => out.absent(),
        }
    }
}

/// All values of a header that may be there several times, as one (RFC 9110, section 5.2).
fn header(out: &mut Out<'_>, headers: &HeaderMap, name: &HeaderName) {
    if headers.len() == headers.keys_len() {
        // No header is there twice.
        return match headers.get(name) {
            Some(value) => out.text(value.as_bytes()),
            None => out.absent(),
        };
    }
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => out.absent(),
        (Some(value), None) => out.text(value.as_bytes()),
        (Some(first), Some(second)) => {
            let rest = values.flat_map(|value| [&b", "[..], value.as_bytes()]);
            let first = [first.as_bytes(), b", ", second.as_bytes()];
            out.texts(&first.into_iter().chain(rest).collect::<Vec<_>>());
        }
    }
}

/// Whom the client believes to speak to, without the port.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    if let Some(host) = uri.host() {
        return Some(host.as_bytes());
    }
    let host = headers.get(http::header::HOST)?.as_bytes();
    let port = host.iter().rposition(|&byte| byte == b':');
    let digits = |from: usize| host[from + 1..].iter().all(u8::is_ascii_digit);
    Some(port.filter(|&at| digits(at)).map_or(host, |at| &host[..at]))
}

/// As it stands in a request line.
pub(crate) fn protocol(version: Version) -> &'static str {
    &ending(version)[1..]
}

/// A request line's end.
fn ending(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => " HTTP/0.9",
        Version::HTTP_10 => " HTTP/1.0",
        Version::HTTP_2 => " HTTP/2.0",
        Version::HTTP_3 => " HTTP/3.0",
        _ => " HTTP/1.1",
    }
}

/// A request line's beginning, if it is one of those that are usual.
fn verb(method: &Method) -> Option<&'static [u8]> {
    Some(match *method {
        Method::GET => b"GET ",
        Method::HEAD => b"HEAD ",
        Method::POST => b"POST ",
        Method::PUT => b"PUT ",
        Method::DELETE => b"DELETE ",
        Method::PATCH => b"PATCH ",
        Method::OPTIONS => b"OPTIONS ",
        _ => return None,
    })
}
