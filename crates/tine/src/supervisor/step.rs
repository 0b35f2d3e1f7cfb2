//! The supervisor's mind: state + now + event → actions. Pure: no clock, no descriptor, no log.
//!
//! Every event has its row in [`State::step`]; what a row does is one small function here, in
//! [`super::staff`] (who is forked), [`super::size`] (how many) or [`super::ending`] (who is ended). After each event the places
//! are filled, so no row has to remember to.

use std::collections::BTreeSet;

use super::action::{Action, Note, Outcome, Tell};
use super::event::{Command, Event, Exit};
use super::state::{
    MILLISECOND, Nanos, Rules, Rung, Stage, State, Succession, Why, Worker, WorkerId,
};
use super::trial::Work;

impl State {
    /// Takes one event and says what to do about it.
    pub fn step(&mut self, rules: &[Rules], now: Nanos, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Time => {}
            Event::Command(command) => self.command(rules, command, now, &mut actions),
            // Who is not ready yet has nothing to take it with.
            Event::PassOn(number) => {
                let ready = self.workers.iter().filter(|(_, worker)| !worker.is_coming());
                actions.extend(ready.map(|(&id, _)| Action::PassOn(id, number)));
            }
            Event::Forked { worker, pid } => self.forked(rules, worker, pid, now, &mut actions),
            Event::ForkFailed { worker, errno } => {
                let pool = self.forget(worker).map(|worker| worker.pool);
                self.fork_failed(&rules[pool.unwrap_or(0)], pool, errno, now, &mut actions);
            }
            Event::Ready(worker) => self.ready(worker, now, &mut actions),
            Event::Expiring(worker) => self.wants_successor(worker, Succession::AtLimit),
            Event::Leaving(worker) => self.leaving(rules, worker, now),
            Event::Fatal(worker) => self.fatal(rules, worker, now, &mut actions),
            Event::Panicked(worker) => self.panicked(worker, &mut actions),
            Event::Halted(worker) => self.halt(rules, worker, now, &mut actions),
            Event::Continued(worker) => self.resume(rules, worker, now),
            Event::Overrun { worker, what, ran } => {
                self.overrun(rules, (worker, what, ran), now, &mut actions);
            }
            Event::Memory { worker, private } => {
                self.weigh(rules, (worker, private), now, &mut actions);
            }
            Event::Exited { worker, exit, did } => {
                self.exited(rules, worker, exit, did, now, &mut actions);
            }
            Event::Load { pool, load } => self.resize(rules, pool, &load, now, &mut actions),
            Event::HookFailed => self.hook_failed(rules, now, &mut actions),
            Event::QueuesEmpty => self.close(&mut actions),
            Event::Queued { pool, waiting } => {
                self.last_queue_is(pool, waiting, now, &mut actions);
            }
            Event::Probed => self.probed(&mut actions),
            Event::ReloadFailed(text) => self.end_reload(Some(text), now, &mut actions),
            Event::Observed { trial, all } => {
                self.observed(rules, (trial, all), now, &mut actions);
            }
            Event::NoWayBack(text) => self.no_way_back(text, now, &mut actions),
            Event::TookOver => self.took_over(rules, now, &mut actions),
        }
        self.expire_probe(now, &mut actions);
        self.end_lame_duck(rules, now, &mut actions);
        self.expire(rules, now, &mut actions);
        self.expire_look(now);
        self.begin_runs(now);
        self.settle(rules, now, &mut actions);
        actions
    }

    /// What every event may have made possible: a stop that is due, forks, the end.
    fn settle(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if !self.is_stopping() && self.outcome != Outcome::Stopped {
            self.begin_stop(rules, now, actions);
        }
        self.hand_over(rules, now, actions);
        self.note_staffed(actions);
        self.give_up_places(rules, now, actions);
        self.fill(rules, now, actions);
        self.begin_to_observe(now, actions);
        self.finish_roll(now, actions);
        self.tell_staffed(rules, actions);
        self.begin_reload(rules, now, actions);
        self.end_if_empty(actions);
    }

    fn command(
        &mut self,
        rules: &[Rules],
        command: Command,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        match command {
            Command::Stop if self.is_stopping() => self.stop_now(rules, now, actions),
            Command::Stop => self.announce_stop(rules, now, actions),
            Command::Drain if self.is_stopping() => self.stop_now(rules, now, actions),
            Command::Drain => self.begin_stop(rules, now, actions),
            Command::Finish => self.begin_stop(rules, now, actions),
            Command::StopNow => {
                self.begin_stop(rules, now, actions);
                self.stop_now(rules, now, actions);
            }
            Command::Reload => self.reloads.again |= self.may_reload(),
            Command::Rollout(canary) if self.may_reload() => {
                self.reloads.again = true;
                self.reloads.asked = Some(canary);
            }
            Command::Rollout(_) => {}
            Command::Promote => self.promote_trial(actions),
            Command::Abort => self.abort_rollout(rules, now, actions),
            Command::Reopen => actions.push(Action::Reopen),
            Command::Grow => self.shift(rules, true, now, actions),
            Command::Shrink => self.shift(rules, false, now, actions),
            Command::Nothing => {}
        }
    }

    fn forked(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        pid: u32,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if self.fork_trouble.take().is_some() {
            actions.push(Action::Note(Note::ForkRecovered));
        }
        let stopping = self.is_stopping();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.pid = Some(pid);
        worker.stage = Stage::Booting(now.saturating_add(rules[worker.pool].boot_timeout));
        if stopping {
            self.dismiss_at_stop(rules, id, now, actions);
        }
    }

    fn ready(&mut self, id: WorkerId, now: Nanos, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !matches!(worker.stage, Stage::Booting(_)) {
            return;
        }
        worker.ready_at = Some(now);
        worker.stage = Stage::Standby;
        worker.expires = worker.expires.map(|at| at.saturating_add(now - worker.since));
        let pool = worker.pool;
        self.pools[pool].ever_ready = true;
        actions.push(Action::Note(Note::Ready(id)));
    }

    fn wants_successor(&mut self, id: WorkerId, how: Succession) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.stage == Stage::Serving
            && worker.succession.is_none()
        {
            worker.succession = Some(how);
        }
    }

    fn leaving(&mut self, rules: &[Rules], id: WorkerId, now: Nanos) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.is_draining() {
            return;
        }
        let why = if self.is_stopping() { Why::Stop } else { Why::Recycled };
        self.drain(rules, id, why, now);
    }

    /// Gives places to the successors that wait for them, and work to whoever is ready.
    fn hand_over(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        for pool in 0..self.pools.len() {
            let bound = self.pools[pool].most_draining();
            let mut draining = self.draining(pool);
            let standby = self.in_pool(pool).filter(|worker| worker.stage == Stage::Standby);
            let standby: BTreeSet<usize> = standby.map(|worker| worker.place).collect();
            let succeeded = self.pools[pool].places.iter().any(|it| it.successor.is_some());
            if standby.is_empty() && !succeeded {
                continue;
            }
            for place in 0..self.pools[pool].places.len() {
                if let Some(old) = self.superseded(pool, place, now) {
                    self.dismiss(rules, old, Why::Recycled, now, actions);
                    draining += 1;
                }
                let seat = &mut self.pools[pool].places[place];
                if seat.incumbent.is_none() && draining <= bound {
                    seat.incumbent = seat.successor.take();
                }
                if let Some(id) = seat.incumbent
                    && standby.contains(&place)
                {
                    self.promote(id, actions);
                }
            }
        }
    }

    /// Says so, once, when every place has a worker that takes connections.
    fn note_staffed(&mut self, actions: &mut Vec<Action>) {
        if self.staffed || self.is_stopping() {
            return;
        }
        if self.is_whole() {
            self.staffed = true;
            actions.push(Action::Note(Note::Staffed));
        }
    }

    /// The program does not want to go on: before it has served nobody need be waited for.
    fn hook_failed(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.outcome = Outcome::HookFailed;
        self.begin_stop(rules, now, actions);
        if !self.staffed {
            self.stop_now(rules, now, actions);
        }
    }

    /// The incumbent of the place, if it only waited for a successor that is ready now.
    fn superseded(&self, pool: usize, place: usize, now: Nanos) -> Option<WorkerId> {
        let due = self.succession_due(pool, place)?;
        self.pools[pool].places[place].incumbent.filter(|_| due <= now)
    }

    /// When the incumbent of a place is to leave, if a successor is ready and that is all it waits for.
    pub(super) fn succession_due(&self, pool: usize, place: usize) -> Option<Nanos> {
        let seat = &self.pools[pool].places[place];
        let (old, new) = seat.incumbent.zip(seat.successor)?;
        let (old, new) = (&self.workers[&old], &self.workers[&new]);
        let waits = old.succession == Some(Succession::WhenReady) && new.stage == Stage::Standby;
        new.ready_at.filter(|_| waits).map(|at| at.saturating_add(self.pools[pool].linger))
    }

    /// Lets a ready incumbent work.
    fn promote(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(&id).filter(|it| it.stage == Stage::Standby) else {
            return;
        };
        let (pool, place) = (worker.pool, worker.place);
        let is_old = worker.generation != self.generation && !self.is_helper(pool);
        let is_renewed = is_old && self.renews(pool, place);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.stage = Stage::Serving;
        if is_renewed {
            worker.succession = Some(Succession::WhenReady);
        }
        if worker.standby {
            actions.push(Action::Tell(id, Tell::Go));
        }
        actions.push(Action::Note(Note::Serving(id)));
    }

    fn exited(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        exit: Exit,
        did: Work,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if exit == Exit::Fatal {
            self.fatal(rules, id, now, actions);
        }
        let Some(worker) = self.forget(id) else { return };
        self.keep_work(&worker, did);
        let (why, asked) = match worker.stage {
            Stage::Draining { why, rung, .. } => (Some(why), rung == Rung::Asked),
            _ => (None, false),
        };
        let unwanted = match why {
            None | Some(Why::BootTimeout) => true,
            // A worker on its last connections crashes like any other.
            Some(Why::Recycled | Why::Retired) => {
                asked && exit != Exit::Clean && !exit.is_from_outside()
            }
            Some(Why::Halted | Why::Overrun | Why::Stop) => false,
        };
        let wait = if unwanted && !self.is_stopping() && !self.is_helper(worker.pool) {
            self.blame_reload(rules, (id, &worker), exit, now, actions);
            self.count_failure(&rules[worker.pool], &worker, exit, did.connections, now, actions)
        } else {
            0
        };
        let crash = unwanted && exit != Exit::Clean;
        if crash && worker.ready_at.is_some() {
            let how = super::note::exit_text(exit);
            if exit.is_from_outside() {
                self.count_kill(rules, (id, &worker), &how, now, actions);
            } else {
                self.blame_trial(rules, (id, &worker), &how, now, actions);
            }
        }
        let retry_ms = wait / MILLISECOND;
        let ready = worker.ready_at.is_some();
        actions.push(Action::Note(Note::Exited { worker: id, exit, why, crash, ready, retry_ms }));
        // Who leaves in good order has passed its wake-up on.
        if exit != Exit::Clean || why.is_none() {
            actions.push(Action::Poke(worker.pool));
        }
    }

    /// A connection was lost, and nobody has counted it.
    fn panicked(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        actions.push(Action::Note(Note::Panicked(id)));
        if let Some(worker) = self.workers.get(&id).cloned() {
            self.keep_work(&worker, Work { connections: 0, requests: 1, errors: 1 });
        }
    }

    /// Takes a worker out of every table.
    fn forget(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.vacate(&worker, id);
        Some(worker)
    }
}
