//! The client's socket as hyper sees it: notes that something was heard, and, while the worker leaves,
//! whether the client has everything that was written. A loan in what is to be written ([`crate::send`])
//! goes out as the file it stands for; small answers wait for others ([`crate::hold`]).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::file::Section;
use crate::hold::Hold;
use crate::known::Known;
use crate::outbox::{self, Outlet};
use crate::progress::Progress;
use crate::send;

/// Pieces of one write, as many as hyper gives at most and what has waited.
const PARTS: usize = 65;
const PRESENT: &str = "the stream is there until HTTP is over";

/// A stream of bytes to a client, whatever carries it.
pub(crate) trait Channel: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Whether what is written to the descriptor is what the client reads, so that the kernel can send
    /// files.
    const SENDS_FILES: bool;

    /// Does `write` to the descriptor as soon as it can be written to, and again when it could not.
    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>>;

    /// The socket, if what is written to it is what the client reads, and once the runtime watches it.
    fn socket(&self) -> Option<Arc<dyn Known>>;
}

/// A stream whose reads leave a mark, and whose small writes may wait for others.
#[derive(Debug)]
pub(crate) struct Heard<S: Channel> {
    /// There until HTTP is over.
    stream: Option<TokioIo<S>>,
    progress: Arc<Progress>,
    hold: Hold,
    /// Since the first answer that was sent together with others'.
    outlet: Option<Arc<Outlet>>,
}

impl<S: Channel> Heard<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>) -> Self {
        let stream = Some(TokioIo::new(stream));
        Self { stream, progress, hold: Hold::default(), outlet: None }
    }

    /// Before HTTP begins on it: what is written over HTTP/1 comes as it is, and may be a loan; or hyper copies it
    /// together first, which is cheaper for what is small.
    pub(crate) fn write_in_pieces(&self, in_pieces: bool) {
        self.progress.in_pieces.set(in_pieces);
    }

    /// The stream under it, when HTTP is over.
    pub(crate) fn into_inner(mut self) -> S {
        self.write_rest();
        self.stream.take().expect(PRESENT).into_inner()
    }

    fn stream(&mut self) -> Pin<&mut TokioIo<S>> {
        Pin::new(self.stream.as_mut().expect(PRESENT))
    }

    /// The stream under it.
    pub(crate) fn channel(&mut self) -> &mut S {
        self.stream.as_mut().expect(PRESENT).inner_mut()
    }

    fn inner(&self) -> &S {
        self.stream.as_ref().expect(PRESENT).inner()
    }

    /// What has waited when a later request broke the connection off, as far as the socket takes it.
    fn write_rest(&mut self) {
        self.recall();
        if !self.hold.is_empty() {
            let _ = self.poll_held(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn note_written<T>(&self, written: &Poll<T>) {
        self.progress.writing.set(written.is_pending());
        if written.is_pending() {
            // A socket asks for more when a good part of it is free, which may be minutes after a slow client has
            // begun to take something.
            self.progress.unsent.set(tine::bytes_unsent(self.inner()).unwrap_or(0) as u64);
        }
        self.note_receiving(written);
    }

    /// A client that still receives is not silent, however quiet it is. Asked on both sides: hyper stops
    /// reading once an answer has said that it is the last.
    fn note_receiving<T>(&self, written: &Poll<T>) {
        if self.progress.leaving.get() {
            let unsent = || tine::bytes_unsent(self.inner()).unwrap_or(0) > 0;
            self.progress.receiving.set(written.is_pending() || unsent());
        }
    }

    /// Whether answers may wait. HTTP/2 gathers its frames itself, and what an application does with a
    /// connection of its own is its own.
    fn holds(&self) -> bool {
        let Progress { http2, upgrades, release, .. } = &*self.progress;
        !http2.get() && !upgrades.get() && !release.get()
    }

    /// Whether what has waited may be sent together with what others have to send.
    fn joins_others(&mut self, cx: &Context<'_>) -> bool {
        let progress = &*self.progress;
        let is_hindered = progress.leaving.get() || progress.is_writing() || !self.holds();
        if is_hindered || !outbox::is_open(progress.now.get()) {
            return false;
        }
        if self.outlet.is_none() {
            let (socket, progress) = (self.inner().socket(), self.progress.clone());
            // A connection's driver is one task from beginning to end, so its first waker is its last.
            self.outlet = socket.map(|socket| Outlet::new(socket, progress, cx.waker().clone()));
        }
        self.outlet.is_some()
    }

    /// Has it sent so.
    fn gather(&mut self) {
        let Some(outlet) = &self.outlet else { return };
        let bytes = self.hold.rest();
        outbox::gather(outlet, bytes);
        let count = bytes.len();
        self.hold.advance(count);
        self.progress.held.set(false);
    }

    /// Nothing of this connection's is in the outbox any more: before something is written in another way.
    fn recall(&mut self) {
        if self.progress.gathered.get() {
            outbox::send_all();
        }
        self.take_back();
    }

    /// What the outbox could not send has to wait here again.
    fn take_back(&mut self) {
        if self.progress.returned.get() {
            self.hold_again();
        }
    }

    fn hold_again(&mut self) {
        let Some(outlet) = &self.outlet else { return };
        self.hold.put_first(&outlet.take_returned());
        self.progress.held.set(true);
        // Until it is tried again.
        self.progress.writing.set(true);
    }

    /// Writes what has waited, without regard to anything else.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.recall();
        while !self.hold.is_empty() {
            let stream = Pin::new(self.stream.as_mut().expect(PRESENT));
            let written = stream.poll_write(cx, self.hold.rest());
            self.note_written(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.hold.advance(count),
            };
        }
        self.progress.held.set(false);
        if S::SENDS_FILES {
            return Poll::Ready(Ok(()));
        }
        // TLS may hold some of it back itself.
        let flushed = self.stream().poll_flush(cx);
        self.note_written(&flushed);
        flushed
    }

    /// Writes what has waited and this behind it; how much of this was written.
    fn poll_behind_held(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut all = [IoSlice::new(&[]); PARTS];
            all[0] = IoSlice::new(self.hold.rest());
            let count = parts.len().min(PARTS - 1);
            all[1..=count].copy_from_slice(&parts[..count]);
            let stream = Pin::new(self.stream.as_mut().expect(PRESENT));
            let written = stream.poll_write_vectored(cx, &all[..=count]);
            self.note_written(&written);
            let written = ready!(written)?;
            let behind = self.hold.advance(written);
            self.progress.held.set(!self.hold.is_empty());
            if behind > 0 || written == 0 {
                return Poll::Ready(Ok(behind));
            }
        }
    }

    /// Sends a file, its header before it, and before that what has waited.
    fn poll_loan(
        &mut self,
        cx: &mut Context<'_>,
        before: &[IoSlice<'_>],
        section: &Section,
    ) -> Poll<io::Result<usize>> {
        if self.hold.is_empty() {
            let mut send = |socket: BorrowedFd<'_>| send::send(socket, before, section);
            let written = self.channel().poll_with(cx, &mut send);
            self.note_written(&written);
            return written;
        }
        let ahead: usize = before.iter().map(|part| part.len()).sum();
        if ahead > 0 {
            // It is the hold's from now on; the file comes with the next call.
            self.hold.put(before);
            return Poll::Ready(Ok(ahead));
        }
        loop {
            let held = [IoSlice::new(self.hold.rest())];
            let mut send = |socket: BorrowedFd<'_>| send::send(socket, &held, section);
            let channel = self.stream.as_mut().expect(PRESENT).inner_mut();
            let written = channel.poll_with(cx, &mut send);
            self.note_written(&written);
            let sent = self.hold.advance(ready!(written)?);
            self.progress.held.set(!self.hold.is_empty());
            if sent > 0 {
                return Poll::Ready(Ok(sent));
            }
        }
    }
}

impl<S: Channel> Read for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.take_back();
        let joins = !self.hold.is_empty() && self.joins_others(cx);
        if !self.hold.is_empty() && !joins {
            // Who has answers to take is read from when they are taken.
            ready!(self.poll_held(cx))?;
        }
        let result = self.stream().poll_read(cx, buffer);
        if joins && result.is_pending() {
            self.gather();
        }
        if !self.progress.writing.get() {
            self.note_receiving(&Poll::Ready(()));
        }
        if result.is_ready() {
            self.progress.heard.set(true);
        }
        result
    }
}

