//! A reload on trial: some places have workers of the new generation, which get their share of the connections and are
//! watched, before the other places follow, or the old generation comes back. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Back, Note};
use super::reload::Stage;
use super::state::{
    MILLISECOND, Nanos, Rules, Stage as WorkerStage, State, Succession, Worker, WorkerId,
};

/// Between two looks at what the generations have done.
const LOOK: Nanos = 200 * MILLISECOND;
/// So many workers on trial that are killed from outside end the trial. One can be a stray kill.
const KILLS: u32 = 2;
/// Shares are counted in so many parts.
const WHOLE: u64 = 1000;

/// How a new generation is tried before it takes all places: with a share of the connections, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Its share of new connections, in thousandths, from 1 to 1000. So large a part of the pool's places, rounded up,
    /// has workers of the new generation; see `docs/deploy.md` for where the share is kept exactly.
    pub share: u32,
    /// Requests that it must have answered when its time is over, or else the rollout is inconclusive and goes back.
    /// Where nobody counts requests, connections.
    pub requests: u64,
    /// How long it is watched, from the moment at which all of it serves.
    pub observe: Duration,
    /// How much larger the part of its requests that fail may be than the old generation's at the same time, in
    /// thousandths.
    pub errors: u32,
    /// After its time it is promoted only when somebody says so.
    pub hold: bool,
}

impl Default for Canary {
    /// A twentieth of the connections and at least 100 requests, for a minute, with one in a hundred more that fail.
    fn default() -> Self {
        let observe = Duration::from_secs(60);
        Self { share: 50, requests: 100, observe, errors: 10, hold: false }
    }
}

/// What workers have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Connections taken.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
    /// Of them, those that failed.
    pub errors: u64,
}

impl Work {
    /// Numbers that workers wrote: sums saturate.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections.saturating_add(other.connections),
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
        }
    }

    #[must_use]
    fn minus(self, other: Self) -> Self {
        Self {
            connections: self.connections.saturating_sub(other.connections),
            requests: self.requests.saturating_sub(other.requests),
            errors: self.errors.saturating_sub(other.errors),
        }
    }

    /// What is judged: requests, or connections where nobody counts requests.
    fn units(self) -> u64 {
        if self.requests == 0 { self.connections } else { self.requests }
    }

    /// How many in a million failed, of `least` at least.
    fn failed(self, least: u64) -> u128 {
        u128::from(self.errors) * 1_000_000 / u128::from(self.units().max(least).max(1))
    }
}

/// A trial that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// When it began: whoever is younger, and of its generation, is on trial.
    pub begun: Nanos,
    /// Workers of its generation that could not boot.
    pub failures: u32,
    /// Workers on trial that were ready and were killed from outside, and such workers of the old generation.
    #[serde(default)]
    pub kills: (u32, u32),
    /// Since when all of it serves.
    pub since: Option<Nanos>,
    /// When what it does is looked at.
    pub look: Nanos,
    /// What everybody had done then; known at the first look.
    pub base: Option<Work>,
    /// What those of it that are gone have done.
    pub gone: Work,
    /// What the new generation had done at the last look, and what the old one since the trial began.
    pub seen: (Work, Work),
}

/// What the numbers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Fine,
    Inconclusive,
    TooManyErrors,
}

impl Canary {
    fn judge(&self, new: Work, old: Work, over: bool) -> Verdict {
        // With so many more that go well it would still be too much: no need to wait for them.
        if new.failed(self.requests) > old.failed(1) + u128::from(self.errors) * 1000 {
            return Verdict::TooManyErrors;
        }
        match over {
            false => Verdict::Wait,
            true if new.units() < self.requests => Verdict::Inconclusive,
            true => Verdict::Fine,
        }
    }
}

impl State {
    /// The trial that is under way, and what was asked of it.
    #[must_use]
    pub fn trial(&self) -> Option<(Trial, Canary)> {
        match self.reloads.stage {
            Stage::Trial(trial) => self.reloads.canary.map(|canary| (trial, canary)),
            _ => None,
        }
    }

    /// Whether somebody is to look at what the generations do.
    #[must_use]
    pub fn observes(&self) -> bool {
        self.trial().is_some_and(|(trial, _)| trial.since.is_some())
    }

    /// Whether this worker is on trial. One of an earlier generation of this number, which came to nothing, is not.
    #[must_use]
    pub fn is_on_trial(&self, worker: &Worker) -> bool {
        let trial = self.trial();
        worker.generation == self.generation
            && trial.is_some_and(|(trial, _)| worker.since >= trial.begun)
    }

    /// Whether this place is to have a worker of the generation that serves.
    pub(super) fn renews(&self, pool: usize, place: usize) -> bool {
        let Some((_, canary)) = self.trial() else { return true };
        let state = &self.pools[pool];
        let share = u64::from(state.wanted()) * u64::from(canary.share);
        let places = state.places.iter().take(place + 1);
        let before = places.filter(|place| place.wanted).count() as u64;
        state.places[place].wanted && before <= share.div_ceil(WHOLE).max(1)
    }

    /// Begins to watch, when every place of the trial has a worker that serves.
    pub(super) fn begin_to_observe(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        let Some((mut trial, canary)) = self.trial() else { return };
        if trial.since.is_some() {
            return;
        }
        // The pool may have other places than when it began.
        self.supersede();
        let new = |id: WorkerId| {
            let worker = &self.workers[&id];
            worker.stage == WorkerStage::Serving && worker.generation == self.generation
        };
        let pools = (0..self.pools.len()).filter(|&pool| !self.is_helper(pool));
        let all = pools.into_iter().all(|pool| {
            let places = self.pools[pool].places.iter().enumerate();
            let mut tried = places.filter(|(place, _)| self.renews(pool, *place));
            tried.all(|(_, place)| place.incumbent.is_some_and(new))
        });
        if all {
            (trial.since, trial.look) = (Some(now), now);
            self.reloads.stage = Stage::Trial(trial);
            actions.push(Action::Steer(Some((self.generation, canary.share))));
            actions.push(Action::Note(Note::OnTrial { generation: self.generation }));
        }
    }

