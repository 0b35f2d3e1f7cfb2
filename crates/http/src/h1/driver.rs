//! Drives an HTTP/1 connection: the one place where the machine, the socket and the service meet.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tine::BoxError;

use super::Refusal;
use super::date;
use super::decode::Decoded;
use super::encode::Framing;
use super::head::{Bounds, Head};
use super::input::Input;
use super::intake::{self, Sender, Wish};
use super::machine::{Machine, Next, Stage};
use super::output::Output;
use super::upgrade::Upgrade;
use crate::body::Source;
use crate::channel::{Channel, note_receiving};
use crate::connected::Connected;
use crate::observed::{Answer, Answering, Observed};
use crate::refusal::{Unreadable, first_line, note_unreadable};
use crate::send::Piece;
use crate::service::HttpService;
use crate::wire::Wire;

/// Requests that are answered before other connections get their turn.
const TURN: u64 = 16;
/// Shorter parts of files are read: one copy costs less than the second system call. In bytes.
const LEAST_FILE: u64 = 16 * 1024;

/// How HTTP/1 came to its end on a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing is left to be done.
    Over,
    /// Everything is sent, and the client may still be sending.
    Linger,
    /// The client speaks HTTP/2.
    Http2,
    /// The stream is the application's.
    Upgraded,
    /// The socket, the service or the answer's body has failed.
    Failed,
}

type Data<S> = <<S as HttpService>::Answer as Body>::Data;

/// What is done for a request.
enum Work<S: HttpService> {
    Nothing,
    Making(Pin<Box<Answering<S>>>),
    Sending(Pin<Box<Answer<S::Answer>>>),
}

/// See the module. Ready when HTTP/1 has come to its end.
pub(crate) struct Driver<I: Channel, S: HttpService> {
    /// There until it is given away.
    stream: Option<I>,
    service: Observed<S>,
    machine: Machine,
    input: Input,
    output: Output<Piece<Data<S>>>,
    work: Work<S>,
    /// The request's body, on its way to the service.
    sender: Option<Sender>,
    upgrade: Option<Upgrade<Wire<I>>>,
    /// The answer's trailers, kept until its end.
    trailers: Option<HeaderMap>,
    /// What stands behind the large piece that is being sent.
    piece: Option<super::machine::Piece>,
    /// The client sends nothing more.
    eof: bool,
}

/// A step was taken; there may be another.
enum Step {
    Again,
    Done(Outcome),
}

impl<I: Channel, S: HttpService> Driver<I, S> {
    pub(crate) fn new(stream: I, inner: S, connected: Rc<Connected>) -> Self {
        let limits = &connected.settings.limits;
        let bounds = Bounds {
            target: limits.target_bytes,
            head: limits.header_bytes,
            body: limits.body_bytes,
        };
        Self {
            stream: Some(stream),
            service: Observed { inner, connected, sends_files: I::SENDS_FILES },
            machine: Machine::new(bounds),
            input: Input::default(),
            output: Output::new(),
            work: Work::Nothing,
            sender: None,
            upgrade: None,
            trailers: None,
            piece: None,
            eof: false,
        }
    }

    /// The stream, and what was read of it and not used.
    pub(crate) fn into_parts(mut self) -> Option<(I, Input)> {
        let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        Some((self.stream.take()?, std::mem::take(&mut self.input)))
    }

    /// The service, for the same connection.
    pub(crate) fn service(&self) -> Observed<S> {
        let Observed { inner, connected, sends_files } = &self.service;
        Observed { inner: inner.clone(), connected: connected.clone(), sends_files: *sends_files }
    }

    fn connected(&self) -> Rc<Connected> {
        self.service.connected.clone()
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        match self.machine.stage() {
            Stage::Head => self.head(cx),
            Stage::Making => self.make(cx),
            Stage::Sending => self.send(cx),
            Stage::Finishing => self.finish_body(cx),
            Stage::Closing => {
                ready!(self.poll_send(cx))?;
                let lingers = self.machine.may_be_sending() || !self.input.is_empty();
                let outcome = if lingers { Outcome::Linger } else { Outcome::Over };
                Poll::Ready(Ok(Step::Done(outcome)))
            }
        }
    }

