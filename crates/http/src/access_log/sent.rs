//! How many bytes an answer is, its head included (`%O`).
//!
//! Over HTTP/1 the head is counted as it is written. Over HTTP/2 it is compressed together with those before it, so the log
//! has the size that it would have over HTTP/1.

use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body::Body;

/// `date: Sat, 21 Nov 2026 07:00:36 GMT` and its end.
const DATE_BYTES: usize = 37;

/// An answer's framing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Bytes of the header.
    pub(super) head: u64,
    /// The body is sent in chunks.
    pub(super) chunked: bool,
}

impl Sent {
    /// What this response over HTTP/2, to a HEAD request or not, would be over HTTP/1.
    pub(super) fn of<B: Body>(response: &Response<B>, head: bool) -> Self {
        let (status, headers) = (response.status(), response.headers());
        let line = 12 + 1 + status.canonical_reason().unwrap_or("<none>").len() + 2;
        // There is nothing it could be the length of.
        let idle = is_bodiless(status) && !head;
        let written = headers.iter().filter(|(name, _)| !idle || *name != CONTENT_LENGTH);
        let fields: usize =
            written.map(|(name, value)| name.as_str().len() + 2 + value.len() + 2).sum();
        let date = if headers.contains_key(DATE) { 0 } else { DATE_BYTES };
        let (framing, chunked) = framing(response, head);
        let bytes = line + fields + date + framing + 2;
        Self { head: bytes as u64, chunked }
    }

    /// Bytes around a piece of the body.
    pub(super) fn around(self, piece: u64) -> u64 {
        match piece {
            1.. if self.chunked => u64::from(piece.ilog2() / 4 + 1) + 4,
            _ => 0,
        }
    }

    /// Bytes behind the body.
    pub(super) fn end(self) -> u64 {
        if self.chunked { 5 } else { 0 }
    }
}

/// RFC 9112, section 6.3.
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What is added to say how long the body is; whether it is chunked.
fn framing<B: Body>(response: &Response<B>, head: bool) -> (usize, bool) {
    let (status, headers) = (response.status(), response.headers());
    let unframed = is_bodiless(status) || head;
    if headers.contains_key(CONTENT_LENGTH) {
        return (0, false);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return (0, !unframed);
    }
    match response.body().size_hint().exact() {
        _ if is_bodiless(status) => (0, false),
        Some(0) if head => (0, false),
        Some(length) => ("content-length: \r\n".len() + length.to_string().len(), false),
        None if unframed => (0, false),
        None => ("transfer-encoding: chunked\r\n".len(), true),
    }
}
