//! The service's answer on its way to the client.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::Response;
use http_body::Body;

use super::work::Work;
use super::{Data, Driver, LEAST_FILE, Outcome, Step};
use crate::access_log::Counted;
use crate::channel::Channel;
use crate::connected::Connected;
use crate::file::Section;
use crate::h1::encode::Framing;
use crate::h1::fields;
use crate::h1::input::Input;
use crate::h1::intake::Sender;
use crate::observed::Answer;
use crate::service::HttpService;
use crate::wire::Wire;

impl<I: Channel, S: HttpService> Driver<I, S> {
    /// Waits for the service, and gives it the request's body as it asks for it.
    pub(super) fn make(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        loop {
            let work = self.work.as_mut().and_then(|work| work.as_mut().answering());
            let Some(answering) = work else { return failed() };
            self.sender.iter().for_each(Sender::attend);
            match answering.poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Ok(self.answer(response))),
                Poll::Ready(Err(_)) => {
                    self.end_work();
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

    /// The service has answered.
    pub(super) fn answer(&mut self, response: Response<Answer<S::Answer>>) -> Step {
        let (parts, body) = response.into_parts();
        let exact = body.size_hint().exact();
        let Connected { settings, progress, .. } = &*self.service.connected;
        let date = settings.date.at(progress.now.get());
        let encoded = self.machine.answer(self.output.small(), &parts, exact, true, &date);
        fields::recycle(parts.headers);
        body.written(encoded.bytes, matches!(encoded.framing, Framing::Chunked { .. }));
        if self.machine.is_upgraded() || self.machine.wants_piece() {
            if let Some(work) = &mut self.work {
                work.set(Work::Sending { answer: body });
            }
        } else {
            drop(body);
            self.end_answer();
        }
        Step::Again
    }

    /// Everything of the answer is on its way.
    pub(super) fn end_answer(&mut self) {
        self.end_work();
        self.upgrade = None;
        self.machine.finish(self.is_body_wanted());
    }

    fn end_work(&mut self) {
        if let Some(work) = self.work.take() {
            self.spare.give_back(work);
        }
    }

    /// Sends the answer's body.
    pub(super) fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        if self.machine.is_upgraded() {
            return self.hand_over(cx);
        }
        loop {
            if self.output.is_full() && self.poll_send(cx)?.is_pending() {
                return self.feed_pending(cx);
            }
            if !self.machine.wants_piece() {
                self.end_answer();
                return Poll::Ready(Ok(Step::Again));
            }
            let work = self.work.as_mut().and_then(|work| work.as_mut().answer());
            let Some(mut body) = work else { return failed() };
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
    pub(super) fn feed_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        match self.feed(cx)? {
            Poll::Ready(()) => Poll::Ready(Ok(Step::Again)),
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn add(&mut self, data: Data<S>) {
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

    pub(super) fn add_file(&mut self, mut file: Counted<Section>) {
        let piece = self.machine.piece(self.output.small(), file.section().left);
        file.cut(piece.length);
        self.output.add_file(file);
        self.piece = Some(piece);
    }

    /// The answer does not come to its end: what there is of it is sent, and the client sees that it is not whole.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        self.service.connected.progress.fails.set(true);
        let _ = self.poll_send(cx);
        failed()
    }

    pub(super) fn hand_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let progress = self.service.connected.progress.clone();
        progress.upgrades.set(true);
        ready!(self.poll_send(cx))?;
        let (Some(upgrade), Some(stream)) = (self.upgrade.take(), self.stream.take()) else {
            return failed();
        };
        let wire = Wire::new(stream, self.input.bytes(), progress);
        self.input = Input::default();
        self.end_work();
        upgrade.hand_over(wire);
        Poll::Ready(Ok(Step::Done(Outcome::Upgraded)))
    }
}

fn failed() -> Poll<io::Result<Step>> {
    Poll::Ready(Ok(Step::Done(Outcome::Failed)))
}
