//! What the workers of one pool share beside its listeners: who has no healthy worker, how many
//! connections each has open, and the lock of those who take turns.
//!
//! Made by the supervisor, kept by every worker. A word a place says how many connections are open there;
//! its worker writes it, the supervisor clears it. A word a socket says whether the siblings are to serve
//! it; the supervisor writes it. Readers expect nonsense: the worst it can bring about is a worker that
//! looks where it need not, or is politer than it should be for a moment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use tine_os::event::EventFd;

use super::Accept;
use crate::counted::arc;
use crate::shared::Region;
use crate::{Error, Result};

/// Layout version of the region.
const VERSION: u32 = 1;
const NAME: &str = "accept";

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    places: usize,
    sockets: usize,
    region: Option<Region>,
    lock: Option<Arc<EventFd>>,
}

impl Share {
    /// Nobody to share with.
    pub(crate) fn alone() -> Self {
        Self { places: 1, sockets: 1, region: None, lock: None }
    }

    /// For a pool of so many places, whose addresses have so many sockets each. In the supervisor.
    ///
    /// # Errors
    /// What making a [`Region`] or an event descriptor can fail with.
    pub(crate) fn create(accept: Accept, places: u32, sockets: u32) -> Result<Self> {
        let (places, sockets) = (places as usize, sockets as usize);
        let region = Some(Region::create(NAME, VERSION, places + sockets)?);
        let lock = match accept {
            Accept::Serialized => {
                let lock = EventFd::new()
                    .map_err(|error| Error::os("cannot make an event descriptor", error))?;
                lock.signal();
                Some(arc(lock))
            }
            _ => None,
        };
        let share = Self { places, sockets, region, lock };
        // Until its first worker serves, a socket is everybody's.
        for socket in 0..sockets {
            share.set_orphaned(socket, true);
        }
        Ok(share)
    }

    /// What a process needs that cannot inherit it; see [`Share::adopt`].
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let region = self.region.as_ref().map(AsFd::as_fd);
        region.into_iter().chain(self.lock.iter().map(|lock| lock.as_fd())).collect()
    }

    /// From those descriptors. In a worker that was executed.
    ///
    /// # Errors
    /// As [`Region::adopt`]; a configuration error if they are not of these sizes.
    pub(crate) fn adopt(descriptors: Vec<OwnedFd>, places: usize, sockets: usize) -> Result<Self> {
        let mut all = descriptors.into_iter();
        let region = all.next().map(|fd| Region::adopt(fd, NAME, VERSION)).transpose()?;
        let lock = all.next().map(|fd| Arc::new(EventFd::from(fd)));
        let words = region.as_ref().map_or(0, |region| region.words().len());
        if words != places.saturating_add(sockets) || sockets == 0 {
            return Err(Error::config("what the siblings share has another size"));
        }
        Ok(Self { places, sockets, region, lock })
    }

    /// Places of the pool.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// Sockets an address has.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets
    }

    /// The one a place serves first. Computed, never read from memory that a worker can write
    /// (CVE-2019-0211 was such a number).
    pub(crate) fn own(&self, place: usize) -> usize {
        place % self.sockets
    }

    /// Whether every worker of the pool watches every socket: those that serve one connection at a time do.
    pub(crate) fn is_watched_alike(&self, isolated: bool) -> bool {
        isolated || self.sockets == 1
    }

    fn words(&self) -> &[AtomicU64] {
        self.region.as_ref().map_or(&[], Region::words)
    }

    /// Whether the siblings are to serve this socket. In the worker.
    pub(crate) fn is_orphaned(&self, socket: usize) -> bool {
        self.words().get(self.places + socket).is_some_and(|word| word.load(SeqCst) != 0)
    }

    /// Says so; true if it is news. In the supervisor.
    pub(crate) fn set_orphaned(&self, socket: usize, orphaned: bool) -> bool {
        let word = self.words().get(self.places + socket);
        word.is_some_and(|word| word.swap(u64::from(orphaned), SeqCst) != u64::from(orphaned))
    }

    /// How many connections a place has open; `None` = nobody there takes any.
    pub(crate) fn set_open(&self, place: usize, open: Option<u64>) {
        if let Some(word) = self.words()[..self.places.min(self.words().len())].get(place) {
            word.store(open.map_or(0, |open| open.saturating_add(1)), Relaxed);
        }
    }

    /// The fewest connections any place has open, that of `place` not counted; `None` = it has no sibling.
    pub(crate) fn least_open(&self, place: usize) -> Option<u64> {
        let siblings = self.words().iter().take(self.places).enumerate();
        let loads =
            siblings.filter(|(index, _)| *index != place).map(|(_, word)| word.load(Relaxed));
        loads.filter_map(|word| word.checked_sub(1)).min()
    }

    /// The lock of a pool whose workers take turns.
    pub(crate) fn lock(&self) -> Option<&Arc<EventFd>> {
        self.lock.as_ref()
    }

    /// Whoever held the lock may have died or been stopped with it: here is another. Two of them become one
    /// when both are free, since a taker takes all there are. In the supervisor.
    pub(crate) fn renew_lock(&self) {
        if let Some(lock) = &self.lock {
            lock.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_siblings_is_found_and_whoever_takes_none_is_no_sibling() {
        let share = Share::create(Accept::Shared, 4, 1).expect("memory");
        assert_eq!(share.least_open(0), None);
        share.set_open(0, Some(1));
        share.set_open(1, Some(7));
        share.set_open(3, Some(9));
        assert_eq!((share.least_open(0), share.least_open(1)), (Some(7), Some(1)));
        share.set_open(1, None);
        assert_eq!(share.least_open(0), Some(9));
        share.set_open(4, Some(0));
        assert_eq!(share.least_open(0), Some(9), "there is no fifth place");
        assert_eq!(Share::alone().least_open(0), None);
    }

    #[test]
    fn a_renewed_lock_is_one_lock_again_when_it_is_free() {
        let share = Share::create(Accept::Serialized, 2, 1).expect("memory");
        let lock = share.lock().expect("a lock");
        assert!(lock.take().is_some() && lock.take().is_none(), "one holder");
        share.renew_lock();
        share.renew_lock();
        assert!(lock.take().is_some() && lock.take().is_none(), "one holder again");
    }

    #[test]
    fn a_socket_is_an_orphan_until_its_first_worker_serves() {
        let share = Share::create(Accept::Sharded, 2, 2).expect("memory");
        assert!(share.is_orphaned(1) && !share.is_orphaned(2));
        assert!(share.set_orphaned(1, false) && !share.set_orphaned(1, false));
        assert!(!share.is_orphaned(1) && share.is_orphaned(0));
        assert_eq!((share.own(0), share.own(3)), (0, 1));
    }
}
