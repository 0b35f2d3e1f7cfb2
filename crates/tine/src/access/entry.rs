//! One entry of a list, from its text.

use super::names::{is_host_name, without_root};
use regex::bytes::{Regex, RegexBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How big a compiled pattern may be, in bytes: far more than a pattern for names needs.
const PATTERN_BYTES: usize = 1 << 20;
/// What stands before an IPv4 address that is written as an IPv6 one, in bits.
const MAPPED_BITS: u32 = 96;
/// What can be written; the end of most refusals.
const FORMS: &str = "an entry is an address (10.0.0.5), a network (10.0.0.0/8, 2001:db8::/32), a range \
                     (10.0.0.5-10.0.0.20), a host name, a domain (.example.org), a pattern (~ host[0-9]+), \
                     or all";

/// Whom an entry is about.
#[derive(Debug)]
pub(super) enum Entry {
    /// From, to; both included, of one family, in order.
    Range(IpAddr, IpAddr),
    /// Everybody with an address.
    All,
    /// A name as it is written.
    Host(String),
    /// A domain and all below it, without the dot in front.
    Domain(String),
    /// Matches a whole name, or the text of an address.
    Pattern(Regex),
}

/// The entry, or what is wrong with it and what to write instead.
pub(super) fn parse(text: &str) -> Result<Entry, String> {
    let text = text.trim();
    if let Some(pattern) = text.strip_prefix('~') {
        return pattern_of(pattern.trim());
    }
    if text.eq_ignore_ascii_case("all") {
        return Ok(Entry::All);
    }
    if let Some((address, bits)) = text.split_once('/') {
        return network(address.trim(), bits.trim());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        return Ok(Entry::Range(address, address));
    }
    if let Some((first, last)) = text.split_once('-')
        && let Ok(first) = first.trim().parse()
        // Providers name their clients such: 192.0.2.7-dsl.example.net.
        && !is_host_name(text)
    {
        return range(first, last.trim());
    }
    named(text)
}

fn network(address: &str, bits: &str) -> Result<Entry, String> {
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(format!("{address:?} is not an address; {FORMS}"));
    };
    let Ok(bits) = bits.parse::<u32>() else {
        return Err(format!("{bits:?} is not a number of bits; write 10.0.0.0/8"));
    };
    let (version, width) = if address.is_ipv4() { (4, 32) } else { (6, 128) };
    if bits > width {
        return Err(format!("a network of IPv{version} has at most {width} bits"));
    }
    let (address, bits) = match (address, address.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(address)) if bits < MAPPED_BITS => {
            return Err(format!(
                "a network of IPv4 addresses that are written as IPv6 has at least {MAPPED_BITS} bits; \
                 write {address} with 0 to 32"
            ));
        }
        (IpAddr::V6(_), IpAddr::V4(address)) => (IpAddr::V4(address), bits - MAPPED_BITS),
        (address, _) => (address, bits),
    };
    Ok(match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = address.to_bits() & !host;
            Entry::Range(Ipv4Addr::from(first).into(), Ipv4Addr::from(first | host).into())
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = address.to_bits() & !host;
            Entry::Range(Ipv6Addr::from(first).into(), Ipv6Addr::from(first | host).into())
        }
    })
}

fn range(first: IpAddr, last: &str) -> Result<Entry, String> {
    let first = first.to_canonical();
    let Ok(last) = last.parse::<IpAddr>() else {
        return Err(format!("{last:?} is not an address; write 10.0.0.5-10.0.0.20"));
    };
    let last = last.to_canonical();
    if first.is_ipv4() != last.is_ipv4() {
        return Err("a range is of one version of IP; write two".to_owned());
    }
    if first > last {
        return Err(format!("the range ends before it begins; write {last}-{first}"));
    }
    Ok(Entry::Range(first, last))
}

fn named(text: &str) -> Result<Entry, String> {
    let (name, domain) = match text.strip_prefix('.') {
        Some(domain) => (without_root(domain), true),
        None => (without_root(text), false),
    };
    if !is_host_name(name) {
        let below = text.strip_prefix("*.").filter(|domain| is_host_name(domain));
        return Err(match below {
            Some(domain) => format!("for a domain and all names below it write .{domain}"),
            None if !text.is_ascii() => "write a name in its ASCII form (xn--...)".to_owned(),
            None if text.starts_with('[') && text.ends_with(']') => {
                "an address stands without brackets: ::1".to_owned()
            }
            None if text.contains(['\\', '^', '$', '*', '+', '?', '(', '[', '|']) => {
                format!("if it is a pattern, write it after a tilde: ~ {text}")
            }
            None => FORMS.to_owned(),
        });
    }
    let name = name.to_owned();
    Ok(if domain { Entry::Domain(name) } else { Entry::Host(name) })
}

/// Bytes, not characters: names and addresses are ASCII, and so are `\d`, `\w` and the two cases here.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|error| {
            // Its last line says what is wrong; those above it draw where.
            let text = error.to_string();
            let what = text.lines().next_back().unwrap_or_default();
            format!("the pattern is wrong: {}", what.trim_start_matches("error: "))
        })
}

