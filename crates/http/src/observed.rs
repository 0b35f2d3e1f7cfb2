//! The service of one connection as hyper sees it: refuses what no service should see, counts requests,
//! stamps the scoreboard, and says `Connection: close` when it is time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tine::{Activity, BoxError};

use crate::body::{RequestBody, Verdict};
use crate::connection::Settings;
use crate::observe::{Arrival, Asking};
use crate::progress::Progress;
use crate::refusal;
use crate::send::{Outgoing, Piece};
use crate::service::HttpService;
use bytes::Buf;

/// A service with a connection around it.
#[derive(Debug)]
pub(crate) struct Observed<S> {
    pub(crate) inner: TowerToHyperService<S>,
    pub(crate) settings: Rc<Settings>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) arrival: Arrival,
    /// The kernel can send files on this connection.
    pub(crate) sends_files: bool,
}

impl<S: HttpService> Service<Request<Incoming>> for Observed<S> {
    type Response = Response<Answer<S::Answer>>;
    type Error = S::Error;
    type Future = Answering<TowerToHyperServiceFuture<S, Request<RequestBody>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let Settings { limits, context, observer, .. } = &*self.settings;
        let http2 = request.version() == Version::HTTP_2;
        let old = request.version() < Version::HTTP_11;
        // HTTP/2 has frames to put around every piece, and copies.
        let lends = self.sends_files && !http2;
        let now = tine::now();
        let number = self.progress.requests.add(1);
        let (client, asking) = observer.ask(&mut request, &self.arrival, number, now);
        let began = if context.concurrency() == 1 { now } else { 0 };
        let served = Served::begin(&self.settings, &self.progress, asking, http2, began);
        self.arrival.stamp(context.record(), &request, &client, now);
        if number == limits.requests {
            self.progress.last.set(true);
        }
        let refused = refusal::reason(&request, limits);
        if let Some(status) = refused.or_else(|| observer.health(&request, context)) {
            return Answering {
                future: None,
                status,
                refused: refused.is_some(),
                verdict: None,
                connect: false,
                old,
                served: Some(served),
                lends,
            };
        }
        let connect = request.method() == Method::CONNECT;
        let (parts, incoming) = request.into_parts();
        let (body, verdict) = RequestBody::new(incoming, limits, &self.progress, http2);
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(context.exit_guard());
        let future = Some(self.inner.call(request));
        Answering {
            future,
            status: StatusCode::OK,
            refused: false,
            verdict,
            connect,
            old,
            served: Some(served),
            lends,
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer to one request.
    pub(crate) struct Answering<F> {
        // None: it is answered here, with the status.
        #[pin]
        future: Option<F>,
        status: StatusCode,
        refused: bool,
        verdict: Option<Verdict>,
        // A CONNECT: a success gives the socket away.
        connect: bool,
        // HTTP/1.0, which knows no chunks.
        old: bool,
        served: Option<Served>,
        lends: bool,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Error: Into<BoxError>> + 'static,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.future.as_pin_mut() {
            Some(future) => Some(ready!(future.poll(cx))),
            None => None,
        };
        let Some(mut served) = this.served.take() else { return Poll::Pending };
        // Counted before it is asked whether to leave: this may be the last one.
        let now = tine::now();
        served.settings.context.request_ended(now);
        served.answered = true;
        served.ended = (now, served.progress.turns.get());
        if served.began > 0 {
            // Counted, and not over: its body may be long in coming.
            served.settings.context.record().answering(served.began);
        }
        let refused = this.verdict.as_ref().and_then(Verdict::status);
        // What was asked in a wrong way is no failure of the service's.
        if let (Some(answer), None) = (&answer, refused)
            && answer.as_ref().map_or(true, |answer| answer.status().is_server_error())
        {
            served.settings.context.request_failed();
        }
        let answer = match (answer, refused) {
            (Some(answer), None) => answer?,
            (None, None) if !*this.refused => {
                return Poll::Ready(Ok(served.tell(*this.status, *this.old)));
            }
            (_, status) => {
                return Poll::Ready(Ok(served.refuse(status.unwrap_or(*this.status), *this.old)));
            }
        };
        let lends = *this.lends;
        let mut response =
            answer.map(|body| Answer { body: Some(Outgoing::new(body, lends)), served });
        let status = response.status();
        let upgrades =
            status == StatusCode::SWITCHING_PROTOCOLS || (*this.connect && status.is_success());
        // Its body ends where the connection does, and hyper would say that it is kept.
        let endless = *this.old
            && response.body().size_hint().exact().is_none()
            && !response.headers().contains_key(CONTENT_LENGTH);
        if upgrades {
            response.body().served.progress.upgrades.set(true);
        } else if endless || response.body().served.is_last() {
            close(&mut response, *this.old);
        }
        Poll::Ready(Ok(made(response)))
    }
}

