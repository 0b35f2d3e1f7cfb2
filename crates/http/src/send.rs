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
use tine_os::send::{Reserved, send_before_more, send_file, send_now};

use crate::file::{FileBody, Section};

/// The most a loan stands for, in bytes: a longer file is lent piece after piece.
const SLOT: usize = 1 << 20;
/// Loans of a thread at once: 16 GiB of addresses, and no memory. Beyond that, files are read.
const SLOTS: usize = 1 << 14;
/// Shorter parts of files are read: one copy costs less than the second system call.
const LEAST: u64 = 16 * 1024;

thread_local! {
    static LENT: Cell<usize> = const { Cell::new(0) };
    static SLOTS_OF_THREAD: RefCell<Slots> = const { RefCell::new(Slots::new()) };
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
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        match self {
            Self::Other(data) => data.remaining(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Loan(loan) => loan.end - loan.start,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Other(data) => data.chunk(),
            Self::Bytes(bytes) => bytes,
            Self::Loan(loan) => &loan.space.bytes()[loan.start..loan.end],
        }
    }

    fn chunks_vectored<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Other(data) => data.chunks_vectored(parts),
            Self::Bytes(bytes) => bytes.chunks_vectored(parts),
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
            Self::Bytes(bytes) => bytes.advance(count),
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
        Other { #[pin] body: B },
    }
}

impl<B: 'static> Outgoing<B> {
    /// `lends`: the connection is one that recognises loans.
    pub(crate) fn new(mut body: B, lends: bool) -> Self {
        let any: &mut dyn Any = &mut body;
        match any.downcast_mut::<FileBody>() {
            Some(files) if lends => Self::Files { body: std::mem::take(files) },
            _ => Self::Other { body },
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
        };
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Files { body } => body.is_end_stream(),
            Self::Other { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Files { body } => body.size_hint(),
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
    let most = usize::try_from(section.left).unwrap_or(SLOT);
    match send_file(socket, &*section.file, section.at, most) {
        Ok(0) => Err(section.shrunk()),
        Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock) => {
            REFUSAL.with_borrow_mut(|refusal| {
                if matches!(refusal, Refusal::None) {
                    *refusal = Refusal::New(error);
                }
            });
            send_now(socket, &section.clone().read()?)
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
    use std::task::Waker;

    use super::*;
    use crate::file::Broken;

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
            Outgoing::new(FileBody::file(file.clone(), 100, (LENGTH - 100) as u64), true);
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
            let mut body = Outgoing::new(FileBody::file(file.clone(), 0, LEAST), true);
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
        let mut body = Outgoing::new(FileBody::file(file, 0, LEAST), true);
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
        let mut short = Outgoing::new(body(LEAST - 1), true);
        assert!(matches!(next(&mut short), Some(Piece::Bytes(_))));
        let mut elsewhere = Outgoing::new(body(LEAST), false);
        assert!(matches!(next(&mut elsewhere), Some(Piece::Other(_))));
        let mut wrapped = Outgoing::new(FileBody::wrap(body(LEAST)), true);
        assert!(matches!(next(&mut wrapped), Some(Piece::Bytes(_))));
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