impl<S: Channel> Write for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take_back();
        if self.holds() {
            // Every small answer comes this way.
            if !send::is_lending() && self.hold.take_one(bytes) {
                self.progress.held.set(true);
                return Poll::Ready(Ok(bytes.len()));
            }
        } else if self.hold.is_empty() && !self.progress.gathered.get() {
            let written = self.stream().poll_write(cx, bytes);
            self.note_written(&written);
            return written;
        }
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper may flush for a long time without reading: while a handler is at work.
        self.take_back();
        if !self.hold.is_empty() {
            if self.holds() && !self.progress.writing.get() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_held(cx))?;
        }
        let written = self.stream().poll_flush(cx);
        self.note_written(&written);
        written
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        self.stream().poll_shutdown(cx)
    }

    /// Asked once by hyper over HTTP/1, which then writes its buffers as they are; a loan must never be copied.
    fn is_write_vectored(&self) -> bool {
        if !self.progress.in_pieces.get() && !self.progress.http2.get() {
            return false;
        }
        S::SENDS_FILES || self.stream.as_ref().expect(PRESENT).is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let loan = send::first_loan(parts);
        if loan.is_none() && self.holds() && self.hold.take(parts) {
            self.progress.held.set(true);
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        self.recall();
        if let Some((index, section)) = loan {
            return self.poll_loan(cx, &parts[..index], &section);
        }
        if !self.hold.is_empty() {
            return self.poll_behind_held(cx, parts);
        }
        let written = self.stream().poll_write_vectored(cx, parts);
        self.note_written(&written);
        written
    }
}

impl<S: Channel> Drop for Heard<S> {
    fn drop(&mut self) {
        if self.stream.is_some() {
            self.write_rest();
        }
    }
}

#[cfg(test)]
mod tests;
