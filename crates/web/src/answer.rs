//! The answer of a file: whole, in parts, or not at all because the client has it.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use tine_http::FileBody;

use crate::conditions::{Verdict, judge, range_is_of};
use crate::page;
use crate::ranges::{Asked, asked};
use crate::resource::Version;

/// The answer to a GET or a HEAD.
pub(crate) fn answer(version: &Version, head: bool, request: &HeaderMap) -> Response<FileBody> {
    match judge(request, &version.validators) {
        Verdict::Failed => return page::status(StatusCode::PRECONDITION_FAILED),
        Verdict::Known => {
            let mut response = Response::new(FileBody::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = version.headers_without_content();
            return response;
        }
        Verdict::Proceed => {}
    }
    // Only GET has ranges (RFC 9110, 14.2).
    let ranges = !head && request.contains_key(RANGE) && version.has_ranges();
    if ranges && range_is_of(request, &version.validators) {
        match asked(request, version.length) {
            Asked::Whole => {}
            Asked::Nothing => return not_there(version.length),
            Asked::Parts(parts) => return in_parts(version, &parts),
        }
    }
    let mut response = Response::new(if head { FileBody::empty() } else { version.body() });
    *response.headers_mut() = version.headers.clone();
    response
}

/// 416, with the length there is (RFC 9110, 15.5.17).
fn not_there(length: u64) -> Response<FileBody> {
    let mut response = page::status(StatusCode::RANGE_NOT_SATISFIABLE);
    response.headers_mut().insert(CONTENT_RANGE, text(format!("bytes */{length}")));
    response
}

fn in_parts(version: &Version, parts: &[Range<u64>]) -> Response<FileBody> {
    let mut headers = version.headers.clone();
    let body = match parts {
        [range] => {
            headers.insert(CONTENT_RANGE, text(content_range(range, version.length)));
            version.part(range)
        }
        parts => {
            let kind = headers.remove(CONTENT_TYPE);
            let boundary = boundary();
            let multipart = format!("multipart/byteranges; boundary={boundary}");
            headers.insert(CONTENT_TYPE, text(multipart));
            multipart_body(version, parts, kind.as_ref(), &boundary)
        }
    };
    // Each part has its length, so the whole has.
    headers.insert(CONTENT_LENGTH, body.size_hint().lower().into());
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// RFC 9110, 14.6.
fn multipart_body(
    version: &Version,
    parts: &[Range<u64>],
    kind: Option<&HeaderValue>,
    boundary: &str,
) -> FileBody {
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("application/octet-stream");
    let bytes = |text: String| FileBody::from(Bytes::from(text));
    let mut bodies = Vec::with_capacity(2 * parts.len() + 1);
    for range in parts {
        let place = content_range(range, version.length);
        bodies.push(bytes(format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {place}\r\n\r\n"
        )));
        bodies.push(version.part(range));
    }
    bodies.push(bytes(format!("\r\n--{boundary}--\r\n")));
    FileBody::chain(bodies)
}

/// Nothing that somebody who writes files could know beforehand.
fn boundary() -> String {
    let (one, two) = (RandomState::new(), RandomState::new());
    format!("tine-{:016x}{:016x}", one.hash_one(()), two.hash_one(()))
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
}

/// Made of digits, letters and the like: always a value.
fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
