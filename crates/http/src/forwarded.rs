//! What trusted proxies say in a request's header of the client before them.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::trust::Trust;

/// Which header the proxies write. Only that one is read: a proxy that writes the one passes the other on as
/// the client has sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`. The default.
    #[default]
    X,
    /// `Forwarded` (RFC 7239).
    Standard,
}

const X_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client's address, and whether it speaks HTTPS, of a request that `proxy` has sent, whom we trust, itself over
/// `https` or not: that is believed of the client, too, unless the proxy says otherwise.
///
/// Each proxy adds at the end whom it has seen. So they are read from there, as long as who is named is
/// trusted, too; what stands before that anybody can have written. Whoever does not say whom he has seen
/// (`unknown`, `_hidden`) is the last we know of.
pub(crate) fn client(
    headers: &HeaderMap,
    proxy: Option<IpAddr>,
    (trust, which): (&Trust, Forwarded),
    https: bool,
) -> (Option<IpAddr>, bool) {
    match which {
        Forwarded::X => {
            let nodes = from_the_end(headers, &X_FOR);
            let (address, hops) = walk(nodes.map(Some), proxy, trust);
            // One for each proxy, or one that they pass on.
            let protocols = from_the_end(headers, &X_PROTO).take(hops.max(1));
            (address, protocols.last().map_or(https, is_https))
        }
        Forwarded::Standard => {
            let values = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok());
            let elements: Vec<&str> = values.flat_map(|value| split(value, ',')).collect();
            let nodes = elements.iter().rev().map(|element| parameter(element, "for"));
            let (address, hops) = walk(nodes, proxy, trust);
            let mut said = elements.iter().skip(elements.len().saturating_sub(hops.max(1)));
            let protocol = said.find_map(|element| parameter(element, "proto"));
            (address, protocol.map_or(https, is_https))
        }
    }
}

fn is_https(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case("https")
}

/// The address to believe in, and how many of the nodes that took.
fn walk<'a>(
    nodes: impl Iterator<Item = Option<&'a str>>,
    proxy: Option<IpAddr>,
    trust: &Trust,
) -> (Option<IpAddr>, usize) {
    let mut last = (proxy, 0);
    for address in nodes.map_while(|node| address(node?)) {
        last = (Some(address), last.1 + 1);
        if !trust.holds(Some(address)) {
            break;
        }
    }
    last
}

/// The entries of a list, over all its lines, the last one first.
fn from_the_end<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    // What is no text says nothing, and ends what is believed.
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default();
    headers.get_all(name).iter().rev().flat_map(move |value| text(value).rsplit(',')).map(str::trim)
}

/// An address, with or without a port.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse().ok().or_else(|| Some(node.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

/// The pieces of a text between separators, of which those in quotes are none.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let ends = move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    };
    text.split(ends)
}

/// A parameter of an element: `for=192.0.2.43;proto=http;by="[2001:db8::1]"`.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    split(element, ';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        key.trim().eq_ignore_ascii_case(name).then(|| bare.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn check(which: Forwarded, all: &[(&HeaderName, &str)], expected: (&str, bool)) {
        let trust = Trust::new(["10.0.0.0/8", "2001:db8::/32"]).unwrap();
        let proxy = Some("10.0.0.1".parse().unwrap());
        let (address, https) = client(&headers(all), proxy, (&trust, which), false);
        assert_eq!((address, https), (Some(expected.0.parse().unwrap()), expected.1), "{all:?}");
    }

    #[test]
    fn the_last_who_is_not_trusted_is_the_client() {
        for (all, client, https) in [
            (&[][..], "10.0.0.1", false),
            (&[(&X_FOR, "192.0.2.1")], "192.0.2.1", false),
            (&[(&X_FOR, "6.6.6.6, 192.0.2.1")], "192.0.2.1", false),
            (&[(&X_FOR, "192.0.2.1,10.0.0.2 , 10.0.0.3")], "192.0.2.1", false),
            (&[(&X_FOR, "192.0.2.1"), (&X_FOR, "10.0.0.2")], "192.0.2.1", false),
            (&[(&X_FOR, "10.0.0.3, 10.0.0.2")], "10.0.0.3", false),
            (&[(&X_FOR, "192.0.2.1:4711")], "192.0.2.1", false),
            (&[(&X_FOR, "2001:db9::1")], "2001:db9::1", false),
            (&[(&X_FOR, "[2001:db9::1]:80, [2001:db8::1]")], "2001:db9::1", false),
            (&[(&X_FOR, "::ffff:192.0.2.1")], "192.0.2.1", false),
            (&[(&X_FOR, "6.6.6.6, unknown, 10.0.0.2")], "10.0.0.2", false),
            (&[(&X_FOR, "nonsense")], "10.0.0.1", false),
            (&[(&X_FOR, "6.6.6.6,")], "10.0.0.1", false),
            (&[(&X_PROTO, "https")], "10.0.0.1", true),
            (&[(&X_FOR, "192.0.2.1, 10.0.0.2"), (&X_PROTO, "HTTPS")], "192.0.2.1", true),
            (&[(&X_FOR, "192.0.2.1, 10.0.0.2"), (&X_PROTO, "https, http")], "192.0.2.1", true),
            (&[(&X_FOR, "6.6.6.6, 192.0.2.1"), (&X_PROTO, "https, http")], "192.0.2.1", false),
            (&[(&FORWARDED, "for=6.6.6.6;proto=https")], "10.0.0.1", false),
        ] {
            check(Forwarded::X, all, (client, https));
        }
    }

    #[test]
    fn the_standard_header_is_read_as_rfc_7239_has_it() {
        for (value, client, https) in [
            ("for=192.0.2.43", "192.0.2.43", false),
            ("For=\"[2001:db9:cafe::17]:4711\"", "2001:db9:cafe::17", false),
            ("for=192.0.2.60;proto=https;by=203.0.113.43", "192.0.2.60", true),
            ("for=6.6.6.6;proto=https, for=192.0.2.43;proto=http", "192.0.2.43", false),
            ("for=192.0.2.43;proto=https, for=10.0.0.9;proto=http", "192.0.2.43", true),
            ("for=192.0.2.43;proto=https, for=10.0.0.9", "192.0.2.43", true),
            ("for=6.6.6.6, for=_hidden, for=10.0.0.9", "10.0.0.9", false),
            ("for=6.6.6.6, by=10.0.0.9", "10.0.0.1", false),
            ("for=6.6.6.6;host=\"a, for=7.7.7.7\", for=192.0.2.43", "192.0.2.43", false),
            (r#"by="\", for=6.6.6.6", for=192.0.2.43"#, "192.0.2.43", false),
            ("for=\"6.6.6.6", "10.0.0.1", false),
        ] {
            check(Forwarded::Standard, &[(&FORWARDED, value)], (client, https));
        }
        check(Forwarded::Standard, &[(&X_FOR, "6.6.6.6")], ("10.0.0.1", false));
    }
}
