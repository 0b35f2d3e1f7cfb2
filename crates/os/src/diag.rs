//! What the kernel knows about a socket: how many connections wait in a listening one's queue to be accepted; how long
//! a round trip to a connection's peer takes; whether a connection was accepted.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// A listening TCP socket in `tcpi_state` (the kernel's TCP_LISTEN, tcp_states.h).
const TCP_LISTEN: u8 = 10;

/// The connections waiting on a listening TCP socket now, and its backlog: `(now, limit)`.
///
/// From `TCP_INFO` (tcp(7)): on a listening socket the kernel reports the accept queue's length in
/// `tcpi_unacked` and its limit in `tcpi_sacked`. The queue takes one connection more than the
/// limit says.
///
/// # Errors
/// `InvalidInput` for a socket that does not listen, `EOPNOTSUPP` or `ENOPROTOOPT` for one that is
/// not TCP.
pub fn tcp_queue(fd: impl AsFd) -> io::Result<(u32, u32)> {
    let info = tcp_info(fd)?;
    if info.tcpi_state != TCP_LISTEN {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    Ok((info.tcpi_unacked, info.tcpi_sacked))
}

/// How long a round trip to the peer of a TCP connection takes, as the kernel has measured it: smoothed, in
/// microseconds. Zero before the first measurement.
///
/// From `TCP_INFO` (tcp(7)), `tcpi_rtt`.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOPROTOOPT` for a socket that is not TCP.
pub fn round_trip(fd: impl AsFd) -> io::Result<Duration> {
    Ok(Duration::from_micros(tcp_info(fd)?.tcpi_rtt.into()))
}

fn tcp_info(fd: impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY: integers only, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes of an integers-only structure at the
    // pointer.
    let status = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if status == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

/// The connections waiting on a listening Unix socket now, and its backlog: `(now, limit)`.
///
/// From sock_diag(7), which opens a netlink socket for the question: fine once a second, not once a
/// request. The socket has to be in this process's network namespace.
///
/// # Errors
/// `InvalidInput` for what is no listening Unix socket; `ENOENT` if the kernel does not find it, or
/// was built without `CONFIG_UNIX_DIAG`; `InvalidData` for an answer that makes no sense.
pub fn unix_queue(fd: impl AsFd) -> io::Result<(u32, u32)> {
    let stat = rustix::fs::fstat(&fd)?;
    let is_unix = rustix::net::sockopt::socket_domain(&fd)? == AddressFamily::UNIX;
    if !is_unix || !rustix::net::sockopt::socket_acceptconn(&fd)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening Unix socket"));
    }
    // Socket inode numbers are 32 bits wide in this protocol.
    let inode = u32::try_from(stat.st_ino).map_err(io::Error::other)?;
    let answer = ask_unix_diag(&question(inode, UDIAG_SHOW_RQLEN))?;
    let lengths = attribute(&answer, UNIX_DIAG_RQLEN)?;
    u32_at(lengths, 0).zip(u32_at(lengths, 4)).ok_or_else(nonsense)
}

/// The inode of the socket at the other end of a connected Unix socket; 0 while no process has accepted it.
///
/// # Errors
/// As [`unix_queue`]; `InvalidData` if there is no other end any more.
pub fn unix_peer(fd: impl AsFd) -> io::Result<u32> {
    let stat = rustix::fs::fstat(&fd)?;
    let inode = u32::try_from(stat.st_ino).map_err(io::Error::other)?;
    let answer = ask_unix_diag(&question(inode, UDIAG_SHOW_PEER))?;
    u32_at(attribute(&answer, UNIX_DIAG_PEER)?, 0).ok_or_else(nonsense)
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr`, in bytes (netlink(7)).
const HEADER: usize = 16;
/// `struct unix_diag_req`, in bytes (sock_diag(7)).
const REQUEST: usize = 24;
/// `struct unix_diag_msg`, in bytes (sock_diag(7)); attributes follow it.
const MESSAGE: usize = 16;
/// Ask for the queue's lengths, for the other end: bit and attribute have different numbers.
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_PEER: u32 = 0x04;
const UNIX_DIAG_PEER: u16 = 2;

/// One netlink message: show this of the Unix socket with this inode.
fn question(inode: u32, show: u32) -> Vec<u8> {
    let mut question = Vec::with_capacity(HEADER + REQUEST);
    let length = (HEADER + REQUEST) as u32;
    question.extend(length.to_ne_bytes());
    question.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    question.extend([0; 8]); // sequence number and port: one question, one answer
    question.extend([libc::AF_UNIX as u8, 0, 0, 0]); // family, protocol, padding
    question.extend(u32::MAX.to_ne_bytes()); // in whatever state
    question.extend(inode.to_ne_bytes());
    question.extend(show.to_ne_bytes());
    question.extend([0xff; 8]); // the cookie: none
    question
}

fn ask_unix_diag(question: &[u8]) -> io::Result<Vec<u8>> {
    let kernel = SocketAddrNetlink::new(0, 0);
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::sendto(&socket, question, SendFlags::empty(), &kernel)?;
    // The kernel has answered by the time it has taken the question, so there is nothing to wait
    // for.
    let mut answer = vec![0; 1024];
    let (length, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::DONTWAIT)?;
    answer.truncate(length);
    Ok(answer)
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer without what was asked for")
}

/// Finds an attribute in the answer. It comes from the kernel, and is read as if it came from anywhere.
fn attribute(answer: &[u8], wanted: u16) -> io::Result<&[u8]> {
    let length = u32_at(answer, 0).ok_or_else(nonsense)? as usize;
    let answer = answer.get(..length).ok_or_else(nonsense)?;
    match u16_at(answer, 4) {
        Some(NLMSG_ERROR) => {
            let code = u32_at(answer, HEADER).ok_or_else(nonsense)?;
            return Err(io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()));
        }
        Some(SOCK_DIAG_BY_FAMILY) => {}
        _ => return Err(nonsense()),
    }
    let mut rest = answer.get(HEADER + MESSAGE..).ok_or_else(nonsense)?;
    // Each attribute: length with this head (u16), kind (u16), value, padding to 4 bytes
    // (rtnetlink(7)).
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if kind == wanted {
            return rest.get(4..usize::from(length)).ok_or_else(nonsense);
        }
        let next = usize::from(length.max(4)).next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    Err(nonsense())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_error_is_passed_on_and_nonsense_is_refused() {
        let mut answer = vec![0; HEADER + 20];
        let length = answer.len() as u32;
        answer[..4].copy_from_slice(&length.to_ne_bytes());
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[HEADER..HEADER + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        let error = attribute(&answer, UNIX_DIAG_RQLEN).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));

        for length in 0..answer.len() {
            let error = attribute(&answer[..length], UNIX_DIAG_RQLEN).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
