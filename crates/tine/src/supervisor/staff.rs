//! Filling places: who is missing, who may be forked now, and what a failure costs its place.

use super::action::{Action, Assignment, Note, Outcome};
use super::event::Exit;
use super::state::{
    MILLISECOND, Nanos, Rules, SECOND, Stage, State, Succession, Weight, Worker, WorkerId,
};

/// A fork that should be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacancy {
    place: usize,
    standby: bool,
    /// It is a replacement that could wait.
    paced: bool,
    pub(super) not_before: Nanos,
}

/// Between failing forks: the first and the longest wait.
const FORK_RETRY: (Nanos, Nanos) = (100 * MILLISECOND, 2 * SECOND);

impl State {
    /// The forks a pool needs, as far as its bounds on draining and surging workers let it.
    pub(super) fn vacancies(&self, pool: usize) -> Vec<Vacancy> {
        let state = &self.pools[pool];
        let anybody_waits = self.in_pool(pool).any(|worker| worker.succession.is_some());
        // Most events leave nobody missing: then nothing else need be counted.
        if !anybody_waits && state.places.iter().all(|it| !it.wanted || it.incumbent.is_some()) {
            return Vec::new();
        }
        let may_hand_over = self.draining(pool) <= state.most_draining();
        let (mut surge, held) = (self.surge_left(pool), self.held_places(pool));
        let mut vacancies = Vec::new();
        for (index, place) in state.places.iter().enumerate().filter(|(_, place)| place.wanted) {
            let mut vacancy =
                Vacancy { place: index, standby: true, paced: false, not_before: place.not_before };
            match place.incumbent {
                _ if place.successor.is_some() || held.contains(&index) => continue,
                None if may_hand_over => vacancy.standby = false,
                Some(_) if !anybody_waits => continue,
                Some(id) => match self.workers[&id].succession {
                    Some(Succession::AtLimit) if self.surges(pool) => {}
                    Some(Succession::WhenReady) if surge > 0 && may_hand_over => {
                        surge -= 1;
                        vacancy.paced = true;
                        vacancy.not_before = place.not_before.max(state.next_replacement);
                    }
                    _ => continue,
                },
                None => continue,
            }
            vacancies.push(vacancy);
        }
        vacancies
    }

    /// Asks for the forks that are due.
    pub(super) fn fill(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        // What this program would fork while the one before is to come back would pass for its generation.
        if self.is_stopping() || self.reloads.goes_back() {
            return;
        }
        let mut budget = match self.fork_trouble {
            Some((_, not_before)) if not_before > now => return,
            // One fork finds out whether the trouble is over.
            Some(_) => 1,
            None => usize::MAX,
        };
        for (pool, rules) in rules.iter().enumerate() {
            for vacancy in self.vacancies(pool) {
                if vacancy.not_before > now {
                    continue;
                }
                if budget == 0 {
                    return;
                }
                budget -= 1;
                if vacancy.paced {
                    self.replaced(pool, now);
                }
                actions.push(Action::Fork(self.assign(rules, pool, vacancy, now)));
            }
        }
    }

    /// Says which places have gained or lost a healthy worker.
    pub(super) fn tell_staffed(&mut self, rules: &[Rules], actions: &mut Vec<Action>) {
        let Self { pools, workers, .. } = self;
        for (pool, state) in pools.iter_mut().enumerate().filter(|(i, _)| rules[*i].multiplexed) {
            for (place, seat) in state.places.iter_mut().enumerate() {
                let worker = seat.incumbent.and_then(|id| workers.get(&id));
                let staffed = worker.is_some_and(|worker| worker.stage == Stage::Serving);
                if staffed != seat.staffed {
                    seat.staffed = staffed;
                    actions.push(Action::Staffed { pool, place, staffed });
                }
            }
        }
    }

