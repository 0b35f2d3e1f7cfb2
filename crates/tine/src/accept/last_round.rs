//! The end of accepting: what a leaving worker owes whoever still waits.

use std::io;
use std::time::{Duration, Instant};

use super::{Acceptor, Next, Owed};
use crate::seat::Leave;

/// A worker that leaves without its supervisor's word takes what is queued for this long, then leaves
/// the rest.
const LAST_ROUND: Duration = Duration::from_secs(1);

impl Acceptor {
    /// A leaving worker: the wake-up it may have had goes to a sibling, or, when all leave, the queue
    /// is emptied.
    pub(super) fn take_the_rest(&mut self) -> io::Result<Next> {
        self.watch.shut();
        if let Some(turn) = &mut self.turn {
            turn.give_up();
        }
        // An orphan may, whoever's the place was: nobody else will.
        let may_take = self.seat.leave() == Leave::Together && self.seat.may_take();
        if (may_take || self.seat.is_orphaned()) && self.last_round() {
            match self.take()? {
                Next::Nothing => {}
                found => return Ok(found),
            }
        }
        if self.seat.is_orphaned() {
            self.close_for_all();
        } else {
            self.pass_all_on();
        }
        Ok(Next::Done)
    }

    /// Nobody is left to do what the supervisor would have done: without it, clients would wait for
    /// workers that only finish what they have, and nobody else could listen here.
    fn close_for_all(&self) {
        for entry in self.watch.entries.iter().filter(|entry| !entry.closed) {
            let _ = entry.listener.close_for_good();
        }
    }

    /// Whether there still is time to empty the queues; begins with a look at every listener.
    fn last_round(&mut self) -> bool {
        let end = *self.last_round.get_or_insert_with(|| {
            for entry in &mut self.watch.entries {
                entry.owed = Owed::UntilEmpty;
                if self.seat.is_orphaned() {
                    let _ = entry.listener.refuse_new();
                }
            }
            Instant::now() + LAST_ROUND
        });
        if Instant::now() <= end {
            return true;
        }
        // The supervisor's word may have come later than the signal we leave on.
        let _ = self.shutdown.is_requested();
        self.seat.may_finish()
    }
}
