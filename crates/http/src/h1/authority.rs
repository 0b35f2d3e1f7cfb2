//! The grammar of `Host` and of an authority in a request's target: RFC 3986, section 3.2.

use std::net::Ipv6Addr;
use std::str;

/// Whether `text` is `host [":" port]` (RFC 9110, section 7.2): no user, and the host may be empty.
///
/// A port is empty or a number up to 65535. An IPv6 address stands in brackets, without a zone
/// (RFC 9844 allows zones in user interfaces alone).
pub(crate) fn is_host(text: &[u8]) -> bool {
    if let Some(literal) = text.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|&byte| byte == b']') else { return false };
        return is_ip_literal(&literal[..end]) && is_port_part(&literal[end + 1..]);
    }
    let plain = text.iter().position(|&byte| !NAME[usize::from(byte)]);
    let Some(end) = plain else { return true };
    match text[end] {
        b':' => is_port_part(&text[end..]),
        b'%' => {
            let host = text.split(|&byte| byte == b':').next().unwrap_or_default();
            is_escaped_name(host) && is_port_part(&text[host.len()..])
        }
        _ => false,
    }
}

/// Whether `text` is `host ":" port` with neither of them empty, as CONNECT needs (RFC 9112, section 3.2.3).
pub(crate) fn is_host_with_port(text: &[u8]) -> bool {
    let colon = text.iter().rposition(|&byte| byte == b':').filter(|&at| at > 0);
    colon.is_some_and(|at| at + 1 < text.len() && is_port_part(&text[at..])) && is_host(text)
}

/// Nothing, or a colon and a port.
fn is_port_part(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b":") else { return text.is_empty() };
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = digits
        .iter()
        .try_fold(0_u16, |sum, digit| sum.checked_mul(10)?.checked_add(u16::from(digit - b'0')));
    number.is_some()
}

/// What stands between brackets: an IPv6 address, or `v` and a version (RFC 3986, section 3.2.2).
fn is_ip_literal(text: &[u8]) -> bool {
    if let Some(b'v' | b'V') = text.first() {
        let mut parts = text[1..].splitn(2, |&byte| byte == b'.');
        let version = parts.next().unwrap_or_default();
        let address = parts.next().unwrap_or_default();
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| byte == b':' || NAME[usize::from(byte)]);
    }
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name with percent-encoded bytes in it.
fn is_escaped_name(mut text: &[u8]) -> bool {
    while let Some((&byte, rest)) = text.split_first() {
        text = match byte {
            b'%' if rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit) => &rest[2..],
            byte if NAME[usize::from(byte)] => rest,
            _ => return false,
        };
    }
    true
}

/// The bytes of a registered name that stand for themselves: unreserved and sub-delims.
const NAME: [bool; 256] = {
    let (mut table, others) = ([false; 256], *b"-._~!$&'()*+,;=");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "",
            "a",
            "example.org",
            "example.org:80",
            "a:",
            ":80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "[v1.fe80::a+en1]",
            "xn--bcher-kva.example",
            "a_b",
            "a%20b:1",
            "a:65535",
            "A.B.",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for other in [
            "localhost:abc",
            "::1",
            "[zz]",
            "a:b:c",
            "user@host",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a,b c",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]x",
            "a:65536",
            "a:99999999999",
            "a:-1",
            "a:+1",
            "a%2",
            "a%zz",
            "a\\b",
            "ä",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "a\0",
            "a\"b",
            "<a>",
        ] {
            assert!(!is_host(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_tunnel_needs_a_host_and_a_port() {
        for (text, is) in [
            ("a:1", true),
            ("[::1]:443", true),
            ("a", false),
            ("a:", false),
            (":1", false),
            ("[::1]", false),
            ("", false),
            ("u@a:1", false),
        ] {
            assert_eq!(is_host_with_port(text.as_bytes()), is, "{text}");
        }
    }
}
