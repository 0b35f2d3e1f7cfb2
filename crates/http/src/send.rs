//! An answer's body on its way out: files are found in it, so that the kernel can send them or they are read no
//! sooner than they can be sent.
//!
//! A file is found only in a [`FileBody`] that came as it is. One that anything wraps is read.

use std::any::Any;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;
use tine_os::send::{send_before_more, send_file};

use crate::file::{FileBody, Section, shrunk};
use crate::http2::Permit;

/// What a body gives: another body's data, or bytes that were read.
#[derive(Debug)]
pub(crate) enum Piece<D> {
    Other(D),
    Bytes(Bytes),
    /// Part of a file, and the room it takes up until it is sent.
    Read {
        bytes: Bytes,
        _permit: Permit,
    },
}

/// How a connection sends files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The kernel sends them: what comes next is asked for before each piece.
    Sent,
    /// It reads as much as it may send now, and says before each piece how much that is: HTTP/2 has frames to put around
    /// every piece, and windows.
    Framed,
    /// It reads them as the body does by itself.
    Read,
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        match self {
            Self::Other(data) => data.remaining(),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Other(data) => data.chunk(),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes,
        }
    }

    fn chunks_vectored<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Other(data) => data.chunks_vectored(parts),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes.chunks_vectored(parts),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Other(data) => data.advance(count),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes.advance(count),
        }
    }
}

pin_project_lite::pin_project! {
    /// A body as it goes out.
    #[project = Projected]
    pub(crate) enum Outgoing<B> {
        Files { body: FileBody },
        Framed { body: FileBody, permit: Option<Permit> },
        Other { #[pin] body: B },
    }
}

impl<B: 'static> Outgoing<B> {
    pub(crate) fn new(mut body: B, way: Way) -> Self {
        let any: &mut dyn Any = &mut body;
        match (any.downcast_mut::<FileBody>(), way) {
            (Some(files), Way::Sent) => Self::Files { body: std::mem::take(files) },
            (Some(files), Way::Framed) => {
                Self::Framed { body: std::mem::take(files), permit: None }
            }
            _ => Self::Other { body },
        }
    }

    /// How much there is of a file that comes next and waits for [`may_read`](Self::may_read).
    pub(crate) fn file_left(self: Pin<&mut Self>) -> Option<u64> {
        match self.project() {
            Projected::Framed { body, permit: None } => body.section_left(),
            _ => None,
        }
    }

    /// So much of a file that comes next is read when it is asked for.
    pub(crate) fn may_read(self: Pin<&mut Self>, more: Permit) {
        if let Projected::Framed { permit, .. } = self.project() {
            *permit = Some(more);
        }
    }
}

impl<B> Outgoing<B> {
    /// Takes out the part of a file that comes next, if there are `least` bytes of it.
    pub(crate) fn next_file(self: Pin<&mut Self>, least: u64) -> Option<Section> {
        match self.project() {
            Projected::Files { body } => body.next_section(least, u64::MAX),
            Projected::Framed { .. } | Projected::Other { .. } => None,
        }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Piece<B::Data>;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let piece = match self.project() {
            Projected::Other { body } => {
                let frame = ready!(body.poll_frame(cx));
                frame.map(|it| it.map(|it| it.map_data(Piece::Other)).map_err(Into::into))
            }
            Projected::Files { body } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                frame.map(|it| it.map(|it| it.map_data(Piece::Bytes)).map_err(Into::into))
            }
            Projected::Framed { body, permit } => {
                if let Some(permit) = permit.take()
                    && let Some(read) = body.read_section(permit.bytes)
                {
                    let piece =
                        read.map(|bytes| Frame::data(Piece::Read { bytes, _permit: permit }));
                    return Poll::Ready(Some(piece.map_err(Into::into)));
                }
                let frame = ready!(Pin::new(body).poll_frame(cx));
                frame.map(|it| it.map(|it| it.map_data(Piece::Bytes)).map_err(Into::into))
            }
        };
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Files { body } | Self::Framed { body, .. } => body.is_end_stream(),
            Self::Other { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Files { body } | Self::Framed { body, .. } => body.size_hint(),
            Self::Other { body } => body.size_hint(),
        }
    }
}

/// Sends what stands before a part of a file, then that; without waiting. Returns how much the socket took of both
/// together.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    before: &[IoSlice<'_>],
    section: &Section,
) -> io::Result<usize> {
    let ahead: usize = before.iter().map(|part| part.len()).sum();
    let sent = if ahead > 0 { send_before_more(socket, before)? } else { 0 };
    if sent < ahead {
        return Ok(sent);
    }
    let most = usize::try_from(section.left).unwrap_or(usize::MAX);
    match send_file(socket, &*section.file, section.at, most) {
        Ok(0) => Err(shrunk(section.left)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent > 0 => Ok(sent),
        result => Ok(sent + result?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;

    const LENGTH: usize = 3 << 19;
    const LEAST: u64 = 16 * 1024;

    fn file() -> Arc<File> {
        let content: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&content, 0).expect("it can be written");
        Arc::new(file)
    }

    fn next_file(body: FileBody, way: Way) -> Option<Section> {
        Pin::new(&mut Outgoing::new(body, way)).next_file(LEAST)
    }

    #[test]
    fn a_part_of_a_file_is_sent_behind_what_stands_before_it() {
        let body = FileBody::file(file(), 100, (LENGTH - 100) as u64);
        let mut section = next_file(body, Way::Sent).expect("it can be sent");
        let (mut here, there) = UnixStream::pair().expect("two sockets");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            here.read_to_end(&mut all).map(|_| all)
        });
        let mut before: &[u8] = b"<<";
        while section.left > 0 {
            let sent = send(there.as_fd(), &[IoSlice::new(before)], &section).expect("room");
            let ahead = sent.min(before.len());
            before = &before[ahead..];
            section.at += (sent - ahead) as u64;
            section.left -= (sent - ahead) as u64;
        }
        drop(there);
        let sent = reader.join().expect("no panic").expect("all of it");
        let content: Vec<u8> = (0..=250).cycle().take(LENGTH).skip(100).collect();
        assert!(sent[..2] == *b"<<" && sent[2..] == content);
    }

    #[test]
    fn short_files_and_those_that_cannot_be_sent_are_read() {
        let file = file();
        let body = |length| FileBody::file(file.clone(), 0, length);
        assert_eq!(next_file(body(LEAST), Way::Sent).map(|it| it.left), Some(LEAST));
        assert!(next_file(body(LEAST - 1), Way::Sent).is_none());
        assert!(next_file(body(LEAST), Way::Read).is_none());
        assert!(next_file(FileBody::wrap(body(LEAST)), Way::Sent).is_none());
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_no_silence() {
        let file = file();
        let section = Section { file: file.clone(), at: 0, left: LENGTH as u64 };
        file.set_len(0).expect("it can be cut");
        let (_here, there) = UnixStream::pair().expect("two sockets");
        let error = send(there.as_fd(), &[], &section).expect_err("there is nothing to send");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
