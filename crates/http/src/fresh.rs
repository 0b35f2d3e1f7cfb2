//! A connection that the runtime need not know yet.
//!
//! Who connects to be answered once has mostly sent the request by the time the connection is accepted: it is
//! read, answered and closed without the runtime's ever having to wait for it. Three system calls of eight
//! are saved that way. The first time the socket has nothing, or takes nothing, the runtime is told of it, and
//! everything goes through it from then on.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{net, os::unix::net as unix};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Channel;

/// The most of a first read, in bytes: a request without a body has room, and so much is cleared for it.
const FIRST: usize = 2048;

/// A socket as the standard library knows it.
pub(crate) trait Plain: AsFd + Unpin + Send + 'static {
    /// As the runtime does.
    type Known: Channel;

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn transmit(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    fn end_writing(&self) -> io::Result<()>;
    /// Has the runtime watch it. It does not block.
    fn register(self) -> io::Result<Self::Known>;
}

macro_rules! plain {
    ($plain:ty, $known:ty) => {
        impl Plain for $plain {
            type Known = $known;

            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut socket = self;
                socket.read(buffer)
            }

            fn transmit(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                let mut socket = self;
                match parts {
                    [part] => socket.write(part),
                    _ => socket.write_vectored(parts),
                }
            }

            fn end_writing(&self) -> io::Result<()> {
                self.shutdown(net::Shutdown::Write)
            }

            fn register(self) -> io::Result<$known> {
                <$known>::from_std(self)
            }
        }
    };
}

plain!(net::TcpStream, tokio::net::TcpStream);
plain!(unix::UnixStream, tokio::net::UnixStream);

/// See the module.
#[derive(Debug)]
pub(crate) enum Fresh<P: Plain> {
    New(P),
    Known(P::Known),
    /// The runtime would not take it.
    Lost,
}

impl<P: Plain> Fresh<P> {
    /// The stream as the runtime has it.
    fn known(&mut self) -> io::Result<Pin<&mut P::Known>> {
        if let Self::New(_) = self
            && let Self::New(plain) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Known(plain.register()?);
        }
        match self {
            Self::Known(known) => Ok(Pin::new(known)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// What a system call that would have had to wait has not done.
fn done<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
        result => Some(result),
    }
}

impl<P: Plain> AsyncRead for Fresh<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::New(plain) = &*self {
            let room = buffer.initialize_unfilled_to(FIRST.min(buffer.remaining()));
            if let Some(read) = done(plain.receive(room)) {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
        self.known()?.poll_read(cx, buffer)
    }
}

impl<P: Plain> AsyncWrite for Fresh<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::New(plain) = &*self
            && let Some(written) = done(plain.transmit(&[IoSlice::new(bytes)]))
        {
            return Poll::Ready(written);
        }
        self.known()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Self::New(plain) = &*self
            && let Some(written) = done(plain.transmit(parts))
        {
            return Poll::Ready(written);
        }
        self.known()?.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::New(plain) = &*self {
            return Poll::Ready(plain.end_writing());
        }
        self.known()?.poll_shutdown(cx)
    }
}

impl<P: Plain> Channel for Fresh<P> {
    const SENDS_FILES: bool = true;

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if let Self::New(plain) = self
            && let Some(written) = done(write(plain.as_fd()))
        {
            return Poll::Ready(written);
        }
        self.known()?.get_mut().poll_with(cx, write)
    }
}

impl<P: Plain> AsFd for Fresh<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::New(plain) => plain.as_fd(),
            Self::Known(known) => known.as_fd(),
            Self::Lost => panic!("a connection that the runtime would not take has ended"),
        }
    }
}
