//! The service of one connection as hyper sees it: counts requests, stamps the scoreboard, and says
//! `Connection: close` once the worker leaves.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tine::{Activity, BoxError, Context};

use crate::send::{Outgoing, Piece};

/// What the connection's driver and its service know together.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// A request is being answered, to the last byte of its body.
    pub(crate) busy: Cell<bool>,
    /// Requests begun.
    pub(crate) requests: Cell<u64>,
    /// Something was read since this was last cleared.
    pub(crate) heard: Cell<bool>,
    /// The worker leaves.
    pub(crate) leaving: Cell<bool>,
    /// The socket would not take what hyper has to write.
    pub(crate) writing: Cell<bool>,
    /// The client had not got everything at the last look.
    pub(crate) receiving: Cell<bool>,
    /// The connection is over.
    pub(crate) ended: Cell<bool>,
}

/// A service with a connection around it.
#[derive(Clone, Debug)]
pub(crate) struct Observed<S> {
    pub(crate) inner: TowerToHyperService<S>,
    pub(crate) context: Context,
    pub(crate) progress: Rc<Progress>,
    pub(crate) peer: Option<SocketAddr>,
    /// Requests after which the connection is ended; 0 = no limit.
    pub(crate) most: u64,
    /// The kernel can send files on this connection.
    pub(crate) sends_files: bool,
}

impl<S, B> Service<Request<Incoming>> for Observed<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone,
    B: 'static,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<<TowerToHyperService<S> as Service<Request<Incoming>>>::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.progress.busy.set(true);
        let number = self.progress.requests.get() + 1;
        self.progress.requests.set(number);
        stamp(&self.context, &request, self.peer);
        // HTTP/2 has frames to put around every piece, and copies.
        let lends = self.sends_files && request.version() <= Version::HTTP_11;
        Answering {
            future: self.inner.call(request),
            last: number == self.most,
            lends,
            context: self.context.clone(),
            progress: self.progress.clone(),
        }
    }
}

/// Writes the request into the scoreboard; its query may hold secrets and stays out.
fn stamp(context: &Context, request: &Request<Incoming>, peer: Option<SocketAddr>) {
    use std::fmt::Write;
    let mut line = Text::default();
    let mut client = Text::default();
    let query = if request.uri().query().is_some() { "?…" } else { "" };
    let (method, path, version) = (request.method(), request.uri().path(), request.version());
    // A text that does not fit is cut: it is for eyes.
    let _ = write!(line, "{method} {path}{query} {version:?}");
    if let Some(peer) = peer {
        let _ = write!(client, "{peer}");
    }
    context.record().request_began(line.as_str(), client.as_str(), tine::now());
}

/// A small text on the stack: nothing is allocated for a request.
struct Text {
    bytes: [u8; 128],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 128], length: 0 }
    }
}

impl Text {
    fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.length];
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

pin_project_lite::pin_project! {
    /// The answer to one request.
    pub(crate) struct Answering<F> {
        #[pin]
        future: F,
        last: bool,
        lends: bool,
        context: Context,
        progress: Rc<Progress>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: 'static,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        // Counted before it is asked whether to leave: this may be the last one.
        this.context.request_ended(tine::now());
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                this.progress.busy.set(false);
                return Poll::Ready(Err(error));
            }
        };
        let last = *this.last || this.context.is_leaving();
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let served = Served { context: this.context.clone(), progress: this.progress.clone() };
        let lends = *this.lends;
        Poll::Ready(Ok(response.map(|body| Answer { body: Outgoing::new(body, lends), served })))
    }
}

/// Dropped with the answer's body: when hyper has its last byte, or the client is gone.
struct Served {
    context: Context,
    progress: Rc<Progress>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.progress.busy.set(false);
        self.progress.heard.set(true);
        self.context.record().set(Activity::KeepAlive);
    }
}

pin_project_lite::pin_project! {
    /// An answer's body, and the note that it is on its way.
    pub(crate) struct Answer<B> {
        #[pin]
        body: Outgoing<B>,
        served: Served,
    }
}

impl<B> Body for Answer<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Piece<B::Data>;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
