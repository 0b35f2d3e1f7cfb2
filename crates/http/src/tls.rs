//! TLS below HTTP: the handshake, in the connection's own task and within its own deadline, and the stream
//! that comes of it.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tine_tls::{Acceptor, Agreed};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::channel::Channel;
use crate::connection_state::Progress;
use crate::deadlines::Watch;
use crate::settings::Settings;
use crate::socket::Watched;

/// What is offered (ALPN).
pub(crate) const PROTOCOLS: [&str; 3] = [HTTP2, "http/1.1", "http/1.0"];
const HTTP2: &str = "h2";

/// Which HTTP a client may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Without TLS: HTTP/1, or HTTP/2 by prior knowledge (RFC 9113, section 3.3).
    Either,
    Http1,
    Http2,
}

impl Speaks {
    /// What was agreed upon is kept (RFC 7301, section 3.2). Over TLS HTTP/2 is nothing but what ALPN chose (RFC 9113,
    /// section 3.2).
    pub(crate) fn of(agreed: Option<&Agreed>) -> Self {
        match agreed.map(Agreed::alpn) {
            None => Self::Either,
            Some(Some(HTTP2)) => Self::Http2,
            Some(_) => Self::Http1,
        }
    }
}

/// The server's preface, which is empty settings, and a GOAWAY with `PROTOCOL_ERROR` (RFC 9113, sections 3.4 and 6.8).
pub(crate) const NOT_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// The first byte of a handshake's record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Failure<S> {
    /// The client speaks HTTP without TLS; it has heard nothing yet.
    Plain(S),
    /// As it says. The client was told, as far as it can be.
    Broken(io::Error),
    /// It took too long, or others wait.
    Late,
}

/// Shakes hands on a connection that has just come, or whose PROXY header is read.
pub(crate) async fn shake<S: Channel>(
    acceptor: &Acceptor,
    stream: S,
    settings: &Rc<Settings>,
    progress: &Arc<Progress>,
) -> Result<(Secured<S>, Agreed), Failure<S>> {
    let under = Under { stream, progress: progress.clone(), first: First::Unknown, behind: false };
    let acceptor = TlsAcceptor::from(acceptor.config().clone());
    let mut accepted = pin!(acceptor.accept(under).into_fallible());
    let mut watch = Watch::new(settings.clone(), progress.clone());
    let mut late = pin!(sleep(settings.limits.handshake_timeout));
    let accepted = poll_fn(|cx| {
        watch.begin_turn();
        if let Poll::Ready(accepted) = accepted.as_mut().poll(cx) {
            return Poll::Ready(Some(accepted));
        }
        if watch.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        late.as_mut().poll(cx).map(|()| None)
    });
    match accepted.await {
        None => Err(Failure::Late),
        Some(Err((_, under))) if under.first == First::Plain => Err(Failure::Plain(under.stream)),
        Some(Err((error, _))) => Err(Failure::Broken(error)),
        Some(Ok(stream)) => {
            // From here on it is a connection without a request.
            progress.since.set(progress.look());
            progress.head_began.set(0);
            let agreed = Agreed::of(stream.get_ref().1);
            Ok((Secured(Box::new(stream)), agreed))
        }
    }
}

/// What a client's first byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Unknown,
    /// A method's first letter.
    Plain,
    Other,
}

/// The socket under TLS: notices HTTP where TLS should be, and then says nothing that is no HTTP.
#[derive(Debug)]
pub(crate) struct Under<S> {
    stream: S,
    progress: Arc<Progress>,
    first: First,
    /// What is written now was to be written before, and had to wait for the client.
    behind: bool,
}

impl<S> Under<S> {
    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written
            && self.behind
        {
            self.progress.drained.add(*count as u64);
        }
    }
}

impl<S: Channel> AsyncRead for Under<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            self.progress.distance.note_socket(|| self.stream.socket());
        }
        ready!(read)?;
        if self.first == First::Unknown
            && let Some(&byte) = buffer.filled().get(before)
        {
            // Slow as a header may be, and no longer silent.
            self.progress.head_began.set(tine::now());
            let plain = byte != HANDSHAKE && byte.is_ascii_uppercase();
            self.first = if plain { First::Plain } else { First::Other };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Channel> AsyncWrite for Under<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.first {
            // An alert, which would stand in front of the answer.
            First::Plain => Poll::Ready(Ok(bytes.len())),
            _ => {
                let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
                self.note_written(&written);
                written
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.first {
            First::Plain => Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum())),
            _ => {
                let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
                self.note_written(&written);
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An encrypted stream. In a box: the sessions of a connection without TLS should not have room for one.
#[derive(Debug)]
pub(crate) struct Secured<S: Channel>(Box<TlsStream<Under<S>>>);

impl<S: Channel> Secured<S> {
    fn stream(&mut self) -> Pin<&mut TlsStream<Under<S>>> {
        Pin::new(&mut *self.0)
    }

    /// The stream to be written to. rustls takes more than the socket does: what is left of that goes out first,
    /// and is the only sign that a slow client takes something once its answer is encrypted to the end.
    fn outgoing(&mut self) -> Pin<&mut TlsStream<Under<S>>> {
        let (under, session) = self.0.get_mut();
        under.behind = session.wants_write();
        self.stream()
    }
}

impl<S: Channel> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl<S: Channel> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outgoing().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing().poll_shutdown(cx)
    }
}

impl<S: Channel> AsFd for Secured<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().0.stream.as_fd()
    }
}

impl<S: Channel> Channel for Secured<S> {
    /// What the kernel sends is not encrypted.
    const SENDS_FILES: bool = false;

    fn poll_with(
        &mut self,
        _cx: &mut Context<'_>,
        _write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn socket(&self) -> Option<Arc<dyn Watched>> {
        None
    }
}

impl<S: Channel> Drop for Secured<S> {
    /// However the connection has ended, its client hears that this is the end and nobody has cut it short
    /// (`close_notify`); if there is no room for that, it does not. Nor if an answer has no end: one without a length would
    /// look whole (RFC 9112, section 9.8).
    fn drop(&mut self) {
        if self.0.get_ref().0.progress.fails.get() {
            return;
        }
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = self.stream().poll_shutdown(&mut nobody);
    }
}
