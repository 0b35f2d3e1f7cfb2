//! Taking turns at the listeners: the lock of a serialized pool, as one worker holds it.
//!
//! The lock is an eventfd with one thing in it: whoever reads it has the turn, writing it back ends the
//! turn. A sleeping worker sleeps with the turn, or queues for it. What makes it robust is not here: after
//! the death or the stop of any worker the supervisor puts one in, whether or not it was that worker's turn
//! (see [`super::share::Share::renew_lock`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::poll::{Epoll, Interest, Ready};

use crate::seat::Shutdown;

#[derive(Debug)]
pub(super) struct Turn {
    lock: Arc<EventFd>,
    held: bool,
    /// Where to sleep without the turn.
    queue: Epoll,
}

impl Turn {
    pub(super) fn new(lock: &Arc<EventFd>, shutdown: &Shutdown) -> io::Result<Self> {
        let queue = Epoll::new()?;
        queue.add(shutdown, 0, Interest::READ)?;
        queue.add(&**lock, 1, Interest::READ_EXCLUSIVE)?;
        Ok(Self { lock: lock.clone(), held: false, queue })
    }

    /// Has the turn, or takes it if nobody has.
    pub(super) fn take(&mut self) -> bool {
        self.held = self.held || self.lock.take().is_some();
        self.held
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The next, please.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.held) {
            self.lock.signal();
        }
    }

    /// Takes no more turns. It may have been woken for one that it does not take: if the lock is free, another worker is woken.
    pub(super) fn give_up(&mut self) {
        self.take();
        self.end();
    }

    /// Sleeps until the turn is free, or the supervisor has something to say, or for so long.
    pub(super) fn queue(&self, at_most: Option<Duration>) -> io::Result<()> {
        self.queue.wait(&mut Ready::with_capacity(2), at_most)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}
