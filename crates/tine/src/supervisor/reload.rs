//! Reloads: one at a time, at most one more waiting, and for each an answer. Pure.
//!
//! A reload probes the program that is there now, has it take over in place, and then replaces every worker. What comes
//! while one is under way is answered by one more after it: the program may have changed since it was probed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::action::{Action, Back, Note};
use super::event::Exit;
use super::state::{Nanos, Rules, Stage as WorkerStage, State, Why, Worker, WorkerId};
use super::trial::{Canary, Trial};

/// Results that are kept for whoever asks, the last ones.
const RESULTS: usize = 16;

/// Where a reload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// None is under way.
    #[default]
    Idle,
    /// The new program is being tried; it must have answered by then.
    Probing(Nanos),
    /// It is about to take over.
    HandingOver,
    /// It has, and some of its workers are on trial.
    Trial(Trial),
    /// It has, and replaces the workers.
    Rolling {
        /// Workers of its generation that could not boot.
        failures: u32,
    },
    /// The program before is to take over again, and is being tried; it must have answered by then.
    GoingBack(Nanos),
}

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which: counted from 1.
    pub number: u64,
    /// The generation that serves since.
    pub generation: u32,
    /// When; monotonic.
    pub at: Nanos,
    /// Why it has failed.
    pub failure: Option<String>,
}

/// What is known of reloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// The program that runs stays: the workers are all that is replaced.
    pub rolls: bool,
    /// Where the one is that is under way.
    pub stage: Stage,
    /// The number of the last that has begun.
    pub number: u64,
    /// The trial that it begins with.
    pub canary: Option<Canary>,
    /// Another one is to follow.
    pub again: bool,
    /// The trial that that one begins with.
    pub asked: Option<Canary>,
    /// Results of the last ones, the newest last.
    pub ended: VecDeque<Ended>,
}

impl Reloads {
    /// The number of the reload that a request of this moment is answered by.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.number + 1
    }

    /// The result of that reload, once it is known.
    #[must_use]
    pub fn result(&self, number: u64) -> Option<&Ended> {
        self.ended.iter().find(|ended| ended.number >= number)
    }

    /// Whether a new generation replaces another, and that one could still come back.
    pub(super) fn is_rolling(&self) -> bool {
        matches!(self.stage, Stage::Trial(_) | Stage::Rolling { .. })
    }

    /// Whether the program before is to come back.
    pub(super) fn goes_back(&self) -> bool {
        matches!(self.stage, Stage::GoingBack(_))
    }

    /// When a probe must have answered.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        match self.stage {
            Stage::Probing(until) | Stage::GoingBack(until) => Some(until),
            _ => None,
        }
    }
}

impl State {
    /// Begins the reload that was asked for, when it can be: everybody serves, and no other is under way.
    pub(super) fn begin_reload(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let reloads = &mut self.reloads;
        if !reloads.again || !self.staffed || reloads.stage != Stage::Idle {
            return;
        }
        reloads.again = false;
        reloads.canary = reloads.asked.take();
        reloads.number += 1;
        if reloads.rolls {
            return self.took_over(rules, now, actions);
        }
        reloads.stage = Stage::Probing(now.saturating_add(patience(rules)));
        actions.push(Action::Probe);
    }

    /// Whether a reload may still be asked for.
    #[must_use]
    pub fn may_reload(&self) -> bool {
        !self.is_stopping() && self.lame_until.is_none()
    }

