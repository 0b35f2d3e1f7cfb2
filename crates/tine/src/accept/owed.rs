//! What a worker owes its queues, and the only place where such a debt is passed on.
//!
//! The kernel tells one sleeping worker of a connection, and no other (`EPOLLEXCLUSIVE`, epoll_ctl(2)). That worker owes the
//! queue a look: if it forgets, the connection lies there until the next client comes to the same queue. The rule:
//!
//! 1. A debt belongs to a queue, and begins when the epoll reports the queue, when the worker stops watching it, or when
//!    the worker is told to look (a poke, the supervisor's word).
//! 2. It ends when the worker has looked: `accept` has taken a connection while the epoll still watches the queue (a
//!    level-triggered epoll reports what is left), or `accept` has found the queue empty.
//! 3. A worker that cannot look passes the debt on, with [`Acceptor::pass_on`]: it leaves, is full, or serves one connection at
//!    a time and has one. For a worker that dies or is stopped the supervisor does it.
//! 4. Whom it is passed to depends on which workers watch the queue. If all watch every queue, one poke wakes one of them. If
//!    not, the supervisor tells all workers of the pool to look, since a poke might wake a worker that watches other queues.

use std::time::Duration;

use tine_os::poll::readable;

use super::Acceptor;

/// What a worker owes one queue. A greater debt replaces a smaller one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    #[default]
    Nothing,
    /// The epoll has reported the queue, and reports it again while something is in it.
    Look,
    /// The epoll may never report what is in the queue.
    UntilEmpty,
}

impl Acceptor {
    /// Has another worker look, or all, if this one cannot.
    pub(super) fn pass_on(&mut self) {
        self.poked = false;
        self.seat.pass_wake_on();
    }

    /// After a connection was taken: what else this worker owes is passed on if it will not come back to it soon. A poke goes
    /// on until a worker finds nothing.
    pub(super) fn pass_the_rest_on(&mut self) {
        let is_busy = self.watch.serves_alone() || self.seat.is_full();
        if is_busy && (self.poked || self.watch.owes_besides()) {
            self.pass_on();
        }
    }

    /// A worker that takes nothing more passes on whatever it owes.
    pub(super) fn pass_all_on(&mut self) {
        let waits = |entry: &super::watch::Entry| {
            // What cannot be asked is passed on.
            entry.owed > Owed::Nothing
                && readable(&*entry.listener, Some(Duration::ZERO)).unwrap_or(true)
        };
        if self.poked || self.watch.open_entries().any(waits) {
            self.pass_on();
        }
        self.watch.forgive();
    }
}
