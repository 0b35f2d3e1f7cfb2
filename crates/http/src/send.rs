//! How a file gets past hyper without being read.
//!
//! hyper frames whatever a body gives it. What ours gives in a file's stead is a *loan*: a slice of
//! reserved address space, as long as the part of the file it stands for. hyper never looks into it; it
//! comes back as an address in a vectored write, where [`crate::io`] recognises it and has the kernel send
//! the file. The address is the key: each loan has a slot of its own, and its end frees the slot and the
//! file. So whatever happens to an answer on its way (HEAD, 304, an early end) nothing can be sent
//! in another's place.
//!
//! No loan is ever seen outside of this crate: they are made of a [`FileBody`] that came as it is, and
//! one that anything wraps is read.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tine::BoxError;
use tine_os::send::{Reserved, send_before_more, send_file};

use crate::file::{FileBody, Section, shrunk};
use crate::http2::Permit;

/// The most a loan stands for, in bytes: a longer file is lent piece after piece.
const SLOT: usize = 1 << 20;
/// Loans of a thread at once: 16 GiB of addresses, and no memory. Beyond that, files are read.
const SLOTS: usize = 1 << 14;
/// Shorter parts of files are read: one copy costs less than the second system call.
const LEAST: u64 = 16 * 1024;

thread_local! {
    static LENT: Cell<usize> = const { Cell::new(0) };
    static SLOTS_OF_THREAD: RefCell<Slots> = const { RefCell::new(Slots::new()) };
}

/// Which slot stands for what.
struct Slots {
    /// Reserved when the first file is lent; `None` inside where that failed.
    space: Option<Option<Rc<Reserved>>>,
    slots: Vec<Option<Section>>,
    free: Vec<usize>,
}

impl Slots {
    const fn new() -> Self {
        Self { space: None, slots: Vec::new(), free: Vec::new() }
    }

    /// A free slot, if there is one.
    fn take(&mut self) -> Option<(Rc<Reserved>, usize)> {
        let space = self.space.get_or_insert_with(|| Reserved::new(SLOTS * SLOT).ok().map(Rc::new));
        let space = space.clone()?;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() == SLOTS => return None,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        Some((space, slot))
    }

    /// Lends what `body` has next, if that is a file and there is an address for it.
    fn lend(&mut self, body: &mut FileBody) -> Option<Loan> {
        // First, for most files are short, and then nothing need be reserved.
        if !body.has_section(LEAST) {
            return None;
        }
        let (space, slot) = self.take()?;
        let section = body.next_section(LEAST, SLOT as u64)?;
        let start = slot * SLOT;
        let length = usize::try_from(section.left).unwrap_or(SLOT).min(SLOT);
        self.slots[slot] = Some(section);
        LENT.set(LENT.get() + 1);
        Some(Loan { space, slot, start, end: start + length })
    }

    /// What so many addresses stand for.
    fn find(&self, address: *const u8, length: usize) -> Option<Section> {
        let space = self.space.as_ref()?.as_ref()?;
        let place = address.addr().checked_sub(space.bytes().as_ptr().addr())?;
        let section = self.slots.get(place / SLOT)?.as_ref()?;
        let at = section.at.saturating_add((place % SLOT) as u64);
        Some(Section { file: section.file.clone(), at, left: length as u64 })
    }
}

/// Addresses that stand for part of a file; to hyper, bytes.
#[derive(Debug)]
pub(crate) struct Loan {
    space: Rc<Reserved>,
    slot: usize,
    /// What is not written yet, as a place in the space.
    start: usize,
    end: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        // While a thread ends its slots may be gone before the last connection.
        let _ = SLOTS_OF_THREAD.try_with(|slots| {
            let mut slots = slots.borrow_mut();
            slots.slots[self.slot] = None;
            slots.free.push(self.slot);
        });
        let _ = LENT.try_with(|lent| lent.set(lent.get() - 1));
    }
}

/// What hyper is given: another body's data, bytes that were read, or a loan.
#[derive(Debug)]
pub(crate) enum Piece<D> {
    Other(D),
    Bytes(Bytes),
    Loan(Loan),
    /// Part of a file, and the room it takes up until it is sent.
    Read {
        bytes: Bytes,
        _permit: Permit,
    },
}

