//! The body of an HTTP/2 request, and what happens to the part that the service does not read.
//!
//! A stream that is dropped before its request has ended is reset. Some clients then report no answer at all, though it
//! was sent (curl before 8, node). So a body that the service drops goes back to the stream's own task, which reads on
//! for a while: see [`Leftover`].

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;

/// The body of an HTTP/2 request: its data, then its trailers.
#[derive(Debug)]
pub(crate) struct Upload {
    /// There until it is dropped.
    stream: Option<RecvStream>,
    /// Bytes to come, where `Content-Length` says so.
    left: Option<u64>,
    data_done: bool,
    slot: Arc<Slot>,
}

/// Where a dropped [`Upload`] leaves its stream. The service may drop it on any thread.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    stream: Option<RecvStream>,
    /// The stream's task.
    waker: Option<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// The body of a request with these fields, and where it goes when it is dropped; `None` there if it has none.
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> (Self, Option<Leftover>) {
        let slot = Arc::new(Slot::default());
        let leftover = (!stream.is_end_stream()).then(|| Leftover::new(slot.clone()));
        let left =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        (Self { stream: Some(stream), left, data_done: false, slot }, leftover)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let stream = self.stream.take().filter(|stream| !stream.is_end_stream());
        let waker = {
            let mut left = self.slot.lock();
            left.stream = stream;
            left.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let upload = &mut *self;
        let Some(stream) = &mut upload.stream else { return Poll::Ready(None) };
        if !upload.data_done {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // The client may send as much again.
                    let _ = stream.flow_control().release_capacity(bytes.len());
                    let length = bytes.len() as u64;
                    upload.left = upload.left.map(|left| left.saturating_sub(length));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => upload.data_done = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx)).map_err(BoxError::from);
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Reads and discards what the service has left of a body.
#[derive(Debug)]
pub(crate) struct Leftover {
    slot: Arc<Slot>,
    stream: Option<RecvStream>,
    /// Bytes that were discarded.
    pub(crate) read: usize,
}

impl Leftover {
    fn new(slot: Arc<Slot>) -> Self {
        Self { slot, stream: None, read: 0 }
    }

    /// What comes on a stream that no service reads.
    pub(crate) fn of(stream: RecvStream) -> Self {
        let stream = Some(stream).filter(|stream| !stream.is_end_stream());
        Self { slot: Arc::default(), stream, read: 0 }
    }

    /// Whether the service has dropped the body before its end.
    pub(crate) fn is_there(&mut self) -> bool {
        if self.stream.is_none() {
            self.stream = self.slot.lock().stream.take();
        }
        self.stream.is_some()
    }

    /// Reads what there is, up to `most` bytes in all. Ready when the request has come to its end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let mut left = self.slot.lock();
                let Some(stream) = left.stream.take() else {
                    left.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                self.stream.insert(stream)
            }
        };
        while self.read < most {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let _ = stream.flow_control().release_capacity(bytes.len());
                    self.read += bytes.len();
                }
                // Its end, or a reset by the client. Trailers go with the stream.
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}