    /// What those of the generation on trial who are alive have done, and what everybody has ever done.
    pub(super) fn observed(
        &mut self,
        rules: &[Rules],
        (alive, all): (Work, Work),
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some((mut trial, canary)) = self.trial() else { return };
        let Some(since) = trial.since else { return };
        let new = alive.plus(trial.gone);
        let base = *trial.base.get_or_insert(all.minus(new));
        let old = all.minus(new).minus(base);
        trial.seen = (new, old);
        self.reloads.stage = Stage::Trial(trial);
        let observe = u64::try_from(canary.observe.as_nanos()).unwrap_or(u64::MAX);
        match canary.judge(new, old, now >= since.saturating_add(observe)) {
            Verdict::Wait => {}
            Verdict::Fine if canary.hold => {}
            Verdict::Fine => self.promote_trial(actions),
            Verdict::Inconclusive if canary.hold => {}
            Verdict::Inconclusive => {
                let (units, least) = (new.units(), canary.requests);
                let text = format!(
                    "inconclusive: the new generation answered {units} requests within {:?}, and {least} were asked for",
                    canary.observe
                );
                self.go_back(rules, Back::Trial { worker: None, text }, now, actions);
            }
            Verdict::TooManyErrors => {
                let text =
                    format!("the new generation failed {}, the old one {}", part(new), part(old));
                self.go_back(rules, Back::Trial { worker: None, text }, now, actions);
            }
        }
    }

    /// The others follow.
    pub(super) fn promote_trial(&mut self, actions: &mut Vec<Action>) {
        let Stage::Trial(trial) = self.reloads.stage else { return };
        self.reloads.stage = Stage::Rolling { failures: trial.failures };
        actions.push(Action::Steer(None));
        actions.push(Action::Note(Note::Promoted { generation: self.generation }));
        self.supersede();
    }

    /// Whether there is something to abort.
    #[must_use]
    pub fn can_abort(&self) -> bool {
        !matches!(self.reloads.stage, Stage::Idle | Stage::GoingBack(_))
    }

    /// Somebody does not want the rollout that is under way.
    pub(super) fn abort_rollout(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let text = "it was aborted".to_owned();
        match self.reloads.stage {
            Stage::Probing(_) => {
                actions.push(Action::EndProbe);
                self.end_reload(Some(text), now, actions);
            }
            Stage::HandingOver => self.end_reload(Some(text), now, actions),
            Stage::Trial(_) | Stage::Rolling { .. } => {
                self.go_back(rules, Back::Trial { worker: None, text }, now, actions);
            }
            Stage::Idle | Stage::GoingBack(_) => {}
        }
    }

    /// A worker on trial came to grief by itself: more need not be seen.
    pub(super) fn blame_trial(
        &mut self,
        rules: &[Rules],
        (id, worker): (WorkerId, &Worker),
        how: &str,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if self.is_on_trial(worker) {
            let text = format!("worker {id} of the new generation {how}");
            self.go_back(rules, Back::Trial { worker: Some(id), text }, now, actions);
        }
    }

    /// A worker that was ready was killed from outside. If that happens to workers on trial repeatedly, and more often
    /// than to the old ones meanwhile, it is not by chance.
    pub(super) fn count_kill(
        &mut self,
        rules: &[Rules],
        (id, worker): (WorkerId, &Worker),
        how: &str,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let its = self.is_on_trial(worker);
        let Stage::Trial(trial) = &mut self.reloads.stage else { return };
        let (new, old) = &mut trial.kills;
        let count = if its { &mut *new } else { &mut *old };
        *count = count.saturating_add(1);
        let (new, old) = (*new, *old);
        if its && new >= KILLS && new > old {
            let how = format!("{how}, and {} more before it", new - 1);
            self.blame_trial(rules, (id, worker), &how, now, actions);
        }
    }

    /// Keeps what a worker of the generation on trial has done.
    pub(super) fn keep_work(&mut self, worker: &Worker, work: Work) {
        let its = self.is_on_trial(worker);
        if let Stage::Trial(trial) = &mut self.reloads.stage
            && its
        {
            trial.gone = trial.gone.plus(work);
        }
    }

    /// When to look at what the generations do.
    pub(super) fn trial_deadline(&self) -> Option<Nanos> {
        self.trial().and_then(|(trial, _)| trial.since.map(|_| trial.look))
    }

    /// It has been time to look.
    pub(super) fn expire_look(&mut self, now: Nanos) {
        if let Stage::Trial(trial) = &mut self.reloads.stage
            && trial.look <= now
        {
            trial.look = now + LOOK;
        }
    }

    /// Who serves, is of another generation and has a place that is renewed waits for a successor.
    pub(super) fn supersede(&mut self) {
        let old = |worker: &Worker| {
            worker.stage == WorkerStage::Serving
                && worker.generation != self.generation
                && !self.is_helper(worker.pool)
                && self.renews(worker.pool, worker.place)
        };
        let old = self.workers.iter().filter(|(_, worker)| old(worker)).map(|(&id, _)| id);
        for id in old.collect::<Vec<_>>() {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.succession = Some(Succession::WhenReady);
            }
        }
    }
}

/// `3 of 120 requests (2.5 %)`.
fn part(work: Work) -> String {
    let tenths = work.failed(1) / 1000;
    format!("{} of {} requests ({}.{} %)", work.errors, work.units(), tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