fn pattern_of(pattern: &str) -> Result<Entry, String> {
    if pattern.is_empty() {
        return Err(r"a pattern stands after the tilde: ~ ^host[0-9]+\.example\.org$".to_owned());
    }
    // By itself first: "a)|(b" makes sense only between our brackets, and would undo what they are for.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$")).map(Entry::Pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> (String, String) {
        match parse(text).expect(text) {
            Entry::Range(first, last) => (first.to_string(), last.to_string()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn addresses_networks_and_ranges_are_from_to() {
        for (text, first, last) in [
            ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
            ("::1", "::1", "::1"),
            ("::ffff:10.0.0.5", "10.0.0.5", "10.0.0.5"),
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
            ("10.1.2.3/8", "10.0.0.0", "10.255.255.255"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("10.0.0.5/32", "10.0.0.5", "10.0.0.5"),
            ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::7/128", "2001:db8::7", "2001:db8::7"),
            ("::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255"),
            ("::ffff:0:0/96", "0.0.0.0", "255.255.255.255"),
            ("10.0.0.5-10.0.0.20", "10.0.0.5", "10.0.0.20"),
            (" 10.0.0.5 - 10.0.0.20 ", "10.0.0.5", "10.0.0.20"),
            ("2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff"),
            ("::ffff:10.0.0.5-10.0.0.20", "10.0.0.5", "10.0.0.20"),
        ] {
            assert_eq!(ends(text), (first.to_owned(), last.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_domains_and_all_are_told_apart() {
        let host = |text| matches!(parse(text), Ok(Entry::Host(name)) if name == "www.example.org");
        assert!(host("www.example.org") && host("www.example.org."));
        let domain = |text| matches!(parse(text), Ok(Entry::Domain(name)) if name == "example.org");
        assert!(domain(".example.org") && domain(" .example.org. "));
        assert!(matches!(parse("localhost"), Ok(Entry::Host(_))));
        assert!(matches!(parse("web-1"), Ok(Entry::Host(_))));
        assert!(matches!(parse("192.0.2.7-dsl.example.net"), Ok(Entry::Host(_))));
        assert!(matches!(parse("all"), Ok(Entry::All)) && matches!(parse("ALL"), Ok(Entry::All)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_way_out() {
        for (text, way_out) in [
            ("", "an entry is"),
            ("10.0.0.0/33", "at most 32"),
            ("::/129", "at most 128"),
            ("10.0.0.0/255.0.0.0", "write 10.0.0.0/8"),
            ("10.0.0.0/-1", "write 10.0.0.0/8"),
            ("10.0.0/24", "an entry is"),
            ("10.0.0", "an entry is"),
            ("10.0.0.300", "an entry is"),
            ("010.0.0.1", "an entry is"),
            ("[::1]", "without brackets"),
            ("fe80::1%eth0", "an entry is"),
            ("::ffff:10.0.0.0/8", "write 10.0.0.0 with 0 to 32"),
            ("10.0.0.20-10.0.0.5", "write 10.0.0.5-10.0.0.20"),
            ("10.0.0.5-20", "write 10.0.0.5-10.0.0.20"),
            ("10.0.0.5-::1", "write two"),
            ("*.example.org", "write .example.org"),
            (r"10\.0\..*", r"~ 10\.0\..*"),
            ("münchen.example", "xn--"),
            (".", "an entry is"),
            ("two words", "an entry is"),
            ("~", "after the tilde"),
            ("~ (", "the pattern is wrong"),
            ("~ a)|(?:b", "the pattern is wrong"),
            ("~ [a", "the pattern is wrong"),
            ("~ ((a{999}){999}){999}", "the pattern is wrong"),
        ] {
            let wrong = parse(text).expect_err(text);
            assert!(wrong.contains(way_out), "{text}: {wrong}");
        }
    }

    #[test]
    fn patterns_match_the_whole_and_in_any_case() {
        for (pattern, matches, others) in [
            (r"~ 10\.0\.0\.1|192\.168\.1\.1", "10.0.0.1", ["10.0.0.199", "5.192.168.1.1"]),
            (r"~ 10\.0\.0\.1|192\.168\.1\.1", "192.168.1.1", ["110.0.0.1", "192.168.1.1\n"]),
            (
                r"~ ^host[0-9]+\.example\.org$",
                "HOST12.Example.Org",
                ["host.example.org", "xhost1.example.org"],
            ),
            (r"~(?m)^a$", "A", ["a\nb", "b\na"]),
            (r"~ \d+", "12", ["1x", "٣"]),
        ] {
            let Ok(Entry::Pattern(regex)) = parse(pattern) else { panic!("{pattern}") };
            assert!(regex.is_match(matches.as_bytes()), "{pattern} {matches}");
            for other in others {
                assert!(!regex.is_match(other.as_bytes()), "{pattern} {other}");
            }
        }
    }
}
