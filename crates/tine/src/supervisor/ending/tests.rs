//! When a worker that leaves is ended, rung by rung, to the nanosecond.

use super::super::action::Action;
use super::super::event::{Command, Event};
use super::super::properties::rules;
use super::super::scale::Sizing;
use super::super::state::{Nanos, Rules, SECOND, State, WorkerId};

const WORKER: WorkerId = WorkerId(1);
const START: Nanos = 100 * SECOND;

/// One worker that serves; each time is another.
fn service() -> (Vec<Rules>, State) {
    let rules = vec![Rules {
        drain_timeout: 7 * SECOND,
        stop_timeout: 3 * SECOND,
        term_grace: 2 * SECOND,
        halt_grace: 5 * SECOND,
        ..rules(Sizing::fixed(1))
    }];
    let mut state = State::new(&rules, 1);
    state.step(&rules, START, Event::Time);
    state.step(&rules, START, Event::Forked { worker: WORKER, pid: 1 });
    state.step(&rules, START, Event::Ready(WORKER));
    (rules, state)
}

/// What is sent to the worker at this moment, and not a nanosecond before.
#[track_caller]
fn sent_at(rules: &[Rules], state: &mut State, at: Nanos) -> Vec<Action> {
    let mut signals = |now| {
        let all = state.step(rules, now, Event::Time);
        let sent = |it: &Action| matches!(it, Action::Terminate(WORKER) | Action::Kill(WORKER));
        all.into_iter().filter(sent).collect::<Vec<_>>()
    };
    assert_eq!(signals(at - 1), [], "too early");
    signals(at)
}

#[test]
fn a_worker_that_is_replaced_has_the_time_of_a_drain() {
    let (rules, mut state) = service();
    state.step(&rules, START, Event::Leaving(WORKER));
    let at = START + 7 * SECOND;
    assert_eq!(sent_at(&rules, &mut state, at), [Action::Terminate(WORKER)]);
    assert_eq!(sent_at(&rules, &mut state, at + 2 * SECOND), [Action::Kill(WORKER)]);
}

#[test]
fn at_a_stop_it_has_the_time_of_a_stop_also_if_it_was_leaving_already() {
    for leaving in [false, true] {
        let (rules, mut state) = service();
        if leaving {
            state.step(&rules, START, Event::Leaving(WORKER));
        }
        state.step(&rules, START, Event::Command(Command::Stop));
        let at = START + 3 * SECOND;
        assert_eq!(sent_at(&rules, &mut state, at), [Action::Terminate(WORKER)]);
        assert_eq!(sent_at(&rules, &mut state, at + 2 * SECOND), [Action::Kill(WORKER)]);
    }
}

#[test]
fn a_stopped_worker_is_killed_at_once_after_its_grace_for_it_would_not_hear_term() {
    let (rules, mut state) = service();
    state.step(&rules, START, Event::Halted(WORKER));
    assert_eq!(sent_at(&rules, &mut state, START + 5 * SECOND), [Action::Kill(WORKER)]);
}

#[test]
fn one_that_goes_on_in_time_has_the_time_of_a_drain_again() {
    let (rules, mut state) = service();
    state.step(&rules, START, Event::Halted(WORKER));
    state.step(&rules, START + SECOND, Event::Continued(WORKER));
    assert_eq!(sent_at(&rules, &mut state, START + 8 * SECOND), [Action::Terminate(WORKER)]);
}
