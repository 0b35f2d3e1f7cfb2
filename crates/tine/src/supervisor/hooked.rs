//! The turns at which the supervisor calls the program's hooks, and what it tells workers for them.

use std::io;

use super::action::{Assignment, Note};
use super::event::Event;
use super::run::Supervisor;
use super::state::{Stage, Worker, WorkerId};
use crate::hooks::{End, WorkerInfo};
use crate::seat::send_own;
use crate::worker::BoxError;

impl Supervisor {
    /// Everybody who is alive.
    pub(crate) fn known_workers(&self) -> Vec<WorkerInfo> {
        self.procs.keys().filter_map(|&id| self.info(id)).collect()
    }

    /// See [`crate::Supervision::send`].
    pub(crate) fn send_to(&self, worker: u64, bytes: &[u8]) -> io::Result<()> {
        let id = WorkerId(worker);
        let proc = self.procs.get(&id).ok_or(io::ErrorKind::NotFound)?;
        if self.is_command(id) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // What it finds first in its channel is about itself.
        if self.state.workers.get(&id).is_none_or(Worker::is_coming) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        send_own(&proc.channel, bytes)
    }

    fn info(&self, id: WorkerId) -> Option<WorkerInfo> {
        self.procs.get(&id).map(|proc| WorkerInfo {
            number: id.0,
            pid: proc.pid.get(),
            command: proc.command,
            pool: self.pools[proc.pool].plan.name.clone(),
            place: proc.place,
            generation: proc.story.generation,
        })
    }

    pub(super) fn before_fork(&self, assignment: &Assignment) {
        let pool = &self.pools[assignment.pool].plan.name;
        self.call("before_fork", |hooks, service| {
            hooks.before_fork(service, pool, assignment.place);
        });
    }

    /// A worker was forked.
    pub(super) fn after_fork(&mut self, assignment: &Assignment) {
        let Some(new) = self.info(assignment.worker) else { return };
        let result = self.call("spawned", |hooks, service| hooks.spawned(service, &new));
        self.heed("spawned", result);
        if self.state.pools[assignment.pool].every.is_some() {
            return;
        }
        let place = (assignment.pool, assignment.place);
        if let Some(old) = self.last_in_place.insert(place, new.clone()) {
            self.call("replaced", |hooks, service| hooks.replaced(service, &old, &new));
        }
    }

    /// A keeper has made the process of its command.
    pub(super) fn begun(&self, id: WorkerId) {
        let Some(info) = self.info(id) else { return };
        self.call("begun", |hooks, service| hooks.begun(service, &info));
    }

    /// A worker of the program before is the last one of its place, unless a younger one is.
    pub(super) fn sits(&mut self, id: WorkerId) {
        if let Some(info) = self.info(id)
            && let Some(proc) = self.procs.get(&id)
        {
            self.last_in_place.insert((proc.pool, proc.place), info);
        }
    }

    /// Tells hooks what people are told.
    pub(super) fn show_to_hooks(&mut self, note: &Note) {
        match note {
            Note::Staffed => {
                let serves = |info: &WorkerInfo| {
                    let worker = self.state.workers.get(&WorkerId(info.number));
                    worker.is_some_and(|worker| worker.stage == Stage::Serving)
                };
                let workers: Vec<_> = self.known_workers().into_iter().filter(serves).collect();
                let result = self.call("ready", |hooks, service| hooks.ready(service, &workers));
                self.heed("ready", result);
            }
            Note::Ready(worker) => {
                let Some(info) = self.info(*worker) else { return };
                self.call("worker_ready", |hooks, service| hooks.worker_ready(service, &info));
            }
            Note::Serving(worker) => {
                let Some(info) = self.info(*worker) else { return };
                self.call("serving", |hooks, service| hooks.serving(service, &info));
            }
            Note::Exited { worker, exit, crash, ready, why, .. } => {
                let Some(info) = self.info(*worker) else { return };
                let (crash, ready, leaving) = (*crash, *ready, why.is_some());
                let end = End { exit: *exit, crash, ready, leaving };
                self.call("exited", |hooks, service| hooks.exited(service, &info, end));
            }
            Note::Rolling { generation } => {
                self.call("reloading", |hooks, service| hooks.reloading(service, *generation));
            }
            Note::Rolled { generation } => {
                self.call("reloaded", |hooks, service| hooks.reloaded(service, *generation));
            }
            Note::ReloadFailed { text, .. } => {
                self.call("reload_failed", |hooks, service| hooks.reload_failed(service, text));
            }
            Note::Stopping { .. } => {
                self.call("stopping", |hooks, service| hooks.stopping(service));
            }
            _ => {}
        }
    }

    /// A worker has something to say.
    pub(super) fn hear(&self, id: WorkerId, bytes: &[u8]) {
        let Some(info) = self.info(id) else { return };
        self.call("message", |hooks, service| hooks.message(service, &info, bytes));
    }

    /// The first hook that fails ends the service.
    fn heed(&mut self, name: &str, result: Option<Result<(), BoxError>>) {
        if let Some(Err(error)) = result
            && self.refusal.is_none()
        {
            self.refusal = Some((name.to_owned(), error.to_string()));
            self.refused = true;
        }
    }

    /// What is to be done next. That a hook has failed comes after all forks that were made meanwhile are
    /// known: nobody is forgotten.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let next = self.events.pop_front();
        next.or_else(|| std::mem::take(&mut self.refused).then_some(Event::HookFailed))
    }
}
