//! What a trial decides, seen from the events that reach it.

use super::super::event::{Command, Event, Exit};
use super::super::properties::rules;
use super::super::scale::Sizing;
use super::super::state::SECOND;
use super::*;

const CANARY: Canary =
    Canary { share: 300, requests: 100, observe: Duration::from_secs(10), errors: 10, hold: false };

fn work(requests: u64, errors: u64) -> Work {
    Work { connections: requests, requests, errors }
}

/// Four workers that serve, and two of the new generation that boot to replace two of them.
struct Rollout {
    rules: Vec<Rules>,
    state: State,
    now: Nanos,
}

impl Rollout {
    fn begin(canary: Canary) -> Self {
        let rules = vec![rules(Sizing::fixed(4))];
        let mut it = Self { state: State::new(&rules, 1), rules, now: SECOND };
        it.tell(Event::Time);
        (1..=4).for_each(|id| it.boot(id));
        it.tell(Event::Command(Command::Rollout(canary)));
        it.tell(Event::Probed);
        it.tell(Event::TookOver);
        (5..=6).for_each(|id| it.boot(id));
        it
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.state.step(&self.rules, self.now, event)
    }

    fn boot(&mut self, id: u64) {
        self.tell(Event::Forked { worker: WorkerId(id), pid: 1 });
        self.tell(Event::Ready(WorkerId(id)));
    }

    /// The new generation has answered and failed so much after so many seconds, and the old one.
    fn see(&mut self, second: u64, new: (u64, u64), old: (u64, u64)) -> Vec<Action> {
        self.now = (second + 1) * SECOND;
        let (new, old) = (work(new.0, new.1), work(old.0, old.1));
        self.tell(Event::Observed { trial: new, all: old.plus(new) })
    }

    fn reason(actions: &[Action]) -> Option<&str> {
        actions.iter().find_map(|action| match action {
            Action::GoBack(Back::Trial { text, .. }) => Some(&**text),
            _ => None,
        })
    }
}

#[test]
fn so_large_a_part_of_the_places_as_the_share_says_is_on_trial_and_no_more() {
    let rollout = Rollout::begin(CANARY);
    let new = rollout.state.workers.values().filter(|it| it.generation == 2);
    assert_eq!(new.count(), 2, "three tenths of four, rounded up");
    assert!(rollout.state.observes());
    assert!(rollout.state.deadline().is_some(), "somebody has to look");
}

#[test]
fn enough_requests_that_go_well_for_long_enough_promote_it() {
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 4000));
    assert!(rollout.see(9, (200, 0), (5300, 4000)).is_empty());
    let actions = rollout.see(10, (200, 2), (5300, 4000));
    assert!(actions.contains(&Action::Steer(None)), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Fork(_))));
}

#[test]
fn too_many_failures_lead_back_before_the_time_is_over_but_not_if_the_old_ones_fail_as_often() {
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    assert!(rollout.see(1, (20, 1), (5100, 0)).is_empty(), "one of a hundred may fail");
    let actions = rollout.see(2, (20, 2), (5100, 0));
    let reason = Rollout::reason(&actions).expect("back");
    assert_eq!(
        reason,
        "the new generation failed 2 of 20 requests (10.0 %), the old one 0 of 100 requests (0.0 %)"
    );
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    assert!(rollout.see(2, (100, 10), (5100, 10)).is_empty());
}

#[test]
fn too_few_requests_are_inconclusive_and_lead_back() {
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    let actions = rollout.see(10, (99, 0), (9000, 0));
    assert!(Rollout::reason(&actions).expect("back").starts_with("inconclusive"));
}

#[test]
fn a_crash_leads_back_and_a_kill_from_outside_does_not() {
    for (exit, back) in [
        (Exit::Signal { number: 11, core: false }, true),
        (Exit::Code(3), true),
        (Exit::Signal { number: 9, core: false }, false),
    ] {
        let mut rollout = Rollout::begin(CANARY);
        rollout.see(0, (0, 0), (5000, 0));
        let exited = Event::Exited { worker: WorkerId(5), exit, did: work(7, 0) };
        let actions = rollout.tell(exited);
        assert_eq!(Rollout::reason(&actions).is_some(), back, "{exit:?}");
    }
}

#[test]
fn a_second_kill_of_workers_on_trial_leads_back_unless_the_old_ones_are_killed_as_often() {
    let exit = Exit::Signal { number: 9, core: false };
    let killed = |rollout: &mut Rollout, id| {
        let exited = Event::Exited { worker: WorkerId(id), exit, did: work(0, 0) };
        Rollout::reason(&rollout.tell(exited)).map(str::to_owned)
    };
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    assert_eq!(killed(&mut rollout, 5), None);
    let reason = killed(&mut rollout, 6).expect("back");
    assert!(reason.contains("worker 6") && reason.contains("1 more before it"), "{reason}");
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    let serves = |it: &Worker| it.generation == 1 && !it.is_draining();
    let old = rollout.state.workers.iter().filter(|(_, worker)| serves(worker));
    let old: Vec<u64> = old.map(|(id, _)| id.0).collect();
    assert_eq!([old[0], old[1], 5, 6].map(|id| killed(&mut rollout, id)), [(); 4].map(|()| None));
    // By the kernel, for want of memory, is by its own fault.
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    let exit = Exit::OutOfMemory;
    let exited = Event::Exited { worker: WorkerId(5), exit, did: work(0, 0) };
    assert!(Rollout::reason(&rollout.tell(exited)).is_some());
}

#[test]
fn what_those_that_are_gone_have_done_counts() {
    let mut rollout = Rollout::begin(CANARY);
    rollout.see(0, (0, 0), (5000, 0));
    let exit = Exit::Signal { number: 9, core: false };
    rollout.tell(Event::Exited { worker: WorkerId(5), exit, did: work(80, 0) });
    let all = work(5000 + 80 + 30, 0);
    rollout.now = 12 * SECOND;
    let actions = rollout.tell(Event::Observed { trial: work(30, 0), all });
    assert!(actions.contains(&Action::Steer(None)), "110 requests: {actions:?}");
}

#[test]
fn one_that_is_held_waits_to_be_promoted_and_can_be_aborted() {
    let mut rollout = Rollout::begin(Canary { hold: true, ..CANARY });
    rollout.see(0, (0, 0), (5000, 0));
    assert!(rollout.see(100, (1000, 0), (9000, 0)).is_empty());
    let actions = rollout.tell(Event::Command(Command::Promote));
    assert!(actions.contains(&Action::Steer(None)));
    let actions = rollout.tell(Event::Command(Command::Abort));
    assert_eq!(Rollout::reason(&actions), Some("it was aborted"));
    assert_eq!(rollout.state.generation, 1);
}

#[test]
fn if_the_way_back_is_barred_the_new_generation_stays_beside_the_old_one() {
    let mut rollout = Rollout::begin(CANARY);
    rollout.tell(Event::Command(Command::Abort));
    rollout.tell(Event::NoWayBack("it cannot".to_owned()));
    assert_eq!((rollout.state.generation, rollout.state.reloads.stage), (2, Stage::Idle));
    let failure = rollout.state.reloads.result(1).and_then(|ended| ended.failure.clone());
    assert_eq!(failure.as_deref(), Some("it cannot"));
    let waits = rollout.state.workers.values().filter(|it| it.succession.is_some()).count();
    assert_eq!(waits, 0, "nobody is replaced because of it");
}
