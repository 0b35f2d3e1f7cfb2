//! Messages that carry a descriptor to another process: `SCM_RIGHTS` (unix(7)).
//!
//! What arrives is the same open file under a number of the receiver's own: the way to give a process that
//! may not, or can no longer, open a file by its name.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sends one message with one descriptor, whole or not at all, without waiting and without `SIGPIPE`; over
/// a [`crate::fd::message_pair`]. The sender keeps its own descriptor.
///
/// A receiver that uses [`crate::fd::receive_message`] gets the message, and the kernel drops the
/// descriptor.
///
/// # Errors
/// As [`crate::fd::send_message`]; `ETOOMANYREFS` if too many are on their way already.
pub fn send_message_with_fd(fd: impl AsFd, message: &[u8], passed: impl AsFd) -> io::Result<()> {
    send_message_with_fds(fd, message, &[passed.as_fd()])
}

/// The most descriptors of one message: the kernel's own bound (`SCM_MAX_FD`, unix(7)).
pub const MOST: usize = 253;

/// The same with several descriptors, at most [`MOST`].
///
/// # Errors
/// As [`send_message_with_fd`]; `InvalidInput` for more descriptors.
pub fn send_message_with_fds(
    fd: impl AsFd,
    message: &[u8],
    passed: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if message.is_empty() {
        return refused("an empty message");
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !passed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(passed)) {
        return refused("more descriptors than fit into one message");
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(fd, &[IoSlice::new(message)], &mut control, flags)?;
    Ok(())
}

/// A message, and the descriptor that came with it.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its bytes; empty if the peer is gone.
    pub bytes: &'a [u8],
    /// Close-on-exec. `None` also if one was sent and this process has no number left for it.
    pub fd: Option<OwnedFd>,
}

/// Receives one message into `buf`, without waiting: `None` if there is none. Of several descriptors the
/// first is kept, and the others are closed: a sender cannot fill the receiver's table.
///
/// # Errors
/// `InvalidData` if the message did not fit; it is lost then, with its descriptor.
pub fn receive_message_with_fd(fd: impl AsFd, buf: &mut [u8]) -> io::Result<Option<Message<'_>>> {
    receive(fd, buf, RecvFlags::empty())
}

/// The same, and the message stays where it is: whoever looks gets a descriptor of his own, however many
/// look. (Linux has chosen so; see `unix_peek_fds` in `net/unix/af_unix.c`.)
///
/// # Errors
/// `InvalidData` if the message does not fit.
pub fn peek_message_with_fd(fd: impl AsFd, buf: &mut [u8]) -> io::Result<Option<Message<'_>>> {
    receive(fd, buf, RecvFlags::PEEK)
}

/// How the next message begins, without its descriptor; it stays where it is. `None` if there is none, an
/// empty slice if the peer is gone.
///
/// # Errors
/// None is to be expected (recv(2)).
pub fn peek_message(fd: impl AsFd, buf: &mut [u8]) -> io::Result<Option<&[u8]>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    match rustix::net::recv(fd, &mut *buf, flags) {
        Ok((taken, _)) => Ok(Some(&buf[..taken])),
        Err(Errno::CONNRESET) => Ok(Some(&[])),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn receive(fd: impl AsFd, buf: &mut [u8], how: RecvFlags) -> io::Result<Option<Message<'_>>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let (found, mut fds) = match receive_into(fd, buf, how, &mut space)? {
        Some(found) => found,
        None => return Ok(None),
    };
    // The kernel rounds the room up; what is not kept is closed here.
    fds.truncate(1);
    Ok(Some(Message { bytes: found, fd: fds.pop() }))
}

/// Receives one message into `buf`, without waiting, and every descriptor that came with it, close-on-exec:
/// `None` if there is none, no bytes if the peer is gone.
///
/// # Errors
/// As [`receive_message_with_fd`].
pub fn receive_message_with_fds(
    fd: impl AsFd,
    buf: &mut [u8],
) -> io::Result<Option<(&[u8], Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    receive_into(fd, buf, RecvFlags::empty(), &mut space)
}

