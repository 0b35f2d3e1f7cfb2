//! Requests that no service sees: what is refused here, and the note of what hyper refuses by itself (over HTTP/2 of what it
//! ends the connection for; of a single stream that it refuses nobody is told).
//!
//! Two readers of one request must not understand two things (RFC 9112, section 11.2). hyper answers 400
//! to differing or unreadable lengths, `Transfer-Encoding` in HTTP/1.0 or not ending in `chunked`,
//! folded lines, bare CR, NUL, and space before a colon. It merges equal lengths into one, and where
//! both framings are given it reads the chunks, drops the length, and closes the connection after the
//! answer: both as RFC 9112, section 6.3, allows. Here is the rest.

use std::fmt;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body::Body;

use crate::client::Client;
use crate::connection::Settings;
use crate::limits::Limits;
use crate::observe::Arrival;
use crate::progress::Progress;

/// Why this request must not reach the service, if it must not.
pub(crate) fn reason<B: Body>(request: &Request<B>, limits: &Limits) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let headers = request.headers();
    if let Some(status) = of_every(headers, request.version()) {
        return Some(status);
    }
    if request.body().is_end_stream() {
        return None;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !is(coding, "chunked")) || codings.next().is_some() {
        // Whatever is below the chunks, nobody here takes it off.
        return Some(StatusCode::NOT_IMPLEMENTED);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if limits.body_bytes > 0 && length.is_some_and(|length: u64| length > limits.body_bytes) {
        return Some(StatusCode::PAYLOAD_TOO_LARGE);
    }
    None
}

fn is(value: &HeaderValue, token: &str) -> bool {
    value.as_bytes().eq_ignore_ascii_case(token.as_bytes())
}

/// What is asked of every request, in one pass. RFC 9112, section 3.2: HTTP/1.1 has exactly one `Host`; two, or one
/// that is no host, is an attempt to be two requests.
fn of_every(headers: &HeaderMap, version: Version) -> Option<StatusCode> {
    let (mut hosts, mut are_hosts, mut expects) = (0, true, false);
    for (name, value) in headers {
        if name == HOST {
            hosts += 1;
            // To the end: without a way out it is three instructions a byte.
            let bytes = value.as_bytes().iter();
            are_hosts = bytes.fold(are_hosts, |all, &byte| all & NAMES_HOST[usize::from(byte)]);
        } else if name == EXPECT {
            expects |= !is(value, "100-continue");
        }
    }
    let enough = hosts == 1 || (hosts == 0 && version < Version::HTTP_11);
    if version <= Version::HTTP_11 && !(enough && are_hosts) {
        return Some(StatusCode::BAD_REQUEST);
    }
    expects.then_some(StatusCode::EXPECTATION_FAILED)
}

/// Which bytes a host may have: RFC 3986, section 3.2.2, and the port's colon; `%` and the rest of a registered name
/// included. A table, for every request is held against it.
const NAMES_HOST: [bool; 256] = {
    let (mut table, others) = ([false; 256], *b"-._~%!$&'()*+;=:[]");
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// How much of such a request's first line the logs show, in bytes.
pub(crate) const FIRST_LINE: usize = 256;

/// The first line of what a client has sent, as far as the logs show it.
pub(crate) fn first_line(input: &[u8]) -> &[u8] {
    let input = input.trim_ascii_start();
    let end = input.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(input.len());
    &input[..end.min(FIRST_LINE)]
}

/// A request that could not be read: what the logs say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable<'a> {
    pub(crate) status: StatusCode,
    /// Why, in words for the operator; empty: nothing is said in the log.
    pub(crate) reason: &'a str,
    /// How it begins, at most [`FIRST_LINE`] bytes of its first line; empty if that is not known.
    pub(crate) first_line: &'a [u8],
}

/// A request that was refused before there was one: see [`note_unreadable`].
pub(crate) fn note_refused(
    settings: &Settings,
    arrival: &Arrival,
    progress: &Progress,
    status: StatusCode,
) {
    note_unreadable(
        settings,
        arrival,
        progress,
        Unreadable { status, reason: "", first_line: b"" },
    );
}

/// A request could not be read: counted as answered, shown as what it was, a line in the access log, and one with the
/// reason in the log.
pub(crate) fn note_unreadable(
    settings: &Settings,
    arrival: &Arrival,
    progress: &Progress,
    unreadable: Unreadable<'_>,
) {
    let Settings { context, observer, .. } = settings;
    let client = observer.client(arrival, progress.requests.get() + 1);
    let now = tine::now();
    let line = format!("(refused: {})", unreadable.status.as_u16());
    context.record().request_began(line.as_str(), client.show().as_str(), now);
    // First, so that a line is there only of what is counted.
    context.request_ended(now);
    observer.refused(arrival, &client, unreadable);
    if !unreadable.reason.is_empty() {
        observer.tell(arrival, format_args!("{}", Told { client: &client, unreadable }));
    }
}

/// How the log says it.
struct Told<'a> {
    client: &'a Client,
    unreadable: Unreadable<'a>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unreadable { status, reason, first_line } = self.unreadable;
        let client = self.client.show();
        let client = if client.as_str().is_empty() { "unix" } else { client.as_str() };
        write!(f, "a request of {client} cannot be read ({}): {reason}", status.as_u16())?;
        if first_line.is_empty() {
            return Ok(());
        }
        let cut = if first_line.len() < FIRST_LINE { "" } else { "..." };
        write!(f, "; it begins with \"{}{cut}\"", first_line.escape_ascii())
    }
}
