//! A socket that the runtime watches, shared between its connection and what is to be sent for it later
//! ([`crate::outbox`]).

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// See the module.
pub(crate) trait Known: AsFd + fmt::Debug + Send + Sync + Unpin + 'static {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// Does `write` to the descriptor as soon as it can be written to, and again when it could not.
    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>>;

    /// Writes what the socket takes at once.
    fn write_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! known {
    ($stream:ty) => {
        impl Known for $stream {
            fn poll_read(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                loop {
                    ready!(self.poll_read_ready(cx))?;
                    let room = buffer.remaining();
                    let mut found = None;
                    let tried = self.try_io(Interest::READABLE, || {
                        let count = self.try_read_buf(buffer)?;
                        found = Some(count);
                        // Who gets less than there is room for has got all there is (epoll(7), question 9): that is the
                        // same as being told to wait, and saves being told. Not before urgent data (tcp(7)), whose
                        // sender waits for an answer until it sends more.
                        match 0 < count && count < room {
                            true => Err(ErrorKind::WouldBlock.into()),
                            false => Ok(()),
                        }
                    });
                    match tried {
                        _ if found.is_some() => return Poll::Ready(Ok(())),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn poll_with(
                &self,
                cx: &mut Context<'_>,
                write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
            ) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_write_ready(cx))?;
                    match self.try_io(Interest::WRITABLE, || write(self.as_fd())) {
                        // It is no longer ready, so the next look registers for when it is.
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn write_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                match parts {
                    [part] => self.try_write(part),
                    _ => self.try_write_vectored(parts),
                }
            }
        }
    };
}

known!(TcpStream);
known!(UnixStream);
