//! What the supervisor tells over its control socket, and what it does when asked there.

use tine_os::clock::monotonic;

use super::event::{Command, Event};
use super::procs::Proc;
use super::reload::{self, Ended};
use super::run::Supervisor;
use super::state::{Phase, Stage, Worker, WorkerId};
use crate::Activity;
use crate::control::{
    ListenerStatus, PoolStatus, ReloadStatus, Reply, Request, RolloutStatus, Status, TrialStatus,
    WorkerStatus,
};

impl Supervisor {
    /// A descriptor of the control socket is ready.
    pub(super) fn control(&mut self, offset: u64) {
        let Some(mut control) = self.control.take() else { return };
        let mut commands = Vec::new();
        let status = || self.status();
        let stopping = !self.state.may_reload();
        control.handle(&self.epoll, offset, monotonic(), &mut |request| match request {
            Request::Status => Reply::Status(Box::new(status())),
            Request::Stop { now } => {
                commands.push(if now { Command::StopNow } else { Command::Stop });
                Reply::Done
            }
            Request::Reload | Request::Rollout(_) | Request::Grow | Request::Shrink if stopping => {
                Reply::Refused("the service is stopping".to_owned())
            }
            Request::Reload => {
                commands.push(Command::Reload);
                Reply::Reloading(self.state.reloads.next())
            }
            Request::Rollout(canary) => {
                commands.push(Command::Rollout(canary));
                Reply::Reloading(self.state.reloads.next())
            }
            Request::Promote if self.state.trial().is_none() => {
                Reply::Refused("no rollout is on trial".to_owned())
            }
            Request::Promote => {
                commands.push(Command::Promote);
                Reply::Done
            }
            Request::Abort if !self.state.can_abort() => {
                Reply::Refused("no rollout is under way".to_owned())
            }
            Request::Abort => {
                commands.push(Command::Abort);
                Reply::Done
            }
            Request::Reloaded(which) => match self.state.reloads.result(which) {
                None => Reply::Reloading(which),
                Some(Ended { failure: Some(text), .. }) => Reply::Refused(text.clone()),
                Some(ended) => Reply::Reloaded(ended.generation),
            },
            Request::Grow => {
                commands.push(Command::Grow);
                Reply::Done
            }
            Request::Shrink => {
                commands.push(Command::Shrink);
                Reply::Done
            }
        });
        self.control = Some(control);
        for command in commands {
            self.happen(Event::Command(command));
        }
    }

