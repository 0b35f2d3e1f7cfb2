//! Changing a pool's size: by what its workers do, or because somebody said so.
//!
//! How many is [`super::scale`]'s answer; which places, and when to look again, is decided here.

use super::action::{Action, Note};
use super::event::Load;
use super::scale::{View, grow, shrink};
use super::state::{Nanos, Rules, SECOND, State, Why};

impl State {
    /// Sizes a pool by what its workers do.
    pub(super) fn resize(
        &mut self,
        rules: &[Rules],
        index: usize,
        load: &Load,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if self.is_stopping() {
            return;
        }
        let booting = self.in_pool(index).filter(|worker| worker.is_coming()).count();
        let pool = &mut self.pools[index];
        let view = View {
            wanted: pool.wanted(),
            idle: u32::try_from(load.idle.len()).unwrap_or(u32::MAX),
            booting: u32::try_from(booting).unwrap_or(u32::MAX),
            queued: load.queued,
        };
        if load.taken != pool.taken.0 {
            pool.taken = (load.taken, now);
        }
        let more = grow(&pool.sizing, view);
        if more > 0 {
            self.want(index, more, now, actions);
        } else {
            self.note_saturation(index, view, actions);
            self.shrink(rules, index, load, view, now, actions);
        }
        self.plan_look(index, load, now);
        let pool = &self.pools[index];
        let busy = pool.places.iter().filter(|place| place.wanted);
        // A place that waits for its worker will be filled; until then watching would not help.
        let all_busy = load.idle.is_empty()
            && busy.filter_map(|place| place.incumbent).count() == pool.wanted() as usize
            && booting == 0;
        let on = pool.sizing.is_on_demand() && all_busy && pool.wanted() < pool.sizing.max;
        self.watch(index, on, actions);
    }