    fn assign(&mut self, rules: &Rules, pool: usize, vacancy: Vacancy, now: Nanos) -> Assignment {
        self.last_worker += 1;
        let id = WorkerId(self.last_worker);
        let age = self.draw(rules.age);
        let assignment = Assignment {
            worker: id,
            pool,
            place: vacancy.place,
            generation: self.generation,
            standby: vacancy.standby,
            max_connections: self.draw(rules.connections),
            max_requests: self.draw(rules.requests),
        };
        let worker = Worker {
            pool,
            place: vacancy.place,
            generation: self.generation,
            pid: None,
            stage: Stage::Forking,
            since: now,
            ready_at: None,
            expires: (age > 0).then(|| now.saturating_add(age)),
            max_memory: self.draw(rules.memory),
            weight: Weight::Fine,
            succession: None,
            standby: vacancy.standby,
            halted: false,
        };
        self.workers.insert(id, worker);
        let helper = self.is_helper(pool);
        let place = &mut self.pools[pool].places[vacancy.place];
        // Wished for once: no run is repeated.
        place.wanted &= !helper;
        if place.incumbent.is_some() {
            place.successor = Some(id);
        } else {
            place.incumbent = Some(id);
        }
        assignment
    }

    /// A fork failed: nobody forks until the trouble has had time to pass. A service that has nobody and
    /// never had gives up like one whose workers cannot boot.
    pub(super) fn fork_failed(
        &mut self,
        rules: &Rules,
        pool: Option<usize>,
        errno: i32,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let (failures, not_before) = self.fork_trouble.unwrap_or((0, 0));
        if not_before > now {
            return;
        }
        let wait = doubled(FORK_RETRY, failures);
        if failures == 0 {
            let retry_ms = wait / MILLISECOND;
            actions.push(Action::Note(Note::ForkFailing { errno, retry_ms }));
        }
        self.fork_trouble = Some((failures.saturating_add(1), now + wait));
        let nobody = self.workers.is_empty() && !self.pools.iter().any(|pool| pool.ever_ready);
        if let Some(pool) = pool.filter(|_| nobody) {
            self.pools[pool].boot_failures += 1;
            if self.pools[pool].boot_failures >= rules.boot_attempts && !rules.persists {
                self.outcome = Outcome::CannotFork { errno };
            }
        }
    }

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
        if exit != Exit::Clean {
            self.feed_breaker(rules, worker.pool, now, actions);
        }
        let open = self.pools[worker.pool].breaker_open;
        let place = &mut self.pools[worker.pool].places[worker.place];
        if is_quick(worker, exit, served, now) {
            place.failures = place.failures.saturating_add(1);
        } else {
            place.failures = 0;
        }
        let failures = place.failures;
        let base = match failures {
            0 if !open => 0,
            _ if open => rules.backoff.1,
            n => doubled(rules.backoff, n - 1),
        };
        let wait = if rules.backoff.0 == rules.backoff.1 {
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

    /// Counts a failure of the pool's.
    pub(super) fn feed_breaker(
        &mut self,
        rules: &Rules,
        pool: usize,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let (limit, window) = rules.breaker;
        if limit == 0 {
            return;
        }
        let state = &mut self.pools[pool];
        state.failures.push_back(now);
        while state.failures.front().is_some_and(|&at| at + window < now)
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
}

/// Whether a worker's end says that its place will fail again at once.
///
/// Somebody's `kill` of a worker that was ready says nothing of the kind; a worker that had served says
/// that a request was to blame. Both are replaced without delay.
fn is_quick(worker: &Worker, exit: Exit, served: u64, now: Nanos) -> bool {
    let Some(ready_at) = worker.ready_at else {
        return true;
    };
    let lived = now.saturating_sub(ready_at);
    lived < SECOND && served == 0 && !exit.is_from_outside()
}

/// `first`, doubled `times` times, at most `longest`.
fn doubled((first, longest): (Nanos, Nanos), times: u32) -> Nanos {
    first.saturating_mul(1_u64.checked_shl(times.min(40)).unwrap_or(u64::MAX)).min(longest)
}
