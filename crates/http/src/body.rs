//! A request's body: what the client sends, within its limits.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;
use tokio::time::{Instant, Sleep, sleep};

use crate::h1::Refusal;
use crate::h1::intake::Receiver;
use crate::http2::Upload;
use crate::limits::{Limits, TICK};
use crate::progress::Progress;

/// A request's body as a service gets it: the client's bytes, up to
/// [`Limits::body_bytes`](crate::Limits::body_bytes) and not slower than
/// [`Limits::body_rate`](crate::Limits::body_rate).
///
/// Over HTTP/2 it may be as slow as it likes until somebody else waits for its worker, for a stream has others beside it.
/// A violation is an error here; whatever the service then answers, the client is told 413 or 408.
/// `100 Continue` is sent when the body is first asked for.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    meter: Option<Box<Meter>>,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    Http1(Receiver),
    Http2(Upload),
    Empty,
}

/// Why a body is not complete; its source is the reason of what reads the protocol.
#[derive(Debug)]
pub struct BodyError {
    refusal: Refusal,
    source: Option<BoxError>,
}

impl BodyError {
    /// What the client is told: 413 (too much), 408 (too slow) or 400 (broken framing, or broken off).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.refusal.status
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.refusal.status {
            StatusCode::PAYLOAD_TOO_LARGE => TOO_LONG.reason,
            StatusCode::REQUEST_TIMEOUT => TOO_SLOW.reason,
            _ => BROKEN_OFF.reason,
        })
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

const TOO_LONG: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is longer than is allowed");
const TOO_SLOW: Refusal =
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request's body comes too slowly");
const BROKEN_OFF: Refusal = Refusal::bad("the request's body is not complete");

/// What a body's request is answered with instead of the service's answer: known to both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<OnceLock<Refusal>>);

impl Verdict {
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.0.get().copied()
    }
}

#[derive(Debug)]
struct Meter {
    verdict: Verdict,
    /// Bytes to come at most.
    left: u64,
    pace: Pace,
    progress: Arc<Progress>,
    /// Its request's, on the connection.
    number: u64,
}

/// As good as no bound, and an alarm can be set to it: 30 years.
const ENDLESS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// How long a body may still be waited for.
#[derive(Debug)]
struct Pace {
    most: Duration,
    left: Duration,
    /// Bytes that make a second good.
    rate: u32,
    /// It counts only from when somebody waits behind it: over HTTP/2.
    patient: bool,
    /// Since when it is waited for, and the alarm.
    waiting: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, meter: None }
    }

    /// Sets its limits, before it is read. A body without bytes needs none.
    pub(crate) fn limit(
        &mut self,
        limits: &Limits,
        progress: &Arc<Progress>,
        http2: bool,
    ) -> Option<Verdict> {
        if self.source.is_end_stream() {
            return None;
        }
        let verdict = Verdict::default();
        let left = if limits.body_bytes == 0 { u64::MAX } else { limits.body_bytes };
        let pace = Pace::new(limits.body_timeout, limits.body_rate, http2);
        let (progress, number) = (progress.clone(), progress.requests.get());
        progress.body.set(number);
        let meter = Meter { verdict: verdict.clone(), left, pace, progress, number };
        self.meter = Some(Box::new(meter));
        Some(verdict)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.is_over();
    }
}

impl Meter {
    /// The body was read to its end, or is given up. If it is still the connection's: an application may read the one before
    /// it meanwhile, which was taken in long since.
    fn is_over(&self) {
        if self.progress.body.get() == self.number {
            self.progress.body.set(0);
        }
    }

    fn refuse(&self, refusal: Refusal, source: Option<BoxError>) -> BodyError {
        // The first is the one that is answered.
        let refusal = *self.verdict.0.get_or_init(|| refusal);
        BodyError { refusal, source }
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.pace.came(length, &self.progress);
        self.progress.delivered.add(u64::from(length > 0));
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(self.refuse(TOO_LONG, None)),
        }
        Ok(())
    }
}

impl Pace {
    fn new(most: Duration, rate: u32, patient: bool) -> Self {
        let most = most.min(ENDLESS);
        Self { most, left: most, rate: rate.max(1), patient, waiting: None, alarm: None }
    }

    /// What is left of its time, when it is waited for since then.
    fn left_since(&self, since: Instant, progress: &Progress) -> Duration {
        let waited = since.elapsed();
        let counts = match (self.patient, progress.wanted.get()) {
            (false, _) => waited,
            // None of it is over, and be it none at all: it is looked again in a while.
            (true, 0) => return self.left.max(TICK),
            (true, wanted) => waited.min(Duration::from_nanos(tine::now().saturating_sub(wanted))),
        };
        self.left.saturating_sub(counts)
    }

    /// So many bytes have come.
    fn came(&mut self, bytes: usize, progress: &Progress) {
        if let Some(since) = self.waiting.take() {
            let good = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate));
            self.left = self.left_since(since, progress).saturating_add(good).min(self.most);
        }
    }

    /// Nothing has come; ready when it was waited for too long.
    ///
    /// A patient one need not be told that somebody waits: its alarm rings before all of its time can be over, and
    /// then is set to what is left.
    fn poll_over(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Poll<()> {
        let left = self.left;
        let mut alarm = self.alarm.take().unwrap_or_else(|| Box::pin(sleep(left)));
        let since = *self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            alarm.as_mut().reset(now + left);
            now
        });
        let over = loop {
            if alarm.as_mut().poll(cx).is_pending() {
                break Poll::Pending;
            }
            let more = self.left_since(since, progress);
            if more.is_zero() {
                break Poll::Ready(());
            }
            alarm.as_mut().reset(Instant::now() + more);
        };
        self.alarm = Some(alarm);
        over
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = &mut *self;
        let polled = Pin::new(&mut body.source).poll_frame(cx);
        let Some(meter) = &mut body.meter else {
            return polled;
        };
        if matches!(polled, Poll::Ready(None)) || body.source.is_end_stream() {
            meter.is_over();
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(meter.count(&frame).map(|()| frame))),
            Poll::Ready(Some(Err(BodyError { refusal, source }))) => {
                Poll::Ready(Some(Err(meter.refuse(refusal, source))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if meter.pace.poll_over(cx, &meter.progress).is_ready() {
                    let error = meter.refuse(TOO_SLOW, None);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let broken = |source| BodyError { refusal: BROKEN_OFF, source };
        match self.get_mut() {
            Self::Http1(body) => body.poll_frame(cx).map_err(|refusal| match refusal {
                Some(refusal) => BodyError { refusal, source: Some(refusal.reason.into()) },
                None => broken(None),
            }),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|error| broken(Some(error))),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(progress: &Arc<Progress>, number: u64) -> Meter {
        progress.requests.set(number);
        progress.body.set(number);
        let (verdict, progress) = (Verdict::default(), progress.clone());
        let pace = Pace::new(Duration::MAX, 1, false);
        Meter { verdict, left: u64::MAX, pace, progress, number }
    }

    #[test]
    fn a_body_that_is_read_behind_the_next_ones_back_says_nothing_of_that() {
        let progress = Arc::new(Progress::default());
        let first = meter(&progress, 1);
        let second = meter(&progress, 2);
        first.is_over();
        drop(first);
        assert_eq!(progress.body.get(), 2);
        second.is_over();
        assert_eq!(progress.body.get(), 0);
    }
}
