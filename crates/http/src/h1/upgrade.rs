//! Connections that become another protocol's: web sockets, and tunnels (CONNECT).
//!
//! Services take [`OnUpgrade`] out of a request, as axum's web sockets do, and nothing but hyper can make one. So
//! for a request that asks to upgrade, a private connection of hyper's reads a fixed request from a
//! stream that stands in for the client's, and gives its `OnUpgrade` away. When the service has agreed, the real
//! stream takes the place of the stand-in, and hyper hands it over.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::channel::Channel;

/// What hyper reads in the client's stead.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: any\r\n\r\n";

/// What the stand-in, hyper's service and the connection know together.
#[derive(Debug)]
struct Shared<I> {
    on_upgrade: Option<OnUpgrade>,
    /// The real stream, once the service has agreed.
    stream: Option<I>,
    agreed: bool,
}

type Sharing<I> = Arc<Mutex<Shared<I>>>;

fn lock<I>(shared: &Sharing<I>) -> MutexGuard<'_, Shared<I>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An upgrade that a client has asked for.
pub(crate) struct Upgrade<I: Channel> {
    connection: Pin<Box<UpgradeableConnection<StandIn<I>, Agreeing<I>>>>,
    shared: Sharing<I>,
}

impl<I: Channel> Upgrade<I> {
    /// Also returns what belongs into the request's extensions.
    pub(crate) fn ask() -> (Self, Option<OnUpgrade>) {
        let shared = Arc::new(Mutex::new(Shared { on_upgrade: None, stream: None, agreed: false }));
        let stand_in =
            StandIn { request: REQUEST, stream: None, answered: 0, shared: shared.clone() };
        let connection = Builder::new().serve_connection(stand_in, Agreeing(shared.clone()));
        let mut upgrade = Self { connection: Box::pin(connection.with_upgrades()), shared };
        upgrade.poll();
        let on_upgrade = lock(&upgrade.shared).on_upgrade.take();
        (upgrade, on_upgrade)
    }

    /// The service has agreed and the client was told so: gives the stream to what waits for `OnUpgrade`.
    pub(crate) fn hand_over(mut self, stream: I) {
        {
            let mut shared = lock(&self.shared);
            (shared.stream, shared.agreed) = (Some(stream), true);
        }
        self.poll();
    }

    /// Nothing of it waits for anything but [`hand_over`](Self::hand_over), so it is polled when that is called.
    fn poll(&mut self) {
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = self.connection.as_mut().poll(&mut nobody);
    }
}

/// hyper's service: agrees as soon as the real one has.
struct Agreeing<I>(Sharing<I>);

impl<I: Channel> Service<Request<Incoming>> for Agreeing<I> {
    type Response = Response<NoBody>;
    type Error = io::Error;
    type Future = Agreed<I>;

    fn call(&self, mut request: Request<Incoming>) -> Agreed<I> {
        lock(&self.0).on_upgrade = request.extensions_mut().remove();
        Agreed(self.0.clone())
    }
}

struct Agreed<I>(Sharing<I>);

impl<I> Future for Agreed<I> {
    type Output = Result<Response<NoBody>, io::Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !lock(&self.0).agreed {
            return Poll::Pending;
        }
        let mut response = Response::new(NoBody);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Poll::Ready(Ok(response))
    }
}

struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// How an answer's head ends.
const END: &[u8] = b"\r\n\r\n";

/// The stream as hyper sees it: a fixed request, an answer that goes nowhere, and then the client's.
#[derive(Debug)]
struct StandIn<I> {
    /// What is still to be read of it.
    request: &'static [u8],
    /// How much of [`END`] hyper's answer has come to.
    answered: usize,
    stream: Option<TokioIo<I>>,
    shared: Sharing<I>,
}

impl<I: Channel> StandIn<I> {
    /// The client's stream, once hyper's own part is over.
    fn stream(&mut self) -> Option<Pin<&mut TokioIo<I>>> {
        if self.answered < END.len() {
            return None;
        }
        if self.stream.is_none() {
            self.stream = lock(&self.shared).stream.take().map(TokioIo::new);
        }
        self.stream.as_mut().map(Pin::new)
    }

    /// Takes hyper's answer, and throws it away.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        for (index, &byte) in bytes.iter().enumerate() {
            let goes_on = byte == END[self.answered];
            self.answered = if goes_on { self.answered + 1 } else { usize::from(byte == END[0]) };
            if self.answered == END.len() {
                return index + 1;
            }
        }
        bytes.len()
    }
}

impl<I: Channel> Read for StandIn<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.request.is_empty() {
            let (now, later) = self.request.split_at(buffer.remaining().min(self.request.len()));
            buffer.put_slice(now);
            self.request = later;
            return Poll::Ready(Ok(()));
        }
        match self.stream() {
            Some(stream) => stream.poll_read(cx, buffer),
            None => Poll::Pending,
        }
    }
}

impl<I: Channel> Write for StandIn<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.stream() {
            Some(stream) => stream.poll_write(cx, bytes),
            None => Poll::Ready(Ok(self.swallow(bytes))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().map_or(Poll::Ready(Ok(())), |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().map_or(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(Write::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.stream() {
            Some(stream) => stream.poll_write_vectored(cx, parts),
            None => Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum())),
        }
    }
}