    /// Has the listeners of a pool watched while none of its workers does, and only then.
    pub(super) fn watch(&mut self, index: usize, on: bool, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.pools[index].watched, on) != on {
            actions.push(Action::Watch { pool: index, on });
        }
    }

    fn note_saturation(&mut self, index: usize, view: View, actions: &mut Vec<Action>) {
        let pool = &mut self.pools[index];
        let full = view.idle == 0 && view.booting == 0 && view.wanted >= pool.sizing.max;
        if full && !pool.saturated && !pool.sizing.is_fixed() {
            actions.push(Action::Note(Note::Saturated { pool: index, queued: view.queued }));
        }
        // Over when somebody is idle and nobody waits: a worker between two of those who do is no end.
        let goes_on = view.idle < pool.sizing.min_spare || view.queued > 0;
        pool.saturated = full || (pool.saturated && goes_on);
    }

    fn shrink(
        &mut self,
        all: &[Rules],
        index: usize,
        load: &Load,
        view: View,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let rules = &all[index];
        let pool = &mut self.pools[index];
        let due = now >= pool.shrunk_at.saturating_add(rules.shrink_interval)
            && now >= pool.grown_at.saturating_add(rules.settle);
        let quiet = load.busy == 0 && now >= pool.taken.1.saturating_add(rules.quiet);
        let fewer = shrink(&pool.sizing, view, quiet);
        if !due || fewer == 0 {
            return;
        }
        pool.shrunk_at = now;
        // The youngest go first: the oldest have the warmest caches and the earliest place in the queue.
        let mut idle = load.idle.clone();
        idle.sort_unstable_by(|a, b| b.cmp(a));
        for id in idle.into_iter().take(fewer as usize) {
            if let Some(worker) = self.workers.get(&id) {
                self.give_up(all, index, worker.place, now, actions);
            }
        }
        let (from, to) = (view.wanted, self.pools[index].wanted());
        actions.push(Action::Note(Note::Resized { pool: index, from, to }));
    }

    /// A pool above its floor is looked at once a second, so that it can shrink; others sleep.
    fn plan_look(&mut self, index: usize, load: &Load, now: Nanos) {
        let pool = &mut self.pools[index];
        let can_shrink = pool.wanted() > pool.sizing.start();
        let watching = can_shrink || (load.busy > 0 && !pool.sizing.is_fixed());
        pool.look_at = watching.then_some(now + SECOND);
    }

    /// Wants `more` places, the lowest free ones.
    fn want(&mut self, index: usize, more: u32, now: Nanos, actions: &mut Vec<Action>) {
        let pool = &mut self.pools[index];
        let from = pool.wanted();
        for place in pool.places.iter_mut().filter(|place| !place.wanted).take(more as usize) {
            place.wanted = true;
        }
        pool.grown_at = now;
        let to = pool.wanted();
        if from != to {
            actions.push(Action::Note(Note::Resized { pool: index, from, to }));
        }
    }

    /// Gives up a place, and whoever sits or waits there.
    fn give_up(
        &mut self,
        rules: &[Rules],
        index: usize,
        place: usize,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let seat = &mut self.pools[index].places[place];
        seat.wanted = false;
        for id in [seat.incumbent, seat.successor].into_iter().flatten() {
            self.dismiss(rules, id, Why::Retired, now, actions);
        }
    }

    /// TTIN and TTOU: the first pool's bounds move by one, between one and its capacity (row N32).
    pub(super) fn shift(
        &mut self,
        rules: &[Rules],
        up: bool,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(pool) = self
            .pools
            .first_mut()
            .filter(|pool| self.phase == super::state::Phase::Running && pool.every.is_none())
        else {
            return;
        };
        // The range as a whole moves, so that as many steps back bring it back.
        let (base, capacity) = (rules[0].sizing, rules[0].capacity);
        let offset = pool.offset + if up { 1 } else { -1 };
        let max = i64::from(base.max) + offset;
        if max < 1 || max > i64::from(capacity) {
            let workers = if up { capacity } else { 1 };
            actions.push(Action::Note(Note::AtBound { pool: 0, workers }));
            return;
        }
        pool.offset = offset;
        let floor = i64::from(base.min.min(1));
        let shifted = |n: u32| u32::try_from((i64::from(n) + offset).max(floor)).unwrap_or(1);
        let fixed = base.is_fixed();
        pool.sizing.min = shifted(base.min);
        pool.sizing.max = shifted(base.max);
        if fixed {
            pool.sizing.max_spare = pool.sizing.max;
        }
        let (wanted, sizing) = (pool.wanted(), pool.sizing);
        if up && sizing.start() > wanted {
            self.want(0, sizing.start() - wanted, now, actions);
        } else if !up && wanted > 1 && (fixed || wanted > sizing.max) {
            self.give_up_highest(rules, now, actions);
        }
    }

    fn give_up_highest(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let Some(place) = self.pools[0].places.iter().rposition(|place| place.wanted) else {
            return;
        };
        let from = self.pools[0].wanted();
        self.give_up(rules, 0, place, now, actions);
        actions.push(Action::Note(Note::Resized { pool: 0, from, to: from - 1 }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Event;
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::{MILLISECOND, WorkerId};
    use super::*;

    /// Three workers of one to eight, and up to two spare, that have had a connection at ten seconds.
    fn pool() -> (Vec<Rules>, State) {
        let sizing = Sizing { min: 1, max: 8, min_spare: 1, max_spare: 2 };
        let rules = vec![Rules {
            shrink_interval: MILLISECOND,
            settle: MILLISECOND,
            quiet: 30 * SECOND,
            ..rules(sizing)
        }];
        let mut state = State::new(&rules, 1);
        state.step(&rules, SECOND, Event::Time);
        boot(&rules, &mut state, 1, SECOND);
        (2..=3).for_each(|id| {
            state.step(&rules, 10 * SECOND, load(&[], 4));
            boot(&rules, &mut state, id, 10 * SECOND);
        });
        (rules, state)
    }

    fn boot(rules: &[Rules], state: &mut State, id: u64, now: Nanos) {
        state.step(rules, now, Event::Forked { worker: WorkerId(id), pid: 1 });
        state.step(rules, now, Event::Ready(WorkerId(id)));
    }

    fn load(idle: &[u64], taken: u64) -> Event {
        let idle = idle.iter().map(|&id| WorkerId(id)).collect();
        let load = Load { idle, busy: 0, queued: 0, taken };
        Event::Load { pool: 0, load }
    }

    #[test]
    fn a_pool_goes_to_its_floor_when_it_was_quiet_for_so_long_and_not_before() {
        let (rules, mut state) = pool();
        let wanted = |state: &State| state.pools[0].wanted();
        assert_eq!(wanted(&state), 3);
        // Above the spare ones it shrinks at once.
        state.step(&rules, 20 * SECOND, load(&[1, 2, 3], 4));
        assert_eq!(wanted(&state), 2);
        state.step(&rules, 40 * SECOND - 1, load(&[1, 2], 4));
        assert_eq!(wanted(&state), 2, "a nanosecond too early");
        // A connection begins the time anew.
        state.step(&rules, 40 * SECOND - 1, load(&[1, 2], 5));
        state.step(&rules, 60 * SECOND, load(&[1, 2], 5));
        assert_eq!(wanted(&state), 2);
        state.step(&rules, 70 * SECOND - 1, load(&[1, 2], 5));
        assert_eq!(wanted(&state), 1);
    }
}
