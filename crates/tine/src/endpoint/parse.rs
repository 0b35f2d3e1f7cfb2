//! The grammar of addresses: protocol in front, words at the end, host and port between.
//!
//! Errors here are the reason alone; the caller puts the text in front of it.

use super::{Endpoint, Family, Host, Inet, Port, UnixName};
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

type Parsed<T> = Result<T, String>;

const PORT_MISSING: &str =
    "the port is missing: write host:port, [IPv6 address]:port, or * as the host for all addresses";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    /// TCP or a Unix socket, with TLS.
    Tls,
    Udp,
    Unix,
    UnixDatagram,
}

impl Protocol {
    fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "tcp" => Self::Tcp,
            "ssl" | "ssleay" | "tls" => Self::Tls,
            "udp" => Self::Udp,
            "unix" => Self::Unix,
            "unixdgram" => Self::UnixDatagram,
            _ => return None,
        })
    }

    fn is_unix(self) -> bool {
        matches!(self, Self::Unix | Self::UnixDatagram)
    }
}

/// What was said beside host and port.
#[derive(Default)]
struct Words {
    protocol: Option<Protocol>,
    tls: bool,
    /// `sock_stream` is false, `sock_dgram` true.
    datagram: Option<bool>,
    families: Vec<Family>,
}

pub(super) fn parse(text: &str, families: &[Family]) -> Parsed<Vec<Endpoint>> {
    let mut words = Words::default();
    let mut rest = text;
    if let Some((scheme, after)) = text.split_once(':') {
        let after = after.strip_prefix("//").unwrap_or(after);
        if let Some(protocol) = Protocol::named(scheme) {
            let (protocol, after) = match after.split_once(':') {
                Some(("unix", path)) if protocol == Protocol::Tls => {
                    words.tls = true;
                    (Protocol::Unix, path.strip_prefix("//").unwrap_or(path))
                }
                _ => (protocol, after),
            };
            if protocol.is_unix() {
                return Ok(vec![unix(after, protocol == Protocol::UnixDatagram, words.tls)?]);
            }
            words.add_protocol(protocol)?;
            rest = after;
        } else if text[scheme.len()..].starts_with("://") {
            return Err(format!(
                "{scheme} is not a protocol to listen with: write tcp://, tls://, udp:// or unix:"
            ));
        }
    }
    let rest = take_words(rest, &mut words)?;
    if is_unix(rest, &words)? {
        let datagram =
            words.protocol == Some(Protocol::UnixDatagram) || words.datagram == Some(true);
        return Ok(vec![unix(rest, datagram, words.tls)?]);
    }
    let (host, port) = split(rest)?;
    let (host, port) = (host_from(host)?, port_from(port)?);
    let families = match (&host, words.families.as_slice()) {
        (Host::Ip(_) | Host::Link { .. }, _) => &[Family::Any],
        (_, []) => families,
        (_, said) => said,
    };
    let (udp, tls) = (words.protocol == Some(Protocol::Udp), words.tls);
    let make = if udp { Endpoint::Udp } else { Endpoint::Tcp };
    Ok(families
        .iter()
        .map(|&family| make(Inet { host: host.clone(), port: port.clone(), family, tls }))
        .collect())
}

/// Whether this says how to listen, and never where.
pub(super) fn is_protocol(text: &str) -> bool {
    Protocol::named(text).is_some()
}

/// The same of all words.
fn is_word(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    is_protocol(text) || lower.starts_with("sock_") || lower.starts_with("ipv")
}

fn separates(c: char) -> bool {
    matches!(c, ',' | '|' | ' ' | '\t' | '/' | ':')
}

