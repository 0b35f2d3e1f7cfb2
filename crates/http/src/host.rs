//! The grammar of a host with its port, as `Host` and `:authority` have it: RFC 3986, section 3.2, without user information.

use std::net::Ipv6Addr;

/// A byte that no host has.
const NEVER: u8 = 1;
/// One that a host has in certain places only: what stands around it has to be looked at.
const SOMEWHERE: u8 = 2;

/// What each byte is in a host. A table, for every request is held against it. The comma would be allowed: no name has
/// one, and two hosts that a proxy has made one field of do.
const KINDS: [u8; 256] = {
    let (mut kinds, anywhere) = ([NEVER; 256], *b"-._~!$&'()*+;=");
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            kinds[byte] = 0;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < anywhere.len() {
        kinds[anywhere[at] as usize] = 0;
        at += 1;
    }
    let (mut at, somewhere) = (0, *b":[]%");
    while at < somewhere.len() {
        kinds[somewhere[at] as usize] = SOMEWHERE;
        at += 1;
    }
    kinds
};

/// Whether this is a host, or a host and a port. The empty host is one.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    // As nearly all are: a name of usual characters, and perhaps a port.
    match bytes.iter().position(|&byte| KINDS[usize::from(byte)] != 0) {
        None => true,
        Some(end) if bytes[end] == b':' => is_port(&bytes[end + 1..]),
        Some(_) => is_unusual_host(bytes),
    }
}

/// The same, where the name is an address in brackets or has a percent sign.
fn is_unusual_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| KINDS[usize::from(byte)] != NEVER) && is_in_place(bytes)
}

/// The same, where each byte is one that a host may have.
fn is_in_place(bytes: &[u8]) -> bool {
    let (is_name, rest) = match bytes.strip_prefix(b"[") {
        Some(literal) => match literal.iter().position(|&byte| byte == b']') {
            Some(end) => (is_literal(&literal[..end]), &literal[end + 1..]),
            None => return false,
        },
        None => {
            let end = bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len());
            (is_encoded(&bytes[..end]), &bytes[end..])
        }
    };
    let is_port = match rest.split_first() {
        None => true,
        Some((b':', port)) => is_port(port),
        Some(_) => false,
    };
    is_name && is_port
}

/// Whether this is a host and a port with neither of them empty, as CONNECT needs (RFC 9112, section 3.2.3).
pub(crate) fn is_host_with_port(bytes: &[u8]) -> bool {
    let colon = bytes.iter().rposition(|&byte| byte == b':').filter(|&at| at > 0);
    colon.is_some_and(|at| at + 1 < bytes.len() && is_port(&bytes[at + 1..])) && is_host(bytes)
}

/// Nothing, or a number up to 65535.
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u16, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// Whether each `%` has its two digits, and nothing is in brackets.
fn is_encoded(name: &[u8]) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    !name.iter().any(|byte| b"[]:".contains(byte))
        && name.iter().enumerate().all(|(at, &byte)| {
            byte != b'%' || (is_digit(name.get(at + 1)) && is_digit(name.get(at + 2)))
        })
}

/// Whether this may stand in brackets: an address of IPv6, with a zone or without (RFC 6874), or one of a version to come.
fn is_literal(literal: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(literal) else { return false };
    if let Some(future) = text.strip_prefix(['v', 'V']) {
        return future.split_once('.').is_some_and(|(version, address)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && !address.contains(['%', '[', ']'])
        });
    }
    match text.split_once("%25") {
        None => text.parse::<Ipv6Addr>().is_ok(),
        Some((address, zone)) => {
            address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && is_encoded(zone.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "",
            "a",
            "a:",
            "a:80",
            "example.org",
            "127.0.0.1:8080",
            "a_b",
            "%c3%a4.example",
            "[::1]",
            "[::1]:443",
            "[::ffff:1.2.3.4]",
            "[fe80::1%25eth0]:80",
            "[v7.a:b]",
            "xn--bcher-kva.example",
            ":80",
            "a:65535",
        ] {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        for none in [
            "user@a",
            "a b",
            "a/b",
            "a:b",
            "a:80:80",
            "a:80 ",
            "a:65536",
            "a:99999999999",
            "[::1",
            "::1",
            "[]",
            "[a]",
            "[::1]a",
            "[::1]:a",
            "a]",
            "[::1]]",
            "%zz",
            "%c",
            "a%",
            "a:%31",
            "[::1%eth0]",
            "[fe80::1%25]",
            "[v.a]",
            "[v7.]",
            "[v7]",
            "a?b",
            "a#b",
            "a\\b",
            "\u{e4}",
            "a\tb",
            "a\"",
            "<a>",
            "a^b",
            "{a}",
            "a|b",
            "a`",
            "a,b",
        ] {
            assert!(!is_host(none.as_bytes()), "{none:?}");
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
