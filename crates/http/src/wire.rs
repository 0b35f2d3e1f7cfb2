//! A stream that has left HTTP/1: what HTTP/2 or an upgraded connection reads and writes.
//!
//! What HTTP/1 has read and not used is read first. What passes is noted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::{Channel, note_receiving, note_writing};
use crate::control::Frames;
use crate::h1::PREFACE;
use crate::known::Known;
use crate::progress::Progress;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire<S: Channel> {
    stream: S,
    /// Bytes that were read already.
    ahead: Vec<u8>,
    /// How many of them were given out.
    given: usize,
    frames: Frames,
    progress: Arc<Progress>,
}

impl<S: Channel> Wire<S> {
    /// `ahead`: what was read of the stream and is to be read first.
    pub(crate) fn new(stream: S, ahead: &[u8], progress: Arc<Progress>) -> Self {
        let frames = Frames::behind(PREFACE.len());
        Self { stream, ahead: ahead.to_vec(), given: 0, frames, progress }
    }

    /// Ends our side of the connection, which is otherwise ended by being closed.
    pub(crate) fn poll_end_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn note_written(&self, result: &Poll<io::Result<usize>>) {
        note_writing(&self.stream, &self.progress, result.is_pending());
        if let Poll::Ready(Ok(count)) = result {
            self.progress.written.add(*count as u64);
        }
    }
}

impl<S: Channel> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let before = buffer.filled().len();
        let result = if wire.ahead.is_empty() {
            Pin::new(&mut wire.stream).poll_read(cx, buffer)
        } else {
            let rest = &wire.ahead[wire.given..];
            let count = buffer.remaining().min(rest.len());
            buffer.put_slice(&rest[..count]);
            wire.given += count;
            if wire.given == wire.ahead.len() {
                wire.ahead = Vec::new();
            }
            Poll::Ready(Ok(()))
        };
        if !wire.progress.writing.get() {
            note_receiving(&wire.stream, &wire.progress);
        }
        if result.is_ready() {
            let bytes = &buffer.filled()[before..];
            wire.progress.heard.set(true);
            wire.progress.note_read(bytes.len());
            if wire.progress.http2.get() {
                wire.progress.idle_frames.add(wire.frames.count(bytes));
            }
        } else {
            wire.progress.distance.note_socket(|| wire.stream.socket());
        }
        result
    }
}

impl<S: Channel> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        note_writing(&self.stream, &self.progress, flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Channel> Channel for Wire<S> {
    const SENDS_FILES: bool = S::SENDS_FILES;

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let result = self.stream.poll_with(cx, write);
        self.note_written(&result);
        result
    }

    fn socket(&self) -> Option<Arc<dyn Known>> {
        self.stream.socket()
    }
}

impl<S: Channel> AsFd for Wire<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl<S: Channel> Drop for Wire<S> {
    fn drop(&mut self) {
        self.progress.gone.notify_one();
    }
}
