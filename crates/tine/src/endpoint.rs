//! Where a server listens: an address as people write it, and back.
//!
//! | written | means |
//! |---|---|
//! | `8080`, `*:8080`, `:8080` | TCP on every address of the machine, IPv4 and IPv6 through one socket |
//! | `127.0.0.1:8080`, `[::1]:8080`, `localhost:http` | TCP on one address, or on all a name has; ports may have a name from `/etc/services` |
//! | `[fe80::1%eth0]:8080`, `[fe80::1%2]:8080` | TCP on an address of one link: the interface's name or index |
//! | `0` | a port the kernel chooses |
//! | `host:53/udp`, `udp:host:53`, `udp://host:53` | UDP |
//! | `host:443/tls`, `443/ssl`, `tls:host:443` | TCP, marked for TLS |
//! | `80/IPv4`, `80/IPv6`, `80/IPv4/IPv6` | IPv4 alone, IPv6 alone, two separate sockets |
//! | `/run/s.sock`, `unix:/run/s.sock`, `s.sock\|unix` | a Unix socket |
//! | `tls:unix:/run/s.sock`, `/run/s.sock\|tls` | a Unix socket, marked for TLS |
//! | `unixdgram:/run/s.sock`, `/run/s.sock\|unixdgram`, `/run/s.sock\|sock_dgram\|unix` | a Unix datagram socket |
//! | `@name`, `unix:@name` | a Unix socket with a name in the abstract namespace |
//!
//! Between host and port stands a colon, comma, bar, blank or (before a number) slash; before the words
//! after the port any mix of them. The words come in any order and in upper or lower case. This is the
//! grammar of Perl's Net::Server, with these differences:
//!
//! | written | Net::Server | here |
//! |---|---|---|
//! | `/run/s.sock` | TCP on a port of that name | a Unix socket |
//! | `/run/s.sock\|SOCK_DGRAM\|unix` | misread: only lower case is known | a Unix datagram socket |
//! | `localhost/20203` | port `localhost` of the class `20203`, though its manual lists it | host and port |
//! | `::1:20203` | the last group is the port | refused: write `[::1]:20203`, or `::1, 20203` |
//! | `host:25/MyTcp` | loads a class of that name | refused by name |
//! | `host:443/ssl`, `ssleay` | two TLS modules | one mark for both, and for `tls` |
//! | `tcp:80`, `udp:53` | port 80 of the host `tcp` | the protocol in front |
//! | `80/tcp/udp`, `/run/s.sock\|tcp` | the last word wins | refused |
//! | `localhost:70000`, `256.0.0.1:80` | fails when it is bound | refused |
//! | nothing, or blanks | port 20203 | refused: it is a variable that was not set, more often than not |

use crate::{Error, Result};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

pub use tine_os::socket::UnixName;

mod parse;

/// One place to listen at, as it was asked for: names are not looked up yet, and port 0 is still open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP connections.
    Tcp(Inet),
    /// UDP datagrams.
    Udp(Inet),
    /// Connections through a Unix socket.
    Unix {
        /// Where.
        name: UnixName,
        /// Whether connections are to be encrypted.
        tls: bool,
    },
    /// Datagrams through a Unix socket.
    UnixDatagram(UnixName),
}

/// An Internet address before anything is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inet {
    /// Whose address.
    pub host: Host,
    /// Which port.
    pub port: Port,
    /// IPv4, IPv6 or both. Says nothing where the host is an address already.
    pub family: Family,
    /// Connections are to be encrypted. A mark for whoever serves them; TCP only.
    pub tls: bool,
}

/// The host part of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*`: every address of the machine.
    Any,
    /// One address.
    Ip(IpAddr),
    /// An IPv6 address of one link, which others may have, too (RFC 4007): `fe80::1%eth0`.
    Link {
        /// It begins with `fe80::/10`.
        ip: Ipv6Addr,
        /// The interface's name, or its index.
        zone: String,
    },
    /// A name, with all the addresses it has.
    Name(String),
}

impl Host {
    fn is_called_like_a_protocol(&self) -> bool {
        matches!(self, Self::Name(name) if parse::is_protocol(name))
    }
}

/// The port part of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// A number; 0 lets the kernel choose one.
    Number(u16),
    /// A name, looked up in `/etc/services` when the socket is bound.
    Service(String),
}

