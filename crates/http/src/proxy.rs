//! The PROXY protocol, versions 1 and 2: what a proxy in front says of a connection before its first byte
//! (HAProxy's `proxy-protocol.txt`).
//!
//! A receiver must not guess whether there is a header. So a trusted peer has to send one, and of nobody
//! else is one taken.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long a header may take. The protocol's authors ask for 3 s at least, for a segment that is sent
/// again.
const DEADLINE: Duration = Duration::from_secs(5);
/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, its end included.
const LINE_BYTES: usize = 107;

/// Where a connection comes from and goes to, as a proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxied {
    /// The connection is the proxy's own, or of a kind it has no addresses for: a health check, say.
    Own,
    /// From, to.
    For(SocketAddr, SocketAddr),
}

/// Why a header was not understood.
#[derive(Debug)]
pub(crate) enum Malformed {
    Wrong(&'static str),
    Io(io::Error),
    Late,
    /// It is not complete, and others wait for the worker.
    Displaced,
    /// The connection ended before its first byte, by a reset perhaps.
    Nothing,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(what) => f.write_str(what),
            Self::Io(error) => error.fmt(f),
            Self::Nothing => f.write_str("the connection ended without a byte"),
            Self::Displaced => f.write_str("it is not complete, while other clients wait"),
            Self::Late => write!(f, "it was not there within {} s", DEADLINE.as_secs()),
        }
    }
}

/// Reads a connection's header, and not a byte beyond it.
///
/// # Errors
/// The connection is of no use then: nobody knows whose it is.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Proxied, Malformed> {
    match timeout(DEADLINE, header(stream)).await {
        Ok(header) => header,
        Err(_) => Err(Malformed::Late),
    }
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Proxied, Malformed> {
    let mut line = [0; LINE_BYTES];
    let mut length = SIGNATURE.len();
    if matches!(stream.read(&mut line[..1]).await, Ok(0) | Err(_)) {
        return Err(Malformed::Nothing);
    }
    stream.read_exact(&mut line[1..length]).await.map_err(Malformed::Io)?;
    if line[..length] == *SIGNATURE {
        return binary(stream).await;
    }
    if !line.starts_with(b"PROXY ") {
        return Err(Malformed::Wrong("there is none"));
    }
    while !line[..length].contains(&b'\n') {
        let more = least(&line[..length]);
        let Some(room) = line.get_mut(length..length + more) else {
            return Err(Malformed::Wrong("it is longer than 107 bytes"));
        };
        stream.read_exact(room).await.map_err(Malformed::Io)?;
        length += more;
    }
    match line[..length].strip_suffix(b"\r\n") {
        Some(line) => text(line).map_err(Malformed::Wrong),
        None => Err(Malformed::Wrong("it ends too early")),
    }
}

/// How many bytes there are still to come of a line at least: so none of what follows is read. The fields
/// are `PROXY TCP4 from to port port`; the shortest address is `::`.
fn least(line: &[u8]) -> usize {
    if line.ends_with(b"\r") {
        return 1;
    }
    let fields = line.iter().filter(|&&byte| byte == b' ').count();
    match fields {
        _ if line.starts_with(b"PROXY U") || fields < 2 => 2,
        2 => 9,
        3 => 6,
        4 => 4,
        _ => 2,
    }
}

/// Version 1, without its end.
fn text(line: &[u8]) -> Result<Proxied, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not ASCII")?;
    let mut fields = line.split(' ').skip(1);
    let mut next = || fields.next().ok_or("a field is missing");
    let is_six = match next()? {
        "TCP4" => false,
        "TCP6" => true,
        // Whatever follows has no meaning.
        "UNKNOWN" => return Ok(Proxied::Own),
        _ => return Err("its protocol is none of TCP4, TCP6, UNKNOWN"),
    };
    let address = |text: &str| -> Result<IpAddr, &'static str> {
        let address = match is_six {
            false => text.parse::<Ipv4Addr>().map(IpAddr::from).ok(),
            true => text.parse::<Ipv6Addr>().map(IpAddr::from).ok(),
        };
        address.map(|address| address.to_canonical()).ok_or("an address is none")
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if text == "0" || !text.starts_with(['0', '+']) => Ok(port),
        _ => Err("a port is none"),
    };
    let (from, to) = (address(next()?)?, address(next()?)?);
    let (from_port, to_port) = (port(next()?)?, port(next()?)?);
    match fields.next() {
        None => Ok(Proxied::For((from, from_port).into(), (to, to_port).into())),
        Some(_) => Err("there is a field too many"),
    }
}

/// Version 2, behind its signature.
async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Proxied, Malformed> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(Malformed::Io)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let mut addresses = [0; 36];
    let known = length.min(addresses.len());
    stream.read_exact(&mut addresses[..known]).await.map_err(Malformed::Io)?;
    // Paths of Unix sockets, and what else a proxy wants to tell (TLVs): nobody here asks.
    let mut rest = length - known;
    let mut unread = [0; 256];
    while rest > 0 {
        let piece = rest.min(unread.len());
        stream.read_exact(&mut unread[..piece]).await.map_err(Malformed::Io)?;
        rest -= piece;
    }
    meaning(head[0], head[1], &addresses[..known]).map_err(Malformed::Wrong)
}

