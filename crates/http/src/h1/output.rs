//! What a connection has to send: small things copied together, and behind them at most one large piece.
//!
//! The room is the thread's, lent for as long as something waits in it: an idle connection has none.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;

use crate::access_log::Counted;
use crate::batched_writes::{self, Outlet};
use crate::channel::{Channel, note_writing};
use crate::connection_state::Progress;
use crate::file::Section;
use crate::sendfile;

/// What is copied together before it is sent, in bytes.
const ROOM: usize = 16 * 1024;
/// A piece of so many bytes is not worth being copied.
const LARGE: usize = 8 * 1024;
/// Slices of one write.
const SLICES: usize = 32;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A piece that is sent from where it lies.
#[derive(Debug)]
enum Large<D> {
    Data(D),
    File(Counted<Section>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Output<D> {
    bytes: Vec<u8>,
    /// How many of them are sent.
    sent: usize,
    large: Option<Large<D>>,
    /// The stream has taken it, and holds some of it back itself.
    unflushed: bool,
    /// Since the first answer that was sent together with those of other connections.
    outlet: Option<Arc<Outlet>>,
}

impl<D: Buf> Output<D> {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0, large: None, unflushed: false, outlet: None }
    }

    /// Whether nothing is to be sent any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_taken() && !self.unflushed
    }

    /// Whether the stream has taken everything.
    fn is_taken(&self) -> bool {
        self.bytes.is_empty() && self.large.is_none()
    }

    /// Whether it must be sent before more may be added.
    pub(crate) fn is_full(&self) -> bool {
        self.large.is_some() || self.bytes.len() >= ROOM
    }

    /// Room for small things, which are sent behind those that are there. Not while it is [full](Self::is_full).
    pub(crate) fn small(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
            self.bytes.reserve(ROOM);
        }
        &mut self.bytes
    }

    /// Adds the first `length` bytes of `data`.
    pub(crate) fn add(&mut self, mut data: D, length: usize) -> bool {
        let room = self.small();
        if length >= LARGE && length == data.remaining() {
            self.large = Some(Large::Data(data));
            return false;
        }
        let mut left = length;
        while left > 0 {
            let chunk = data.chunk();
            let count = chunk.len().min(left);
            room.extend_from_slice(&chunk[..count]);
            data.advance(count);
            left -= count;
        }
        true
    }

    /// Adds part of a file, which the kernel sends.
    pub(crate) fn add_file(&mut self, file: Counted<Section>) {
        self.large = Some(Large::File(file));
    }

    /// Sends all of it.
    pub(crate) fn poll_send<I: Channel>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut I,
        progress: &Progress,
    ) -> Poll<io::Result<()>> {
        self.recall(progress);
        while !self.is_taken() {
            self.unflushed = !I::SENDS_FILES;
            let written = self.poll_write(cx, stream);
            note_writing(stream, progress, written.is_pending());
            let count = ready!(written)?;
            progress.written.add(count as u64);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut *stream).poll_flush(cx);
        note_writing(stream, progress, flushed.is_pending());
        self.unflushed = flushed.is_pending();
        flushed
    }

    fn poll_write<I: Channel>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut I,
    ) -> Poll<io::Result<usize>> {
        let small = &self.bytes[self.sent..];
        match &self.large {
            None => Pin::new(stream).poll_write(cx, small),
            Some(Large::Data(data)) => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                slices[0] = IoSlice::new(small);
                let first = usize::from(!small.is_empty());
                let count = first + data.chunks_vectored(&mut slices[first..]);
                Pin::new(stream).poll_write_vectored(cx, &slices[..count])
            }
            Some(Large::File(file)) => {
                let before = [IoSlice::new(small)];
                let before = if small.is_empty() { &[][..] } else { &before };
                let mut send =
                    |socket: BorrowedFd<'_>| sendfile::send(socket, before, file.section());
                stream.poll_with(cx, &mut send)
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let small = count.min(self.bytes.len() - self.sent);
        self.sent += small;
        if self.sent == self.bytes.len() {
            self.give_back();
        }
        let large = count - small;
        let is_over = match &mut self.large {
            None => return,
            Some(Large::Data(data)) => {
                data.advance(large);
                !data.has_remaining()
            }
            Some(Large::File(file)) => {
                file.sent(large);
                file.section().left == 0
            }
        };
        if is_over {
            self.large = None;
        }
    }

    /// Whether what is there may be sent together with what other connections have to send.
    pub(crate) fn joins_others<I: Channel>(
        &mut self,
        cx: &Context<'_>,
        stream: &I,
        progress: &Arc<Progress>,
    ) -> bool {
        let is_hindered = progress.leaving.get() || progress.is_writing() || self.is_full();
        if self.is_taken() || is_hindered || !batched_writes::is_open(progress.now.get()) {
            return false;
        }
        if self.outlet.is_none() {
            // A connection's driver is one task from beginning to end, so its first waker is its last.
            let outlet = |socket| Outlet::new(socket, progress.clone(), cx.waker().clone());
            self.outlet = stream.socket().map(outlet);
        }
        self.outlet.is_some()
    }

    /// Has it sent so.
    pub(crate) fn gather(&mut self) {
        if let Some(outlet) = &self.outlet {
            batched_writes::gather(outlet, &self.bytes[self.sent..]);
            self.give_back();
        }
    }

    /// Nothing of this connection's is in the outbox any more: before something is sent in another way.
    fn recall(&mut self, progress: &Progress) {
        if progress.gathered.get() {
            batched_writes::send_all();
        }
        self.take_back(progress);
    }

    /// What the outbox could not send is to be sent from here again, before all else.
    pub(crate) fn take_back(&mut self, progress: &Progress) {
        let Some(outlet) = self.outlet.as_ref().filter(|_| progress.returned.get()) else { return };
        let mut returned = outlet.take_returned();
        returned.extend_from_slice(&self.bytes[self.sent..]);
        (self.bytes, self.sent) = (returned, 0);
        // Until it is tried again.
        progress.writing.set(true);
    }

    fn give_back(&mut self) {
        self.sent = 0;
        let mut room = std::mem::take(&mut self.bytes);
        if (ROOM..=2 * ROOM).contains(&room.capacity()) {
            room.clear();
            // While a thread ends it may be gone.
            let _ = SPARE.try_with(|spare| spare.set(room));
        }
    }
}
