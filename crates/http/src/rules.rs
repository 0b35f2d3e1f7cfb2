//! What a request must be to reach a service: the same rules over HTTP/1 and HTTP/2.
//!
//! Two readers of one request must not understand two things (RFC 9112, section 11.2; RFC 9113, section 8.1.1). What
//! reads the protocol refuses what it cannot read: see [`crate::refusal`]. Here is what can be read, and is no request.

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use crate::host::is_host;

/// What is to be answered to this request if it breaks a rule.
pub(crate) fn broken<B>(request: &Request<B>) -> Option<StatusCode> {
    let (headers, uri) = (request.headers(), request.uri());
    let is_http2 = request.version() == Version::HTTP_2;
    let Fields { hosts, host, are_well_formed, expects_more } = Fields::of(headers, is_http2);
    // RFC 9112, section 3.2: HTTP/1.1 has exactly one `Host`, and earlier versions may have one.
    let are_enough = match request.version() {
        Version::HTTP_2 => hosts == 1 || (hosts == 0 && uri.authority().is_some()),
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    };
    let is_target = is_target(uri) && (!is_http2 || is_http2_target(request.method(), uri, host));
    if !(are_enough && are_well_formed && is_target) {
        return Some(StatusCode::BAD_REQUEST);
    }
    expects_more.then_some(StatusCode::EXPECTATION_FAILED)
}

/// What one pass over all fields tells.
struct Fields<'a> {
    hosts: usize,
    /// The last.
    host: Option<&'a HeaderValue>,
    are_well_formed: bool,
    /// It expects something else than `100 Continue`.
    expects_more: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap, is_http2: bool) -> Self {
        let mut lengths = 0;
        let mut fields = Self { hosts: 0, host: None, are_well_formed: true, expects_more: false };
        for (name, value) in headers {
            if name == HOST {
                fields.hosts += 1;
                fields.host = Some(value);
                fields.are_well_formed &= is_host(value.as_bytes());
            } else if name == EXPECT {
                fields.expects_more |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            } else if is_http2 && name == CONTENT_LENGTH {
                // Whether it is a number, and the right one, h2 has looked; it takes nothing for 0.
                lengths += 1;
                fields.are_well_formed &= lengths == 1 && !value.is_empty();
            }
            // Over HTTP/1 they are taken off where the value is read. In the pieces of a cookie they do no harm: it is
            // joined with blanks.
            if is_http2 && name != COOKIE {
                fields.are_well_formed &= !has_outer_blanks(value.as_bytes());
            }
        }
        fields
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

/// Whether these pseudo-header fields belong together (RFC 9113, section 8.3.1).
fn is_http2_target(method: &Method, uri: &Uri, host: Option<&HeaderValue>) -> bool {
    let path = uri.path_and_query().map_or("", |target| target.as_str());
    let is_path = match *method {
        // Without a protocol it has none, and with one it is a path: h2 tells them apart.
        Method::CONNECT => path.is_empty() || path.starts_with('/'),
        Method::OPTIONS => path == "*" || path.starts_with('/'),
        _ => path.starts_with('/'),
    };
    let is_same = match (host, uri.authority()) {
        (Some(host), Some(authority)) => {
            host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
        (Some(host), None) => !host.is_empty(),
        (None, _) => true,
    };
    is_path && is_same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(version: Version, uri: &str, fields: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        broken(&request.body(()).expect("a request")).is_some()
    }

    #[test]
    fn a_target_names_a_host_that_can_be_served() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
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
                assert_eq!(breaks(version, uri, fields), is_broken, "{version:?} {uri} {fields:?}");
            }
        }
    }

    #[test]
    fn what_is_said_twice_over_http2_is_the_same() {
        let breaks = |uri: &str, fields: &[(&str, &str)]| breaks(Version::HTTP_2, uri, fields);
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
