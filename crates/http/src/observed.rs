//! One request around the service, whatever the protocol: counts it, stamps the scoreboard, keeps its line of the log, and
//! says `Connection: close` when it is time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker, ready};

use bytes::Buf;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tine::{Activity, BoxError};

use crate::access_log::{Counted, Line};
use crate::body::{BodyError, RequestBody, Verdict};
use crate::connected::Connected;
use crate::file::Section;
use crate::h1::Refusal;
use crate::http2::Permit;
use crate::refusal::{note_refused, note_refused_body};
use crate::send::{Outgoing, Piece, Way, take_refusal};
use crate::service::HttpService;
use crate::trouble::Reason;

/// A service with a connection around it.
#[derive(Debug)]
pub(crate) struct Observed<S> {
    pub(crate) inner: S,
    pub(crate) connected: Rc<Connected>,
    /// It writes in pieces, and the kernel can send files on it.
    pub(crate) sends_files: bool,
}

impl<S: HttpService> Observed<S> {
    /// A request has come. It is counted, shown and logged; then the service is asked, unless the request is refused.
    pub(crate) fn begin(
        &self,
        mut request: Request<RequestBody>,
        refused: Option<Refusal>,
    ) -> Answering<S> {
        let Connected { settings, progress, arrival, .. } = &*self.connected;
        let version = request.version();
        let connect = request.method() == Method::CONNECT;
        let upgrade =
            version < Version::HTTP_2 && request.extensions().get::<OnUpgrade>().is_some();
        let number = progress.requests.add(1);
        if number == settings.limits.requests {
            progress.last.set(true);
        }
        let (client, line) = settings.observer.ask(&request, arrival, number, progress.now.get());
        arrival.stamp(settings.context.record(), &request, &client, progress.now.get());
        if version == Version::HTTP_2 {
            progress.note_stream();
        }
        let served = Served::begin(&self.connected, line, number, version == Version::HTTP_2);
        if let Some(refusal) = refused {
            note_refused(settings, &client, progress.now.get(), refusal, &request);
        }
        let told = refused.map(|refusal| refusal.status);
        let told = told.or_else(|| settings.observer.health(&request, &settings.context));
        let old = version < Version::HTTP_11;
        let way = match version {
            Version::HTTP_2 => Way::Framed,
            _ if self.sends_files => Way::Sent,
            _ => Way::Read,
        };
        if let Some(status) = told {
            let making = Making::Told { status, refused: refused.is_some() };
            let (served, verdict) = (Some(served), None);
            return Answering { making, served, verdict, connect, upgrade, old, way };
        }
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(self.connected.exit_guard());
        let http2 = version == Version::HTTP_2;
        let verdict = request.body_mut().limit(&settings.limits, progress, http2);
        Answering {
            making: Making::begin(&self.inner, request),
            served: Some(served),
            verdict,
            connect,
            upgrade,
            old,
            way,
        }
    }
}

