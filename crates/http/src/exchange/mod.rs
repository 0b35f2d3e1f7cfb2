//! One request around the service, whatever the protocol: counts it, stamps the scoreboard, keeps its line of the log, and
//! says `Connection: close` when it is time.

mod answer;
mod connected;
pub(crate) mod refused;
mod served;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker, ready};

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tine::BoxError;

pub(crate) use self::answer::Answer;
pub(crate) use self::connected::Connected;
use self::refused::{note_refused, note_refused_body};
use self::served::{Served, close, made};
use crate::body::{RequestBody, Verdict};
use crate::refusal::Refusal;
use crate::sendfile::{Outgoing, Way};
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
