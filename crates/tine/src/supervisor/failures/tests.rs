//! Delays and the breaker, seen from the events that reach them.

use super::super::action::{Action, Note};
use super::super::event::{Event, Exit};
use super::super::properties::rules;
use super::super::scale::Sizing;
use super::super::state::{MILLISECOND, Nanos, Rules, SECOND, Stage, State, WorkerId};
use super::super::trial::Work;

const KILLED: Exit = Exit::Signal { number: 9, core: false };
const CRASHED: Exit = Exit::Signal { number: 11, core: false };

/// A pool whose forks succeed at once and whose workers are ready at once.
struct Service {
    rules: Vec<Rules>,
    state: State,
    now: Nanos,
    opened: u32,
}

impl Service {
    fn of(workers: u32, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = rules(Sizing::fixed(workers));
        change(&mut rules);
        let rules = vec![rules];
        let mut it = Self { state: State::new(&rules, 1), rules, now: SECOND, opened: 0 };
        it.tell(Event::Time);
        it
    }

    /// Tells of an event, and boots whatever is forked because of it. The delay, if it was an end.
    fn tell(&mut self, event: Event) -> Option<Nanos> {
        let mut waited = None;
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.state.step(&self.rules, self.now, event) {
                match action {
                    Action::Fork(assignment) => {
                        let worker = assignment.worker;
                        events.push(Event::Ready(worker));
                        events.push(Event::Forked { worker, pid: 1 });
                    }
                    Action::Note(Note::Exited { retry_ms, .. }) => {
                        waited = Some(retry_ms * MILLISECOND);
                    }
                    Action::Note(Note::BreakerOpen { .. }) => self.opened += 1,
                    _ => {}
                }
            }
        }
        waited
    }

    /// The worker of a place ends, having served so many.
    fn end(&mut self, place: usize, exit: Exit, connections: u64) -> Nanos {
        let worker = self.state.pools[0].places[place].incumbent.expect("a worker sits there");
        let did = Work { connections, ..Work::default() };
        self.tell(Event::Exited { worker, exit, did }).expect("an end is told of")
    }

    /// Time passes; what is due is forked.
    fn pass(&mut self, time: Nanos) {
        self.now += time;
        self.tell(Event::Time);
    }

    /// Ends the worker of place 0 over and over, each after it has lived so long: the delays.
    fn row(&mut self, ends: usize, life: Nanos, exit: Exit, served: u64) -> Vec<Nanos> {
        (0..ends)
            .map(|_| {
                self.pass(life);
                let wait = self.end(0, exit, served);
                // The delay was told in whole milliseconds.
                self.pass(wait + MILLISECOND);
                wait
            })
            .collect()
    }

    fn serving(&self) -> usize {
        self.state.workers.values().filter(|worker| worker.stage == Stage::Serving).count()
    }
}

