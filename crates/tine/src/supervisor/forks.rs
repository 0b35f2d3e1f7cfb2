//! The forks of one step: made one right after the other; what is to be noted of each comes after the last.
//!
//! A page that the supervisor writes to between two forks is copied for it, and the child it was shared with
//! keeps the old one to itself. So there it writes to next to nothing; and the last of many is not kept waiting
//! by what is done for the first.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use tine_os::clock::monotonic;
use tine_os::fd::message_pair;
use tine_os::process::Pid;

use super::action::{Action, Assignment};
use super::event::Event;
use super::procs::Proc;
use super::run::Supervisor;
use super::spawn;
use super::state::Nanos;

/// A fork, and what came of it.
#[derive(Debug)]
struct Newborn {
    assignment: Assignment,
    /// Before the fork: the child may be at a request by the time its parent goes on.
    since: Nanos,
    result: io::Result<(Pid, OwnedFd, usize)>,
}

/// Those of one step, so far.
#[derive(Debug)]
pub(super) struct Newborns {
    all: Vec<Newborn>,
    /// Records they have taken, from the end of those that are free.
    records: usize,
}

impl Newborns {
    /// Numbers of the descriptors that are the supervisor's.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = i32> {
        let born = self.all.iter().filter_map(|newborn| newborn.result.as_ref().ok());
        born.map(|(_, channel, _)| channel.as_raw_fd())
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Supervisor {
    /// Does what a step has said.
    pub(super) fn perform_all(&mut self, actions: Vec<Action>) {
        let forks = actions.iter().filter(|action| matches!(action, Action::Fork(_))).count();
        let mut newborns = Newborns { all: Vec::with_capacity(forks), records: 0 };
        for action in actions {
            match action {
                Action::Fork(assignment) => self.fork(assignment, &mut newborns),
                other => self.perform(other),
            }
        }
        self.free_records.truncate(self.free_records.len() - newborns.records);
        for newborn in newborns.all {
            self.welcome(newborn);
        }
    }

    fn fork(&self, assignment: Assignment, newborns: &mut Newborns) {
        self.before_fork(&assignment);
        let since = monotonic();
        let result = self.try_fork(assignment, since, newborns);
        newborns.records += usize::from(result.is_ok());
        newborns.all.push(Newborn { assignment, since, result });
    }

    fn try_fork(
        &self,
        assignment: Assignment,
        since: Nanos,
        newborns: &Newborns,
    ) -> io::Result<(Pid, OwnedFd, usize)> {
        const ENOMEM: i32 = 12;
        let (ours, theirs) = message_pair()?;
        let free = self.free_records.iter().rev().nth(newborns.records).copied();
        let record = free.ok_or_else(|| io::Error::from_raw_os_error(ENOMEM))?;
        let Assignment { worker, pool, place, generation, .. } = assignment;
        self.board.record(record).begin(worker.0, pool, place, generation, since);
        let pid = spawn::fork(self, newborns, (assignment, record), theirs, &ours)?;
        Ok((pid, ours, record))
    }

    /// Watches a child, and tells of it.
    fn welcome(&mut self, newborn: Newborn) {
        let Newborn { assignment, since, result } = newborn;
        let worker = assignment.worker;
        let watched = result.and_then(|(pid, channel, record)| {
            let proc = Proc::watch(&self.epoll, &assignment, pid, channel, record);
            proc.inspect_err(|_| self.free_records.push(record))
        });
        match watched {
            Ok(mut proc) => {
                let pid = proc.pid.get();
                proc.story.since = since;
                proc.is_command = self.pools[assignment.pool].program.producer().is_some();
                self.procs.insert(worker, proc);
                self.events.push_back(Event::Forked { worker, pid });
                self.after_fork(&assignment);
            }
            Err(error) => {
                crate::log::debug!(self.log, "worker {worker}: cannot fork: {error}");
                let errno = error.raw_os_error().unwrap_or(0);
                self.events.push_back(Event::ForkFailed { worker, errno });
            }
        }
    }
}
