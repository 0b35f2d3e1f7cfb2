//! A counter that one process writes and another sleeps on: eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// A wake-up that crosses processes: it survives `fork`, costs one descriptor, and never blocks.
///
/// It is readable (see [`crate::poll`]) while its count is above zero.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at zero; one [`take`](Self::take) empties it, however often it was signalled.
    ///
    /// Close-on-exec and non-blocking.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM` (eventfd(2)).
    pub fn new() -> io::Result<Self> {
        Self::with(EventfdFlags::empty())
    }

    /// A counter at zero from which each [`take`](Self::take) takes one (`EFD_SEMAPHORE`): as many
    /// takers get something as there were signals.
    ///
    /// Close-on-exec and non-blocking.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM` (eventfd(2)).
    pub fn semaphore() -> io::Result<Self> {
        Self::with(EventfdFlags::SEMAPHORE)
    }

    fn with(flags: EventfdFlags) -> io::Result<Self> {
        let fd = eventfd(0, flags | EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// Adds one.
    ///
    /// There is nothing to report: the only thing that can go wrong with a valid eventfd is that
    /// its count is at the maximum (`EAGAIN`), and then the reader has been told already.
    pub fn signal(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes the count, or one of it if this is a [`semaphore`](Self::semaphore); `None` when it is
    /// zero.
    #[must_use]
    pub fn take(&self) -> Option<u64> {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(8) => Some(u64::from_ne_bytes(count)),
            _ => None,
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For an eventfd that another process made and passed on. What kind it is, and that it does not
/// block, are properties of the eventfd itself and come with it.
impl From<OwnedFd> for EventFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}
