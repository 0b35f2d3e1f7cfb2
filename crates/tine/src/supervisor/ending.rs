//! Ending workers, and the service: ask, then `SIGTERM`, then `SIGKILL`, each with its deadline.

use super::action::{Action, Back, Note, Outcome, Tell};
use super::event::Overrun;
use super::state::{
    MILLISECOND, Nanos, Phase, Rules, Rung, SECOND, Stage, State, Succession, Why, Worker, WorkerId,
};

/// How often the queues are looked at while the last connections are taken.
const QUEUE_LOOK: Nanos = 10 * MILLISECOND;
/// How often a worker that even `SIGKILL` has not ended yet is killed again.
const KILL_AGAIN: Nanos = 5 * SECOND;

impl State {
    /// Begins the graceful stop; once.
    pub(super) fn begin_stop(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.stop_reload(now, actions);
        self.lame_until = None;
        self.phase = Phase::Stopping { closed: false, look: now + QUEUE_LOOK };
        let seconds = rules.iter().map(|rules| rules.stop_timeout).max().unwrap_or(0) / SECOND;
        let workers = self.workers.len();
        actions.push(Action::StopNew);
        for pool in 0..self.pools.len() {
            self.watch(pool, false, actions);
        }
        actions.push(Action::Note(Note::Stopping { workers, seconds }));
        self.begin_last_queues(rules, now);
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.dismiss_at_stop(rules, id, now, actions);
        }
    }

    /// No more patience: everyone gets `SIGTERM` now and `SIGKILL` after the grace.
    pub(super) fn stop_now(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        self.forget_last_queues();
        for (&id, worker) in &mut self.workers {
            let grace = rules[worker.pool].term_grace;
            if let Stage::Draining { rung: rung @ Rung::Asked, next, .. } = &mut worker.stage {
                *rung = Rung::Terminated;
                *next = now + grace;
                actions.push(Action::Terminate(id));
            }
        }
        self.close(actions);
    }

    /// Closes the listeners, once, when the service stops.
    pub(super) fn close(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Stopping { closed: closed @ false, .. } = &mut self.phase {
            *closed = true;
            actions.push(Action::CloseListeners);
        }
    }

    /// Ends the run when nobody is left.
    pub(super) fn end_if_empty(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Stopping { .. }) && self.workers.is_empty() {
            self.close(actions);
            self.phase = Phase::Ended;
            actions.push(Action::End(self.outcome));
        }
    }

    /// Tells a worker to leave, and frees its place.
    pub(super) fn dismiss(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        why: Why,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.stage == Stage::Forking {
            return;
        }
        // A command that was asked to leave for a successor may have been asked in other words.
        let anew = why == Why::Stop && rules[worker.pool].command;
        if !worker.is_draining() || anew {
            actions.push(Action::Tell(id, Tell::Leave));
        }
        self.drain(rules, id, why, now);
    }

    /// A worker says that the service cannot go on. Of one that is being replaced by a newer generation it is
    /// believed for itself only; of one that is to replace an older, for its generation.
    pub(super) fn fatal(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        let pool = worker.pool;
        let speaks_for_all = worker.generation == self.generation && rules[pool].fatal_stops;
        if !speaks_for_all || self.outcome != Outcome::Stopped || self.is_stopping() {
            return;
        }
        if self.reloads.is_rolling() {
            let text =
                format!("worker {id} of the new generation says that the service cannot go on");
            return self.go_back(rules, Back::Trial { worker: Some(id), text }, now, actions);
        }
        self.outcome = Outcome::Fatal { pool, worker: id };
    }

    /// Notes that a worker takes nothing new, frees its place and sets its deadline.
    pub(super) fn drain(&mut self, rules: &[Rules], id: WorkerId, why: Why, now: Nanos) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let rules = &rules[worker.pool];
        let mut patience = if why == Why::Stop { rules.stop_timeout } else { rules.drain_timeout };
        if worker.halted {
            patience = patience.min(rules.halt_grace);
        }
        let by = now.saturating_add(patience);
        worker.stage = match worker.stage {
            Stage::Draining { why: first, rung, next } => {
                let why = if why == Why::Stop { why } else { first };
                Stage::Draining { why, rung, next: next.min(by) }
            }
            _ => Stage::Draining { why, rung: Rung::Asked, next: by },
        };
        let worker = worker.clone();
        self.vacate(&worker, id);
    }

    /// Takes a worker's name off its place.
    pub(super) fn vacate(&mut self, worker: &Worker, id: WorkerId) {
        let place = &mut self.pools[worker.pool].places[worker.place];
        if place.incumbent == Some(id) {
            place.incumbent = None;
        }
        if place.successor == Some(id) {
            place.successor = None;
        }
    }

    /// Everything whose time is over.
    pub(super) fn expire(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        self.expire_last_queues(now, actions);
        if let Phase::Stopping { look, .. } = &mut self.phase
            && *look <= now
        {
            *look = now + QUEUE_LOOK;
        }
        for pool in &mut self.pools {
            pool.look_at = pool.look_at.filter(|&at| at > now);
        }
        for (&id, worker) in &mut self.workers {
            worker.expire(id, &rules[worker.pool], now, actions);
        }
    }

    /// A worker was stopped by a signal: somebody else takes its place, and it must wake up or go.
    pub(super) fn halt(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.halted {
            return;
        }
        worker.halted = true;
        let pool = worker.pool;
        actions.push(Action::Note(Note::Halted(id)));
        self.dismiss(rules, id, Why::Halted, now, actions);
        actions.push(Action::Poke(pool));
    }

    /// It runs again: it may finish what it has.
    pub(super) fn resume(&mut self, rules: &[Rules], id: WorkerId, now: Nanos) {
        let stopping = self.is_stopping();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.halted = false;
        let rules = &rules[worker.pool];
        let patience = if stopping { rules.stop_timeout } else { rules.drain_timeout };
        if let Stage::Draining { rung: Rung::Asked, next, .. } = &mut worker.stage {
            *next = now.saturating_add(patience);
        }
    }

    /// A worker hangs: it is ended without being asked, for it would not hear it, and somebody else takes its
    /// place.
    pub(super) fn overrun(
        &mut self,
        rules: &[Rules],
        (id, what, ran): (WorkerId, Overrun, Nanos),
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let stopping = self.is_stopping();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (pool, next) = (worker.pool, now.saturating_add(rules[worker.pool].term_grace));
        let why = match worker.stage {
            Stage::Standby | Stage::Serving => Why::Overrun,
            Stage::Draining { rung: Rung::Asked, .. } if !stopping => Why::Overrun,
            Stage::Draining { why, rung: Rung::Asked, .. } => why,
            _ => return,
        };
        worker.stage = Stage::Draining { why, rung: Rung::Terminated, next };
        let worker = worker.clone();
        self.vacate(&worker, id);
        actions.push(Action::Note(Note::Overrun { worker: id, what, ran }));
        actions.push(Action::Abort(id));
        if !stopping {
            self.feed_breaker(&rules[pool], pool, now, actions);
            self.blame_trial(rules, (id, &worker), "hangs", now, actions);
        }
        actions.push(Action::Poke(pool));
    }
}

