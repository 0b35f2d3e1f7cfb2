//! Requests that no service sees: what is refused here, and the note of what hyper and h2 refuse by themselves. Of a single
//! stream that h2 resets nothing is known here.
//!
//! Two readers of one request must not understand two things (RFC 9112, section 11.2). hyper answers 400
//! to differing or unreadable lengths, `Transfer-Encoding` in HTTP/1.0 or not ending in `chunked`,
//! folded lines, bare CR, NUL, and space before a colon. It merges equal lengths into one, and where
//! both framings are given it reads the chunks, drops the length, and closes the connection after the
//! answer: both as RFC 9112, section 6.3, allows.
//!
//! h2 resets a stream whose fields are in upper case, speak of a connection, are pseudo-header fields in the wrong place, or
//! give lengths that are no numbers or not the body's. It takes the fragment off a `:path`, as hyper does off a target, and
//! forgets a known `:scheme` where there is no `:authority`. The rest is in [`crate::rules`].

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Request, StatusCode};
use http_body::Body;

use crate::connection::Settings;
use crate::limits::Limits;
use crate::observe::Arrival;
use crate::progress::Progress;
use crate::rules;

/// Why this request must not reach the service, if it must not.
pub(crate) fn reason<B: Body>(request: &Request<B>, limits: &Limits) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Some(StatusCode::URI_TOO_LONG);
    }
    if let Some(status) = rules::broken(request) {
        return Some(status);
    }
    let headers = request.headers();
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

/// A request that was refused before there was one: counted as answered, shown as what it was, and a line
/// in the access log.
pub(crate) fn note_refused(
    settings: &Settings,
    arrival: &Arrival,
    progress: &Progress,
    status: StatusCode,
) {
    let Settings { context, observer, .. } = settings;
    let number = progress.requests.get() + 1;
    let who = observer.refused(arrival, number, status).show();
    let now = tine::now();
    let line = format!("(refused: {})", status.as_u16());
    context.record().request_began(line.as_str(), who.as_str(), now);
    context.request_ended(now);
}
