//! A request that is being served: what is counted and said of it, from its beginning to the last byte of its answer.

use std::fmt;
use std::rc::Rc;
use std::task::Poll;

use http::header::{CONNECTION, DATE, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body;
use tine::{Activity, BoxError};

use super::{Answer, Connected};
use crate::access_log::Line;
use crate::body::BodyError;
use crate::sendfile::take_refusal;

/// Says that the connection ends with this answer.
pub(super) fn close<B>(response: &mut Response<B>, old: bool) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if old {
        *response.version_mut() = Version::HTTP_10;
    }
}

/// The answer is made, all but its body.
pub(super) fn made<B: Body<Error: Into<BoxError>>>(response: &mut Response<Answer<B>>) {
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
pub(super) struct Served {
    pub(super) connected: Rc<Connected>,
    /// What the access log will say of it.
    pub(super) line: Option<Line>,
    /// The request's, on its connection.
    pub(super) number: u64,
    /// When it began (monotonic nanoseconds), in a worker that is isolated; else 0.
    pub(super) began: u64,
    pub(super) http2: bool,
    pub(super) answered: bool,
    /// A piece of the answer is handed out, and the next not asked for yet.
    pub(super) owed: bool,
    /// It has come in more than one piece so far.
    pub(super) several: bool,
}

impl Served {
    pub(super) fn begin(
        connected: &Rc<Connected>,
        line: Option<Line>,
        number: u64,
        http2: bool,
    ) -> Self {
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
    pub(super) fn answered(&mut self) {
        let Connected { settings, progress, .. } = &*self.connected;
        settings.context.request_ended(progress.look());
        if self.began > 0 {
            // Counted, and not over: its body may be long in coming.
            settings.context.record().answering(self.began);
        }
        self.answered = true;
    }

    /// Says in the service's log what went wrong with this request.
    pub(super) fn trouble(&self, text: fmt::Arguments<'_>) {
        let Connected { settings, arrival, progress, .. } = &*self.connected;
        settings.observer.trouble(arrival, self.number, progress.now.get(), text);
    }

    /// Whether the answer must say that the connection ends; HTTP/2 has another way to say so.
    pub(super) fn is_last(&self) -> bool {
        let Connected { settings, progress, .. } = &*self.connected;
        !self.http2 && (progress.is_asked_to_end() || settings.context.is_leaving())
    }

    pub(super) fn refuse<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        old: bool,
    ) -> Response<Answer<B>> {
        self.connected.progress.refused.set(true);
        self.alone(status, true, old)
    }

    pub(super) fn tell<B: Body<Error: Into<BoxError>>>(
        self,
        status: StatusCode,
        old: bool,
    ) -> Response<Answer<B>> {
        let last = self.is_last();
        self.alone(status, last, old)
    }

    /// A status, and no more to say.
    pub(super) fn alone<B: Body<Error: Into<BoxError>>>(
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
    pub(super) fn fail<T>(
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
    pub(super) fn tell_refusal(&self) {
        if let Some(error) = take_refusal() {
            let text = "the kernel does not send files here (sendfile), they are read and written";
            self.trouble(format_args!("{text}: {error}"));
        }
    }

    /// The answer's body has failed, for the first time.
    pub(super) fn broke_off(&self, error: BoxError) -> BoxError {
        // What the client does to its request is no trouble of the service's.
        if !error.is::<BodyError>() {
            self.trouble(format_args!("the answer breaks off: {error}"));
        }
        error
    }

    pub(super) fn set_owed(&mut self, owed: bool) {
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
