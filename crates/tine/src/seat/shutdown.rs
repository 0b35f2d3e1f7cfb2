//! Everything that can tell a worker to leave, as one thing to wait on.

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::poll::{Epoll, Interest, Ready};

use super::Seat;
use crate::hooks::Hooked;

/// Everything that can tell a worker to leave, behind one descriptor.
#[derive(Clone, Debug)]
pub struct Shutdown {
    seat: Arc<Seat>,
    epoll: Rc<Epoll>,
    hooks: Hooked,
    /// Of signals that were passed on, if there are such.
    notice: Option<Arc<EventFd>>,
}

impl Shutdown {
    pub(crate) fn new(
        seat: Arc<Seat>,
        hooks: Hooked,
        notice: Option<Arc<EventFd>>,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&*seat.leave_event, 0, Interest::READ)?;
        for descriptor in [&seat.channel, &seat.supervisor].into_iter().flatten() {
            epoll.add(descriptor, 1, Interest::READ)?;
        }
        if let Some(notice) = &notice {
            epoll.add(&**notice, 2, Interest::READ)?;
        }
        Ok(Self { seat, epoll: Rc::new(epoll), hooks, notice })
    }

    /// Whether this worker should take nothing new and end. Asks the kernel, and calls
    /// [`crate::Hooks::told`] and [`crate::Hooks::signalled`] for what has come meanwhile.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        if !self.seat.may_finish() && !self.seat.is_orphaned() {
            self.seat.attend(&mut |bytes| self.hooks.told(bytes));
        }
        if self.notice.as_ref().is_some_and(|notice| notice.take().is_some()) {
            tine_os::notice::noted().into_iter().for_each(|signal| self.hooks.signalled(signal));
        }
        self.seat.is_leaving()
    }

    /// Whether clients should be sent here, for health checks: until the service is about to stop. It serves on for a
    /// while then, see [`crate::PoolConfig::lame_duck`].
    #[must_use]
    pub fn wants_clients(&self) -> bool {
        self.seat.wants_clients()
    }

    /// Waits for that, at most so long; says whether it is.
    ///
    /// # Errors
    /// What `epoll_wait(2)` says.
    pub fn wait(&self, at_most: Duration) -> std::io::Result<bool> {
        let mut ready = Ready::with_capacity(1);
        let end = std::time::Instant::now() + at_most;
        while !self.is_requested() {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.epoll.wait(&mut ready, Some(left))?;
        }
        Ok(true)
    }

    /// Waits until the worker may take work, or is to leave.
    pub(crate) fn wait_for_place(&self) -> std::io::Result<()> {
        let mut ready = Ready::with_capacity(1);
        while !self.is_requested() && !self.seat.may_take() {
            self.epoll.wait(&mut ready, None)?;
        }
        Ok(())
    }

    /// Whether the supervisor is dead: the reason to leave, then.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.seat.is_orphaned()
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl AsFd for Shutdown {
    /// Readable when [`Shutdown::is_requested`] should be asked, for `poll(2)` and event loops; readable
    /// for ever once the answer is yes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
