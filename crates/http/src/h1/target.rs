//! A request's target: RFC 9112, section 3.2.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri};

use super::Refusal;
use crate::host::{is_host, is_host_with_port};

/// What a target may be made of, per byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Stands for itself in a target, but `http::Uri` wants it percent-encoded: always, in a path, or in a query.
    Escape,
    EscapeInPath,
    EscapeInQuery,
    Query,
    Bad,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=b' ' | 0x7f | b'#' => Class::Bad,
            b'<' | b'>' => Class::Escape,
            b'`' => Class::EscapeInPath,
            b'"' => Class::EscapeInQuery,
            b'?' => Class::Query,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// Reads a target that stands in a request line of this method. `text` has no space in it.
///
/// Accepts what nginx does beyond RFC 3986: `"`, `<`, `>`, `\`, `^`, `{`, `|`, `}` and a backtick, which some
/// clients send as they are, and bytes outside ASCII that are valid UTF-8. Those that `http::Uri` cannot
/// hold become percent-encoded, which means the same (RFC 3986, section 2.3).
///
/// # Errors
/// 400 for what is no target of this method; 414 beyond what `http::Uri` can hold, 65,534 bytes.
pub(super) fn parse(method: &Method, text: Bytes) -> Result<Uri, Refusal> {
    if *method == Method::CONNECT {
        return match is_host_with_port(&text) {
            true => Uri::from_maybe_shared(text).map_err(|_| NO_TUNNEL),
            false => Err(NO_TUNNEL),
        };
    }
    match text.first() {
        Some(b'/') => Ok(path_and_query(text)?.into()),
        Some(b'*') if text.len() == 1 && *method == Method::OPTIONS => {
            Ok(Uri::from(PathAndQuery::from_static("*")))
        }
        Some(b'*') if text.len() == 1 => {
            Err(Refusal::bad("the target * belongs to OPTIONS (RFC 9112, 3.2.4)"))
        }
        _ => absolute(method, &text),
    }
}

const NO_TUNNEL: Refusal = Refusal::bad("CONNECT needs host:port as its target (RFC 9112, 3.2.3)");
const NO_TARGET: Refusal = Refusal::bad("the target is neither a path nor a URL (RFC 9112, 3.2)");

fn absolute(method: &Method, text: &Bytes) -> Result<Uri, Refusal> {
    let Some(colon) = text.windows(3).position(|part| part == b"://") else {
        return Err(NO_TARGET);
    };
    let scheme = match &text[..colon] {
        name if name.eq_ignore_ascii_case(b"http") => Scheme::HTTP,
        name if name.eq_ignore_ascii_case(b"https") => Scheme::HTTPS,
        _ => return Err(Refusal::bad("the target's scheme is not http or https")),
    };
    let rest = text.slice(colon + 3..);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (host, path) = (rest.slice(..end), rest.slice(end..));
    if host.is_empty() || host[0] == b':' || !is_host(&host) {
        return Err(Refusal::bad("the target's authority is not host[:port]"));
    }
    let path = match path.first() {
        // RFC 9112, section 3.2.4: such a request is about the server itself.
        None if *method == Method::OPTIONS => PathAndQuery::from_static("*"),
        None => PathAndQuery::from_static("/"),
        Some(b'/') => path_and_query(path)?,
        _ => path_and_query([b"/", &path[..]].concat().into())?,
    };
    let authority = Authority::from_maybe_shared(host);
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority.map_err(|_| Refusal::bad("the target's authority cannot be read"))?)
        .path_and_query(path);
    uri.build().map_err(|_| NO_TARGET)
}

/// A target that begins with `/`.
fn path_and_query(text: Bytes) -> Result<PathAndQuery, Refusal> {
    match PathAndQuery::from_maybe_shared(text.clone()) {
        // What it leaves out is a fragment.
        Ok(path) if path.as_str().len() == text.len() => Ok(path),
        _ => unusual_path(text),
    }
}

/// A path that `http::Uri` does not take as it is.
fn unusual_path(text: Bytes) -> Result<PathAndQuery, Refusal> {
    let (mut in_query, mut escapes) = (false, false);
    for &byte in &text {
        match CLASSES[usize::from(byte)] {
            Class::Plain => {}
            Class::Query => in_query = true,
            Class::Escape => escapes = true,
            Class::EscapeInPath => escapes |= !in_query,
            Class::EscapeInQuery => escapes |= in_query,
            Class::Bad if byte == b'#' => {
                return Err(Refusal::bad("a fragment is no part of a target (RFC 9112, 3.2)"));
            }
            Class::Bad => return Err(Refusal::bad("a control byte in the target")),
        }
    }
    let text = if escapes { escape(&text) } else { text };
    let is_too_long = text.len() >= usize::from(u16::MAX);
    PathAndQuery::from_maybe_shared(text).map_err(|_| match is_too_long {
        true => Refusal::new(StatusCode::URI_TOO_LONG, "the target is too long"),
        false => Refusal::bad("the target is not UTF-8"),
    })
}

