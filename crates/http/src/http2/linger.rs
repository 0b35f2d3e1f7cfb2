//! The end of a connection that HTTP/2 ends with an error.
//!
//! A socket that is closed with unread bytes in it takes back what was written (RFC 9112, section 9.6). A flood leaves
//! such bytes, so its client would never see the GOAWAY. It is listened to for a moment after our side has ended.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::channel::Channel;
use crate::connection_state::Progress;
use crate::limits::LINGER_LEAST;
use crate::wire::Wire;

/// Bytes that are discarded at once.
const PIECE: usize = 4 * 1024;

/// The client's stream as h2 sees it. See the module.
#[derive(Debug)]
pub(crate) struct Lingering<I: Channel> {
    stream: Wire<I>,
    progress: Arc<Progress>,
    /// Our side has ended: until then the client is listened to.
    until: Option<Pin<Box<Sleep>>>,
}

impl<I: Channel> Lingering<I> {
    pub(crate) fn new(stream: Wire<I>, progress: Arc<Progress>) -> Self {
        Self { stream, progress, until: None }
    }
}

impl<I: Channel> AsyncRead for Lingering<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: Channel> AsyncWrite for Lingering<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingering = &mut *self;
        let until = match &mut lingering.until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut lingering.stream).poll_shutdown(cx))?;
                let Progress { told, cut, .. } = &*lingering.progress;
                if told.get() > 0 && !cut.get() {
                    // It was asked to go, and all of its requests are answered: it has nothing to say.
                    return Poll::Ready(Ok(()));
                }
                lingering.until.insert(Box::pin(sleep(LINGER_LEAST)))
            }
        };
        let mut unwanted = [0; PIECE];
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut unwanted);
            ready!(Pin::new(&mut lingering.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
