//! An answer's body on its way out: files are found in it, so that the kernel can send them or they are read no
//! sooner than they can be sent.
//!
//! A file is found only in a [`FileBody`] that came as it is. One that anything wraps is read.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;
use tine_os::send::{send_before_more, send_file, send_now};

use crate::file::{FileBody, Section};
use crate::http2::Permit;
use crate::piece::PIECE;

thread_local! {
    static REFUSAL: RefCell<Refusal> = const { RefCell::new(Refusal::None) };
}

/// Whether the kernel has refused to send a file, as far as this thread's log knows.
enum Refusal {
    None,
    New(io::Error),
    Told,
}

/// The first refusal of the kernel's to send a file, once.
pub(crate) fn take_refusal() -> Option<io::Error> {
    REFUSAL.with_borrow_mut(|refusal| match refusal {
        Refusal::None | Refusal::Told => None,
        Refusal::New(_) => match std::mem::replace(refusal, Refusal::Told) {
            Refusal::New(error) => Some(error),
            Refusal::None | Refusal::Told => None,
        },
    })
}

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
    match send_section(socket, section) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent > 0 => Ok(sent),
        result => Ok(sent + result?),
    }
}

/// Has the kernel send a section; where it does not, reads and writes a piece of it.
///
/// It does not on file systems that cannot splice (`EINVAL`), under a filter (`ENOSYS`, `EPERM`), for some large offsets
/// (`EOVERFLOW`). Any other failure is the file's or the socket's: the one that has it says so when it is used alone.
fn send_section(socket: BorrowedFd<'_>, section: &Section) -> io::Result<usize> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    let most = usize::try_from(section.left).unwrap_or(usize::MAX);
    match send_file(socket, &*section.file, section.at, most) {
        Ok(0) => Err(section.shrunk()),
        Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock) => {
            REFUSAL.with_borrow_mut(|refusal| {
                if matches!(refusal, Refusal::None) {
                    *refusal = Refusal::New(error);
                }
            });
            send_now(socket, &section.clone().read(PIECE)?)
        }
        result => result,
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
    use crate::file::Broken;

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
    fn a_file_that_the_kernel_does_not_send_is_read_and_written() {
        // sendfile(2) refuses files of text in /proc (EINVAL), and read(2) does not.
        let file = Arc::new(File::open("/proc/self/status").expect("a process has one"));
        let mut content = vec![0; 60];
        file.read_exact_at(&mut content, 0).expect("it can be read");
        for at in [0, 20] {
            let (mut here, there) = UnixStream::pair().expect("two sockets");
            send_file(&there, &*file, at, 10).expect_err("it is refused");
            let section = Section { file: file.clone(), at, left: 40 };
            let sent = send(there.as_fd(), &[IoSlice::new(b"<")], &section).expect("there is room");
            let mut received = vec![0; sent];
            here.read_exact(&mut received).expect("it was sent");
            let at = usize::try_from(at).expect("a small number");
            assert_eq!(received, [b"<", &content[at..at + 40]].concat());
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_to_blame_by_its_name_and_a_client_that_is_gone_is_not() {
        let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
        std::fs::write(&path, [7; 100]).expect("it can be written");
        let closed = File::options().write(true).open(&path).expect("it is there");
        let section = |file| Section { file: Arc::new(file), at: 0, left: 100 };
        let (here, there) = UnixStream::pair().expect("two sockets");
        let error = send(there.as_fd(), &[], &section(closed)).expect_err("it cannot be read");
        let blamed = Broken::below(&error).expect("the file is to blame").to_string();
        assert!(blamed.starts_with(&format!("{}: ", path.display())), "{blamed}");
        drop(here);
        let open = File::open(&path).expect("it is there");
        let error = send(there.as_fd(), &[], &section(open)).expect_err("nobody reads");
        assert!(Broken::below(&error).is_none() && error.kind() == io::ErrorKind::BrokenPipe);
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