    /// The probe says that the new program could serve.
    pub(super) fn probed(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.reloads.stage, Stage::Probing(_)) {
            self.reloads.stage = Stage::HandingOver;
            actions.push(Action::HandOver);
        }
    }

    /// A probe whose time is over.
    pub(super) fn expire_probe(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        if self.reloads.deadline().is_some_and(|until| until <= now) {
            actions.push(Action::EndProbe);
            if self.reloads.goes_back() {
                // Whoever ends it knows why the program before should come back, and says so.
                self.reloads.stage = Stage::GoingBack(Nanos::MAX);
                return;
            }
            self.end_reload(
                Some("the new program did not answer in time".to_owned()),
                now,
                actions,
            );
        }
    }

    /// Whatever was under way has come to nothing, or to its end.
    pub(super) fn end_reload(
        &mut self,
        failure: Option<String>,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        match self.reloads.stage {
            Stage::Idle => return,
            Stage::Trial(_) => actions.push(Action::Steer(None)),
            _ => {}
        }
        self.reloads.stage = Stage::Idle;
        let (number, generation) = (self.reloads.number, self.generation);
        let ended = Ended { number, generation, at: now, failure };
        actions.push(Action::Note(match &ended.failure {
            None => Note::Rolled { generation },
            Some(text) => Note::ReloadFailed { generation, text: text.clone() },
        }));
        if self.reloads.ended.len() == RESULTS {
            self.reloads.ended.pop_front();
        }
        self.reloads.ended.push_back(ended);
    }

    /// A stop ends a reload.
    pub(super) fn stop_reload(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        if matches!(self.reloads.stage, Stage::Probing(_) | Stage::GoingBack(_)) {
            actions.push(Action::EndProbe);
        }
        self.reloads.again = false;
        self.end_reload(Some("the service stops".to_owned()), now, actions);
    }

    /// The new program has taken over: every worker is to be replaced by one of a new generation.
    ///
    /// Whoever is still booting is replaced as well, once it serves. The workers of pools that are no more leave.
    pub(super) fn took_over(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.reloads.stage = match self.reloads.canary {
            Some(_) => Stage::Trial(Trial { begun: now, ..Trial::default() }),
            None => Stage::Rolling { failures: 0 },
        };
        self.generation += 1;
        actions.push(Action::Note(Note::Rolling { generation: self.generation }));
        self.supersede();
        self.leave_lost_places(rules, now, actions);
    }

    /// Tells workers to leave whose pool or place the new plan does not have.
    fn leave_lost_places(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let lost = |worker: &Worker| {
            let pool = &self.pools[worker.pool];
            pool.sizing.max == 0 || (pool.every.is_none() && !pool.places[worker.place].wanted)
        };
        let lost = self.workers.iter().filter(|(_, it)| !it.is_draining() && lost(it));
        for id in lost.map(|(id, _)| *id).collect::<Vec<WorkerId>>() {
            self.dismiss(rules, id, Why::Retired, now, actions);
        }
    }

    /// Ends the reload when the last worker of an older generation has given up its place.
    pub(super) fn finish_roll(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        let old = |worker: &Worker| {
            let old = worker.generation != self.generation && !worker.is_draining();
            old && !self.is_helper(worker.pool)
        };
        let rolling = matches!(self.reloads.stage, Stage::Rolling { .. });
        if rolling && self.is_whole() && !self.workers.values().any(old) {
            self.end_reload(None, now, actions);
        }
    }

    /// Whether every place that is wanted has somebody who serves.
    pub(super) fn is_whole(&self) -> bool {
        let serves = |id: WorkerId| self.workers[&id].stage == WorkerStage::Serving;
        let pools = self.pools.iter().filter(|pool| pool.every.is_none());
        let mut wanted = pools.flat_map(|pool| &pool.places).filter(|it| it.wanted);
        wanted.all(|place| place.incumbent.is_some_and(serves))
    }

    /// A worker could not boot. If that is the new generation's fault, and it has tried often enough, the old one
    /// gets its places back, and the program before takes over.
    pub(super) fn blame_reload(
        &mut self,
        rules: &[Rules],
        (id, worker): (WorkerId, &Worker),
        exit: Exit,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let generation = self.generation;
        let failures = match &mut self.reloads.stage {
            Stage::Rolling { failures } => failures,
            Stage::Trial(trial) => &mut trial.failures,
            _ => return,
        };
        if worker.generation != generation || worker.ready_at.is_some() {
            return;
        }
        *failures += 1;
        let hung = matches!(worker.stage, WorkerStage::Draining { why: Why::BootTimeout, .. });
        let final_one = hung || matches!(exit, Exit::PrivilegeFailed | Exit::NoCommand);
        let rules_of = &rules[worker.pool];
        if *failures < rules_of.boot_attempts && !final_one && !rules_of.persists {
            return;
        }
        let why = Back::Boot { worker: id, pool: worker.pool, exit };
        if rules_of.persists {
            // Whoever waits is told, and it is tried on.
            self.reloads.stage = Stage::GoingBack(now.saturating_add(patience(rules)));
            return actions.push(Action::GoBack(why));
        }
        self.go_back(rules, why, now, actions);
    }

    /// The generation before is to serve again, and the program before to take over, if it still can.
    pub(super) fn go_back(
        &mut self,
        rules: &[Rules],
        why: Back,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.reloads.stage, Stage::Trial(_)) {
            actions.push(Action::Steer(None));
        }
        self.reloads.stage = Stage::GoingBack(now.saturating_add(patience(rules)));
        self.generation -= 1;
        self.give_back(rules, now, actions);
        actions.push(Action::GoBack(why));
    }

    /// It cannot: whoever serves goes on, of either generation, and this program forks.
    pub(super) fn no_way_back(&mut self, text: String, now: Nanos, actions: &mut Vec<Action>) {
        if !self.reloads.goes_back() {
            return;
        }
        self.generation += 1;
        for worker in self.workers.values_mut() {
            if worker.generation == self.generation {
                worker.succession = None;
            }
        }
        self.end_reload(Some(text), now, actions);
    }

    /// The generation before is the one that serves again.
    fn give_back(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let generation = self.generation;
        let mut leave = Vec::new();
        for (&id, worker) in &mut self.workers {
            if worker.generation == generation {
                worker.succession = None;
            } else if worker.generation > generation
                && !worker.is_draining()
                && worker.stage != WorkerStage::Serving
            {
                leave.push(id);
            }
        }
        for id in leave {
            self.dismiss(rules, id, Why::Retired, now, actions);
        }
        for place in self.pools.iter_mut().flat_map(|pool| &mut pool.places) {
            (place.failures, place.not_before) = (0, 0);
        }
        self.supersede();
    }
}

/// How long a program may take to say that it could serve.
fn patience(rules: &[Rules]) -> Nanos {
    rules.iter().map(|rules| rules.boot_timeout).max().unwrap_or(0)
}
