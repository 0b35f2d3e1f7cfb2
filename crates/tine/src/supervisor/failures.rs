//! What a worker's unwanted end costs its place and its pool: the delay before the next try, and the breaker. Pure.

use super::action::{Action, Note, Outcome};
use super::event::Exit;
use super::state::{Nanos, Rules, SECOND, Stage, State, Worker};

/// A worker that ends sooner after it was ready ends quickly.
const QUICK: Nanos = SECOND;
/// The kernel's kills for want of memory are in a row as long as the workers live no longer than this between them.
const STARVED_ROW: Nanos = 10 * SECOND;
/// The longest delay after ends that say little, in a row. With the back-off's longest delay, a client that knows a
/// request that ends a worker could keep a place empty.
const DOUBTFUL_LONGEST: Nanos = SECOND;
/// The breaker's limit holds for a pool of so many places; a larger pool may have as many times more failures.
const BREAKER_PLACES: u32 = 32;

/// What a worker's end says about the next worker of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Nothing: it had lived for a while.
    None,
    /// The next one may end as quickly: this one had served, or was killed from outside. The first of a row says
    /// nothing yet: a single `kill` is made good at once.
    Doubtful,
    /// The next one will probably fail, too: this one never came to serve, or memory is wanting.
    Bad,
}

impl State {
    /// What an unwanted end means for the place and the pool; returns the delay before the next try.
    pub(super) fn count_failure(
        &mut self,
        rules: &Rules,
        worker: &Worker,
        exit: Exit,
        served: u64,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) -> Nanos {
        let sign = sign_of(worker, exit, served, now);
        // Kills of workers that had lived for a while say nothing of the program.
        if exit != Exit::Clean && (sign != Sign::None || !exit.is_from_outside()) {
            self.pools[worker.pool].failures.push_back(now);
        }
        let open = self.judge_breaker(rules, worker.pool, now, actions);
        let place = &mut self.pools[worker.pool].places[worker.place];
        let in_a_row = match sign {
            Sign::None => 0,
            Sign::Bad if exit == Exit::OutOfMemory && lived(worker, now) >= STARVED_ROW => 1,
            _ => place.failures.saturating_add(1),
        };
        place.failures = in_a_row;
        let (first, longest) = rules.backoff;
        let own = match sign {
            Sign::None => 0,
            Sign::Bad => doubled(rules.backoff, in_a_row - 1),
            Sign::Doubtful if in_a_row == 1 => 0,
            Sign::Doubtful => doubled((first, longest.min(DOUBTFUL_LONGEST)), in_a_row - 2),
        };
        // With an open breaker one place goes on by its own delays, so that the pool comes back when the cause is gone.
        let base = if open && self.has_others(worker.pool) { longest } else { own };
        let wait = if first == longest {
            // A pace: from one beginning to the next.
            worker.since.saturating_add(base).saturating_sub(now)
        } else {
            // Half fixed, half drawn: places that failed together are not tried together.
            base / 2 + self.draw((0, base - base / 2))
        };
        self.pools[worker.pool].places[worker.place].not_before = now + wait;
        self.give_up_if_never_ready(rules, worker, exit);
        wait
    }

    /// Whether a pool has a worker that serves or is on its way.
    fn has_others(&self, pool: usize) -> bool {
        self.in_pool(pool).any(|worker| !worker.is_draining())
    }

    /// Counts a failure of the pool's.
    pub(super) fn feed_breaker(
        &mut self,
        rules: &Rules,
        pool: usize,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        self.pools[pool].failures.push_back(now);
        self.judge_breaker(rules, pool, now, actions);
    }

    /// Whether too many failures of the pool's are in the breaker's window; says so when it becomes true.
    fn judge_breaker(
        &mut self,
        rules: &Rules,
        pool: usize,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) -> bool {
        let (limit, window) = rules.breaker;
        let state = &mut self.pools[pool];
        if limit == 0 {
            state.failures.clear();
            return false;
        }
        let limit = limit.saturating_mul(state.wanted().div_ceil(BREAKER_PLACES).max(1));
        while state.failures.front().is_some_and(|&at| at.saturating_add(window) < now)
            || state.failures.len() > limit as usize + 1
        {
            state.failures.pop_front();
        }
        let failures = u32::try_from(state.failures.len()).unwrap_or(u32::MAX);
        let open = failures > limit;
        if open && !state.breaker_open {
            actions.push(Action::Note(Note::BreakerOpen { pool, failures }));
            if rules.breaker_stops {
                self.outcome = Outcome::Exhausted { pool, failures };
            }
        }
        self.pools[pool].breaker_open = open;
        open
    }

    fn give_up_if_never_ready(&mut self, rules: &Rules, worker: &Worker, exit: Exit) {
        let pool = &mut self.pools[worker.pool];
        // A pool that a reload has brought is the reload's failure.
        if pool.ever_ready || worker.ready_at.is_some() || self.staffed {
            return;
        }
        pool.boot_failures = pool.boot_failures.saturating_add(1);
        if rules.persists {
            return;
        }
        if pool.boot_failures >= rules.boot_attempts || exit == Exit::PrivilegeFailed {
            self.outcome = Outcome::NeverReady { pool: worker.pool, exit };
        }
    }

    /// Whether every pool that should have a worker that serves has one. A pool on demand has none while it is idle.
    pub(super) fn serves(&self) -> bool {
        self.pools.iter().enumerate().filter(|(pool, _)| !self.is_helper(*pool)).all(
            |(index, pool)| {
                let failed = pool.places.iter().any(|place| place.wanted && place.failures > 0);
                pool.wanted() == 0
                    || (pool.sizing.is_on_demand() && !failed)
                    || self.in_pool(index).any(|worker| worker.stage == Stage::Serving)
            },
        )
    }
}

/// How long a worker has been ready.
fn lived(worker: &Worker, now: Nanos) -> Nanos {
    worker.ready_at.map_or(0, |at| now.saturating_sub(at))
}

fn sign_of(worker: &Worker, exit: Exit, served: u64, now: Nanos) -> Sign {
    if worker.ready_at.is_none() || exit == Exit::OutOfMemory {
        Sign::Bad
    } else if lived(worker, now) >= QUICK {
        Sign::None
    } else if served > 0 || exit.is_from_outside() {
        Sign::Doubtful
    } else {
        Sign::Bad
    }
}

/// `first`, doubled `times` times, at most `longest`.
pub(super) fn doubled((first, longest): (Nanos, Nanos), times: u32) -> Nanos {
    first.saturating_mul(1_u64.checked_shl(times.min(40)).unwrap_or(u64::MAX)).min(longest)
}

#[cfg(test)]
mod tests;
