//! One accepted connection, or one datagram, as a handler gets it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use tine_os::socket::{Correspondent, Peer, send_to};

use crate::access::Name;
use crate::listen::{Kind, Listener};
use crate::scoreboard::Record;
use crate::seat::Busy;

/// The client's socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix, stream.
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// An accepted connection. Reads and writes block, unless the worker is asynchronous.
///
/// While it lives the worker counts as serving it; dropping it closes it.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    peer: Option<SocketAddr>,
    pub(crate) name: Option<Name>,
    listener: Rc<Listener>,
    busy: Busy,
}

impl Conn {
    pub(crate) fn new(socket: OwnedFd, peer: &Peer, listener: Rc<Listener>, busy: Busy) -> Self {
        let stream = match listener.kind() {
            Kind::Unix | Kind::UnixDatagram => Stream::Unix(socket.into()),
            Kind::Tcp | Kind::Udp => Stream::Tcp(socket.into()),
        };
        let peer = match peer {
            Peer::Ip(address) => Some(*address),
            Peer::Unix => None,
        };
        Self { stream, peer, name: None, listener, busy }
    }

    /// The client's address; `None` over Unix sockets. An IPv4 client of a dual-stack listener shows as
    /// the IPv4 address it is (row N8).
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// The client's name, where one was looked up: for an access rule, or because
    /// [`crate::Prefork::reverse_lookups`] asks for it. What the lookup found out stands in it, a failure
    /// too; [`Name::as_str`] is the name itself.
    #[must_use]
    pub fn peer_name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The listener it came in by.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// A second handle to the same socket.
    ///
    /// # Errors
    /// What `fcntl(2)` says, `EMFILE` above all.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    /// How long a read and a write may wait for the client, in a handler that blocks; after that they fail
    /// with `WouldBlock`. `None`: for ever, the default.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all; else what `setsockopt(2)` says.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
        }
    }

    /// The record of the worker that serves it.
    pub(crate) fn record(&self) -> &Record {
        self.busy.record()
    }

    /// The request that is answered next, or was last, has failed by the server's fault: counted, and what a rollout goes
    /// by ([`crate::control::Canary`]).
    pub fn failed(&self) {
        self.busy.failed();
    }

    /// A request of this connection is answered: counts towards [`crate::Prefork::max_requests`].
    pub fn answered(&self) {
        self.busy.answered();
    }

    /// Whether somebody waits at its listener while no worker of the pool is idle: then a connection
    /// that is kept for what may come keeps an isolated worker from others.
    ///
    /// Reads the scoreboard, and asks the kernel (`poll(2)`) only when nobody is idle: too much for
    /// every request, and little ten times a second. The next client often comes while a worker still
    /// closes the connection before: so believe it when it is said several times in a row.
    #[must_use]
    pub fn is_wanted_elsewhere(&self) -> bool {
        self.busy.is_wanted_elsewhere(std::slice::from_ref(&self.listener))
    }

    /// The socket, and the guard to hold as long as it is served.
    #[must_use]
    pub fn into_parts(self) -> (Stream, Busy) {
        (self.stream, self.busy)
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One datagram, and the way back to whoever sent it (row N13).
pub struct Packet<'a> {
    bytes: &'a [u8],
    truncated: bool,
    sender: Correspondent,
    pub(crate) name: Option<Name>,
    listener: Rc<Listener>,
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<'a> Packet<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        truncated: bool,
        sender: Correspondent,
        listener: Rc<Listener>,
    ) -> Self {
        Self { bytes, truncated, sender, name: None, listener }
    }

    /// What was sent, up to the listener's `datagram_bytes`.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it was longer than that.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The sender's address; `None` over Unix sockets.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.sender.ip()
    }

    /// The sender's name, where one was looked up; see [`Conn::peer_name`].
    #[must_use]
    pub fn peer_name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The listener it came in by.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Sends a datagram back.
    ///
    /// # Errors
    /// What `sendto(2)` says; `ENOTCONN` for a Unix sender without a name, who cannot be answered.
    pub fn reply(&self, bytes: &[u8]) -> io::Result<()> {
        send_to(&*self.listener, bytes, &self.sender).map(drop)
    }
}