/// Whether each delay is drawn from the upper half of what was expected, in milliseconds.
#[track_caller]
fn assert_delays(found: &[Nanos], expected: &[u64]) {
    let fits = |(found, expected): (&Nanos, &u64)| {
        let longest = expected * MILLISECOND;
        (longest / 2..=longest).contains(found)
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(fits);
    assert!(all, "{found:?} are not {expected:?}");
}

#[test]
fn a_single_kill_is_made_good_at_once_however_young_the_worker() {
    for life in [0, 10 * MILLISECOND, SECOND, 100 * SECOND] {
        let mut service = Service::of(2, |_| {});
        assert_eq!(service.row(1, life, KILLED, 0), [0]);
        assert_eq!(service.serving(), 2);
    }
}

#[test]
fn kills_of_workers_that_had_just_become_ready_wait_from_the_second_on() {
    let mut service = Service::of(1, |_| {});
    let delays = service.row(8, 10 * MILLISECOND, KILLED, 5);
    assert_delays(&delays, &[0, 100, 200, 400, 800, 1000, 1000, 1000]);
    assert_eq!(service.row(1, SECOND, KILLED, 0), [0], "one that had lived ends the row");
    assert_eq!(service.row(1, 0, KILLED, 0), [0]);
}

#[test]
fn an_end_for_want_of_memory_waits_and_longer_each_time() {
    let mut service = Service::of(1, |_| {});
    assert_delays(&service.row(4, 9 * SECOND, Exit::OutOfMemory, 50), &[100, 200, 400, 800]);
    let settled = service.row(2, 10 * SECOND, Exit::OutOfMemory, 50);
    assert_delays(&settled, &[100, 100]);
}

#[test]
fn a_worker_that_never_came_to_serve_waits_from_the_first_on_up_to_the_longest_delay() {
    let mut service = Service::of(1, |rules| rules.backoff = (SECOND, 5 * SECOND));
    let delays = service.row(5, 0, CRASHED, 0);
    assert_delays(&delays, &[1000, 2000, 4000, 5000, 5000]);
    assert_eq!(service.row(1, SECOND, CRASHED, 0), [0], "one that has lived for a second does not");
}

#[test]
fn a_request_that_ends_workers_keeps_a_place_empty_for_a_second_at_most() {
    let mut service = Service::of(1, |_| {});
    let delays = service.row(8, 10 * MILLISECOND, CRASHED, 1);
    assert_delays(&delays, &[0, 100, 200, 400, 800, 1000, 1000, 1000]);
}

#[test]
fn a_large_pool_that_is_killed_again_and_again_from_outside_goes_on() {
    let mut service = Service::of(128, |_| {});
    for _ in 0..8 {
        service.pass(SECOND);
        (0..128).for_each(|place| assert_eq!(service.end(place, KILLED, 3), 0));
        assert_eq!(service.serving(), 128);
    }
    assert_eq!(service.opened, 0);
}

#[test]
fn the_breaker_opens_later_the_larger_the_pool_and_closes_with_its_window() {
    for (workers, limit) in [(1, 10), (32, 10), (33, 20), (128, 40)] {
        let mut service = Service::of(workers, |rules| rules.breaker = (10, 60 * SECOND));
        let fail = |service: &mut Service| {
            service.pass(SECOND);
            service.end(0, CRASHED, 1);
        };
        (0..limit).for_each(|_| fail(&mut service));
        assert_eq!(service.opened, 0, "{workers} workers, {limit} failures");
        fail(&mut service);
        assert_eq!(service.opened, 1, "{workers} workers, {limit} failures");
        service.pass(61 * SECOND);
        assert_eq!(service.end(0, CRASHED, 1), 0, "it has closed");
    }
}

#[test]
fn with_an_open_breaker_one_place_goes_on_by_its_own_delays() {
    let mut service = Service::of(3, |rules| rules.breaker = (1, 60 * SECOND));
    service.pass(2 * SECOND);
    let delays: Vec<Nanos> = (0..3).map(|place| service.end(place, CRASHED, 1)).collect();
    assert_eq!((delays[0], service.opened), (0, 1), "the first failure is within the limit");
    // Place 0 has its next worker already.
    assert!(delays[1..].iter().all(|delay| *delay >= 15 * SECOND), "{delays:?}");
    service.pass(2 * SECOND);
    assert_eq!(service.end(0, CRASHED, 1), 0, "no other is left: this one is tried on");
    assert_eq!(service.serving(), 1);
}

#[test]
fn a_service_is_ready_only_while_some_worker_of_each_pool_serves() {
    let mut service = Service::of(2, |_| {});
    assert!(service.state.is_ready());
    for place in [0, 1] {
        assert!(service.state.is_ready());
        service.end(place, CRASHED, 0);
    }
    assert!(!service.state.is_ready(), "both places wait");
    service.pass(SECOND);
    assert!(service.state.is_ready());
}

#[test]
fn a_pool_on_demand_is_ready_without_a_worker_unless_its_workers_fail() {
    let rules = vec![rules(Sizing { min: 0, max: 4, min_spare: 0, max_spare: 4 })];
    let mut state = State::new(&rules, 1);
    state.step(&rules, SECOND, Event::Time);
    assert!(state.is_ready());
    let load = super::super::event::Load { queued: 1, ..Default::default() };
    state.step(&rules, SECOND, Event::Load { pool: 0, load });
    assert!(state.is_ready(), "its first worker boots");
    state.step(&rules, SECOND, Event::Forked { worker: WorkerId(1), pid: 1 });
    let exit = Exit::BootFailed;
    state.step(&rules, SECOND, Event::Exited { worker: WorkerId(1), exit, did: Work::default() });
    assert!(!state.is_ready());
}

#[test]
fn failing_forks_are_tried_again_after_delays_that_double_up_to_two_seconds() {
    let rules = vec![Rules { persists: true, ..rules(Sizing::fixed(1)) }];
    let mut state = State::new(&rules, 1);
    let mut now = SECOND;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let actions = state.step(&rules, now, Event::Time);
        let fork = actions.iter().find_map(|action| match action {
            Action::Fork(assignment) => Some(assignment.worker),
            _ => None,
        });
        let worker = fork.expect("it is tried at its time");
        state.step(&rules, now, Event::ForkFailed { worker, errno: 11 });
        let next = state.fork_trouble.expect("there is trouble").1;
        assert!(state.step(&rules, next - 1, Event::Time).is_empty(), "and not before");
        waits.push((next - now) / MILLISECOND);
        now = next;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
}
