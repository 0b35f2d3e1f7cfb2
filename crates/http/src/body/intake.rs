//! A request's body on its way from the connection to the service.
//!
//! The connection reads no more than the service asks for: one piece waits here at most. The service's end may
//! be polled from any task or thread, for [`RequestBody`](crate::RequestBody) is `Send`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::refusal::Refusal;

/// The service's end.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Mutex<Intake>>);

/// The connection's end. Dropped before the body's end, the body has broken off.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Mutex<Intake>>);

#[derive(Debug, Default)]
struct Intake {
    piece: Option<Bytes>,
    trailers: Option<Box<HeaderMap>>,
    end: Option<End>,
    /// How many bytes are still to come, if that was said.
    left: Option<u64>,
    /// The service waits for a piece, and is woken by this.
    waits: Option<Waker>,
    /// Wakes the connection.
    connection: Option<Waker>,
    /// The connection is at work, and looks here before it sleeps.
    attentive: bool,
    /// The service has let go of its end.
    dropped: bool,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Whole,
    Broken(Option<Refusal>),
}

/// What the service wants of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing now: a piece waits for it, or it does something else.
    Nothing,
    /// The next piece.
    More,
    /// Nothing any more: it has let go of the body.
    Over,
}

/// The two ends of a body that has `left` bytes, if that is known.
pub(crate) fn channel(left: Option<u64>) -> (Sender, Receiver) {
    let intake = Arc::new(Mutex::new(Intake { left, ..Intake::default() }));
    (Sender(intake.clone()), Receiver(intake))
}

fn lock(intake: &Mutex<Intake>) -> MutexGuard<'_, Intake> {
    intake.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    /// What the service wants now. `waker` is woken when that changes while the connection
    /// [sleeps](Self::sleep).
    pub(crate) fn wish(&self) -> Wish {
        let intake = lock(&self.0);
        match (intake.dropped, &intake.piece, &intake.waits) {
            (true, ..) => Wish::Over,
            (false, None, Some(_)) => Wish::More,
            _ => Wish::Nothing,
        }
    }

    /// The connection works: no wish of the service's need wake it until it sleeps again.
    pub(crate) fn attend(&self) {
        lock(&self.0).attentive = true;
    }

    /// The connection sleeps until `waker` is woken. Returns what the service wants, should that have changed since.
    pub(crate) fn sleep(&self, waker: &Waker) -> Wish {
        {
            let mut intake = lock(&self.0);
            intake.attentive = false;
            if !intake.connection.as_ref().is_some_and(|it| it.will_wake(waker)) {
                intake.connection = Some(waker.clone());
            }
        }
        self.wish()
    }

    /// The next piece, which is not empty; there is none before it.
    pub(crate) fn send(&self, piece: Bytes) {
        let mut intake = lock(&self.0);
        intake.left = intake.left.map(|left| left.saturating_sub(piece.len() as u64));
        intake.piece = Some(piece);
        intake.wake();
    }

    /// The body is whole.
    pub(crate) fn end(&self, trailers: Option<Box<HeaderMap>>) {
        let mut intake = lock(&self.0);
        (intake.end, intake.trailers) = (Some(End::Whole), trailers);
        intake.wake();
    }

    /// The body is none that can be read on.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let mut intake = lock(&self.0);
        intake.end = Some(End::Broken(Some(refusal)));
        intake.wake();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut intake = lock(&self.0);
        intake.end.get_or_insert(End::Broken(None));
        intake.wake();
    }
}

impl Intake {
    fn wake(&mut self) {
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }

    fn wake_connection(&mut self) {
        if !self.attentive
            && let Some(waker) = &self.connection
        {
            waker.wake_by_ref();
        }
    }
}

impl Receiver {
    /// The next piece, or the trailers; an error where the body breaks off, with the reason if that is the client's.
    pub(crate) fn poll_frame(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Option<Refusal>>>> {
        let mut intake = lock(&self.0);
        if let Some(piece) = intake.piece.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match intake.end {
            Some(End::Whole) => {
                let trailers = intake.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Some(End::Broken(refusal)) => {
                intake.end = Some(End::Whole);
                Poll::Ready(Some(Err(refusal)))
            }
            None => {
                let waits = intake.waits.replace(cx.waker().clone());
                if waits.is_none() {
                    intake.wake_connection();
                }
                Poll::Pending
            }
        }
    }

    /// Whether the service has got all of it.
    pub(crate) fn is_end(&self) -> bool {
        let intake = lock(&self.0);
        intake.piece.is_none()
            && intake.trailers.is_none()
            && matches!(intake.end, Some(End::Whole))
    }

    /// How many bytes the service has still to get, if that was said.
    pub(crate) fn left(&self) -> Option<u64> {
        let intake = lock(&self.0);
        let waiting = intake.piece.as_ref().map_or(0, Bytes::len) as u64;
        intake.left.map(|left| left + waiting)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut intake = lock(&self.0);
        intake.dropped = true;
        intake.wake_connection();
    }
}
