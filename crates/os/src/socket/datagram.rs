//! Single messages: received with their sender, answered to it.

use super::{SocketAddrAny, SocketAddrUnix, UnixName};
use rustix::net::{self, RecvFlags, SendFlags};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// The other end of a datagram: an address to answer to, kept as the kernel gave it, without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correspondent(Option<SocketAddrAny>);

impl Correspondent {
    /// Its IP address and port; `None` for a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        self.0.clone().and_then(|address| SocketAddr::try_from(address).ok())
    }

    /// Its Unix name; `None` for IP, and for a Unix socket that was never bound and so cannot be answered.
    #[must_use]
    pub fn unix(&self) -> Option<UnixName> {
        UnixName::of(&SocketAddrUnix::try_from(self.0.clone()?).ok()?)
    }

    /// True if [`send_to`] has somewhere to send to.
    #[must_use]
    pub fn can_be_answered(&self) -> bool {
        // An unnamed Unix socket's address is a family and nothing else.
        self.0
            .as_ref()
            .is_some_and(|address| address.addr_len() as usize > size_of::<libc::sa_family_t>())
    }
}

impl From<SocketAddr> for Correspondent {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address.into()))
    }
}

/// One message as received.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// How much of the buffer it filled.
    pub bytes: usize,
    /// True if it was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// Who sent it.
    pub sender: Correspondent,
}

/// Receives one message into `buffer`.
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    let room = buffer.len();
    // With MSG_TRUNC the kernel returns the length the message had, not what fitted.
    let (_, length, sender) = net::recvfrom(socket, buffer, RecvFlags::TRUNC)?;
    Ok(Datagram {
        bytes: length.min(room),
        truncated: length > room,
        sender: Correspondent(sender),
    })
}

/// Whether a message waits to be received; takes none. Unlike poll(2), which says yes of a socket that was shut down.
///
/// # Errors
/// The socket's, but for the one that says that it has nothing.
pub fn has_message(socket: impl AsFd) -> io::Result<bool> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match net::recv(socket, &mut [0; 1][..], flags) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends one message. `EDESTADDRREQ` if the receiver has no name.
pub fn send_to(socket: impl AsFd, bytes: &[u8], receiver: &Correspondent) -> io::Result<usize> {
    match &receiver.0 {
        Some(address) if receiver.can_be_answered() => {
            Ok(net::sendto(socket, bytes, SendFlags::NOSIGNAL, address)?)
        }
        _ => Err(io::Error::from_raw_os_error(libc::EDESTADDRREQ)),
    }
}
