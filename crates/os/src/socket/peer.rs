//! The other end of a Unix socket: reached without waiting, and known by what the kernel says of it.
#![allow(unsafe_code)]

use super::{AsFd, AsRawFd, OwnedFd, new};
use crate::process::Pid;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect};
use std::path::Path;
use std::{io, mem};

/// Connects a stream socket to the socket file `path`, without waiting.
///
/// # Errors
/// `WouldBlock` if the listener's queue is full: try again later; `ConnectionRefused` for a file that nobody
/// listens at, `NotFound` for none (unix(7)).
pub fn unix_connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = new(AddressFamily::UNIX, SocketType::STREAM)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process that connected or, seen from a client, that called `listen`. `None` if it is outside this
    /// pid namespace. It may have ended since.
    pub pid: Option<Pid>,
    /// The effective user it had then; 4294967295, which is no user, for a socket without a peer.
    pub uid: u32,
}

/// Asks who is at the other end of a connected Unix stream socket (`SO_PEERCRED`, unix(7)).
///
/// # Errors
/// `ENOTSOCK`, `ENOPROTOOPT` for what is no such socket.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<Credentials> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of_val(&found) as libc::socklen_t;
    // By hand, for rustix holds a pid in a type that has no zero, and zero is what the kernel says of a
    // process in another namespace.
    // SAFETY: the descriptor is open for the duration of the borrow; the pointers are to a `ucred`, of which
    // every bit pattern is valid, and to its length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = u32::try_from(found.pid).ok().and_then(Pid::from_raw);
    Ok(Credentials { pid, uid: found.uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer_credentials(&one).unwrap();
        assert_eq!(peer.pid, Some(crate::process::pid()));
        assert_eq!(peer.uid, crate::privilege::effective_uid());
    }

    #[test]
    fn nobody_is_at_the_other_end_of_a_socket_without_one() {
        let alone = UnixDatagram::unbound().unwrap();
        assert_eq!(peer_credentials(&alone).unwrap(), Credentials { pid: None, uid: u32::MAX });
    }
}