    fn status(&self) -> Status {
        let now = monotonic();
        let pools = 0..self.pools.len();
        let listeners = self.pools.iter().flat_map(|pool| &pool.listeners);
        let listeners = listeners.map(|listener| {
            let (queued, backlog) = listener.queue().unwrap_or((0, 0));
            let address = listener.address().to_owned();
            ListenerStatus { address, queued, backlog, shard: listener.shard() }
        });
        let workers = self.procs.iter().filter_map(|(id, proc)| {
            self.state.workers.get(id).map(|worker| self.worker_status(*id, worker, proc, now))
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: tine_os::process::pid().get(),
            phase: match self.state.phase {
                Phase::Running if self.state.lame_until.is_some() => "lame duck".to_owned(),
                Phase::Running => reload_text(self.state.reloads.stage).to_owned(),
                Phase::Stopping { .. } | Phase::Ended => "stopping".to_owned(),
            },
            ready: self.state.is_ready(),
            generation: u64::from(self.state.generation),
            rollout: self.rollout_status(now),
            reload: self.state.reloads.ended.back().map(|ended| ReloadStatus {
                number: ended.number,
                ago: seconds(now.saturating_sub(ended.at)),
                failure: ended.failure.clone().unwrap_or_default(),
            }),
            uptime: seconds(now.saturating_sub(self.started)),
            listeners: listeners.collect(),
            pools: pools.map(|pool| self.pool_status(pool)).collect(),
            workers: workers.collect(),
            reports: self.casualties.reports(now),
        }
    }

    fn rollout_status(&self, now: u64) -> Option<RolloutStatus> {
        let reloads = &self.state.reloads;
        let phase = reload_text(reloads.stage).to_owned();
        if reloads.stage == reload::Stage::Idle {
            return None;
        }
        let mut status =
            RolloutStatus { number: reloads.number, phase, ..RolloutStatus::default() };
        if let Some((trial, canary)) = self.state.trial() {
            let (new, old) = trial.seen;
            let of_it = self.state.workers.values().filter(|it| self.state.is_on_trial(it));
            let workers = of_it.count();
            status.trial = Some(TrialStatus {
                share: f64::from(canary.share) / 1000.0,
                workers: u32::try_from(workers).unwrap_or(u32::MAX),
                seconds: trial.since.map_or(0.0, |since| seconds(now.saturating_sub(since))),
                observe: canary.observe.as_secs_f64(),
                least_requests: canary.requests,
                connections: new.connections,
                requests: new.requests,
                errors: new.errors,
                old_connections: old.connections,
                old_requests: old.requests,
                old_errors: old.errors,
                hold: canary.hold,
            });
        }
        Some(status)
    }

    fn pool_status(&self, index: usize) -> PoolStatus {
        let (pool, state) = (&self.pools[index], &self.state.pools[index]);
        let mut status = PoolStatus {
            name: pool.plan.name.clone(),
            min: state.sizing.min,
            max: state.sizing.max,
            accept: pool.plan.accept.to_string(),
            wanted: state.wanted(),
            every: state.every.map_or(0.0, seconds),
            queued: self.queued(index),
            connections: pool.past.connections,
            requests: pool.past.requests,
            errors: pool.past.errors,
            exits: pool.past.exits,
            crashes: pool.past.crashes,
            ..PoolStatus::default()
        };
        for (id, proc) in self.procs.iter().filter(|(_, proc)| proc.pool == index) {
            let record = proc.board(&self.board).record(proc.record);
            let read = record.read();
            status.connections = status.connections.saturating_add(read.connections);
            status.requests = status.requests.saturating_add(read.requests);
            status.errors = status.errors.saturating_add(read.errors);
            match self.state.workers.get(id).map(|worker| worker.stage) {
                Some(Stage::Serving) => {
                    status.serving += 1;
                    if record.is_idle(pool.plan.concurrency) {
                        status.idle += 1;
                    } else {
                        status.busy += 1;
                    }
                }
                Some(Stage::Draining { .. }) => status.draining += 1,
                Some(Stage::Forking | Stage::Booting(_) | Stage::Standby) => status.booting += 1,
                None => {}
            }
        }
        status
    }

    fn worker_status(&self, id: WorkerId, worker: &Worker, proc: &Proc, now: u64) -> WorkerStatus {
        let read = proc.board(&self.board).record(proc.record).read();
        let activity = shown(worker.stage, read.activity);
        let letter = activity.map_or('?', Activity::letter);
        WorkerStatus {
            worker: id.0,
            pool: self.pools[proc.pool].plan.name.clone(),
            place: u32::try_from(worker.place).unwrap_or(u32::MAX),
            generation: u64::from(worker.generation),
            // Of a command, the command's own, as its keeper has said. The record's is any number.
            pid: proc.command.unwrap_or(proc.pid.get()),
            stage: stage_text(worker.stage).to_owned(),
            letter: letter.to_string(),
            activity: activity.map_or("unknown".to_owned(), |activity| activity.to_string()),
            pss: None,
            open: read.open,
            connections: read.connections,
            requests: read.requests,
            errors: read.errors,
            age: seconds(now.saturating_sub(worker.since)),
            in_state: seconds(now.saturating_sub(read.since)),
            request: read.request,
            client: read.client,
            request_seconds: match read.request_began {
                0 => 0.0,
                began => seconds(now.saturating_sub(began)),
            },
        }
    }
}

/// What a worker is shown to do. One that takes nothing new, and still has something, is shown so whatever it is at: as
/// in Apache, whose parent marks the slots of children that finish.
fn shown(stage: Stage, activity: Option<Activity>) -> Option<Activity> {
    use Activity::{Closing, KeepAlive, Logging, Reading, Resolving, Working};
    match (stage, activity) {
        (
            Stage::Draining { .. },
            Some(Reading | Working | KeepAlive | Closing | Logging | Resolving),
        ) => Some(Activity::Draining),
        (_, activity) => activity,
    }
}

fn reload_text(stage: reload::Stage) -> &'static str {
    match stage {
        reload::Stage::Idle => "running",
        reload::Stage::Probing(_) => "probing",
        reload::Stage::HandingOver | reload::Stage::Rolling { .. } => "reloading",
        reload::Stage::Trial(_) => "canary",
        reload::Stage::GoingBack(_) => "rolling back",
    }
}

fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Forking | Stage::Booting(_) => "booting",
        Stage::Standby => "standby",
        Stage::Serving => "serving",
        Stage::Draining { .. } => "draining",
    }
}

/// Nanoseconds as seconds, for people and JSON.
#[expect(clippy::cast_precision_loss, reason = "a display value")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