impl Worker {
    /// What is due for this worker.
    fn expire(&mut self, id: WorkerId, rules: &Rules, now: Nanos, actions: &mut Vec<Action>) {
        match &mut self.stage {
            Stage::Booting(until) if *until <= now => {
                actions.push(Action::Note(Note::BootTimeout(id)));
                actions.push(Action::Kill(id));
                let (why, rung) = (Why::BootTimeout, Rung::Killed);
                self.stage = Stage::Draining { why, rung, next: now + KILL_AGAIN };
                // The place is kept until it is gone: its failure decides when the place is tried again.
            }
            Stage::Draining { rung, next, .. } if *next <= now => {
                let kill = self.halted || *rung != Rung::Asked;
                if *rung != Rung::Killed {
                    actions.push(Action::Note(Note::Overdue { worker: id, killed: kill }));
                }
                actions.push(if kill { Action::Kill(id) } else { Action::Terminate(id) });
                *next = now + if kill { KILL_AGAIN } else { rules.term_grace };
                *rung = if kill { Rung::Killed } else { Rung::Terminated };
            }
            Stage::Serving if self.expires.is_some_and(|at| at <= now) && rules.every.is_some() => {
                self.end_run(id, rules, now, actions);
            }
            Stage::Serving if self.expires.is_some_and(|at| at <= now) => {
                self.succession = Some(Succession::WhenReady);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
