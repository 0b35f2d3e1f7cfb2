//! A connection that the runtime need not know yet.
//!
//! Who connects to be answered once has mostly sent the request by the time the connection is accepted: it is
//! read, answered and closed without the runtime's ever having to wait for it. Three system calls of eight
//! are saved that way. Where many workers are idle one of them is there before the request; if it serves one
//! connection at a time, and nothing else goes on in it, it waits for the first bytes without the runtime, too.
//! The first time else that the socket has nothing, or takes nothing, the runtime is told of it, and everything
//! goes through it from then on.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{net, os::unix::net as unix};

use tine_os::poll::readable;
use tine_os::socket::end_writing;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::runtime::Handle;

use crate::channel::Channel;

/// The most of a first read, in bytes: a request without a body has room, and so much is cleared for it.
const FIRST: usize = 2048;
/// How long the first bytes are waited for without the runtime: most clients send them as soon as they are
/// connected. For so long the worker's supervisor may have to wait for it to notice something.
const SOON: Duration = Duration::from_millis(20);

/// A socket that the runtime watches, shared between its connection and what is to be sent for it later
/// ([`crate::batched_writes`]).
pub(crate) trait Watched: AsFd + fmt::Debug + Send + Sync + Unpin + 'static {
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

macro_rules! watched {
    ($stream:ty) => {
        impl Watched for $stream {
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

watched!(tokio::net::TcpStream);
watched!(tokio::net::UnixStream);

/// A socket as the standard library knows it.
pub(crate) trait Plain: AsFd + Unpin + Send + 'static {
    /// As the runtime does.
    type Watched: Watched;

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn transmit(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Has the runtime watch it. It does not block.
    fn register(self) -> io::Result<Self::Watched>;
}

macro_rules! plain {
    ($plain:ty, $watched:ty) => {
        impl Plain for $plain {
            type Watched = $watched;

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

            fn register(self) -> io::Result<$watched> {
                <$watched>::from_std(self)
            }
        }
    };
}

plain!(net::TcpStream, tokio::net::TcpStream);
plain!(unix::UnixStream, tokio::net::UnixStream);

/// See the module.
#[derive(Debug)]
pub(crate) enum Socket<P: Plain> {
    /// And whether its first bytes may be waited for here.
    Unwatched(P, bool),
    Watched(Arc<P::Watched>),
    /// The runtime would not take it.
    Lost,
}

impl<P: Plain> Socket<P> {
    /// A connection of a worker that serves no other meanwhile, or of one that does.
    pub(crate) fn new(plain: P, isolated: bool) -> Self {
        Self::Unwatched(plain, isolated)
    }

    /// The stream as the runtime has it.
    fn watched(&mut self) -> io::Result<&P::Watched> {
        if let Self::Unwatched(..) = self
            && let Self::Unwatched(plain, _) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(Arc::new(plain.register()?));
        }
        match self {
            Self::Watched(known) => Ok(known),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// Whether a connection has something to read, soon. Only where nobody else has to wait meanwhile.
fn comes_soon(socket: impl AsFd) -> bool {
    let is_alone = Handle::try_current().is_ok_and(|it| it.metrics().num_alive_tasks() == 0);
    is_alone && readable(socket, Some(SOON)).unwrap_or(false)
}

/// What a system call that would have had to wait has not done.
fn done<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) if error.kind() == ErrorKind::Interrupted => None,
        result => Some(result),
    }
}

impl<P: Plain> AsyncRead for Socket<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Unwatched(plain, waits) = &mut *self {
            let room = buffer.initialize_unfilled_to(FIRST.min(buffer.remaining()));
            let mut read = done(plain.receive(room));
            // For the first bytes alone: as soon as there is a request its answer is on its way.
            if std::mem::take(waits) && read.is_none() && comes_soon(&*plain) {
                read = done(plain.receive(room));
            }
            if let Some(read) = read {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
        self.watched()?.poll_read(cx, buffer)
    }
}

impl<P: Plain> AsyncWrite for Socket<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::Unwatched(plain, _) = &*self
            && let Some(written) = done(plain.transmit(&[IoSlice::new(bytes)]))
        {
            return Poll::Ready(written);
        }
        let known = self.watched()?;
        known.poll_with(cx, &mut |_| known.write_now(&[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Self::Unwatched(plain, _) = &*self
            && let Some(written) = done(plain.transmit(parts))
        {
            return Poll::Ready(written);
        }
        let known = self.watched()?;
        known.poll_with(cx, &mut |_| known.write_now(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &*self {
            Self::Unwatched(plain, _) => end_writing(plain),
            Self::Watched(known) => end_writing(&**known),
            Self::Lost => Err(ErrorKind::NotConnected.into()),
        })
    }
}

impl<P: Plain> Channel for Socket<P> {
    const SENDS_FILES: bool = true;

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if let Self::Unwatched(plain, _) = self
            && let Some(written) = done(write(plain.as_fd()))
        {
            return Poll::Ready(written);
        }
        self.watched()?.poll_with(cx, write)
    }

    fn socket(&self) -> Option<Arc<dyn Watched>> {
        match self {
            Self::Watched(known) => Some(known.clone()),
            Self::Unwatched(..) | Self::Lost => None,
        }
    }
}

impl<P: Plain> AsFd for Socket<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unwatched(plain, _) => plain.as_fd(),
            Self::Watched(known) => known.as_fd(),
            Self::Lost => panic!("a connection that the runtime would not take has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;
    use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
    use tokio::task::{spawn_local, yield_now};

    fn runtime() -> LocalRuntime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build_local(LocalOptions::default()).expect("a runtime")
    }

    fn pair(isolated: bool) -> (UnixStream, Socket<UnixStream>) {
        let (client, server) = UnixStream::pair().expect("sockets");
        server.set_nonblocking(true).expect("a socket");
        (client, Socket::new(server, isolated))
    }

    /// One attempt to read, as the runtime makes it; how much there was.
    fn try_read(stream: &mut Socket<UnixStream>) -> Poll<usize> {
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        let poll = Pin::new(stream).poll_read(&mut cx, &mut buffer);
        poll.map(|read| read.map(|()| buffer.filled().len()).expect("no failure"))
    }

    #[test]
    fn the_first_bytes_of_an_isolated_workers_client_need_no_runtime() {
        let (mut client, mut stream) = pair(true);
        client.write_all(b"GET").expect("written");
        runtime().block_on(async {
            assert!(comes_soon(&stream));
            assert_eq!(try_read(&mut stream), Poll::Ready(3));
            assert!(matches!(stream, Socket::Unwatched(..)), "it waits in place");
            assert_eq!(try_read(&mut stream), Poll::Pending);
            assert!(matches!(stream, Socket::Watched(_)), "later an answer may be on its way");
        });
    }

    #[test]
    fn who_says_nothing_for_a_while_is_the_runtimes() {
        let (_client, mut stream) = pair(true);
        runtime().block_on(async {
            assert_eq!(try_read(&mut stream), Poll::Pending);
            assert!(matches!(stream, Socket::Watched(_)));
        });
    }

    #[test]
    fn nobody_is_waited_for_while_others_have_something_to_do() {
        let (mut client, stream) = pair(true);
        client.write_all(b"GET").expect("written");
        runtime().block_on(async {
            let task = spawn_local(poll_fn(|_| Poll::<()>::Pending));
            yield_now().await;
            assert!(!comes_soon(&stream), "not even asked for");
            task.abort();
        });
    }
}
