//! An answer's body on its way out: what is counted of it.

use std::pin::Pin;
use std::task::{self, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;

use super::served::Served;
use crate::access_log::{Counted, Line};
use crate::file::Section;
use crate::frame_room::Permit;
use crate::sendfile::{Outgoing, Piece};

pin_project_lite::pin_project! {
    /// An answer's body, and the note that it is on its way.
    pub(crate) struct Answer<B> {
        // None: a refusal says nothing more.
        #[pin]
        pub(super) body: Option<Outgoing<B>>,
        // It has failed, and says so when its time has come.
        pub(super) error: Option<BoxError>,
        pub(super) served: Served,
    }
}

impl<B: Body + 'static> Answer<B> {
    /// Its head is written over HTTP/1, in so many bytes; whether its body is sent in chunks.
    pub(crate) fn written(&self, head: usize, chunked: bool) {
        self.served.line.iter().for_each(|line| line.written(head, chunked));
    }

    /// The part of a file that comes next, if there are `least` bytes of it and the kernel can send it.
    pub(crate) fn next_file(self: Pin<&mut Self>, least: u64) -> Option<Counted<Section>> {
        let this = self.project();
        let section = this.body.as_pin_mut()?.next_file(least)?;
        this.served.several |= this.served.owed;
        this.served.set_owed(true);
        this.served.connected.progress.given.add(1);
        Some(match &this.served.line {
            Some(line) => line.file(section),
            None => Counted::nowhere(section),
        })
    }

    /// How much there is of a file that comes next and is to be read as the client's window allows: see [`Way::Framed`].
    pub(crate) fn file_left(self: Pin<&mut Self>) -> Option<u64> {
        self.project().body.as_pin_mut()?.file_left()
    }

    /// So much of it may be read now.
    pub(crate) fn may_read(self: Pin<&mut Self>, permit: Permit) {
        if let Some(body) = self.project().body.as_pin_mut() {
            body.may_read(permit);
        }
    }

    /// It goes on when the client takes something.
    pub(crate) fn waits_for_client(self: Pin<&mut Self>) {
        self.project().served.set_owed(true);
    }
}

fn is_read<D: Buf>(frame: &Frame<Piece<D>>) -> bool {
    matches!(frame.data_ref(), Some(Piece::Read { .. }))
}

impl<B> Body for Answer<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Counted<Piece<B::Data>>;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let polled = match this.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => body.poll_frame(cx).map_err(|error| this.served.broke_off(error)),
        };
        if let Poll::Ready(Some(Err(error))) = polled {
            return this.served.fail(error, this.error);
        }
        this.served.tell_refusal();
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        this.served.several |= this.served.owed;
        this.served.set_owed(given);
        // What is read as the window allows is counted by its bytes: its pieces are as many as the client likes.
        let counts = given && !matches!(&polled, Poll::Ready(Some(Ok(frame))) if is_read(frame));
        this.served.connected.progress.given.add(counts.into());
        if matches!(polled, Poll::Ready(None)) {
            this.served.line.iter().for_each(Line::whole);
        }
        let line = &this.served.line;
        let count = |data| match line {
            Some(line) => line.piece(data),
            None => Counted::nowhere(data),
        };
        polled.map_ok(|frame| frame.map_data(count))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
