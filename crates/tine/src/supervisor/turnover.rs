//! Replacing workers that serve, by newer ones or because they have grown old: how many beyond the pool's size, how many
//! below it, how fast. Pure.
//!
//! The new one first, is the rule: its place changes hands when it is ready. A pool that has no memory to spare lets places
//! stand empty instead, and then a place is taken again when the process that was there has ended.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::state::{Nanos, Rules, Stage, State, Succession, Why, WorkerId};

/// A pool's bounds on that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turnover {
    /// Workers that may be on their way beside those they are to replace; `None`: one in four, and one at least.
    pub surge: Option<u32>,
    /// Places that may stand empty for it, those counted that do so for another reason.
    pub unavailable: u32,
    /// Nanoseconds from one replacement to the next, which then come one by one; 0 = they need not wait.
    pub pace: Nanos,
}

impl Turnover {
    /// Whether a successor may boot beside the worker that it is to replace.
    fn surges(self) -> bool {
        self.surge != Some(0)
    }
}

impl State {
    /// Successors that may still be forked for workers that wait for nothing else. One that is ready before a limit is
    /// reached may wait for long, and must not hold up a reload.
    pub(super) fn surge_left(&self, pool: usize) -> usize {
        let pool = &self.pools[pool];
        let may_wait = |id: WorkerId| self.workers[&id].succession == Some(Succession::AtLimit);
        let coming = pool
            .places
            .iter()
            .filter(|place| place.successor.is_some() && !place.incumbent.is_some_and(may_wait));
        let coming = coming.count();
        let surge = pool.turnover.surge.unwrap_or((pool.wanted() / 4).max(1)) as usize;
        match pool.turnover.pace {
            0 => surge.saturating_sub(coming),
            _ => surge.min(1).saturating_sub(coming),
        }
    }

    /// Whether a worker of this pool that will reach its limit has a successor beforehand.
    pub(super) fn surges(&self, pool: usize) -> bool {
        self.pools[pool].turnover.surges()
    }

    /// Places that are not to be taken yet: who was replaced there has not ended, and there is no room for two.
    pub(super) fn held_places(&self, pool: usize) -> Vec<usize> {
        if self.surges(pool) {
            return Vec::new();
        }
        let replaced = self.in_pool(pool).filter(|worker| {
            matches!(worker.stage, Stage::Draining { why: Why::Recycled, .. }) && !worker.halted
        });
        replaced.map(|worker| worker.place).collect()
    }

    /// A worker is replaced: where they come one by one, the next has to wait.
    pub(super) fn replaced(&mut self, pool: usize, now: Nanos) {
        let pool = &mut self.pools[pool];
        pool.next_replacement = now.saturating_add(pool.turnover.pace);
    }

    /// Has places given up whose workers wait to be replaced, as far as places may stand empty.
    pub(super) fn give_up_places(
        &mut self,
        rules: &[Rules],
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if self.is_stopping() || self.reloads.goes_back() {
            return;
        }
        for pool in 0..self.pools.len() {
            while let Some((id, at)) = self.next_given_up(pool)
                && at <= now
            {
                self.dismiss(rules, id, Why::Recycled, now, actions);
                self.replaced(pool, now);
            }
        }
    }

