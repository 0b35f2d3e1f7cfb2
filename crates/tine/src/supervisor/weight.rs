//! Workers that have grown too heavy: first asked to give back what they have freed, then replaced like any
//! other that is recycled, the successor ready first. Pure.

use super::action::{Action, Note, Tell};
use super::state::{Nanos, Rules, Stage, State, Succession, Weight, WorkerId};

impl State {
    /// A worker was found to have so much private memory, in bytes.
    pub(super) fn weigh(
        &mut self,
        rules: &[Rules],
        (id, private): (WorkerId, u64),
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let may_go = self.may_be_replaced(rules, id, now);
        let stopping = self.is_stopping();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let limit = worker.max_memory;
        if stopping || worker.stage != Stage::Serving || limit == 0 {
            return;
        }
        match worker.weight {
            Weight::Trimmed if private <= limit => worker.weight = Weight::Fine,
            Weight::Fine if private > limit => {
                worker.weight = Weight::Trimmed;
                actions.push(Action::Tell(id, Tell::Trim));
            }
            Weight::Trimmed if may_go => {
                worker.weight = Weight::Replaced;
                worker.succession = Some(Succession::WhenReady);
                actions.push(Action::Note(Note::Oversized { worker: id, private, limit }));
            }
            Weight::Fine | Weight::Trimmed | Weight::Replaced => {}
        }
    }

    /// Not too young, not on its way already, and not too many at once: who may not yet is found too heavy
    /// again.
    fn may_be_replaced(&self, rules: &[Rules], id: WorkerId, now: Nanos) -> bool {
        self.workers.get(&id).is_some_and(|worker| {
            let rules = &rules[worker.pool];
            let ready_at = worker.ready_at.unwrap_or(now);
            now >= ready_at.saturating_add(rules.min_lifetime)
                && worker.succession != Some(Succession::WhenReady)
                && self.heavy(worker.pool) < rules.memory_recycles as usize
        })
    }

    /// Workers of the pool that wait for a successor because of their weight.
    fn heavy(&self, pool: usize) -> usize {
        let serving = self.in_pool(pool).filter(|worker| worker.stage == Stage::Serving);
        serving.filter(|worker| worker.weight == Weight::Replaced).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Event;
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::SECOND;
    use super::*;

    const LIMIT: u64 = 1000;

    /// Four workers that serve; of their pool one may be replaced at once, after ten seconds.
    fn pool() -> (Vec<Rules>, State) {
        let mut rules = rules(Sizing::fixed(4));
        (rules.memory, rules.min_lifetime, rules.memory_recycles) =
            ((LIMIT, LIMIT), 10 * SECOND, 1);
        let rules = vec![rules];
        let mut state = State::new(&rules, 1);
        state.step(&rules, 0, Event::Time);
        for id in 1..=4 {
            state.step(&rules, 0, Event::Forked { worker: WorkerId(id), pid: 1 });
            state.step(&rules, 0, Event::Ready(WorkerId(id)));
        }
        (rules, state)
    }

    /// What follows of a worker's weight: told to trim, or replaced.
    fn weigh(pool: &mut (Vec<Rules>, State), id: u64, private: u64, second: u64) -> (bool, bool) {
        let event = Event::Memory { worker: WorkerId(id), private };
        let actions = pool.1.step(&pool.0, second * SECOND, event);
        let trimmed = actions.contains(&Action::Tell(WorkerId(id), Tell::Trim));
        (trimmed, actions.iter().any(|action| matches!(action, Action::Fork(_))))
    }

    #[test]
    fn who_is_too_heavy_is_trimmed_first_and_replaced_if_that_did_not_help() {
        let mut pool = pool();
        assert_eq!(weigh(&mut pool, 1, LIMIT, 20), (false, false), "so much it may have");
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 21), (true, false));
        assert_eq!(weigh(&mut pool, 1, LIMIT, 22), (false, false), "it helped");
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 23), (true, false));
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 24), (false, true));
        assert_eq!(weigh(&mut pool, 1, 2 * LIMIT, 25), (false, false), "once is enough");
    }

    #[test]
    fn nobody_is_replaced_too_young_and_not_too_many_are_at_once() {
        let mut pool = pool();
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 8), (true, false));
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 9), (false, false), "too young");
        assert_eq!(weigh(&mut pool, 2, LIMIT + 1, 10), (true, false));
        assert_eq!(weigh(&mut pool, 1, LIMIT + 1, 10), (false, true));
        assert_eq!(weigh(&mut pool, 2, LIMIT + 1, 11), (false, false), "one at a time");
        let (rules, state) = &mut pool;
        state.step(rules, 12 * SECOND, Event::Forked { worker: WorkerId(5), pid: 1 });
        state.step(rules, 12 * SECOND, Event::Ready(WorkerId(5)));
        assert!(state.workers[&WorkerId(1)].is_draining());
        assert_eq!(weigh(&mut pool, 2, LIMIT + 1, 13), (false, true), "now it is its turn");
    }
}