/// How a connection sends files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It recognises loans.
    Lent,
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
            Self::Loan(loan) => loan.end - loan.start,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Other(data) => data.chunk(),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes,
            Self::Loan(loan) => &loan.space.bytes()[loan.start..loan.end],
        }
    }

    fn chunks_vectored<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Other(data) => data.chunks_vectored(parts),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes.chunks_vectored(parts),
            Self::Loan(_) => match parts.first_mut() {
                Some(part) if self.has_remaining() => {
                    *part = IoSlice::new(self.chunk());
                    1
                }
                _ => 0,
            },
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Other(data) => data.advance(count),
            Self::Bytes(bytes) | Self::Read { bytes, .. } => bytes.advance(count),
            Self::Loan(loan) => {
                assert!(count <= loan.end - loan.start, "no more than there is can be written");
                loan.start += count;
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// A body as it goes to hyper: files lent, everything else as it is.
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
            (Some(files), Way::Lent) => Self::Files { body: std::mem::take(files) },
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
                if let Some(loan) = SLOTS_OF_THREAD.with_borrow_mut(|slots| slots.lend(body)) {
                    return Poll::Ready(Some(Ok(Frame::data(Piece::Loan(loan)))));
                }
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

/// Whether anything that is written now could be a loan.
pub(crate) fn is_lending() -> bool {
    LENT.get() > 0
}

/// The first part of a write that is a loan, and what it stands for.
pub(crate) fn first_loan(parts: &[IoSlice<'_>]) -> Option<(usize, Section)> {
    // Where no file is under way, as in most programs always, this is all it costs.
    if !is_lending() {
        return None;
    }
    SLOTS_OF_THREAD.with_borrow(|slots| {
        let mut places = parts.iter().enumerate();
        places.find_map(|(index, part)| Some((index, slots.find(part.as_ptr(), part.len())?)))
    })
}

/// Sends what stands before a loan, then the section it stands for; without waiting. Returns how much
/// the socket took of both together.
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
    let most = usize::try_from(section.left).unwrap_or(SLOT);
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
    use std::task::Waker;

    use super::*;

    const LENGTH: usize = SLOT + SLOT / 2;

    fn file() -> Arc<File> {
        let content: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&content, 0).expect("it can be written");
        Arc::new(file)
    }

    fn next(body: &mut Outgoing<FileBody>) -> Option<Piece<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Ready(frame) => {
                frame.map(|it| it.expect("it can be read").into_data().expect("no trailers"))
            }
            Poll::Pending => panic!("a file body never waits"),
        }
    }

    #[test]
    fn a_file_is_lent_piece_after_piece_and_what_is_written_is_the_file() {
        let file = file();
        let mut body =
            Outgoing::new(FileBody::file(file.clone(), 100, (LENGTH - 100) as u64), Way::Lent);
        let (mut here, there) = UnixStream::pair().expect("two sockets");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            here.read_to_end(&mut all).map(|_| all)
        });
        let mut lengths = Vec::new();
        while let Some(mut piece) = next(&mut body) {
            assert!(matches!(piece, Piece::Loan(_)));
            lengths.push(piece.remaining());
            while piece.has_remaining() {
                let mut parts = [IoSlice::new(b"<"), IoSlice::new(b"")];
                assert_eq!(piece.chunks_vectored(&mut parts[1..]), 1);
                let (index, section) = first_loan(&parts).expect("it is one");
                assert_eq!(index, 1);
                let sent = send(there.as_fd(), &parts[..1], &section).expect("there is room");
                piece.advance(sent - 1);
            }
        }
        assert_eq!(lengths, [SLOT, LENGTH - 100 - SLOT]);
        drop(there);
        let sent = reader.join().expect("no panic").expect("all of it");
        let content: Vec<u8> = (0..=250).cycle().take(LENGTH).skip(100).collect();
        let sent: Vec<u8> = sent.into_iter().filter(|&byte| byte != b'<').collect();
        assert_eq!(sent, content.into_iter().filter(|&byte| byte != b'<').collect::<Vec<_>>());
    }

    #[test]
    fn a_loan_that_ends_frees_its_address_and_its_file() {
        let file = file();
        let lend = || {
            let mut body = Outgoing::new(FileBody::file(file.clone(), 0, LEAST), Way::Lent);
            next(&mut body).expect("a loan")
        };
        let first = lend();
        let address = first.chunk().as_ptr();
        assert!(first_loan(&[IoSlice::new(first.chunk())]).is_some());
        assert_ne!(lend().chunk().as_ptr(), address, "two loans have two addresses");
        drop(first);
        assert_eq!(Arc::strong_count(&file), 1);
        assert!(first_loan(&[IoSlice::new(b"x")]).is_none());
        let mut addresses = (0..2 * SLOTS).map(|_| lend().chunk().as_ptr());
        assert!(addresses.any(|it| it == address), "it is lent again");
    }

    #[test]
    fn more_files_than_there_are_addresses_are_read() {
        let file = file();
        let mut body = Outgoing::new(FileBody::file(file, 0, LEAST), Way::Lent);
        let mut loans = Vec::new();
        for _ in 0..SLOTS {
            let loan = SLOTS_OF_THREAD.with_borrow_mut(|slots| slots.take());
            loans.push(loan.expect("there are so many"));
        }
        let piece = next(&mut body).expect("a piece");
        assert!(matches!(&piece, Piece::Bytes(bytes) if bytes.len() as u64 == LEAST));
    }

    #[test]
    fn short_files_and_those_that_cannot_be_sent_are_read() {
        let file = file();
        let body = |length| FileBody::file(file.clone(), 0, length);
        let mut short = Outgoing::new(body(LEAST - 1), Way::Lent);
        assert!(matches!(next(&mut short), Some(Piece::Bytes(_))));
        let mut elsewhere = Outgoing::new(body(LEAST), Way::Read);
        assert!(matches!(next(&mut elsewhere), Some(Piece::Other(_))));
        let mut wrapped = Outgoing::new(FileBody::wrap(body(LEAST)), Way::Lent);
        assert!(matches!(next(&mut wrapped), Some(Piece::Bytes(_))));
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