/// Takes known words off the end. A word with nothing in front of it is not taken.
fn take_words<'a>(mut rest: &'a str, words: &mut Words) -> Parsed<&'a str> {
    while let Some(at) = rest.rfind(separates) {
        let word = &rest[at + 1..];
        let before = rest[..at].trim_end_matches(separates);
        let lower = word.to_ascii_lowercase();
        if before.is_empty() {
            break;
        } else if let Some(protocol) = Protocol::named(word) {
            if protocol == Protocol::Tls && rest[at..].starts_with('/') && like_a_path(before) {
                return Err(format!(
                    "it is a socket called {word}, or TLS on {before}: write unix:{rest} or tls:unix:{before}"
                ));
            }
            words.add_protocol(protocol)?;
        } else if lower == "sock_stream" || lower == "sock_dgram" {
            words.datagram = Some(lower == "sock_dgram");
        } else if let Some(which) = lower.strip_prefix("ipv") {
            words.add_families(which, word)?;
        } else {
            break;
        }
        rest = before;
    }
    Ok(rest)
}

impl Words {
    /// One protocol, and TLS over what carries connections.
    fn add_protocol(&mut self, protocol: Protocol) -> Parsed<()> {
        if protocol == Protocol::Tls {
            self.tls = true;
        } else if self.protocol.replace(protocol).is_some_and(|earlier| earlier != protocol) {
            return Err("it names two protocols: write one listener for each".into());
        }
        match self.protocol {
            Some(Protocol::Udp | Protocol::UnixDatagram) if self.tls => {
                Err("TLS needs connections, not datagrams: leave one of the two out".into())
            }
            _ => Ok(()),
        }
    }

    fn add_families(&mut self, which: &str, word: &str) -> Parsed<()> {
        let more = Family::parse_all(which).map_err(|_| {
            format!("\"{word}\" must be IPv4, IPv6 or IPv* (both through one socket)")
        })?;
        self.families.extend(more);
        // Said in any order, IPv6 comes first: where it cannot be had, that is known before IPv4 is bound.
        self.families = [Family::Any, Family::V6, Family::V4]
            .into_iter()
            .filter(|family| self.families.contains(family))
            .collect();
        if self.families.first() == Some(&Family::Any) {
            self.families.truncate(1);
        }
        Ok(())
    }
}

/// Decides between a path and an Internet address, and refuses words that do not fit the one it is.
fn is_unix(rest: &str, words: &Words) -> Parsed<bool> {
    let like_a_path = like_a_path(rest);
    match words.protocol {
        Some(protocol) if !protocol.is_unix() && like_a_path => {
            return Err(format!(
                "{rest} is a path, and only unix and unixdgram have one (unix:PATH takes any path)"
            ));
        }
        _ if words.tls && words.datagram == Some(true) => {
            return Err("TLS needs connections: leave sock_dgram out".into());
        }
        Some(Protocol::UnixDatagram) if words.datagram == Some(false) => {
            return Err("unixdgram is never sock_stream: write unix for connections".into());
        }
        _ => {}
    }
    let unix = words.protocol.map_or(like_a_path, Protocol::is_unix);
    if unix && !words.families.is_empty() {
        return Err("a Unix socket has no version of IP: leave IPv4 and IPv6 out".into());
    }
    if !unix && words.datagram.is_some() {
        return Err("sock_stream and sock_dgram belong to Unix sockets: write tcp or udp".into());
    }
    Ok(unix)
}

fn like_a_path(text: &str) -> bool {
    text.starts_with(['/', '@'])
}

fn unix(name: &str, datagram: bool, tls: bool) -> Parsed<Endpoint> {
    if name.ends_with(char::is_whitespace) {
        return Err("a name that ends in a blank cannot be told from one that does not".into());
    }
    let name = match name.strip_prefix('@') {
        Some("") => return Err("the name after @ is missing".into()),
        Some(name) => UnixName::Abstract(name.into()),
        None if name.is_empty() => {
            return Err("the path is missing: write unix:/run/name.sock".into());
        }
        None if name.contains('\0') => return Err("a path cannot contain a NUL".into()),
        None => UnixName::Path(PathBuf::from(name)),
    };
    Ok(if datagram { Endpoint::UnixDatagram(name) } else { Endpoint::Unix { name, tls } })
}

