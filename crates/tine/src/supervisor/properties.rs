//! Random lives of a supervisor, against a world without processes: whatever happens, the promises of
//! the architecture hold.

mod moves;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::moves::{Move, moves};
use super::action::{Action, Outcome};
use super::event::{Command, Event, Exit, Load, Overrun};
use super::scale::Sizing;
use super::state::{MILLISECOND, Nanos, Phase, Rules, SECOND, Stage, State, WorkerId};
use super::trial::Work;
use super::turnover::Turnover;

/// Rules with short, round numbers.
pub(super) fn rules(sizing: Sizing) -> Rules {
    Rules {
        sizing,
        every: None,
        capacity: sizing.max + 8,
        connections: (0, 0),
        requests: (0, 0),
        age: (0, 0),
        boot_timeout: 30 * SECOND,
        drain_timeout: 600 * SECOND,
        stop_timeout: 30 * SECOND,
        lame_duck: 0,
        term_grace: SECOND,
        halt_grace: SECOND,
        request_timeout: 0,
        connection_timeout: 0,
        memory: (0, 0),
        min_lifetime: SECOND,
        memory_recycles: 1,
        turnover: Turnover::default(),
        shrink_interval: 10 * SECOND,
        settle: 10 * SECOND,
        quiet: 30 * SECOND,
        backoff: (100 * MILLISECOND, 30 * SECOND),
        linger: 0,
        draining: 0,
        boot_attempts: 3,
        persists: false,
        command: false,
        breaker: (1000, 60 * SECOND),
        breaker_stops: false,
        multiplexed: true,
        fatal_stops: true,
    }
}

/// A supervisor's state and the processes it believes in.
struct World {
    rules: Vec<Rules>,
    state: State,
    now: Nanos,
    forks_fail: bool,
    alive: BTreeMap<WorkerId, ()>,
    ended: Option<Outcome>,
    steps: u32,
    taken: u64,
    /// The listeners are watched.
    watched: bool,
    /// A generation gets its share of the connections.
    steered: bool,
    /// The program before could not come back: both generations serve.
    barred: bool,
}

impl World {
    fn new((sizing, turnover, command): (Sizing, Turnover, bool)) -> Self {
        let drain_timeout = 60 * SECOND;
        let rules = Rules { memory: (50, 150), turnover, drain_timeout, command, ..rules(sizing) };
        let rules = vec![Rules { lame_duck: 5 * SECOND, ..rules }];
        let state = State::new(&rules, 7);
        let mut world = Self {
            rules,
            state,
            now: SECOND,
            forks_fail: false,
            alive: BTreeMap::new(),
            ended: None,
            steps: 0,
            taken: 0,
            watched: false,
            steered: false,
            barred: false,
        };
        world.tell(Event::Time);
        world
    }

    /// Steps, checks that a restored copy would have done the same, and performs the actions.
    fn tell(&mut self, event: Event) {
        self.steps += 1;
        // Serialising is slow; every eighth step is often enough to meet every kind of state.
        let twin = self.steps.is_multiple_of(8).then(|| {
            let saved = serde_json::to_string(&self.state).expect("a state serialises");
            serde_json::from_str::<State>(&saved).expect("and is restored")
        });
        let actions = self.state.step(&self.rules, self.now, event.clone());
        if let Some(mut twin) = twin {
            let again = twin.step(&self.rules, self.now, event);
            assert_eq!(actions, again, "a restored state differs");
        }
        for action in actions {
            match action {
                Action::Fork(assignment) if self.forks_fail => {
                    self.tell(Event::ForkFailed { worker: assignment.worker, errno: 11 });
                }
                Action::Fork(assignment) => {
                    self.alive.insert(assignment.worker, ());
                    let pid = u32::try_from(assignment.worker.0).expect("few workers") + 100;
                    self.tell(Event::Forked { worker: assignment.worker, pid });
                }
                Action::Kill(worker) if self.alive.remove(&worker).is_some() => {
                    let exit = Exit::Signal { number: 9, core: false };
                    self.tell(Event::Exited { worker, exit, did: Work::default() });
                }
                Action::Watch { on, .. } => {
                    assert_ne!(on, self.watched, "watched twice, or not at all");
                    self.watched = on;
                }
                // Every third program is none.
                Action::Probe if self.steps.is_multiple_of(3) => {
                    self.tell(Event::ReloadFailed("it is none".to_owned()));
                }
                Action::Probe => self.tell(Event::Probed),
                Action::HandOver => {
                    self.barred = false;
                    self.tell(Event::TookOver);
                }
                // Some programs are gone by then, and some do not answer.
                Action::GoBack(_) if self.steps.is_multiple_of(3) => {
                    self.barred = true;
                    self.tell(Event::NoWayBack("it could not".to_owned()));
                }
                Action::GoBack(_) if self.steps.is_multiple_of(2) => {}
                Action::GoBack(_) => self.tell(Event::ReloadFailed("it went back".to_owned())),
                Action::EndProbe => {
                    self.barred |= self.state.reloads.goes_back();
                    self.tell(Event::NoWayBack("it did not answer".to_owned()));
                }
                Action::Steer(trial) => self.steered = trial.is_some(),
                Action::End(outcome) => self.ended = Some(outcome),
                _ => {}
            }
        }
    }

