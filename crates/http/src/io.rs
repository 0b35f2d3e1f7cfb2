//! The client's socket as hyper sees it: notes that something was heard, and, while the worker leaves,
//! whether the client has everything that was written.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::observed::Progress;

/// A stream whose reads leave a mark.
#[derive(Debug)]
pub(crate) struct Heard<S> {
    stream: TokioIo<S>,
    progress: Rc<Progress>,
}

impl<S: AsFd> Heard<S> {
    pub(crate) fn new(stream: S, progress: Rc<Progress>) -> Self {
        Self { stream: TokioIo::new(stream), progress }
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

impl<S: AsyncWrite + AsFd + Unpin> Write for Heard<S> {
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

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_written(&written);
        written
    }
}
