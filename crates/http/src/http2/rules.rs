//! What a request over HTTP/2 must be to reach the service. HTTP/1's rules are in [`crate::h1`], where it is read.
//!
//! Two readers of one request must not understand two things (RFC 9113, section 8.1.1). h2 resets a stream whose fields
//! are in upper case, speak of a connection, are pseudo-header fields in the wrong place, or give lengths that are no
//! numbers or not the body's. It takes the fragment off a `:path`, and forgets a known `:scheme` where there is no
//! `:authority`. Here is the rest.

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body::Body;

use crate::h1::Refusal;
use crate::host::is_host;
use crate::limits::Limits;

const TOO_LONG: Refusal =
    Refusal::new(StatusCode::URI_TOO_LONG, "the target is longer than allowed");
const BODY_TOO_LONG: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than allowed");
const EXPECTS: Refusal =
    Refusal::new(StatusCode::EXPECTATION_FAILED, "an expectation that nothing here meets");

/// What is to be answered to this request instead of asking the service, if it must not reach that.
pub(crate) fn refusal<B: Body>(request: &Request<B>, limits: &Limits) -> Option<Refusal> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Some(TOO_LONG);
    }
    if let Some(refusal) = broken(request) {
        return Some(refusal);
    }
    if request.body().is_end_stream() {
        return None;
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let is_too_long = length.is_some_and(|length: u64| length > limits.body_bytes);
    (limits.body_bytes > 0 && is_too_long).then_some(BODY_TOO_LONG)
}

/// What is to be answered to this request if it breaks a rule.
fn broken<B>(request: &Request<B>) -> Option<Refusal> {
    let (headers, uri) = (request.headers(), request.uri());
    let Fields { hosts, host, fault, expects_more } = Fields::of(headers);
    let reason = if hosts > 1 {
        "more than one host (RFC 9113, 8.3.1)"
    } else if hosts == 0 && uri.authority().is_none() {
        "no :authority and no host (RFC 9113, 8.3.1)"
    } else if let Some(fault) = fault {
        fault
    } else if !is_target(uri) {
        "the :scheme or :authority cannot be served (RFC 9113, 8.3.1)"
    } else if !is_http2_path(request.method(), uri) {
        "the :path is none (RFC 9113, 8.3.1)"
    } else if !is_same_host(uri, host) {
        "the host is not the :authority (RFC 9113, 8.3.1)"
    } else {
        return expects_more.then_some(EXPECTS);
    };
    Some(Refusal::bad(reason))
}

/// What one pass over all fields tells.
struct Fields<'a> {
    hosts: usize,
    /// The last.
    host: Option<&'a HeaderValue>,
    /// What is wrong with one of them.
    fault: Option<&'static str>,
    /// It expects something else than `100 Continue`.
    expects_more: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut lengths = 0;
        let mut fields = Self { hosts: 0, host: None, fault: None, expects_more: false };
        for (name, value) in headers {
            if name == HOST {
                fields.hosts += 1;
                fields.host = Some(value);
                fields.check(
                    is_host(value.as_bytes()),
                    "the host is not host[:port] (RFC 9110, 7.2)",
                );
            } else if name == EXPECT {
                fields.expects_more |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            } else if name == CONTENT_LENGTH {
                // Whether it is a number, and the right one, h2 has looked; it takes nothing for 0.
                lengths += 1;
                let is_length = lengths == 1 && !value.is_empty();
                fields.check(is_length, "content-length is empty, or there twice (RFC 9110, 8.6)");
            }
            // In the pieces of a cookie they do no harm: it is joined with blanks.
            if name != COOKIE {
                let is_trimmed = !has_outer_blanks(value.as_bytes());
                fields.check(is_trimmed, "blanks around the value of a field (RFC 9113, 8.2.1)");
            }
        }
        fields
    }

    /// Remembers the first fault.
    fn check(&mut self, is_right: bool, fault: &'static str) {
        if !is_right {
            self.fault.get_or_insert(fault);
        }
    }
}

/// RFC 9113, section 8.2.1.
fn has_outer_blanks(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// Whether a target that names a scheme or an authority may be served here (RFC 9110, sections 4.2.3 and 4.2.4).
fn is_target(uri: &Uri) -> bool {
    let is_ours = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    // Without a host in it, it names none; user information is no part of a host.
    let names_host = |authority: &Authority| {
        is_host(authority.as_str().as_bytes()) && !authority.host().is_empty()
    };
    uri.scheme().is_none_or(is_ours) && uri.authority().is_none_or(names_host)
}

/// Whether this method may have this path (RFC 9113, section 8.3.1).
fn is_http2_path(method: &Method, uri: &Uri) -> bool {
    let path = uri.path_and_query().map_or("", |target| target.as_str());
    match *method {
        // Without a protocol it has none, and with one it is a path: h2 tells them apart.
        Method::CONNECT => path.is_empty() || path.starts_with('/'),
        Method::OPTIONS => path == "*" || path.starts_with('/'),
        _ => path.starts_with('/'),
    }
}

/// Whether what is said twice is the same (RFC 9113, section 8.3.1).
fn is_same_host(uri: &Uri, host: Option<&HeaderValue>) -> bool {
    match (host, uri.authority()) {
        (Some(host), Some(authority)) => {
            host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
        (Some(host), None) => !host.is_empty(),
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(uri: &str, fields: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        broken(&request.body(()).expect("a request")).is_some()
    }

    #[test]
    fn a_target_names_a_host_that_can_be_served() {
        let host = [("host", "a")];
        for (uri, fields, is_broken) in [
            ("http://a/", &host[..], false),
            ("https://a/", &host, false),
            ("/", &host, false),
            ("ftp://a/", &host, true),
            ("http://user@a/", &host, true),
            ("http://user@a/", &[("host", "user@a")], true),
            ("http://:80/", &[("host", ":80")], true),
            ("/", &[("host", "user@a")], true),
            ("/", &[("host", "a"), ("host", "a")], true),
            ("/", &[], true),
        ] {
            assert_eq!(breaks(uri, fields), is_broken, "{uri} {fields:?}");
        }
    }

    #[test]
    fn what_is_said_twice_over_http2_is_the_same() {
        assert!(!breaks("http://a/", &[]) && !breaks("http://a/", &[("host", "A")]));
        assert!(breaks("http://a/", &[("host", "b")]) && breaks("http://a/", &[("host", "a:80")]));
        assert!(breaks("http://a/", &[("host", "")]) && breaks("/", &[("host", "")]));
        assert!(breaks("http://a/", &[("content-length", "")]));
        assert!(breaks("http://a/", &[("content-length", "5"), ("content-length", "5")]));
        for value in [" x", "x ", "\tx", "x\t", " ", "\t"] {
            assert!(breaks("http://a/", &[("x-field", value)]), "{value:?}");
        }
        assert!(!breaks("http://a/", &[("x-field", ""), ("cookie", "a=b ")]));
    }
}