    fn pick(&self, index: usize, fits: impl Fn(&Stage) -> bool) -> Option<WorkerId> {
        let workers = self.state.workers.iter().filter(|(_, worker)| fits(&worker.stage));
        let ids: Vec<_> = workers.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[index % ids.len()])
    }

    fn play(&mut self, step: Move) {
        let any = |_: &Stage| true;
        match step {
            Move::Ready(who) => {
                if let Some(id) = self.pick(who, |stage| matches!(stage, Stage::Booting(_))) {
                    self.tell(Event::Ready(id));
                }
            }
            Move::Exit(who, exit) => {
                if let Some(id) = self.pick(who, any) {
                    self.alive.remove(&id);
                    self.tell(Event::Exited {
                        worker: id,
                        exit,
                        did: Work { connections: 1, ..Work::default() },
                    });
                }
            }
            Move::Expiring(who) => self.tell_one(who, |s| *s == Stage::Serving, Event::Expiring),
            Move::Leaving(who) => self.tell_one(who, |s| *s == Stage::Serving, Event::Leaving),
            Move::Halt(who) => self.tell_one(who, any, Event::Halted),
            Move::Continue(who) => self.tell_one(who, any, Event::Continued),
            Move::Overrun(who) => self.tell_one(who, any, |worker| Event::Overrun {
                worker,
                what: Overrun::Request,
                ran: SECOND,
            }),
            Move::Weigh(who, private) => {
                self.tell_one(who, any, |worker| Event::Memory { worker, private });
            }
            Move::Observe(requests, errors) => {
                let trial = Work { connections: requests, requests, errors };
                let all = Work { connections: 900, requests: 900, errors: 0 }.plus(trial);
                self.tell(Event::Observed { trial, all });
            }
            Move::Busy(busy, queued) => self.look(busy, queued),
            Move::FailForks(fail) => self.forks_fail = fail,
            Move::Command(command) => self.tell(Event::Command(command)),
            Move::Wait(time) => {
                self.now += time;
                self.tell(Event::Time);
            }
            Move::UntilDeadline => {
                if let Some(at) = self.state.deadline() {
                    self.now = self.now.max(at);
                    self.tell(Event::Time);
                }
            }
        }
    }

    fn tell_one(
        &mut self,
        who: usize,
        fits: impl Fn(&Stage) -> bool,
        event: impl Fn(WorkerId) -> Event,
    ) {
        if let Some(id) = self.pick(who, fits) {
            self.tell(event(id));
        }
    }

    fn look(&mut self, busy: u32, queued: u32) {
        let serving = self.state.workers.iter().filter(|(_, w)| w.stage == Stage::Serving);
        let idle: Vec<_> = serving.map(|(id, _)| *id).skip(busy as usize).collect();
        let busy = u32::try_from(self.state.serving(0) - idle.len()).expect("few workers");
        self.taken += u64::from(busy);
        let load = Load { idle, busy, queued, taken: self.taken };
        self.tell(Event::Load { pool: 0, load });
    }

    fn check(&self) {
        let max = self.rules[0].capacity.min(self.state.pools[0].sizing.max) as usize;
        for (index, _) in self.state.pools[0].places.iter().enumerate() {
            let here = self.state.in_pool(0).filter(|worker| worker.place == index);
            let serving = here.filter(|worker| worker.stage == Stage::Serving).count();
            assert!(serving <= 1, "place {index} has {serving} serving workers");
        }
        let (serving, draining) = (self.state.serving(0), self.state.draining(0));
        // TTOU lowers the maximum at once; whoever is above it leaves politely.
        let max = max.max(self.state.pools[0].wanted() as usize);
        assert!(serving <= max, "{serving} serve, {max} may");
        let bound = 2 * (self.rules[0].capacity as usize) + 1;
        assert!(draining <= bound, "{draining} drain, {bound} may");
        self.check_turnover();
        assert_eq!(self.steered, self.state.observes(), "a share is kept while one is on trial");
        let needs_deadline = self
            .state
            .workers
            .values()
            .any(|worker| worker.is_draining() || matches!(worker.stage, Stage::Booting(_)));
        assert!(!needs_deadline || self.state.deadline().is_some(), "nobody watches a deadline");
        let known: Vec<_> = self.state.workers.keys().collect();
        assert_eq!(
            known,
            self.alive.keys().collect::<Vec<_>>(),
            "a process is forgotten or invented"
        );
    }

    /// Where there is no room for a successor, none is there.
    fn check_turnover(&self) {
        let mut places = self.state.pools[0].places.iter();
        let doubled = places.any(|place| place.successor.is_some());
        assert!(!doubled || self.rules[0].turnover.surge != Some(0), "no successor may be there");
    }

    /// A deadline that is over must not still be there: the loop would spin.
    fn check_no_spin(&mut self) {
        for _ in 0..64 {
            match self.state.deadline() {
                Some(at) if at <= self.now => self.tell(Event::Time),
                _ => return,
            }
        }
        panic!("deadline {:?} stays in the past at {}", self.state.deadline(), self.now);
    }

    /// Everyone who is told to leave, or not told, must be gone after enough time.
    fn stop(&mut self) {
        self.tell(Event::Command(Command::Stop));
        for _ in 0..10_000 {
            if self.ended.is_some() {
                return;
            }
            let at = self.state.deadline().expect("a stopping service has a deadline");
            self.now = self.now.max(at);
            self.tell(Event::Time);
            // A queue that hardly becomes shorter.
            let waiting = 9 - u32::try_from(self.now / SECOND % 10).expect("one digit");
            self.tell(Event::Queued { pool: 0, waiting });
        }
        panic!("the service never ends: {:?}", self.state);
    }
}