pin_project_lite::pin_project! {
    /// How an answer is made.
    #[project = MakingNow]
    enum Making<S: HttpService> {
        Called { #[pin] future: S::Future },
        // The service was not ready when it was asked. Rare, and large: it has the request in it.
        Waiting { future: Pin<Box<TowerToHyperServiceFuture<S, Request<RequestBody>>>> },
        Failed { error: Option<S::Error> },
        // It is answered here.
        Told { status: StatusCode, refused: bool },
    }
}

impl<S: HttpService> Making<S> {
    /// Most services are always ready, and then the request need not be kept until somebody polls.
    fn begin(service: &S, request: Request<RequestBody>) -> Self {
        let mut called = service.clone();
        match called.poll_ready(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Self::Called { future: called.call(request) },
            Poll::Ready(Err(error)) => Self::Failed { error: Some(error) },
            Poll::Pending => {
                let service = TowerToHyperService::new(service.clone());
                Self::Waiting { future: Box::pin(Service::call(&service, request)) }
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer to one request.
    pub(crate) struct Answering<S: HttpService> {
        #[pin]
        making: Making<S>,
        served: Option<Served>,
        verdict: Option<Verdict>,
        // A CONNECT: a success gives the socket away.
        connect: bool,
        // It asked for another protocol: 101 gives the socket away, and is no final answer to any other.
        upgrade: bool,
        // HTTP/1.0, which knows no chunks.
        old: bool,
        way: Way,
    }
}

impl<S: HttpService> Future for Answering<S> {
    type Output = Result<Response<Answer<S::Answer>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.making.project() {
            MakingNow::Called { future } => ready!(future.poll(cx)),
            MakingNow::Waiting { future } => ready!(future.as_mut().poll(cx)),
            MakingNow::Failed { error } => match error.take() {
                Some(error) => Err(error),
                None => return Poll::Pending,
            },
            MakingNow::Told { status, refused } => {
                let Some(mut served) = this.served.take() else { return Poll::Pending };
                served.answered();
                let told = match refused {
                    true => served.refuse(*status, *this.old),
                    false => served.tell(*status, *this.old),
                };
                return Poll::Ready(Ok(told));
            }
        };
        let Some(mut served) = this.served.take() else { return Poll::Pending };
        served.answered();
        if let Some(refusal) = this.verdict.as_ref().and_then(Verdict::refusal) {
            note_refused_body(&served.connected, served.number, refusal);
            return Poll::Ready(Ok(served.refuse(refusal.status, *this.old)));
        }
        let switches = |status| *this.upgrade && status == StatusCode::SWITCHING_PROTOCOLS;
        let is_final = |status: StatusCode| !status.is_informational() || switches(status);
        // What was asked in a wrong way is no failure of the service's.
        let is_failure = |status: StatusCode| status.is_server_error() || !is_final(status);
        if answer.as_ref().map_or(true, |answer| is_failure(answer.status())) {
            served.connected.settings.context.request_failed();
        }
        let answer = answer.map_err(Into::into).inspect_err(|error| {
            served.trouble(format_args!("the service has failed: {error}"));
        })?;
        if !is_final(answer.status()) {
            let status = answer.status().as_u16();
            served.trouble(format_args!(
                "the service has answered with {status}, which ends nothing"
            ));
            return Poll::Ready(Ok(served.tell(StatusCode::INTERNAL_SERVER_ERROR, *this.old)));
        }
        if let Some(Reason(text)) = answer.extensions().get() {
            served.trouble(format_args!("{}: {text}", answer.status().as_u16()));
        }
        let (way, old) = (*this.way, *this.old);
        let mut response =
            answer.map(|body| Answer { body: Some(Outgoing::new(body, way)), error: None, served });
        let status = response.status();
        let upgrades = switches(status) || (*this.connect && status.is_success());
        // Its body ends where the connection does.
        let endless = old
            && response.body().size_hint().exact().is_none()
            && !response.headers().contains_key(CONTENT_LENGTH);
        if upgrades {
            response.body().served.connected.progress.upgrades.set(true);
        } else if endless || response.body().served.is_last() {
            close(&mut response, old);
        }
        made(&mut response);
        Poll::Ready(Ok(response))
    }
}

/// Says that the connection ends with this answer.
fn close<B>(response: &mut Response<B>, old: bool) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if old {
        *response.version_mut() = Version::HTTP_10;
    }
}

/// The answer is made, all but its body.
fn made<B: Body<Error: Into<BoxError>>>(response: &mut Response<Answer<B>>) {
    let Served { connected, line, number, http2, .. } = &response.body().served;
    let id = connected.id_header(*number);
    // Over HTTP/1 what writes the head adds it.
    if *http2 || line.is_some() {
        let Connected { settings, progress, .. } = &**connected;
        let date = settings.date.at(progress.now.get());
        response.headers_mut().entry(DATE).or_insert(date);
    }
    if let Some((name, id)) = id {
        response.headers_mut().insert(name, id);
    }
    if let Some(line) = &response.body().served.line {
        line.answered(response);
    }
}

/// Lives as long as its request, to the last byte of the answer's body, or until the client is gone.
struct Served {
    connected: Rc<Connected>,
    /// What the access log will say of it.
    line: Option<Line>,
    /// The request's, on its connection.
    number: u64,
    /// When it began (monotonic nanoseconds), in a worker that is isolated; else 0.
    began: u64,
    http2: bool,
    answered: bool,
    /// A piece of the answer is handed out, and the next not asked for yet.
    owed: bool,
    /// It has come in more than one piece so far.
    several: bool,
}

impl Served {
    fn begin(connected: &Rc<Connected>, line: Option<Line>, number: u64, http2: bool) -> Self {
        let Connected { settings, progress, .. } = &**connected;
        progress.busy.add(1);
        progress.head_began.set(0);
        let isolated = settings.context.is_isolated();
        let began = if isolated { progress.now.get() } else { 0 };
        let connected = connected.clone();
        let (answered, owed, several) = (false, false, false);
        Self { connected, line, number, began, http2, answered, owed, several }
    }

    /// Counted before it is asked whether to leave: this may be the last one.
    fn answered(&mut self) {
        let Connected { settings, progress, .. } = &*self.connected;
        settings.context.request_ended(progress.look());
        if self.began > 0 {
            // Counted, and not over: its body may be long in coming.
            settings.context.record().answering(self.began);
        }
        self.answered = true;
    }

    /// Says in the service's log what went wrong with this request.
    fn trouble(&self, text: fmt::Arguments<'_>) {
        let Connected { settings, arrival, progress, .. } = &*self.connected;
        settings.observer.trouble(arrival, self.number, progress.now.get(), text);
    }

    /// Whether the answer must say that the connection ends; HTTP/2 has another way to say so.
    fn is_last(&self) -> bool {
        let Connected { settings, progress, .. } = &*self.connected;
        !self.http2 && (progress.is_asked_to_end() || settings.context.is_leaving())
    }

    fn refuse<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        old: bool,
    ) -> Response<Answer<B>> {
        self.connected.progress.refused.set(true);
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
        let mut response = Response::new(Answer { body: None, error: None, served: self });
        *response.status_mut() = status;
        if closes {
            close(&mut response, old);
        }
        made(&mut response);
        response
    }

    /// Its body has failed: said when what it gave before is written.
    fn fail<T>(
        &mut self,
        error: BoxError,
        later: &mut Option<BoxError>,
    ) -> Poll<Option<Result<T, BoxError>>> {
        self.set_owed(false);
        let progress = &self.connected.progress;
        if self.http2 || progress.has_failed() {
            return Poll::Ready(Some(Err(error)));
        }
        // Its driver asks again, once that is so.
        progress.fails.set(true);
        *later = Some(error);
        Poll::Pending
    }

    /// Says, once a worker, that the kernel does not send files.
    fn tell_refusal(&self) {
        if let Some(error) = take_refusal() {
            let text = "the kernel does not send files here (sendfile), they are read and written";
            self.trouble(format_args!("{text}: {error}"));
        }
    }

    /// The answer's body has failed, for the first time.
    fn broke_off(&self, error: BoxError) -> BoxError {
        // What the client does to its request is no trouble of the service's.
        if !error.is::<BodyError>() {
            self.trouble(format_args!("the answer breaks off: {error}"));
        }
        error
    }

    fn set_owed(&mut self, owed: bool) {
        let progress = &self.connected.progress;
        match (self.owed, owed) {
            (false, true) => drop(progress.owed.add(1)),
            (true, false) => progress.owed.take_one(),
            _ => {}
        }
        self.owed = owed;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tell_refusal();
        self.set_owed(false);
        let Connected { settings, progress, .. } = &*self.connected;
        let record = settings.context.record();
        if self.began > 0 {
            record.answering(0);
        }
        if self.answered {
            progress.cancelled.take_one();
        } else {
            progress.cancelled.add(1);
        }
        progress.busy.take_one();
        // Mostly no time has passed since the answer was made. Streams of HTTP/2 have turns of their own.
        let now = if self.http2 || self.several { progress.look() } else { progress.now.get() };
        progress.since.set(now);
        progress.heard.set(true);
        if progress.busy.get() == 0 {
            record.set_at(Activity::KeepAlive, now);
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer's body, and the note that it is on its way.
    pub(crate) struct Answer<B> {
        // None: a refusal says nothing more.
        #[pin]
        body: Option<Outgoing<B>>,
        // It has failed, and says so when its time has come.
        error: Option<BoxError>,
        served: Served,
    }
}

impl<B: Body + 'static> Answer<B> {
    /// Its head is written over HTTP/1, in so many bytes; whether its body is sent in chunks.
    pub(crate) fn written(&self, head: usize, chunked: bool) {
        self.served.line.iter().for_each(|line| line.written(head, chunked));
    }

    /// The part of a file that comes next, if there are `least` bytes of it and the kernel can send it.
    pub(crate) fn next_file(self: Pin<&mut Self>, least: u64) -> Option<Counted<Section>> {
        let this = self.project();
        let section = this.body.as_pin_mut()?.next_file(least)?;
        this.served.several |= this.served.owed;
        this.served.set_owed(true);
        this.served.connected.progress.given.add(1);
        Some(match &this.served.line {
            Some(line) => line.file(section),
            None => Counted::nowhere(section),
        })
    }

    /// How much there is of a file that comes next and is to be read as the client's window allows: see [`Way::Framed`].
    pub(crate) fn file_left(self: Pin<&mut Self>) -> Option<u64> {
        self.project().body.as_pin_mut()?.file_left()
    }

    /// So much of it may be read now.
    pub(crate) fn may_read(self: Pin<&mut Self>, permit: Permit) {
        if let Some(body) = self.project().body.as_pin_mut() {
            body.may_read(permit);
        }
    }

    /// It goes on when the client takes something.
    pub(crate) fn waits_for_client(self: Pin<&mut Self>) {
        self.project().served.set_owed(true);
    }
}

fn is_read<D: Buf>(frame: &Frame<Piece<D>>) -> bool {
    matches!(frame.data_ref(), Some(Piece::Read { .. }))
}

impl<B> Body for Answer<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Counted<Piece<B::Data>>;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let polled = match this.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => body.poll_frame(cx).map_err(|error| this.served.broke_off(error)),
        };
        if let Poll::Ready(Some(Err(error))) = polled {
            return this.served.fail(error, this.error);
        }
        this.served.tell_refusal();
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        this.served.several |= this.served.owed;
        this.served.set_owed(given);
        // What is read as the window allows is counted by its bytes: its pieces are as many as the client likes.
        let counts = given && !matches!(&polled, Poll::Ready(Some(Ok(frame))) if is_read(frame));
        this.served.connected.progress.given.add(counts.into());
        if matches!(polled, Poll::Ready(None)) {
            this.served.line.iter().for_each(Line::whole);
        }
        let line = &this.served.line;
        let count = |data| match line {
            Some(line) => line.piece(data),
            None => Counted::nowhere(data),
        };
        polled.map_ok(|frame| frame.map_data(count))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
