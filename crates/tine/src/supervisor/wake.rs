//! What the supervisor does so that no connection lies in a queue that no worker looks at. The workers' part, and the rule, are in
//! [`crate::accept`].

use tine_os::fd::send_message;

use super::run::Supervisor;
use crate::seat::LOOK;

impl Supervisor {
    /// A worker has died or was stopped, perhaps with a wake-up that the kernel gave it alone, or with the lock of those
    /// who take turns: others look instead.
    pub(super) fn pass_wake_on(&mut self, index: usize) {
        let pool = &mut self.pools[index];
        if pool.share.is_watched_alike(!self.rules[index].multiplexed) {
            pool.poke.signal();
        } else {
            pool.to_look = true;
        }
        pool.share.renew_lock();
    }

    /// Publishes who serves in a place, and by that whose the sockets are.
    pub(super) fn staffed(&mut self, pool: usize, place: usize, staffed: bool) {
        let (state, pool) = (&self.state.pools[pool], &mut self.pools[pool]);
        if !staffed {
            pool.share.set_open(place, None);
        }
        if pool.share.sockets() > 1 {
            let socket = pool.share.own(place);
            let step = pool.share.sockets();
            let orphaned = !state.places.iter().skip(socket).step_by(step).any(|it| it.staffed);
            pool.to_look |= pool.share.set_orphaned(socket, orphaned);
        }
    }

    /// Has all workers of a pool look at the sockets they watch: others may be without a worker now, or a wake-up may be
    /// lost. Once for all that has happened; while the service stops they look at all of them anyway.
    pub(super) fn tell_to_look(&mut self) {
        for (index, pool) in self.pools.iter_mut().enumerate() {
            if !std::mem::take(&mut pool.to_look) || self.state.is_stopping() {
                continue;
            }
            let workers = self.procs.values().filter(|proc| !proc.is_command);
            for proc in workers.filter(|proc| proc.pool == index) {
                // A worker that does not read has too much to read already, and finds this among it.
                let _ = send_message(&proc.channel, &[LOOK]);
            }
        }
    }
}
