//! What is done for a request that is answered before all of it has come: it is read on, as over HTTP/1.
//!
//! The end of its answer is held back meanwhile, its last piece included. Some clients (curl 7) look at no window any more
//! once they have all of an answer, wait for ever to send the rest, and lose the answer if the stream is reset instead.
//! Not that of an error: there the same clients send no more, and end their request short of its length.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h2::SendStream;
use http::HeaderMap;
use tokio::time::{Instant, Sleep, sleep};

use crate::access_log::Counted;
use crate::body::upload::Leftover;
use crate::connection_state::{Progress, nanos};
use crate::limits::{LINGER_LEAST, LINGER_SILENCE, Limits, TICK};
use crate::sendfile::Piece;

/// What is read on of one request, in bytes.
pub(super) const MOST_READ: usize = 16 << 20;

/// What an answer ends with.
pub(super) enum End<D> {
    Nothing,
    Piece(Counted<Piece<D>>),
    Trailers(HeaderMap),
}

/// The end of an answer, and where it goes.
pub(super) struct Held<D: Buf> {
    pub(super) out: SendStream<Counted<Piece<D>>>,
    pub(super) end: End<D>,
}

impl<D: Buf> Held<D> {
    /// Sends it, unless it is better held back.
    pub(super) fn send_of_error(self, is_error: bool) -> Option<Self> {
        if !is_error {
            return Some(self);
        }
        self.send();
        None
    }

    /// A stream that takes no more has been reset.
    pub(super) fn send(mut self) {
        let _ = match self.end {
            End::Nothing => self.out.send_data(Counted::nowhere(Piece::Bytes(Bytes::new())), true),
            End::Piece(piece) => self.out.send_data(piece, true),
            End::Trailers(trailers) => self.out.send_trailers(trailers),
        };
    }
}

/// Reads on for as long as it is worth it. When this is dropped before the request has ended the stream is reset, without
/// an error.
pub(super) struct ReadingOn<D: Buf> {
    /// Until the request has ended, or its client has nothing to say for a moment.
    held: Option<Held<D>>,
    alarm: Pin<Box<Sleep>>,
    began: Instant,
    heard: Instant,
    read: usize,
}

impl<D: Buf> ReadingOn<D> {
    pub(super) fn new(held: Option<Held<D>>) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep(TICK));
        Self { held, alarm, began: now, heard: now, read: 0 }
    }

    /// Ready when nothing more is to be done.
    pub(super) fn poll_done(
        &mut self,
        cx: &mut Context<'_>,
        leftover: &mut Leftover,
        progress: &Progress,
        limits: &Limits,
    ) -> Poll<()> {
        let has_ended = leftover.poll_read(cx, MOST_READ).is_ready();
        if has_ended || leftover.read >= MOST_READ {
            return self.done();
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if leftover.read > self.read {
                (self.read, self.heard) = (leftover.read, now);
            }
            let wanted = progress.wanted.get();
            let wanted = wanted > 0 && tine::now() >= wanted.saturating_add(nanos(LINGER_LEAST));
            let silent = now - self.heard;
            if wanted || now - self.began >= limits.linger_timeout || silent >= LINGER_SILENCE {
                return self.done();
            }
            if silent >= LINGER_LEAST {
                self.end();
            }
            self.alarm.as_mut().reset(now + TICK);
        }
        Poll::Pending
    }

    fn end(&mut self) {
        self.held.take().into_iter().for_each(Held::send);
    }

    fn done(&mut self) -> Poll<()> {
        self.end();
        Poll::Ready(())
    }
}