/// Percent-encodes what `http::Uri` does not take.
fn escape(text: &[u8]) -> Bytes {
    let (mut out, mut in_query) = (Vec::with_capacity(text.len() + 16), false);
    for &byte in text {
        match CLASSES[usize::from(byte)] {
            Class::EscapeInQuery if !in_query => out.push(byte),
            Class::EscapeInPath if in_query => out.push(byte),
            Class::Escape | Class::EscapeInPath | Class::EscapeInQuery => {
                out.push(b'%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(b"0123456789ABCDEF"[usize::from(digit)]);
                }
            }
            class => {
                in_query |= class == Class::Query;
                out.push(byte);
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, text: &str) -> Result<String, u16> {
        let uri = parse(method, Bytes::copy_from_slice(text.as_bytes()));
        uri.map(|uri| uri.to_string()).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn every_form_of_a_target_is_read_with_its_method_alone() {
        let (get, options, connect) = (Method::GET, Method::OPTIONS, Method::CONNECT);
        for (method, text, uri) in [
            (&get, "/", "/"),
            (&get, "//a/../b?c=/d?e", "//a/../b?c=/d?e"),
            (&get, "/%zz", "/%zz"),
            (&get, "/ä?ö", "/ä?ö"),
            (&get, "http://a", "http://a/"),
            (&get, "HTTP://a:8080?b", "http://a:8080/?b"),
            (&get, "https://[::1]:443/b?c", "https://[::1]:443/b?c"),
            (&options, "*", "*"),
            (&options, "/a", "/a"),
            (&connect, "a:443", "a:443"),
            (&connect, "[::1]:443", "[::1]:443"),
        ] {
            assert_eq!(read(method, text).as_deref(), Ok(uri), "{method} {text}");
        }
        for (method, text) in [
            (&get, "*"),
            (&get, "**"),
            (&get, "1k.txt"),
            (&get, "!"),
            (&get, "?a"),
            (&get, ""),
            (&get, "a:443"),
            (&get, "http://"),
            (&get, "http:///a"),
            (&get, "http://:80/"),
            (&get, "http://u@a/"),
            (&get, "http://u:p@a/"),
            (&get, "http://a:x/"),
            (&get, "http://a:99999/"),
            (&get, "ftp://a/"),
            (&get, "://a/"),
            (&get, "/a#b"),
            (&get, "/a?b#c"),
            (&get, "http://a#b"),
            (&get, "/\x7f"),
            (&get, "/\x01"),
            (&get, "/a\tb"),
            (&options, "*a"),
            (&connect, "/"),
            (&connect, "a"),
            (&connect, "a:"),
            (&connect, "http://a:443"),
            (&connect, "*"),
            (&connect, "u@a:1"),
            (&get, "http:/a"),
            (&get, "http//a"),
        ] {
            assert_eq!(read(method, text), Err(400), "{method} {text}");
        }
        assert_eq!(
            parse(&get, Bytes::from_static(b"/\xff")).map_err(|it| it.status.as_u16()),
            Err(400)
        );
        assert_eq!(
            parse(&get, Bytes::from_static(b"/?\xc3")).map_err(|it| it.status.as_u16()),
            Err(400)
        );
        assert_eq!(read(&get, &format!("/{}", "a".repeat(70_000))), Err(414));
    }

    #[test]
    fn every_other_byte_is_served_as_nginx_does() {
        for byte in (0x21..0x7f_u8).filter(|&byte| byte != b'#') {
            let byte = char::from(byte);
            let path = read(&Method::GET, &format!("/a{byte}b")).expect("a path");
            let query = read(&Method::GET, &format!("/?a{byte}b")).expect("a query");
            let escaped = format!("%{:02X}", u32::from(byte));
            assert!([format!("/a{byte}b"), format!("/a{escaped}b")].contains(&path), "{path}");
            assert!([format!("/?a{byte}b"), format!("/?a{escaped}b")].contains(&query), "{query}");
            assert_eq!(path.contains(&escaped), "<>`".contains(byte), "{path}");
            assert_eq!(query.contains(&escaped), "<>\"".contains(byte), "{query}");
        }
    }
}
