//! Drives an HTTP/1 connection: the one place where the machine, the socket and the service meet.

mod answer;
mod request;
mod work;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, Response};
use http_body::Body;
use tine::BoxError;
use tine_os::socket::reset_on_close;

use crate::access_log::Counted;
use crate::channel::{Channel, note_receiving};
use crate::connected::Connected;
use crate::file::Broken;
use crate::h1::Refusal;
use crate::h1::head::Bounds;
use crate::h1::input::Input;
use crate::h1::intake::Sender;
use crate::h1::machine::{self, Machine, Next, Stage};
use crate::h1::output::Output;
use crate::h1::upgrade::Upgrade;
use crate::observed::Observed;
use crate::refusal::{Unreadable, first_line, note_unreadable};
use crate::secured::Speaks;
use crate::send::Piece;
use crate::service::HttpService;
use crate::wire::Wire;

pub(crate) use self::work::Application;
use self::work::{Spare, Work};

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
    /// The client does not, and it was agreed on.
    NotHttp2,
    /// The stream is the application's.
    Upgraded,
    /// The socket, the service or the answer's body has failed.
    Failed,
}

/// A piece of an answer's body.
type Data<S> = Counted<Piece<<<S as HttpService>::Answer as Body>::Data>>;

/// See the module. Ready when HTTP/1 has come to its end.
pub(crate) struct Driver<I: Channel, S: HttpService> {
    /// There until it is given away.
    stream: Option<I>,
    service: Observed<S>,
    machine: Machine,
    input: Input,
    output: Output<Data<S>>,
    /// What is done for the request, and where that is put when it is done.
    work: Option<Pin<Box<Work<S>>>>,
    spare: Rc<Spare<S>>,
    /// The request's body, on its way to the service.
    sender: Option<Sender>,
    upgrade: Option<Upgrade<Wire<I>>>,
    /// The answer's trailers, kept until its end.
    trailers: Option<HeaderMap>,
    /// What stands behind the large piece that is being sent.
    piece: Option<machine::Piece>,
    /// The client sends nothing more.
    eof: bool,
}

/// A step was taken; there may be another.
enum Step {
    Again,
    Done(Outcome),
}

impl<I: Channel, S: HttpService> Driver<I, S> {
    pub(crate) fn new(stream: I, application: Application<S>, connected: Rc<Connected>) -> Self {
        let Application { service: inner, spare } = application;
        let limits = &connected.settings.limits;
        let bounds = Bounds {
            target: limits.target_bytes,
            head: limits.header_bytes,
            body: limits.body_bytes,
        };
        Self {
            stream: Some(stream),
            machine: Machine::new(bounds, Speaks::of(connected.arrival.agreed())),
            service: Observed { inner, connected, sends_files: I::SENDS_FILES },
            input: Input::default(),
            output: Output::new(),
            work: None,
            spare,
            sender: None,
            upgrade: None,
            trailers: None,
            piece: None,
            eof: false,
        }
    }

    /// The stream, and what was read of it and not used.
    pub(crate) fn into_parts(mut self) -> Option<(I, Input)> {
        self.send_rest();
        Some((self.stream.take()?, std::mem::take(&mut self.input)))
    }

    /// HTTP/1 ends here, whatever it was at: what there is to be sent is sent as far as the socket takes it.
    fn send_rest(&mut self) {
        if !self.output.is_empty() {
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
        // Over TLS it is the end of the session that is missing.
        if self.machine.is_endless()
            && I::SENDS_FILES
            && let Some(stream) = &self.stream
        {
            // A client of HTTP/1.0 would take the end of the connection for the end of the answer.
            let _ = reset_on_close(stream);
        }
    }

    /// The service, for the same connection.
    pub(crate) fn service(&self) -> Observed<S> {
        let Observed { inner, connected, sends_files } = &self.service;
        Observed { inner: inner.clone(), connected: connected.clone(), sends_files: *sends_files }
    }

    /// Whether the rest of a request is read behind its answer.
    pub(crate) fn is_finishing(&self) -> bool {
        self.machine.stage() == Stage::Finishing
    }

    /// Whether that is wanted by nothing any more.
    pub(crate) fn is_discarding(&self) -> bool {
        self.is_finishing() && self.sender.is_none()
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
                let lingers = self.machine.may_be_sending() || self.has_unread(cx);
                let outcome = if lingers { Outcome::Linger } else { Outcome::Over };
                Poll::Ready(Ok(Step::Done(outcome)))
            }
        }
    }

    /// Whether the client has sent something behind its last request. It is no longer answered, and must be read: a socket that
    /// is closed with unread bytes in it takes back the answer.
    fn has_unread(&mut self, cx: &mut Context<'_>) -> bool {
        if self.input.is_empty() && self.machine.may_have_more() && !self.eof {
            let _ = self.stream.as_mut().map(|stream| self.input.poll_read(cx, stream));
        }
        !self.input.is_empty()
    }

    fn head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if self.output.is_full() {
            // A client that takes no answers is asked for no more requests.
            ready!(self.poll_send(cx))?;
        }
        match self.machine.read(self.input.bytes()) {
            Next::Call(mut head, used) => {
                self.input.advance(used);
                head.refused = head.refused.or_else(|| self.machine.look_ahead(self.input.bytes()));
                self.call(head);
                return Poll::Ready(Ok(Step::Again));
            }
            Next::Refuse(refusal) => {
                self.refuse(refusal);
                return Poll::Ready(Ok(Step::Again));
            }
            Next::Http2 => return Poll::Ready(Ok(Step::Done(Outcome::Http2))),
            Next::NotHttp2 => return Poll::Ready(Ok(Step::Done(Outcome::NotHttp2))),
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
        progress.note_read(count);
        self.eof = count == 0;
        Poll::Ready(Ok(Step::Again))
    }

    /// Says of a file that could not be sent to its end. What is wrong with the socket is the client's.
    fn note_broken(&self, error: &io::Error) {
        let Connected { settings, progress, arrival, .. } = &*self.service.connected;
        if let Some(broken) = Broken::below(error) {
            let (number, now) = (progress.requests.get(), progress.look());
            let text = format_args!("the answer breaks off: {broken}");
            settings.observer.trouble(arrival, number, now, text);
        }
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

    /// A request that cannot be understood is answered without a service.
    fn refuse(&mut self, refusal: Refusal) {
        let connected = self.connected();
        let Connected { settings, progress, arrival, .. } = &*connected;
        progress.refused.set(true);
        progress.head_began.set(0);
        let Refusal { status, reason } = refusal;
        let mut response = Response::new(());
        *response.status_mut() = refusal.status;
        let (parts, ()) = response.into_parts();
        let date = settings.date.at(progress.now.get());
        let encoded = self.machine.answer(self.output.small(), &parts, Some(0), false, &date);
        let (first_line, answer) = (first_line(self.input.bytes()), encoded.bytes);
        let unreadable = Unreadable { status, reason, first_line, answer };
        note_unreadable(settings, arrival, progress, unreadable);
        progress.requests.add(1);
        self.machine.finish(false);
    }
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
                Poll::Ready(Err(error)) => {
                    driver.note_broken(&error);
                    return Poll::Ready(Outcome::Failed);
                }
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
        self.send_rest();
    }
}
