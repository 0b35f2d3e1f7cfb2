//! A stream that becomes the application's own (CONNECT; RFC 8441: web sockets).
//!
//! Applications take such a stream from the request's extensions as hyper's `OnUpgrade`, which hyper alone can make. So
//! hyper is given a short HTTP/1 exchange on a pipe in this process: the end that it upgrades is the application's.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, UPGRADE};
use http::{Extensions, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::sync::oneshot;

use super::stream::poll_window;
use crate::access_log::Counted;
use crate::sendfile::Piece;

/// What the pipe holds in each direction, in bytes.
const PIPE: usize = 16 * 1024;
/// What is sent at once, in bytes.
const PIECE: usize = 8 * 1024;
const ASK: &[u8] =
    b"GET / HTTP/1.1\r\nhost: tunnel\r\nconnection: upgrade\r\nupgrade: stream\r\n\r\n";

type Upgrading = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A stream that may become the application's own. When this is dropped the application learns that it will not.
pub(super) struct Tunnel {
    ours: DuplexStream,
    upgrading: Upgrading,
    yes: oneshot::Sender<()>,
}

impl Tunnel {
    /// Puts into the request's extensions what the application takes its end from, and the protocol that is asked for.
    pub(super) fn offer(extensions: &mut Extensions) -> Self {
        if let Some(protocol) = extensions.get::<h2::ext::Protocol>() {
            let protocol = hyper::ext::Protocol::from(protocol.as_str());
            extensions.insert(protocol);
        }
        let (mut ours, theirs) = tokio::io::duplex(PIPE);
        let (yes, answered) = oneshot::channel();
        let answered = Arc::new(Mutex::new(Some(answered)));
        let upgrade = Arc::new(Mutex::new(None::<OnUpgrade>));
        let found = upgrade.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            *found.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(hyper::upgrade::on(&mut request));
            let answered = answered.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                let is_yes = match answered {
                    Some(answered) => answered.await.is_ok(),
                    None => false,
                };
                let mut response = Response::new(String::new());
                if is_yes {
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response.headers_mut().insert(CONNECTION, UPGRADE.into());
                    response.headers_mut().insert(UPGRADE, "stream".parse().expect("a value"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        let mut upgrading: Upgrading = Box::pin(connection.with_upgrades());
        let cx = &mut Context::from_waker(Waker::noop());
        // All of it happens here and now: there is room in the pipe.
        let _ = pin!(ours.write_all(ASK)).poll(cx);
        let _ = upgrading.as_mut().poll(cx);
        if let Some(upgrade) = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take() {
            extensions.insert(upgrade);
        }
        Self { ours, upgrading, yes }
    }

    /// The service has agreed: the application gets its end, and this is the other.
    pub(super) fn open(self, cx: &mut Context<'_>) -> Option<DuplexStream> {
        let Self { mut ours, mut upgrading, yes } = self;
        yes.send(()).ok()?;
        let Poll::Ready(Ok(())) = upgrading.as_mut().poll(cx) else { return None };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let Poll::Ready(Ok(1)) = pin!(ours.read(&mut byte)).poll(cx) else { return None };
            head.push(byte[0]);
        }
        Some(ours)
    }
}

/// Carries what comes on a stream to the application, and back. Ready when the application has closed its end, or the
/// client has reset the stream.
pub(super) struct Pump<B: Buf> {
    ours: DuplexStream,
    from: RecvStream,
    to: SendStream<B>,
    /// What came and is not taken yet.
    up: Bytes,
    /// The client has nothing more to say.
    ended: bool,
    /// What is to be sent.
    down: Bytes,
}

impl<D: Buf> Pump<Counted<Piece<D>>> {
    pub(super) fn new(
        ours: DuplexStream,
        from: RecvStream,
        to: SendStream<Counted<Piece<D>>>,
    ) -> Self {
        Self { ours, from, to, up: Bytes::new(), ended: false, down: Bytes::new() }
    }

    /// From the client to the application; ready when that is over.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended {
            while !self.up.is_empty() {
                let written = ready!(Pin::new(&mut self.ours).poll_write(cx, &self.up))?;
                self.up.advance(written);
                let _ = self.from.flow_control().release_capacity(written);
            }
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(bytes)) => self.up = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => self.ended = true,
            }
        }
        Pin::new(&mut self.ours).poll_shutdown(cx)
    }

    /// From the application to the client; ready when the application has closed its end.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            if !self.down.is_empty() {
                let window = ready!(poll_window(&mut self.to, cx))?;
                let piece = self.down.split_to(window.min(self.down.len()));
                self.to.send_data(Counted::nowhere(Piece::Bytes(piece)), false).map_err(drop)?;
                self.to.reserve_capacity(self.down.len());
                continue;
            }
            let mut room = [0; PIECE];
            let mut buffer = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.ours).poll_read(cx, &mut buffer)).map_err(drop)?;
            if buffer.filled().is_empty() {
                let nothing = Counted::nowhere(Piece::Bytes(Bytes::new()));
                return Poll::Ready(self.to.send_data(nothing, true).map_err(drop));
            }
            self.down = Bytes::copy_from_slice(buffer.filled());
            self.to.reserve_capacity(self.down.len());
        }
    }
}

impl<D: Buf> Future for Pump<Counted<Piece<D>>> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pump = self.get_mut();
        if pump.to.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        if !pump.ended || !pump.up.is_empty() {
            match pump.poll_up(cx) {
                // An application that reads no more may still write.
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if pump.from.is_end_stream() => {}
                Poll::Ready(Err(_)) => pump.ended = true,
            }
        }
        pump.poll_down(cx).map(drop)
    }
}
