//! The client's socket as hyper sees it: notes that something was heard, and, while the worker leaves,
//! whether the client has everything that was written. A loan in what is to be written ([`crate::send`])
//! goes out as the file it stands for.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::progress::Progress;
use crate::send;

/// A stream of bytes to a client, whatever carries it.
pub(crate) trait Channel: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Whether what is written to the descriptor is what the client reads, so that the kernel can send
    /// files.
    const SENDS_FILES: bool;

    /// Does `write` to the descriptor as soon as it can be written to, and again when it could not.
    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>>;
}

macro_rules! plain_channel {
    ($stream:ty) => {
        impl Channel for $stream {
            const SENDS_FILES: bool = true;

            fn poll_with(
                &self,
                cx: &mut Context<'_>,
                write: &mut dyn FnMut() -> io::Result<usize>,
            ) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_write_ready(cx))?;
                    match self.try_io(Interest::WRITABLE, &mut *write) {
                        // It is no longer ready, so the next look registers for when it is.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }
        }
    };
}

plain_channel!(TcpStream);
plain_channel!(UnixStream);

/// A stream whose reads leave a mark.
#[derive(Debug)]
pub(crate) struct Heard<S> {
    stream: TokioIo<S>,
    progress: Arc<Progress>,
}

impl<S: AsFd> Heard<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream: TokioIo::new(stream), progress }
    }

    /// The stream under it, when HTTP is over.
    pub(crate) fn into_inner(self) -> S {
        self.stream.into_inner()
    }

    fn note_written<T>(&self, written: &Poll<T>) {
        self.progress.writing.set(written.is_pending());
        self.note_receiving(written);
    }

    /// A client that still receives is not silent, however quiet it is. Asked on both sides: hyper stops
    /// reading once an answer has said that it is the last.
    fn note_receiving<T>(&self, written: &Poll<T>) {
        if self.progress.leaving.get() {
            let unsent = || tine::bytes_unsent(self.stream.inner()).unwrap_or(0) > 0;
            self.progress.receiving.set(written.is_pending() || unsent());
        }
    }
}

impl<S: AsyncRead + AsFd + Unpin> Read for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.progress.writing.get() {
            self.note_receiving(&Poll::Ready(()));
        }
        if result.is_ready() {
            self.progress.heard.set(true);
        }
        result
    }
}

impl<S: Channel> Write for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(cx);
        self.note_written(&written);
        written
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Asked once by hyper, which then writes its buffers as they are; a loan must never be copied.
    fn is_write_vectored(&self) -> bool {
        S::SENDS_FILES || self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match send::first_loan(parts) {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, parts),
            Some((index, section)) => {
                let stream = self.stream.inner();
                let mut send = || send::send(stream.as_fd(), &parts[..index], &section);
                stream.poll_with(cx, &mut send)
            }
        };
        self.note_written(&written);
        written
    }
}
