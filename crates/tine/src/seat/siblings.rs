//! What a worker tells its siblings, and knows of them: how many connections each has, and whose sockets are
//! without a worker. See [`crate::accept::Share`].

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

use tine_os::event::EventFd;

use super::{Busy, LOOK, Leave, Seat, is_readable};
use crate::listen::Listener;
use crate::scoreboard::Signpost;

impl Seat {
    /// Whether it serves one connection at a time.
    pub(crate) fn is_isolated(&self) -> bool {
        self.concurrency == 1
    }

    /// Tells the siblings how many connections it has open: who serves many at once may have more than
    /// its share.
    pub(super) fn publish(&self, open: u64) {
        if !self.is_isolated() && !self.is_leaving() {
            self.share.set_open(self.place, Some(open));
        }
    }

    /// Tells the siblings that it takes connections.
    pub(crate) fn publish_open(&self) {
        self.publish(self.open());
    }

    /// Tells them that it takes none any more.
    pub(super) fn publish_leaving(&self) {
        if !self.is_isolated() {
            self.share.set_open(self.place, None);
        }
    }

    /// How many connections it has open.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// How many the sibling has that has fewest; `None` without one.
    pub(crate) fn least_open(&self) -> Option<u64> {
        self.share.least_open(self.place)
    }

    /// Which socket of an address that has several is its own.
    pub(crate) fn own_socket(&self) -> u32 {
        u32::try_from(self.share.own(self.place)).unwrap_or(0)
    }

    /// Whether no healthy worker has this socket.
    pub(crate) fn is_orphaned_socket(&self, socket: u32) -> bool {
        self.share.is_orphaned(socket as usize)
    }

    /// Whether the supervisor has said since this was last asked that workers should look at the sockets.
    pub(crate) fn should_look(&self) -> bool {
        self.look.load(Relaxed) && self.look.swap(false, SeqCst)
    }

    /// The lock of a pool whose workers take turns.
    pub(crate) fn accept_lock(&self) -> Option<&Arc<EventFd>> {
        self.share.lock()
    }

    /// Whether somebody waits at one of these listeners while no worker of the pool is idle.
    pub(crate) fn is_wanted_elsewhere(&self, listeners: &[Rc<Listener>]) -> bool {
        !self.siblings.any_idle() && listeners.iter().any(|listener| is_readable(&**listener))
    }

    /// Whether clients should be sent here: until the service is about to stop.
    pub(crate) fn wants_clients(&self) -> bool {
        self.leave() != Leave::Together && !self.siblings.signpost().says_lame_duck()
    }

    /// Whether it leaves because somebody else has shut its listeners down.
    pub(crate) fn is_deserted(&self) -> bool {
        self.leave.load(SeqCst) == Leave::Deserted as u8
    }

    /// What is posted for its pool.
    pub(crate) fn signpost(&self) -> Signpost {
        self.siblings.signpost()
    }

    /// The generation it belongs to.
    pub(crate) fn generation(&self) -> u64 {
        self.record.generation()
    }

    /// Whether its siblings watch the same sockets.
    pub(crate) fn are_watched_alike(&self) -> bool {
        self.share.is_watched_alike(self.is_isolated())
    }

    /// Has a sibling look at the listeners: this worker may have been woken for a connection it will not take. Where the
    /// siblings watch different sockets all of them look, and the supervisor tells them.
    pub(crate) fn pass_wake_on(&self) {
        if self.are_watched_alike() {
            self.poke.signal();
        } else {
            self.tell(LOOK, "");
        }
    }

    pub(crate) fn poke(&self) -> &EventFd {
        &self.poke
    }
}

impl Busy {
    /// The request that is answered next, or was last, has failed by the server's fault: counted, and what a rollout goes
    /// by ([`crate::control::Canary`]).
    pub fn failed(&self) {
        self.seat.record.request_failed();
    }

    pub(crate) fn is_wanted_elsewhere(&self, listeners: &[Rc<Listener>]) -> bool {
        self.seat.is_wanted_elsewhere(listeners)
    }
}
