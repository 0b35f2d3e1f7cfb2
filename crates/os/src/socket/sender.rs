//! Messages together with who sent them, as the kernel says: `SCM_CREDENTIALS` (unix(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use super::Credentials;
use crate::process::Pid;

/// Has the kernel say with every message to this Unix socket who has sent it.
///
/// # Errors
/// None is to be expected of a Unix socket (unix(7), `SO_PASSCRED`).
pub fn ask_for_senders(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(socket, true)?)
}

/// A control message begins with its length, its level and its type (cmsg(3)).
const HEADER: usize = mem::size_of::<libc::cmsghdr>();
const LEVEL: usize = mem::offset_of!(libc::cmsghdr, cmsg_level);
const TYPE: usize = mem::offset_of!(libc::cmsghdr, cmsg_type);
/// Then come pid, uid and gid.
const ROOM: usize = HEADER + mem::size_of::<libc::ucred>().next_multiple_of(8);

/// Room for the one control message that is asked for, which the kernel writes first, and for no other.
#[repr(C, align(8))]
struct Control([u8; ROOM]);

/// Receives one message, without waiting: how many bytes of `buffer` it filled, and who sent it. `None` if there is
/// none. What does not fit is lost, and so are descriptors that came with it.
///
/// # Errors
/// What recvmsg(2) says.
pub fn receive_with_sender(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, Credentials)>> {
    let mut control = Control([0; ROOM]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a `msghdr` of zeros is a valid one: no name, no parts, no control.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // Descriptors that somebody sends along find no room: the kernel drops them.
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the descriptor is open for the duration of the borrow; the header points to memory that lives longer
    // than the call, with its true lengths.
    let taken = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    let Ok(taken) = usize::try_from(taken) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        };
    };
    Ok(Some((taken, sender(&control.0))))
}

fn sender(control: &[u8; ROOM]) -> Credentials {
    let word = |at: usize| {
        let bytes = control.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        i32::from_ne_bytes(bytes.unwrap_or_default())
    };
    // Of zeros, as they were before, it is none.
    if (word(LEVEL), word(TYPE)) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return Credentials { pid: None, uid: u32::MAX };
    }
    let pid = u32::try_from(word(HEADER)).ok().and_then(Pid::from_raw);
    Credentials { pid, uid: word(HEADER + 4).cast_unsigned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_message_says_who_sent_it() {
        let (here, there) = UnixDatagram::pair().unwrap();
        ask_for_senders(&here).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive_with_sender(&here, &mut buffer).unwrap(), None);
        there.send(b"READY=1 and more").unwrap();
        let (taken, sender) = receive_with_sender(&here, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..taken], b"READY=1 ");
        assert_eq!(sender.pid, Some(crate::process::pid()));
        assert_eq!(sender.uid, crate::privilege::effective_uid());
    }
}