fn meaning(command: u8, family: u8, addresses: &[u8]) -> Result<Proxied, &'static str> {
    let proxied = match command {
        0x20 => false,
        0x21 => true,
        0x22..=0x2f => return Err("its command is neither LOCAL nor PROXY"),
        _ => return Err("its version is not 2"),
    };
    let short = "it is too short for its addresses";
    match family {
        _ if !proxied => Ok(Proxied::Own),
        0x11 => {
            let bytes: &[u8; 12] = addresses.first_chunk().ok_or(short)?;
            let address = |at: usize| IpAddr::from([0, 1, 2, 3].map(|n| bytes[at + n]));
            Ok(both(address(0), address(4), &bytes[8..]))
        }
        0x21 => {
            let bytes: &[u8; 36] = addresses.first_chunk().ok_or(short)?;
            let address = |at: usize| {
                let octets: [u8; 16] = std::array::from_fn(|n| bytes[at + n]);
                IpAddr::from(octets).to_canonical()
            };
            Ok(both(address(0), address(16), &bytes[32..]))
        }
        // Unspecified, and a Unix socket of the proxy's machine.
        0x00 | 0x31 => Ok(Proxied::Own),
        _ => Err("it does not speak of a stream"),
    }
}

fn both(from: IpAddr, to: IpAddr, ports: &[u8]) -> Proxied {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Proxied::For((from, port(0)).into(), (to, port(2)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header from bytes; also what is left of them.
    fn read_from(bytes: &[u8]) -> (Result<Proxied, String>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut stream = bytes;
        let result = runtime.block_on(read(&mut stream)).map_err(|error| error.to_string());
        (result, stream.to_vec())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    fn between(from: &str, to: &str) -> Proxied {
        Proxied::For(from.parse().unwrap(), to.parse().unwrap())
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[test]
    fn a_header_is_understood_and_nothing_behind_it_is_read() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 80];
        let mut six = [0; 36];
        (six[0], six[1], six[15]) = (0x20, 0x01, 1);
        (six[16], six[17], six[31], six[33], six[35]) = (0x20, 0x01, 2, 7, 80);
        let mapped = "PROXY TCP6 ::ffff:192.0.2.1 ::1 12345 80\r\n";
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        let tlvs = [&four[..], &[0x20; 40_000]].concat();
        for (header, meaning) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 12345 80\r\n".to_vec(),
                between("192.0.2.1:12345", "192.0.2.2:80"),
            ),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 0\r\n".to_vec(), between("1.1.1.1:1", "2.2.2.2:0")),
            (b"PROXY TCP6 :: ::1 1 2\r\n".to_vec(), between("[::]:1", "[::1]:2")),
            (mapped.into(), between("192.0.2.1:12345", "[::1]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Own),
            (longest.into(), Proxied::Own),
            (v2(0x21, 0x11, &four), between("192.0.2.1:12345", "192.0.2.2:80")),
            (v2(0x21, 0x11, &tlvs), between("192.0.2.1:12345", "192.0.2.2:80")),
            (v2(0x21, 0x21, &six), between("[2001::1]:7", "[2001::2]:80")),
            (v2(0x21, 0x31, &[b'/'; 216]), Proxied::Own),
            (v2(0x21, 0x00, &[]), Proxied::Own),
            (v2(0x20, 0x00, &[0; 5]), Proxied::Own),
        ] {
            let (read, left) = read_from(&[&header, REQUEST].concat());
            assert_eq!(read.as_ref(), Ok(&meaning), "{}", header.escape_ascii());
            assert_eq!(left, REQUEST, "{}", header.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_reason() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
        for (header, reason) in [
            (REQUEST.to_vec(), "there is none"),
            (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "there is none"),
            (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "none of TCP4"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n\r\nGET /".to_vec(), "too early"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".to_vec(), "eof"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nGET".to_vec(), "too early"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n".to_vec(), "too many"),
            (b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "address is none"),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n----------".to_vec(), "address is none"),
            (b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "address is none"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n".to_vec(), "port is none"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n".to_vec(), "port is none"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n".to_vec(), "port is none"),
            (b"PROXY TCP4 1.1.1.\xff 2.2.2.2 1 2\r\n".to_vec(), "not ASCII"),
            (too_long.into(), "longer than 107"),
            (v2(0x11, 0x11, &[0; 12]), "version"),
            (v2(0x22, 0x11, &[0; 12]), "command"),
            (v2(0x21, 0x12, &[0; 12]), "stream"),
            (v2(0x21, 0x11, &[0; 11]), "too short"),
            (v2(0x21, 0x21, &[0; 35]), "too short"),
            (b"PROXY TCP4 1.1.1.1".to_vec(), "eof"),
            (v2(0x21, 0x11, &[0; 12])[..20].to_vec(), "eof"),
        ] {
            let (read, _) = read_from(&header);
            let error = read.expect_err(reason);
            assert!(error.contains(reason), "{}: {error}", header.escape_ascii());
        }
    }

    #[test]
    fn a_line_has_all_its_fields_and_no_more() {
        assert_eq!(text(b"PROXY TCP4 1.1.1.1 2.2.2.2 1"), Err("a field is missing"));
        assert_eq!(text(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3"), Err("there is a field too many"));
    }

    #[test]
    fn a_header_that_does_not_come_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (_proxy, mut stream) = tokio::io::duplex(64);
        let error = runtime.block_on(read(&mut stream)).unwrap_err();
        assert_eq!(error.to_string(), "it was not there within 5 s");
    }
}
