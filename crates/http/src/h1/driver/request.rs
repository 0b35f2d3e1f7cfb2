//! A request on its way to the service, and its body.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;

use super::work::Work;
use super::{Driver, Step};
use crate::body::{RequestBody, Source};
use crate::channel::Channel;
use crate::h1::decode::Decoded;
use crate::h1::head::Head;
use crate::h1::intake::{self, Wish};
use crate::h1::machine::Stage;
use crate::h1::upgrade::Upgrade;
use crate::service::HttpService;

impl<I: Channel, S: HttpService> Driver<I, S> {
    /// Asks the service.
    pub(super) fn call(&mut self, head: Head) {
        let left = self.machine.body_left();
        let mut body = Source::Empty;
        if left != Some(0) && head.refused.is_none() {
            let (sender, receiver) = intake::channel(left);
            self.sender = Some(sender);
            body = Source::Http1(receiver);
        }
        let mut request = Request::new(RequestBody::new(body));
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
        let answering = self.service.begin(request, head.refused);
        self.work = Some(self.spare.put(Work::Making { answering }));
        if self.sender.is_some() && !self.input.is_empty() {
            // What has come with the head is there when the service asks for it.
            self.deliver();
        }
    }

    /// Gives the service what it wants of the request's body. Pending: it wants nothing now, or that has not come.
    pub(super) fn feed(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
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
            if !self.output.is_empty()
                && let Poll::Ready(sent) = self.poll_send(cx)
            {
                sent?;
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
                Poll::Ready(read) => {
                    read?;
                }
            }
        }
    }

    /// Gives the service the next piece of what has come. True if it has something new.
    pub(super) fn deliver(&mut self) -> bool {
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
                }
                Decoded::Refused(refusal) => {
                    sender.refuse(refusal);
                    self.sender = None;
                }
            }
            return true;
        }
    }

    /// Whether the service may still read the request's body. Not where it was told that there is something wrong with that.
    pub(super) fn is_body_wanted(&self) -> bool {
        let is_refused = self.service.connected.progress.refused.get();
        !is_refused && self.sender.as_ref().is_some_and(|sender| sender.wish() != Wish::Over)
    }

    /// The answer is given, and the request's body is not at its end: the service may still read it, else it is
    /// thrown away. Its rest is waited for as the next request is: a client that sends head and body one after the other has
    /// not been told that the connection ends.
    pub(super) fn finish_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if self.is_body_wanted() {
            // The client may take the rest of its answer only when it has sent all of its request.
            let _ = self.poll_send(cx)?;
            if self.feed(cx)?.is_pending() {
                return self.dropped(cx);
            }
            self.machine.finish(self.is_body_wanted());
            return Poll::Ready(Ok(Step::Again));
        }
        self.sender = None;
        self.machine.finish(false);
        if self.machine.stage() != Stage::Finishing {
            return Poll::Ready(Ok(Step::Again));
        }
        loop {
            match self.machine.body(self.input.bytes()) {
                Decoded::Data { skip, data } => {
                    self.input.advance(skip + data);
                    self.machine.discard(skip + data);
                }
                Decoded::End { used, .. } => {
                    self.input.advance(used);
                    self.machine.finish(false);
                    return Poll::Ready(Ok(Step::Again));
                }
                Decoded::Refused(_) => self.machine.close(),
                Decoded::More { used } => {
                    self.input.advance(used);
                    if self.eof {
                        self.machine.break_off();
                        self.machine.close();
                    } else if self.read(cx)?.is_pending() {
                        let _ = self.poll_send(cx)?;
                        return Poll::Pending;
                    }
                }
            }
            if self.machine.stage() == Stage::Closing {
                return Poll::Ready(Ok(Step::Again));
            }
        }
    }

    /// The service may let go of the body while it waits for it.
    pub(super) fn dropped(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        match self.sender.as_ref().map(|sender| sender.sleep(cx.waker())) {
            Some(Wish::Over) => Poll::Ready(Ok(Step::Again)),
            _ => Poll::Pending,
        }
    }
}