/// Says that the connection ends with this answer.
fn close<B>(response: &mut Response<B>, old: bool) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if old {
        // To one of HTTP/1.1 hyper would add `keep-alive`, when the client has asked for that.
        *response.version_mut() = Version::HTTP_10;
    }
}

/// The answer is made, all but its body.
fn made<B: Body<Error: Into<BoxError>>>(mut response: Response<Answer<B>>) -> Response<Answer<B>> {
    let served = &mut response.body_mut().served;
    if let Some(mut asking) = served.asking.take() {
        served.settings.clone().observer.answered(&mut asking, &mut response);
        response.body_mut().served.asking = Some(asking);
    }
    response
}

/// Lives as long as its request, to the last byte of the answer's body, or until the client is gone.
struct Served {
    settings: Rc<Settings>,
    progress: Arc<Progress>,
    /// There but for a moment.
    asking: Option<Asking>,
    http2: bool,
    /// When it began (monotonic nanoseconds), in a worker that is isolated; else 0.
    began: u64,
    answered: bool,
    /// When it was answered, all but its body (monotonic nanoseconds), and in which turn.
    ended: (u64, u64),
    /// A piece of the answer is handed out, and the next not asked for yet.
    owed: bool,
}

impl Served {
    fn begin(
        settings: &Rc<Settings>,
        progress: &Arc<Progress>,
        asking: Asking,
        http2: bool,
        began: u64,
    ) -> Self {
        progress.busy.add(1);
        progress.head_began.set(0);
        let (settings, progress) = (settings.clone(), progress.clone());
        Self {
            settings,
            progress,
            asking: Some(asking),
            http2,
            began,
            answered: false,
            ended: (0, 0),
            owed: false,
        }
    }

    /// Whether the answer must say that the connection ends; HTTP/2 has another way to say so.
    fn is_last(&self) -> bool {
        !self.http2 && (self.progress.is_asked_to_end() || self.settings.context.is_leaving())
    }

    fn refuse<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        old: bool,
    ) -> Response<Answer<B>> {
        self.progress.refused.set(true);
        self.alone(status, true, old)
    }

    fn tell<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        old: bool,
    ) -> Response<Answer<B>> {
        let last = self.is_last();
        self.alone(status, last, old)
    }

    /// A status, and no more to say.
    fn alone<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        last: bool,
        old: bool,
    ) -> Response<Answer<B>> {
        let closes = last && !self.http2;
        let mut response = Response::new(Answer { body: None, served: self });
        *response.status_mut() = status;
        if closes {
            close(&mut response, old);
        }
        made(response)
    }

    fn set_owed(&mut self, owed: bool) {
        match (self.owed, owed) {
            (false, true) => drop(self.progress.owed.add(1)),
            (true, false) => self.progress.owed.take_one(),
            _ => {}
        }
        self.owed = owed;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.set_owed(false);
        if self.began > 0 {
            self.settings.context.record().answering(0);
        }
        let progress = &self.progress;
        if self.answered {
            progress.cancelled.take_one();
        } else {
            progress.cancelled.add(1);
        }
        // Mostly all of it in one turn, at one look at the clock; streams of HTTP/2 have turns of their own.
        let (ended, turn) = self.ended;
        let at_once = self.answered && !self.http2 && turn == progress.turns.get();
        let now = if at_once { ended } else { tine::now() };
        progress.busy.take_one();
        progress.since.set(now);
        progress.heard.set(true);
        if progress.busy.get() == 0 {
            self.settings.context.record().set_at(Activity::KeepAlive, now);
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer's body, and the note that it is on its way.
    pub(crate) struct Answer<B> {
        // None: a refusal says nothing more.
        #[pin]
        body: Option<Outgoing<B>>,
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
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let polled = body.poll_frame(cx);
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        this.served.set_owed(given);
        this.served.progress.given.add(given.into());
        if let Some(asking) = &mut this.served.asking {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    asking.piece(frame.data_ref().map_or(0, Buf::remaining));
                }
                Poll::Ready(None) => asking.whole(),
                _ => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
