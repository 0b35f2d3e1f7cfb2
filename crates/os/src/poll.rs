//! Waiting for descriptors: epoll(7) for loops, poll(2) for a single question.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

/// An epoll instance. Level-triggered.
///
/// It must be made after a fork, never before: an instance that is inherited shares its interest
/// list with the parent, and outlives a `close` of the descriptors in it for as long as the other
/// process has them open.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty instance, close-on-exec.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM` (epoll_create(2)).
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Starts watching `fd`; its events come back with `token`.
    ///
    /// # Errors
    /// `EEXIST` if it is watched already, `EPERM` if it cannot be watched (a plain file), `ENOSPC`
    /// at the user's limit of watches (epoll_ctl(2)).
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(token), interest.0)?;
        Ok(())
    }

    /// Changes what is wanted of a watched `fd`, and its token.
    ///
    /// # Errors
    /// `ENOENT` if it is not watched; `EINVAL` to or from [`Interest::READ_EXCLUSIVE`], which can
    /// only be added and removed (epoll_ctl(2)).
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(token), interest.0)?;
        Ok(())
    }

    /// Stops watching `fd`. To be called before closing it whenever another process may hold it
    /// too.
    ///
    /// # Errors
    /// `ENOENT` if it is not watched (epoll_ctl(2)).
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.0, fd)?;
        Ok(())
    }

    /// Sleeps until something happens or `timeout` is over (`None`: for ever), and fills `ready`.
    ///
    /// The timeout is rounded up to whole milliseconds, so that a loop does not wake just before
    /// its deadline and spin, and capped at `i32::MAX` of them (24 days). A signal ends the wait
    /// with an empty answer, so an empty answer does not mean that the time is over.
    ///
    /// # Errors
    /// The kernel's (epoll_wait(2)); none is to be expected.
    pub fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(whole_milliseconds);
        ready.events.clear();
        match epoll::wait(&self.0, spare_capacity(&mut ready.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is wanted of a descriptor. Errors and hang-ups are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(epoll::EventFlags);

impl Interest {
    /// There is something to read, or the peer has finished sending.
    pub const READ: Self = Self(epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP));
    /// As `READ`, for a listening socket several processes wait on: the kernel wakes at least one
    /// of the waiting instances, usually not all of them (`EPOLLEXCLUSIVE`, Linux 4.5).
    pub const READ_EXCLUSIVE: Self =
        Self(epoll::EventFlags::IN.union(epoll::EventFlags::EXCLUSIVE));
    /// There is room to write.
    pub const WRITE: Self = Self(epoll::EventFlags::OUT);
    /// Either.
    pub const READ_WRITE: Self = Self(Self::READ.0.union(Self::WRITE.0));
}

/// One descriptor's news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The token it was added with.
    pub token: u64,
    /// A read will not block.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// The other side is gone, has finished sending, or there is an error. What it sent before may
    /// still be there to read, and a peer that only finished sending may still be waiting for an
    /// answer.
    pub hangup: bool,
}

impl From<&epoll::Event> for Event {
    fn from(event: &epoll::Event) -> Self {
        use epoll::EventFlags as Flags;
        let flags = event.flags;
        let data = event.data;
        Self {
            token: data.u64(),
            readable: flags.contains(Flags::IN),
            writable: flags.contains(Flags::OUT),
            hangup: flags.intersects(Flags::HUP.union(Flags::ERR).union(Flags::RDHUP)),
        }
    }
}

/// The buffer [`Epoll::wait`] answers in. Made once and used again: a wait allocates nothing.
pub struct Ready {
    events: Vec<epoll::Event>,
}

impl Ready {
    /// Room for `n` events a wait (at least one). What does not fit comes with the next wait.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        let events = Vec::with_capacity(n.max(1));
        Self { events }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.events.iter().map(Event::from)
    }

    /// Whether the last wait ended without an event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Whether a write to `fd` would go ahead (or fail) now rather than block. `false` too if that
/// cannot be told.
#[must_use]
pub fn writable_now(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    let answered = poll(&mut fds, Some(&Timespec::default())).is_ok();
    answered && fds[0].revents().contains(PollFlags::OUT)
}

/// Waits until `fd` has something to read, or its peer is gone; `false` once `timeout` is over
/// (`None`: for ever). Signals do not shorten or lengthen the wait.
///
/// # Errors
/// `ENOMEM` (poll(2)).
pub fn readable(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    // A timeout beyond the end of time is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.map(whole_milliseconds);
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, wait.as_ref()) {
            Ok(0) if left.is_some_and(|left| !left.is_zero()) => {}
            Ok(found) => return Ok(found > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Rounded up, and no more than the millisecond counter of epoll_wait(2) holds.
fn whole_milliseconds(time: Duration) -> Timespec {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    let milliseconds = i64::from(i32::try_from(milliseconds).unwrap_or(i32::MAX));
    Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_capped() {
        let spec = |time| {
            let Timespec { tv_sec, tv_nsec } = whole_milliseconds(time);
            (tv_sec, tv_nsec)
        };
        assert_eq!(spec(Duration::ZERO), (0, 0));
        assert_eq!(spec(Duration::from_nanos(1)), (0, 1_000_000));
        assert_eq!(spec(Duration::from_millis(1500)), (1, 500_000_000));
        assert_eq!(spec(Duration::from_micros(999_001)), (1, 0));
        assert_eq!(spec(Duration::MAX), (2_147_483, 647_000_000));
    }
}