    /// Whose place is given up next, and when at the earliest.
    pub(super) fn next_given_up(&self, pool: usize) -> Option<(WorkerId, Nanos)> {
        let state = &self.pools[pool];
        if state.turnover.unavailable == 0 || self.draining(pool) > state.most_draining() {
            return None;
        }
        let serves = |id: WorkerId| self.workers[&id].stage == Stage::Serving;
        let wanted = || state.places.iter().filter(|place| place.wanted);
        let empty = wanted().filter(|place| !place.incumbent.is_some_and(serves)).count();
        if empty >= state.turnover.unavailable as usize {
            return None;
        }
        let waits = |&id: &WorkerId| {
            serves(id) && self.workers[&id].succession == Some(Succession::WhenReady)
        };
        let alone = wanted().filter(|place| place.successor.is_none());
        let id = alone.filter_map(|place| place.incumbent).find(waits)?;
        Some((id, state.next_replacement))
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Tell;
    use super::super::event::{Event, Exit};
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::SECOND;
    use super::*;

    #[test]
    fn a_successor_that_waits_for_a_limit_does_not_hold_up_a_reload() {
        let (mut it, _) = Roll::begin(Turnover::default());
        it.boot(5);
        // The first of the new generation is near its limit, has its successor, and rests.
        it.tell(Event::Expiring(WorkerId(5)));
        for id in 6..10 {
            it.boot(id);
        }
        let old = |worker: &&super::super::state::Worker| {
            worker.generation == 1 && worker.stage == Stage::Serving
        };
        assert_eq!(it.state.workers.values().filter(old).count(), 0, "all are replaced");
    }

    struct Roll {
        rules: Vec<Rules>,
        state: State,
        now: Nanos,
    }

    impl Roll {
        /// Four workers that serve, about to be replaced by a new generation.
        fn begin(turnover: Turnover) -> (Self, Vec<Action>) {
            let rules = vec![Rules { turnover, ..rules(Sizing::fixed(4)) }];
            let state = State::new(&rules, 1);
            let mut it = Self { rules, state, now: SECOND };
            it.tell(Event::Time);
            (1..=4).for_each(|id| drop(it.boot(id)));
            it.tell(Event::Command(super::super::event::Command::Reload));
            it.tell(Event::Probed);
            let actions = it.tell(Event::TookOver);
            (it, actions)
        }

        fn tell(&mut self, event: Event) -> Vec<Action> {
            self.state.step(&self.rules, self.now, event)
        }

        fn boot(&mut self, id: u64) -> Vec<Action> {
            self.tell(Event::Forked { worker: WorkerId(id), pid: 1 });
            self.tell(Event::Ready(WorkerId(id)))
        }

        fn end(&mut self, id: u64) -> Vec<Action> {
            self.tell(Event::Exited {
                worker: WorkerId(id),
                exit: Exit::Clean,
                did: Default::default(),
            })
        }
    }

    fn forks(actions: &[Action]) -> usize {
        actions.iter().filter(|action| matches!(action, Action::Fork(_))).count()
    }

    fn leave(actions: &[Action]) -> Vec<u64> {
        let told = actions.iter().filter_map(|action| match action {
            Action::Tell(WorkerId(id), Tell::Leave) => Some(*id),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn one_in_four_is_on_its_way_unless_more_may_be_and_nobody_leaves_before() {
        let (mut roll, actions) = Roll::begin(Turnover::default());
        assert_eq!((forks(&actions), leave(&actions)), (1, vec![]));
        let actions = roll.boot(5);
        assert_eq!((forks(&actions), leave(&actions)), (1, vec![1]));
        let (_, actions) = Roll::begin(Turnover { surge: Some(3), ..Turnover::default() });
        assert_eq!(forks(&actions), 3);
    }

    #[test]
    fn without_surge_a_place_is_taken_again_when_its_worker_has_ended() {
        let (mut roll, actions) = Roll::begin(Turnover { surge: Some(0), unavailable: 2, pace: 0 });
        assert_eq!((forks(&actions), leave(&actions)), (0, vec![1, 2]));
        assert_eq!(forks(&roll.end(2)), 1);
        let actions = roll.boot(5);
        assert_eq!((forks(&actions), leave(&actions)), (0, vec![3]), "one is still missing");
        assert_eq!(forks(&roll.end(1)), 1);
        assert_eq!(forks(&roll.end(3)), 1);
        assert_eq!(leave(&roll.boot(6)), [4]);
        roll.end(4);
        roll.boot(7);
        roll.boot(8);
        assert_eq!(roll.state.reloads.ended.len(), 1, "it is over");
    }

    #[test]
    fn at_a_pace_they_come_one_by_one() {
        let pace = 10 * SECOND;
        let (mut roll, actions) = Roll::begin(Turnover { surge: Some(4), unavailable: 0, pace });
        assert_eq!(forks(&actions), 1);
        assert_eq!(forks(&roll.boot(5)), 0);
        assert_eq!(roll.state.deadline(), Some(roll.now + pace), "when the next one begins");
        roll.now += pace;
        assert_eq!(forks(&roll.tell(Event::Time)), 1);
        let (mut roll, actions) = Roll::begin(Turnover { surge: Some(0), unavailable: 4, pace });
        assert_eq!(leave(&actions), [1]);
        roll.end(1);
        assert_eq!(leave(&roll.boot(5)), [0; 0]);
        assert_eq!(roll.state.deadline(), Some(roll.now + pace));
        roll.now += pace;
        assert_eq!(leave(&roll.tell(Event::Time)), [2]);
    }
}