/// Splits host from port; a host that was not given is `*`, a port that was not, 0.
fn split(text: &str) -> Parsed<(&str, &str)> {
    const STRONG: [char; 4] = [',', '|', ' ', '\t'];
    if text.is_empty() {
        return Err(
            "it is empty: write host:port, a port, or unix:PATH; 0 is a port the kernel chooses"
                .into(),
        );
    }
    let (host, port) = if let Some(after) = text.strip_prefix('[') {
        let Some((host, port)) = after.split_once(']') else {
            return Err("the closing ] is missing".into());
        };
        if port.is_empty() {
            return Err(PORT_MISSING.into());
        }
        if !port.starts_with(separates) {
            return Err(format!("\"{port}\" after the ] should begin with a colon"));
        }
        (host, port)
    } else if let Some(at) = text.find(STRONG) {
        let host =
            text[..at].strip_suffix(':').filter(|host| !host.ends_with(':')).unwrap_or(&text[..at]);
        (host, &text[at..])
    } else if let Some((host, port)) = text.rsplit_once('/') {
        let plain = !host.contains(':') || host.parse::<Ipv6Addr>().is_ok();
        if !is_number(port) || !plain || is_number(host) {
            return Err(unknown_class(port));
        }
        (host, port)
    } else {
        match text.split(':').count() {
            1 => ("*", text),
            2 => text.split_once(':').unwrap_or(("*", text)),
            _ => return Err(too_many_colons(text)),
        }
    };
    let port = port.trim_start_matches(separates);
    match port.rsplit_once(separates) {
        Some((_, last)) if last.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Err(unknown_class(last))
        }
        Some(_) => Err(format!(
            "the host cannot be told: \"{host}\" is followed by \"{port}\", which is not a port"
        )),
        None => Ok((if host.is_empty() { "*" } else { host }, port)),
    }
}

fn too_many_colons(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.') {
        return "an IPv6 address needs brackets, or its last group might be the port: write [::1]:port".into();
    }
    unknown_class(text.rsplit(separates).next().unwrap_or(text))
}

fn unknown_class(name: &str) -> String {
    format!(
        "\"{name}\" is not a protocol: they are tcp, udp, ssl, unix and unixdgram. A class of your own is not \
         loaded from here: bind the socket yourself and pass it in. A socket file: write unix:PATH"
    )
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn host_from(text: &str) -> Parsed<Host> {
    if text == "*" {
        return Ok(Host::Any);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    if let Some((ip, zone)) = text.split_once('%') {
        return link_from(ip, zone);
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') || text.contains(':') {
        return Err(format!("\"{text}\" is not an IP address"));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
        return Err(format!(
            "the host cannot be told: \"{text}\" is neither a name nor an address"
        ));
    }
    Ok(Host::Name(text.into()))
}

/// Bytes of an interface's name, at most (`IFNAMSIZ`, less the final NUL).
const ZONE_BYTES: usize = 15;

/// An address before the `%`, and the interface behind it.
fn link_from(ip: &str, zone: &str) -> Parsed<Host> {
    let Ok(ip) = ip.parse::<Ipv6Addr>() else {
        return Err(format!("\"{ip}\" is not an IPv6 address, and only those have a zone"));
    };
    if !ip.is_unicast_link_local() {
        return Err(format!("{ip} has no zone: only addresses of a link (fe80::…) have one"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '%' | '[' | ']');
    if zone.is_empty() || zone.len() > ZONE_BYTES || zone.contains(odd) || zone == "0" {
        return Err(format!(
            "\"{zone}\" is not an interface: write its name or number, [{ip}%eth0]:port"
        ));
    }
    Ok(Host::Link { ip, zone: zone.into() })
}

fn port_from(text: &str) -> Parsed<Port> {
    if text.is_empty() || text == "*" {
        return Err(PORT_MISSING.into());
    }
    if is_number(text) {
        let number =
            text.parse().map_err(|_| format!("the port {text} is not between 0 and 65535"))?;
        return Ok(Port::Number(number));
    }
    if text.parse::<IpAddr>().is_ok() || is_word(text) {
        return Err(PORT_MISSING.into());
    }
    let letters = text.bytes().any(|b| b.is_ascii_alphabetic());
    if !letters || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return Err(format!(
            "\"{text}\" is neither a port number nor the name of one (as in /etc/services)"
        ));
    }
    Ok(Port::Service(text.into()))
}
