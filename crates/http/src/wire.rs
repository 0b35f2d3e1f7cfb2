//! The client's stream under everything else: tells HTTP/2 from HTTP/1 by its first bytes, and notes
//! what passes.
//!
//! HTTP/2 with prior knowledge begins with a preface that is no HTTP/1 request (RFC 9113, section
//! 3.4). So the first read goes straight into hyper's HTTP/1 buffer, and costs a comparison; only
//! what begins like the preface is held back, and an error ends HTTP/1 before it has said a word. So it does where the
//! client begins with another HTTP than was agreed upon ([`Speaks`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::control::Frames;
use crate::io::Channel;
use crate::known::Known;
use crate::progress::Progress;
use crate::secured::Speaks;

/// How HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that is read of what ends a rest, in bytes: most requests' heads. The rest follows.
const FIRST_WORD: usize = 512;

/// What is known of the first bytes.
#[derive(Debug)]
enum First {
    /// Nothing: they have not come.
    Unknown,
    /// These may be the preface's, as far as it was looked.
    Held(Vec<u8>),
    /// They are decided upon; these are still to be read, from there on.
    Decided(Vec<u8>, usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    speaks: Speaks,
    /// The client did not keep to that.
    broke_word: bool,
    first: First,
    frames: Frames,
    progress: Arc<Progress>,
}

impl<S: Channel> Wire<S> {
    pub(crate) fn new(stream: S, speaks: Speaks, progress: Arc<Progress>) -> Self {
        let (first, frames) = (First::Unknown, Frames::behind(PREFACE.len()));
        Self { stream, speaks, broke_word: false, first, frames, progress }
    }

    /// What is to be said to a client that began with another HTTP than was agreed upon.
    pub(crate) fn reproach(&self) -> Option<&'static [u8]> {
        self.broke_word.then(|| self.speaks.reproach())
    }

    /// Ends HTTP before anything of it was read.
    fn break_off(&mut self) -> Poll<io::Result<()>> {
        self.broke_word = true;
        self.first = First::Decided(Vec::new(), 0);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    /// Puts bytes back that were read and not used: they are read first.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        let behind = match &self.first {
            First::Decided(held, from) => &held[*from..],
            _ => &[],
        };
        self.first = First::Decided([bytes, behind].concat(), 0);
    }

    /// Ready when there is something to be read, or nothing will be any more: whether there is.
    pub(crate) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if matches!(&self.first, First::Decided(held, _) | First::Held(held) if !held.is_empty()) {
            return Poll::Ready(Ok(true));
        }
        let mut room = [0; FIRST_WORD];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let word = buffer.filled().to_vec();
        let is_word = !word.is_empty();
        if is_word {
            self.first = match self.first {
                // It may be the first there ever was: what it is is seen when it is read.
                First::Unknown => First::Held(word),
                _ => First::Decided(word, 0),
            };
        }
        Poll::Ready(Ok(is_word))
    }

    /// Ends our side of the connection, which is otherwise ended by being closed.
    pub(crate) fn poll_end_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let held = match &mut self.first {
                First::Held(held) => std::mem::take(held),
                _ => Vec::new(),
            };
            if !held.is_empty() && !may_be_preface(&held) {
                if self.speaks == Speaks::Http2 {
                    return self.break_off();
                }
                self.first = First::Decided(held, 0);
                return self.give_back(buffer);
            }
            if held.len() >= PREFACE.len() {
                if self.speaks == Speaks::Http1 {
                    return self.break_off();
                }
                self.progress.http2.set(true);
                self.first = First::Decided(held, 0);
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            }
            let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
            let Poll::Ready(Ok(())) = result else {
                if !held.is_empty() {
                    self.first = First::Held(held);
                }
                return result;
            };
            let read = &buffer.filled()[before..];
            if held.is_empty() && !may_be_preface(read) {
                if self.speaks == Speaks::Http2 && !read.is_empty() {
                    buffer.set_filled(before);
                    return self.break_off();
                }
                self.first = First::Decided(Vec::new(), 0);
                return Poll::Ready(Ok(()));
            }
            let ended = read.is_empty();
            let held = [held.as_slice(), read].concat();
            buffer.set_filled(before);
            if ended {
                self.first = First::Decided(held, 0);
                return self.give_back(buffer);
            }
            self.first = First::Held(held);
        }
    }

    /// Gives what was held back.
    fn give_back(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let First::Decided(held, from) = &mut self.first {
            let count = buffer.remaining().min(held.len() - *from);
            buffer.put_slice(&held[*from..*from + count]);
            *from += count;
            if *from == held.len() {
                self.first = First::Decided(Vec::new(), 0);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = result {
            self.progress.written.add(*count as u64);
        }
    }
}

/// Whether HTTP/1 was ended by a preface that came behind a request: its parser says nothing to that.
pub(crate) fn is_preface(unread: &[u8]) -> bool {
    unread.starts_with(PREFACE)
}

/// Whether the preface begins like this, or this with the preface.
fn may_be_preface(bytes: &[u8]) -> bool {
    let common = bytes.len().min(PREFACE.len());
    common > 0 && bytes[..common] == PREFACE[..common]
}

impl<S: Channel> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let before = buffer.filled().len();
        let result = match &wire.first {
            First::Decided(held, _) if held.is_empty() => {
                Pin::new(&mut wire.stream).poll_read(cx, buffer)
            }
            First::Decided(..) => wire.give_back(buffer),
            First::Unknown | First::Held(_) => wire.poll_first(cx, buffer),
        };
        if result.is_ready() || matches!(wire.first, First::Held(_)) {
            let bytes = &buffer.filled()[before..];
            wire.progress.note_read(bytes);
            if wire.progress.http2.get() {
                wire.progress.idle_frames.add(wire.frames.count(bytes));
            }
        }
        result
    }
}

impl<S: Channel> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(&self.first, First::Decided(held, 0) if !held.is_empty()) {
            // HTTP/1 takes its leave, and what HTTP/2 begins with is still to be read.
            return Poll::Ready(Ok(()));
        }
        if self.broke_word {
            // It takes its leave, and its client has not been told why.
            return Poll::Ready(Ok(()));
        }
        if S::SENDS_FILES && !self.progress.http2.get() && !self.progress.upgrades.get() {
            // A plain socket of ours is closed next, or listened to for a while: see `poll_end_writing`.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Channel> Channel for Wire<S> {
    const SENDS_FILES: bool = S::SENDS_FILES;

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let result = self.stream.poll_with(cx, write);
        self.note_written(&result);
        result
    }

    fn socket(&self) -> Option<Arc<dyn Known>> {
        self.stream.socket()
    }
}

impl<S: AsFd> AsFd for Wire<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl<S> Drop for Wire<S> {
    fn drop(&mut self) {
        self.progress.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_preface_is_taken_for_the_preface() {
        assert!(may_be_preface(b"P"));
        assert!(may_be_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"));
        for request in [&b""[..], b"POST / HTTP/1.1", b"PRI * HTTP/1.1\r\n", b"GET /"] {
            assert!(!may_be_preface(request), "{request:?}");
        }
    }
}
