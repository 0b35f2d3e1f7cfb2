//! Addresses as the tests write them, and sockets that never block.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Where to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Target {
    /// From `127.0.0.1:80`, `[::1]:80`, `localhost:80`, `unix:/path` or `unix:@abstract`.
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
                None => SocketAddrUnix::new(path)?,
            };
            return Ok(Self::Unix(address));
        }
        let mut addresses = text.to_socket_addrs()?;
        addresses.next().map(Self::Tcp).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The value of a `Host` field that names it.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// A socket that connects: ready to write once it has, or with an error to fetch.
    /// `Err(EAGAIN)`: the Unix socket's queue is full (connect(2)), and nothing will tell when it
    /// no longer is.
    pub(crate) fn connect(&self) -> Result<OwnedFd, Errno> {
        let family = match self {
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Self::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let connected = match self {
            Self::Tcp(address) => {
                // Small pieces leave as they are sent: tests send requests in pieces.
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                rustix::net::connect(&socket, address)
            }
            Self::Unix(address) => rustix::net::connect(&socket, address),
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }
}

/// How the connecting of `socket` ended.
pub(crate) fn connected(socket: &OwnedFd) -> Result<(), Errno> {
    rustix::net::sockopt::socket_error(socket)?
}

/// Reads what is there to the end of `buffer`; how much, 0 at the end of the stream.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    const CHUNK: usize = 64 * 1024;
    buffer.reserve(CHUNK);
    loop {
        match rustix::net::recv(socket, rustix::buffer::spare_capacity(buffer), RecvFlags::empty())
        {
            Ok((_, count)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes what fits; how much.
pub(crate) fn transmit(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Whether nothing has come on `socket`: no byte, no end, no error.
pub(crate) fn is_quiet(socket: &OwnedFd) -> bool {
    let mut byte = [0u8; 1];
    matches!(rustix::net::recv(socket, &mut byte[..], RecvFlags::PEEK), Err(Errno::AGAIN))
}
