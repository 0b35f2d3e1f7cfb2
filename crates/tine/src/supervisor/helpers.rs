//! Pools whose processes are begun by the clock: helpers. Each run is a worker of its pool, which ends by
//! itself or at its deadline, and has no replacement.

use super::action::{Action, Note};
use super::state::{Nanos, Rules, Rung, Stage, State, Why, Worker, WorkerId};

impl State {
    /// Whether this pool's processes are begun by the clock.
    pub(super) fn is_helper(&self, pool: usize) -> bool {
        self.pools[pool].every.is_some()
    }

    /// Wishes for the runs that are due, one a pool. A run that finds as many under way as there may be is
    /// left out, and so are those that were missed: the clock does not catch up.
    pub(super) fn begin_runs(&mut self, now: Nanos) {
        if self.is_stopping() {
            return;
        }
        for index in 0..self.pools.len() {
            let Some(every) = self.pools[index].every else { continue };
            let due = self.pools[index].due.get_or_insert(now.saturating_add(every));
            if *due > now {
                continue;
            }
            *due = now.saturating_add(every - (now - *due) % every);
            let alive = self.in_pool(index).count();
            let pool = &mut self.pools[index];
            if alive < pool.sizing.max as usize
                && let Some(place) = pool.places.iter_mut().find(|place| place.incumbent.is_none())
            {
                place.wanted = true;
            }
        }
    }
}

impl Worker {
    /// A run that has taken too long is ended; its place is kept until it is gone.
    pub(super) fn end_run(
        &mut self,
        id: WorkerId,
        rules: &Rules,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Note(Note::Overdue { worker: id, killed: false }));
        actions.push(Action::Terminate(id));
        let next = now.saturating_add(rules.term_grace);
        self.stage = Stage::Draining { why: Why::Overrun, rung: Rung::Terminated, next };
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Command, Event, Exit};
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::SECOND;
    use super::*;

    struct World {
        rules: Vec<Rules>,
        state: State,
    }

    impl World {
        /// One worker, and a helper every 10 s, at most 2 at once, each within 25 s.
        fn new() -> Self {
            let helper = Rules {
                every: Some(10 * SECOND),
                age: (25 * SECOND, 25 * SECOND),
                capacity: 2,
                ..rules(Sizing::fixed(2))
            };
            let rules = vec![rules(Sizing::fixed(1)), helper];
            Self { state: State::new(&rules, 7), rules }
        }

        /// Steps; forks are made and are ready at once. Who was forked in the helper's pool.
        fn tell(&mut self, now: Nanos, event: Event) -> (Vec<WorkerId>, Vec<Action>) {
            let mut actions = self.state.step(&self.rules, now, event);
            let mut runs = Vec::new();
            let mut next = 0;
            while next < actions.len() {
                if let Action::Fork(it) = actions[next] {
                    runs.extend((it.pool == 1).then_some(it.worker));
                    for event in
                        [Event::Forked { worker: it.worker, pid: 9 }, Event::Ready(it.worker)]
                    {
                        actions.extend(self.state.step(&self.rules, now, event));
                    }
                }
                next += 1;
            }
            (runs, actions)
        }

        fn wait(&mut self) -> (Nanos, Vec<WorkerId>, Vec<Action>) {
            let now = self.state.deadline().expect("the clock ticks");
            let (runs, actions) = self.tell(now, Event::Time);
            (now, runs, actions)
        }

        fn exited(&mut self, now: Nanos, worker: WorkerId, exit: Exit) -> Vec<WorkerId> {
            self.tell(now, Event::Exited { worker, exit, did: Default::default() }).0
        }
    }

    #[test]
    fn a_run_begins_every_interval_and_no_more_than_may_at_once() {
        let mut world = World::new();
        assert!(world.tell(SECOND, Event::Time).0.is_empty(), "not at once");
        let (first_at, first, _) = world.wait();
        assert_eq!((first_at, first.len()), (11 * SECOND, 1));
        let (second_at, second, _) = world.wait();
        assert_eq!((second_at, second.len()), (21 * SECOND, 1));
        let (third_at, third, _) = world.wait();
        assert_eq!((third_at, third.len()), (31 * SECOND, 0), "two are under way");
        assert_eq!(world.exited(32 * SECOND, second[0], Exit::Clean), [], "it is not replaced");
        let (now, _, actions) = world.wait();
        assert_eq!(now, 36 * SECOND, "the first one's time is over");
        assert!(actions.contains(&Action::Terminate(first[0])), "{actions:?}");
        let (now, _, actions) = world.wait();
        assert_eq!(now, 37 * SECOND);
        assert!(actions.contains(&Action::Kill(first[0])), "{actions:?}");
        let (now, next, _) = world.wait();
        assert_eq!((now, next.len()), (41 * SECOND, 1), "beside the one that is not gone yet");
    }

    #[test]
    fn a_run_that_fails_is_not_tried_before_its_time_and_what_was_missed_is_left_out() {
        let mut world = World::new();
        world.tell(SECOND, Event::Time);
        let (_, runs, _) = world.wait();
        assert_eq!(world.exited(12 * SECOND, runs[0], Exit::Code(1)), []);
        let (runs, _) = world.tell(65 * SECOND, Event::Time);
        assert_eq!(runs.len(), 1, "one for all that were missed");
        assert_eq!(world.state.deadline(), Some(71 * SECOND), "in step with the first");
    }

    #[test]
    fn a_reload_does_not_touch_a_run_and_a_stop_ends_it() {
        let mut world = World::new();
        world.tell(SECOND, Event::Time);
        let (_, runs, _) = world.wait();
        let (more, actions) = world.tell(12 * SECOND, Event::Command(Command::Reload));
        assert!(more.is_empty() && actions.contains(&Action::Probe), "{actions:?}");
        world.tell(12 * SECOND, Event::Probed);
        let (more, actions) = world.tell(12 * SECOND, Event::TookOver);
        assert!(more.is_empty());
        assert!(actions.contains(&Action::Note(Note::Rolled { generation: 2 })), "{actions:?}");
        let (_, actions) = world.tell(13 * SECOND, Event::Command(Command::Stop));
        let tell = Action::Tell(runs[0], super::super::action::Tell::Leave);
        assert!(actions.contains(&tell), "{actions:?}");
    }
}