fn receive_into<'a>(
    fd: impl AsFd,
    buf: &'a mut [u8],
    how: RecvFlags,
    space: &mut [MaybeUninit<u8>],
) -> io::Result<Option<(&'a [u8], Vec<OwnedFd>)>> {
    let mut control = RecvAncillaryBuffer::new(space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | how;
    let room = buf.len();
    let received = match recvmsg(fd, &mut [IoSliceMut::new(buf)], &mut control, flags) {
        Ok(received) => received,
        // The peer left without reading everything.
        Err(Errno::CONNRESET) => return Ok(Some((&[], Vec::new()))),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        let text = format!("a message in a buffer of {room} bytes, which is too small");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some((&buf[..received.bytes], fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventFd;
    use crate::fd::{message_pair, receive_message, send_message};

    #[test]
    fn a_descriptor_arrives_with_its_message_and_is_the_same_file() {
        let (here, there) = message_pair().unwrap();
        let event = EventFd::new().unwrap();
        send_message_with_fd(&here, b"O", &event).unwrap();
        send_message(&here, b"G").unwrap();
        let mut buf = [0; 8];
        let message = receive_message_with_fd(&there, &mut buf).unwrap().unwrap();
        assert_eq!(message.bytes, b"O");
        let passed = message.fd.unwrap();
        let flags = rustix::io::fcntl_getfd(&passed).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        event.signal();
        assert!(crate::poll::readable(&passed, Some(std::time::Duration::ZERO)).unwrap());
        let message = receive_message_with_fd(&there, &mut buf).unwrap().unwrap();
        assert_eq!(message.bytes, b"G");
        assert!(message.fd.is_none(), "a message needs none");
        assert!(receive_message_with_fd(&there, &mut buf).unwrap().is_none(), "nothing waits");
        drop(here);
        let message = receive_message_with_fd(&there, &mut buf).unwrap().unwrap();
        assert!(message.bytes.is_empty() && message.fd.is_none(), "the end");
    }

    #[test]
    fn everybody_who_looks_gets_a_descriptor_and_the_message_stays() {
        let (here, there) = message_pair().unwrap();
        let mut buf = [0; 8];
        assert_eq!(peek_message(&there, &mut buf).unwrap(), None);
        assert!(peek_message_with_fd(&there, &mut buf).unwrap().is_none());
        let event = EventFd::new().unwrap();
        send_message_with_fd(&here, b"one", &event).unwrap();
        drop(here);
        for _ in 0..3 {
            assert_eq!(peek_message(&there, &mut buf).unwrap(), Some(&b"one"[..]));
            let message = peek_message_with_fd(&there, &mut buf).unwrap().unwrap();
            assert_eq!(message.bytes, b"one");
            event.signal();
            let copy = message.fd.unwrap();
            assert!(crate::poll::readable(&copy, Some(std::time::Duration::ZERO)).unwrap());
        }
        assert_eq!(receive_message(&there, &mut buf).unwrap(), Some(&b"one"[..]));
        assert_eq!(peek_message(&there, &mut buf).unwrap(), Some(&[][..]), "the end");
    }

    #[test]
    fn many_descriptors_arrive_in_their_order_and_one_too_many_is_refused() {
        let (here, there) = message_pair().unwrap();
        let events: Vec<EventFd> = (0..=MOST).map(|_| EventFd::new().unwrap()).collect();
        let passed: Vec<_> = events.iter().map(EventFd::as_fd).collect();
        let error = send_message_with_fds(&here, b"x", &passed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        send_message_with_fds(&here, b"x", &passed[..MOST]).unwrap();
        let mut buf = [0; 4];
        let (bytes, found) = receive_message_with_fds(&there, &mut buf).unwrap().unwrap();
        assert_eq!((bytes, found.len()), (&b"x"[..], MOST));
        events[MOST - 1].signal();
        let last = EventFd::from(found.into_iter().next_back().unwrap());
        assert_eq!(last.take(), Some(1));
        send_message_with_fds(&here, b"y", &[]).unwrap();
        let (bytes, found) = receive_message_with_fds(&there, &mut buf).unwrap().unwrap();
        assert!(bytes == b"y" && found.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_on_both_sides() {
        let (here, there) = message_pair().unwrap();
        let event = EventFd::new().unwrap();
        let error = send_message_with_fd(&here, b"", &event).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        send_message_with_fd(&here, b"too long", &event).unwrap();
        let error = receive_message_with_fd(&there, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn of_many_descriptors_one_is_kept() {
        let (here, there) = message_pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let many = [writer.as_fd(); 9];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(9))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        sendmsg(&here, &[IoSlice::new(b"x")], &mut control, SendFlags::DONTWAIT).unwrap();
        let mut buf = [0; 4];
        let message = receive_message_with_fd(&there, &mut buf).unwrap().unwrap();
        assert!(message.fd.is_some());
        drop((message, writer));
        // The end of the pipe is seen only once every copy is closed.
        assert!(crate::poll::readable(&reader, Some(std::time::Duration::ZERO)).unwrap());
        assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn who_does_not_expect_a_descriptor_does_not_keep_it() {
        let (here, there) = message_pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        send_message_with_fd(&here, b"x", &writer).unwrap();
        drop(writer);
        assert_eq!(receive_message(&there, &mut [0; 4]).unwrap(), Some(&b"x"[..]));
        assert!(crate::poll::readable(&reader, Some(std::time::Duration::ZERO)).unwrap());
    }
}