/// Which versions of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// `IPv*`: both, through one socket where the host is `*`.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Family {
    /// Reads `4`, `v6`, `4 6`, `v4v6`, `*`: what must contain a 4, a 6 or a `*`. Where it contains both
    /// numbers the answer has both, IPv6 first; a `*` overrules them.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let known = [('*', Self::Any), ('6', Self::V6), ('4', Self::V4)];
        let foreign = text.chars().any(|c| c.is_ascii_digit() && c != '4' && c != '6');
        let found: Vec<Self> = known
            .into_iter()
            .filter(|(mark, _)| text.contains(*mark))
            .map(|(_, family)| family)
            .collect();
        match found.as_slice() {
            [Self::Any, ..] => Ok(vec![Self::Any]),
            [_, ..] if !foreign => Ok(found),
            _ => Err(Error::config(format!(
                "\"{text}\" names no version of IP: it must contain 4, 6 or * (both through one socket)"
            ))),
        }
    }
}

impl Endpoint {
    /// Reads an address that may stand for several, as `80/IPv4/IPv6` does.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        Self::parse_all_as(text, &[Family::Any])
    }

    /// The same, with the versions of IP that hold where neither the text nor an address in it says one.
    pub fn parse_all_as(text: &str, families: &[Family]) -> Result<Vec<Self>> {
        parse::parse(text.trim(), families)
            .map_err(|reason| Error::config(format!("cannot listen on \"{text}\": {reason}")))
    }

    /// Whether connections are to be encrypted.
    #[must_use]
    pub fn tls(&self) -> bool {
        matches!(self, Self::Tcp(Inet { tls: true, .. }) | Self::Unix { tls: true, .. })
    }
}

/// Reads an address that stands for exactly one endpoint.
impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut all = Self::parse_all(text)?;
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::config(format!(
                "\"{text}\" stands for several listeners where one is wanted"
            ))),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    /// TCP on this address.
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.into())
    }
}

impl From<SocketAddr> for Inet {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: match address {
                SocketAddr::V6(six) if six.scope_id() != 0 => {
                    Host::Link { ip: *six.ip(), zone: six.scope_id().to_string() }
                }
                _ => Host::Ip(address.ip()),
            },
            port: Port::Number(address.port()),
            family: Family::Any,
            tls: false,
        }
    }
}

/// Writes it so that it is read back as the same address, or the same file (a path `@x` is written `./@x`). Two sorts of names, which others may have given to sockets that are
/// passed in, are only shown: those that are not UTF-8, and those that end in a blank.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A host that is called like a protocol would be read as one.
            Self::Tcp(inet) if inet.host.is_called_like_a_protocol() => {
                write!(f, "tcp:{inet}{}", if inet.tls { "/ssl" } else { "" })
            }
            Self::Tcp(inet) => write!(f, "{inet}{}", if inet.tls { "/ssl" } else { "" }),
            Self::Udp(inet) => write!(f, "udp:{inet}"),
            Self::Unix { name, tls } => {
                write!(f, "{}unix:{}", if *tls { "tls:" } else { "" }, Unix(name))
            }
            Self::UnixDatagram(name) => write!(f, "unixdgram:{}", Unix(name)),
        }
    }
}

impl fmt::Display for Inet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Host::Ip(ip) => write!(f, "{ip}")?,
            Host::Link { ip, zone } => write!(f, "[{ip}%{zone}]")?,
            Host::Name(name) => f.write_str(name)?,
        }
        match &self.port {
            Port::Number(number) => write!(f, ":{number}")?,
            Port::Service(name) => write!(f, ":{name}")?,
        }
        match (&self.host, self.family) {
            (Host::Ip(_) | Host::Link { .. }, _) | (_, Family::Any) => Ok(()),
            (_, Family::V4) => f.write_str("/IPv4"),
            (_, Family::V6) => f.write_str("/IPv6"),
        }
    }
}

/// A Unix name as it is written after `unix:`: a path, or an `@` before an abstract name. Two slashes there are taken for
/// those of a URL, and an `@` for the mark, so a path that begins with them gets more in front.
pub(crate) struct Unix<'a>(pub(crate) &'a UnixName);

impl fmt::Display for Unix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UnixName::Path(path) => {
                let shown = path.display().to_string();
                let before = match shown.as_bytes() {
                    [b'/', b'/', ..] => "//",
                    [b'@', ..] => "./",
                    _ => "",
                };
                write!(f, "{before}{shown}")
            }
            UnixName::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}
