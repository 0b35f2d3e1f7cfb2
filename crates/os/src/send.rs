//! From a file to a socket without a copy in between.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendFlags};

/// Writes `parts` to a socket, one after the other and without waiting, and says that more is about to
/// come (`MSG_MORE`): what does not fill a segment waits for it, up to 200 ms (tcp(7)). Returns how much
/// was taken. Raises no `SIGPIPE`.
///
/// # Errors
/// `WouldBlock` if the socket takes nothing now; `BrokenPipe` or `ConnectionReset` if the peer is gone.
pub fn send_before_more(socket: impl AsFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let send = || rustix::net::sendmsg(&socket, parts, &mut SendAncillaryBuffer::default(), flags);
    Ok(retry_on_intr(send)?)
}

/// Writes bytes to a socket, without waiting, and returns how many were taken. Raises no `SIGPIPE`.
///
/// # Errors
/// `WouldBlock` if the socket takes nothing now; `BrokenPipe` or `ConnectionReset` if the peer is gone.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(retry_on_intr(|| rustix::net::send(&socket, bytes, flags))?)
}

/// Sends up to `count` bytes of a file, from `offset` on, to a socket that does not block; returns how
/// many, and 0 where the file has none (sendfile(2)). The file's own position is left alone.
///
/// There is no `MSG_NOSIGNAL` for this call: `SIGPIPE` must be ignored, as the standard library sees to
/// before `main`, or a peer that is gone ends the process.
///
/// # Errors
/// `WouldBlock` if the socket takes nothing now; `BrokenPipe` or `ConnectionReset` if the peer is gone;
/// the file's.
pub fn send_file(
    socket: impl AsFd,
    file: impl AsFd,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let send = || rustix::fs::sendfile(&socket, &file, Some(&mut { offset }), count);
    Ok(retry_on_intr(send)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_part_of_a_file_follows_what_stands_before_it() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("it can be written");
        let (mut here, there) = UnixStream::pair().expect("two sockets");
        there.set_nonblocking(true).expect("it is a socket");
        let parts = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"ad ")];
        assert_eq!(send_before_more(&there, &parts).expect("there is room"), 5);
        assert_eq!(send_file(&there, &file, 2, 5).expect("there is room"), 5);
        assert_eq!(send_file(&there, &file, 8, 5).expect("there is room"), 2);
        assert_eq!(send_file(&there, &file, 10, 5).expect("it is at its end"), 0);
        drop(there);
        let mut all = String::new();
        here.read_to_string(&mut all).expect("text");
        assert_eq!(all, "head 2345689");
    }

    #[test]
    fn a_full_socket_and_a_peer_that_is_gone_are_told_apart() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 24).expect("it can grow");
        let (here, there) = UnixStream::pair().expect("two sockets");
        there.set_nonblocking(true).expect("it is a socket");
        let full = loop {
            match send_file(&there, &file, 0, 1 << 24) {
                Ok(sent) => assert!(sent > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(here);
        let gone = send_file(&there, &file, 0, 1).expect_err("nobody reads");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }
}