fn pools() -> impl Strategy<Value = Sizing> {
    prop_oneof![
        (1_u32..6).prop_map(Sizing::fixed),
        (1_u32..6).prop_map(|max| Sizing { min: 0, max, min_spare: 0, max_spare: max }),
        (1_u32..4, 0_u32..12, 1_u32..4, 0_u32..4).prop_map(|(min, more, spare, wide)| {
            let max = min + more;
            let min_spare = spare.min(max);
            Sizing { min, max, min_spare, max_spare: min_spare + wide }
        }),
    ]
}

fn turnovers() -> impl Strategy<Value = Turnover> {
    let turnover = |surge, unavailable, pace| Turnover { surge, unavailable, pace };
    prop_oneof![
        Just(Turnover::default()),
        (1_u32..4, 0_u32..3).prop_map(move |(more, fewer)| turnover(Some(more), fewer, 0)),
        (1_u32..4).prop_map(move |fewer| turnover(Some(0), fewer, 0)),
        (0_u32..3, 1_u32..3).prop_map(move |(more, fewer)| turnover(Some(more), fewer, 3 * SECOND)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_a_stop_ends(
        pool in (pools(), turnovers(), any::<bool>()),
        life in proptest::collection::vec(moves(), 0..120),
    ) {
        let mut world = World::new(pool);
        for step in life {
            world.play(step);
            world.check_no_spin();
            if world.ended.is_some() {
                return Ok(());
            }
            world.check();
        }
        world.stop();
        prop_assert!(!world.watched, "nobody reads what is watched: the loop would spin");
        prop_assert!(world.state.workers.is_empty());
        prop_assert_eq!(world.state.phase, Phase::Ended);
        prop_assert_eq!(world.state.deadline(), None);
    }

    #[test]
    fn a_healthy_pool_comes_back_to_rest_by_itself(
        pool in (pools(), turnovers(), any::<bool>()),
        life in proptest::collection::vec(moves(), 0..60),
    ) {
        let mut world = World::new(pool);
        for step in life {
            world.play(step);
            world.check_no_spin();
        }
        prop_assume!(!world.state.is_stopping());
        world.forks_fail = false;
        for _ in 0..2_000 {
            while let Some(id) = world.pick(0, |stage| matches!(stage, Stage::Booting(_))) {
                world.tell(Event::Ready(id));
            }
            world.look(0, 0);
            // One that is held would be looked at for ever.
            world.tell(Event::Command(Command::Promote));
            let Some(at) = world.state.deadline() else { break };
            world.now = world.now.max(at);
            world.tell(Event::Time);
        }
        let pool = &world.state.pools[0];
        prop_assert_eq!(world.state.serving(0), pool.sizing.start() as usize);
        let old = |worker: &super::state::Worker| worker.generation != world.state.generation;
        let left = world.state.workers.values().filter(|it| it.stage == Stage::Serving);
        let mixed = left.into_iter().any(old);
        prop_assert!(!mixed || world.barred, "everybody is of the generation that serves");
        prop_assert_eq!(world.watched, pool.sizing.is_on_demand(), "somebody must see who comes");
        prop_assert_eq!(world.state.deadline(), None, "an idle pool has nothing to wake for");
    }
}