    fn head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if self.output.is_full() {
            // A client that takes no answers is asked for no more requests.
            ready!(self.poll_send(cx))?;
        }
        match self.machine.read(self.input.bytes()) {
            Next::Call(head, used) => {
                self.input.advance(used);
                self.call(*head);
                return Poll::Ready(Ok(Step::Again));
            }
            Next::Refuse(refusal) => {
                self.refuse(refusal);
                return Poll::Ready(Ok(Step::Again));
            }
            Next::Http2 => return Poll::Ready(Ok(Step::Done(Outcome::Http2))),
            Next::More => {}
        }
        if self.eof {
            self.machine.close();
            return Poll::Ready(Ok(Step::Again));
        }
        self.note_head();
        // A client that has answers to take is read from when it has taken them.
        if self.joins_others(cx) {
            let read = self.read(cx);
            if read.is_pending() {
                self.output.gather();
            }
            return read;
        }
        ready!(self.poll_send(cx))?;
        self.read(cx)
    }

    /// What is left of the bytes behind a request may be the beginning of the next.
    fn note_head(&self) {
        let progress = &self.service.connected.progress;
        let begins = self.input.bytes().iter().any(|byte| !b"\r\n".contains(byte));
        if begins && progress.head_began.get() == 0 {
            progress.head_began.set(progress.now.get());
        }
    }

    fn joins_others(&mut self, cx: &Context<'_>) -> bool {
        let Some(stream) = &self.stream else { return false };
        self.output.joins_others(cx, stream, &self.service.connected.progress)
    }

    /// Reads more.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let before = self.input.bytes().len();
        let read = self.input.poll_read(cx, stream);
        if read.is_pending() {
            self.service.connected.progress.distance.note_socket(|| stream.socket());
        }
        let progress = &self.service.connected.progress;
        if !progress.writing.get() {
            note_receiving(stream, progress);
        }
        let count = ready!(read)?;
        progress.heard.set(true);
        progress.note_read(&self.input.bytes()[before..]);
        self.eof = count == 0;
        Poll::Ready(Ok(Step::Again))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let progress = &self.service.connected.progress;
        ready!(self.output.poll_send(cx, stream, progress))?;
        if let Some(piece) = self.piece.take() {
            self.machine.end_piece(self.output.small(), piece);
        }
        Poll::Ready(Ok(()))
    }

    /// Asks the service.
    fn call(&mut self, head: Head) {
        let left = self.machine.body_left();
        let mut body = Source::Empty;
        if left != Some(0) && head.refused.is_none() {
            let (sender, receiver) = intake::channel(left);
            self.sender = Some(sender);
            body = Source::Http1(receiver);
        }
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        if head.upgrades && head.refused.is_none() {
            let (upgrade, on_upgrade) = Upgrade::ask();
            self.upgrade = Some(upgrade);
            if let Some(on_upgrade) = on_upgrade {
                request.extensions_mut().insert(on_upgrade);
            }
        }
        let refused = head.refused.map(|refusal| refusal.status);
        let answering = self.service.begin(request, refused);
        self.work = Work::Making(Box::pin(answering));
        if self.sender.is_some() && !self.input.is_empty() {
            // What has come with the head is there when the service asks for it.
            self.deliver();
        }
    }

    /// A request that cannot be understood is answered without a service.
    fn refuse(&mut self, refusal: Refusal) {
        let connected = self.connected();
        let Connected { settings, progress, arrival, .. } = &*connected;
        progress.refused.set(true);
        progress.head_began.set(0);
        let Refusal { status, reason } = refusal;
        let unreadable = Unreadable { status, reason, first_line: first_line(self.input.bytes()) };
        note_unreadable(settings, arrival, progress, unreadable);
        progress.requests.add(1);
        let mut response = Response::new(());
        *response.status_mut() = refusal.status;
        let (parts, ()) = response.into_parts();
        let date = date::at(progress.now.get());
        self.machine.answer(self.output.small(), &parts, Some(0), false, &date);
        self.machine.finish();
    }

    /// Waits for the service, and gives it the request's body as it asks for it.
    fn make(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        loop {
            let Work::Making(answering) = &mut self.work else { return failed() };
            self.sender.iter().for_each(Sender::attend);
            match answering.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Ok(self.answer(response))),
                Poll::Ready(Err(_)) => {
                    self.work = Work::Nothing;
                    let _ = self.poll_send(cx);
                    return failed();
                }
                Poll::Pending => {}
            }
            if !self.output.is_empty()
                && let Poll::Ready(Err(error)) = self.poll_send(cx)
            {
                return Poll::Ready(Err(error));
            }
            if self.feed(cx)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Gives the service what it wants of the request's body. Pending: it wants nothing now, or that has not come.
    fn feed(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        loop {
            let Some(sender) = &self.sender else { return Ok(Poll::Pending) };
            if sender.wish() != Wish::More && sender.sleep(cx.waker()) != Wish::More {
                return Ok(Poll::Pending);
            }
            if !self.input.is_empty() && self.deliver() {
                return Ok(Poll::Ready(()));
            }
            if self.sender.is_none() {
                return Ok(Poll::Ready(()));
            }
            if self.machine.must_continue() {
                self.output.small().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !self.output.is_empty() && !self.output.is_full() {
                if let Poll::Ready(sent) = self.poll_send(cx) {
                    sent?;
                }
            }
            if self.eof {
                self.machine.break_off();
                self.sender = None;
                return Ok(Poll::Ready(()));
            }
            match self.read(cx) {
                Poll::Pending => {
                    self.sender.iter().for_each(|sender| {
                        sender.sleep(cx.waker());
                    });
                    return Ok(Poll::Pending);
                }
                Poll::Ready(read) => drop(read?),
            }
        }
    }

    /// Gives the service the next piece of what has come. True if it has something new.
    fn deliver(&mut self) -> bool {
        loop {
            let Some(sender) = &self.sender else { return false };
            match self.machine.body(self.input.bytes()) {
                Decoded::Data { skip, data } => {
                    let piece = &self.input.bytes()[skip..skip + data];
                    sender.send(Bytes::copy_from_slice(piece));
                    self.input.advance(skip + data);
                    if self.machine.body_left() == Some(0) {
                        continue;
                    }
                }
                Decoded::More { used } => {
                    self.input.advance(used);
                    return false;
                }
                Decoded::End { used, trailers } => {
                    sender.end(trailers);
                    self.sender = None;
                    self.input.advance(used);
                    self.service.connected.progress.unread.set(false);
                }
                Decoded::Refused(refusal) => {
                    sender.refuse(refusal);
                    self.sender = None;
                }
            }
            return true;
        }
    }

    /// The service has answered.
    fn answer(&mut self, response: Response<Answer<S::Answer>>) -> Step {
        let (parts, mut body) = response.into_parts();
        let exact = body.size_hint().exact();
        let progress = &self.service.connected.progress;
        let date = date::at(progress.now.get());
        let encoded = self.machine.answer(self.output.small(), &parts, exact, true, &date);
        body.written(encoded.bytes, matches!(encoded.framing, Framing::Chunked { .. }));
        if self.machine.is_upgraded() || self.machine.wants_piece() {
            self.work = Work::Sending(Box::pin(body));
        } else {
            drop(body);
            self.end_answer();
        }
        Step::Again
    }

    /// Everything of the answer is on its way.
    fn end_answer(&mut self) {
        self.work = Work::Nothing;
        self.upgrade = None;
        self.machine.finish();
    }

    /// Sends the answer's body.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if self.machine.is_upgraded() {
            return self.hand_over(cx);
        }
        loop {
            if self.output.is_full() {
                if self.poll_send(cx)?.is_pending() {
                    return self.feed_pending(cx);
                }
            }
            if !self.machine.wants_piece() {
                self.end_answer();
                return Poll::Ready(Ok(Step::Again));
            }
            let Work::Sending(body) = &mut self.work else { return failed() };
            self.sender.iter().for_each(Sender::attend);
            if let Some(section) = body.as_mut().next_file(LEAST_FILE) {
                self.add_file(section);
                continue;
            }
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.add(data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(None) => {
                    let trailers = self.trailers.take();
                    if !self.machine.end(self.output.small(), trailers) {
                        return self.fail(cx);
                    }
                    self.end_answer();
                    return Poll::Ready(Ok(Step::Again));
                }
                Poll::Ready(Some(Err(_))) => return self.fail(cx),
                Poll::Pending => {
                    if !self.output.is_empty() && self.poll_send(cx)?.is_pending() {
                        return self.feed_pending(cx);
                    }
                    if self.service.connected.progress.has_failed() {
                        continue;
                    }
                    return self.feed_pending(cx);
                }
            }
        }
    }

    /// Nothing more can be sent now; the service may still read the request's body.
    fn feed_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        match self.feed(cx)? {
            Poll::Ready(()) => Poll::Ready(Ok(Step::Again)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn add(&mut self, data: Piece<Data<S>>) {
        let length = data.remaining();
        if length == 0 {
            return;
        }
        let piece = self.machine.piece(self.output.small(), length as u64);
        let count = usize::try_from(piece.length).unwrap_or(length);
        if self.output.add(data, count) {
            self.machine.end_piece(self.output.small(), piece);
        } else {
            self.piece = Some(piece);
        }
    }

    fn add_file(&mut self, mut section: crate::file::Section) {
        let piece = self.machine.piece(self.output.small(), section.left);
        section.left = piece.length;
        self.output.add_file(section);
        self.piece = Some(piece);
    }

    /// The answer does not come to its end: what there is of it is sent, and the client sees that it is not whole.
    fn fail(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        self.service.connected.progress.fails.set(true);
        let _ = self.poll_send(cx);
        failed()
    }

    fn hand_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let progress = self.service.connected.progress.clone();
        progress.upgrades.set(true);
        ready!(self.poll_send(cx))?;
        let (Some(upgrade), Some(stream)) = (self.upgrade.take(), self.stream.take()) else {
            return failed();
        };
        let wire = Wire::new(stream, self.input.bytes(), progress);
        self.input = Input::default();
        self.work = Work::Nothing;
        upgrade.hand_over(wire);
        Poll::Ready(Ok(Step::Done(Outcome::Upgraded)))
    }

    /// The answer is given, and the request's body is not at its end: the service may still read it, else it is
    /// thrown away as far as it has come.
    fn finish_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if let Some(sender) = &self.sender {
            if sender.wish() != Wish::Over {
                if self.poll_send(cx)?.is_pending() || self.feed(cx)?.is_pending() {
                    return self.dropped(cx);
                }
                self.machine.finish();
                return Poll::Ready(Ok(Step::Again));
            }
            self.sender = None;
        }
        loop {
            match self.machine.body(self.input.bytes()) {
                Decoded::Data { skip, data } => {
                    self.input.advance(skip + data);
                    self.machine.discard(skip + data);
                }
                Decoded::End { used, .. } => {
                    self.input.advance(used);
                    self.service.connected.progress.unread.set(false);
                    self.machine.finish();
                    return Poll::Ready(Ok(Step::Again));
                }
                Decoded::Refused(_) => self.machine.close(),
                Decoded::More { used } => {
                    self.input.advance(used);
                    if self.eof {
                        self.machine.break_off();
                        self.machine.close();
                    } else if self.read(cx)?.is_pending() {
                        // It is not there: to wait for it would be to wait for nothing.
                        self.machine.close();
                    }
                }
            }
            if self.machine.stage() == Stage::Closing {
                return Poll::Ready(Ok(Step::Again));
            }
        }
    }

    /// The service may let go of the body while it waits for it.
    fn dropped(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        match self.sender.as_ref().map(|sender| sender.sleep(cx.waker())) {
            Some(Wish::Over) => Poll::Ready(Ok(Step::Again)),
            _ => Poll::Pending,
        }
    }
}

fn failed() -> Poll<io::Result<Step>> {
    Poll::Ready(Ok(Step::Done(Outcome::Failed)))
}

impl<I: Channel, S: HttpService> Future for Driver<I, S>
where
    S::Answer: Body<Error: Into<BoxError>>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let driver = self.get_mut();
        let connected = driver.connected();
        let progress = &connected.progress;
        driver.output.take_back(progress);
        let began = progress.requests.get();
        loop {
            match driver.step(cx) {
                Poll::Ready(Ok(Step::Again)) => {}
                Poll::Ready(Ok(Step::Done(outcome))) => return Poll::Ready(outcome),
                Poll::Ready(Err(_)) => return Poll::Ready(Outcome::Failed),
                Poll::Pending => return Poll::Pending,
            }
            if progress.requests.get() >= began + TURN && driver.machine.stage() == Stage::Head {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl<I: Channel, S: HttpService> Unpin for Driver<I, S> {}

impl<I: Channel, S: HttpService> Drop for Driver<I, S> {
    /// Answers that waited for a later one are sent as far as the socket takes them, also where its handler has panicked.
    fn drop(&mut self) {
        if !self.output.is_empty() {
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
    }
}
