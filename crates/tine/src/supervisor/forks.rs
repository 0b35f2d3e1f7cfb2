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
    /// `None` if there was none left.
    record: Option<usize>,
    result: io::Result<(Pid, OwnedFd)>,
}

/// Those of one step, so far.
#[derive(Debug)]
pub(super) struct Newborns {
    all: Vec<Newborn>,
    /// Numbers of the descriptors that were the supervisor's before the first of them, in order; a child that
    /// would list and sort them itself would pay for it in time and in copied pages.
    private: Option<Vec<i32>>,
}

impl Newborns {
    /// Numbers of the descriptors that are the supervisor's alone: a child closes them.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = i32> {
        let born = self.all.iter().filter_map(|newborn| newborn.result.as_ref().ok());
        let channels = born.map(|(_, channel)| channel.as_raw_fd());
        self.private.iter().flatten().copied().chain(channels)
    }
}

impl Supervisor {
    /// Does what a step has said.
    pub(super) fn perform_all(&mut self, actions: Vec<Action>) {
        let forks = actions.iter().filter(|action| matches!(action, Action::Fork(_))).count();
        // Before the first fork: a child may be at a request by the time its parent goes on.
        let since = if forks > 0 { self.begin_records(&actions) } else { 0 };
        let mut newborns = Newborns { all: Vec::with_capacity(forks), private: None };
        for action in actions {
            match action {
                Action::Fork(assignment) => self.fork(assignment, &mut newborns),
                other => {
                    self.perform(other);
                    newborns.private = None;
                }
            }
        }
        self.free_records.truncate(self.free_records.len().saturating_sub(forks));
        for newborn in newborns.all {
            self.welcome(newborn, since);
        }
    }

    /// Gives every child that is to be forked its record, from the end of those that are free; the time they say.
    fn begin_records(&self, actions: &[Action]) -> Nanos {
        let now = monotonic();
        let forks = actions.iter().filter_map(|action| match action {
            Action::Fork(assignment) => Some(assignment),
            _ => None,
        });
        for (assignment, &record) in forks.zip(self.free_records.iter().rev()) {
            let Assignment { worker, pool, place, generation, .. } = *assignment;
            self.board.record(record).begin(worker.0, pool, place, generation, now);
        }
        now
    }

    /// The record of the child that is forked after so many others of its step.
    fn free_record(&self, others: usize) -> Option<usize> {
        self.free_records.iter().rev().nth(others).copied()
    }

    fn fork(&self, assignment: Assignment, newborns: &mut Newborns) {
        self.before_fork(&assignment);
        newborns.private.get_or_insert_with(|| {
            let mut private = self.descriptors();
            private.sort_unstable();
            private
        });
        let record = self.free_record(newborns.all.len());
        let result = self.try_fork(assignment, record, newborns);
        newborns.all.push(Newborn { assignment, record, result });
    }

    fn try_fork(
        &self,
        assignment: Assignment,
        record: Option<usize>,
        newborns: &Newborns,
    ) -> io::Result<(Pid, OwnedFd)> {
        const ENOMEM: i32 = 12;
        let record = record.ok_or_else(|| io::Error::from_raw_os_error(ENOMEM))?;
        let (ours, theirs) = message_pair()?;
        let pid = spawn::fork(self, newborns, (assignment, record), theirs, &ours)?;
        Ok((pid, ours))
    }

    /// Watches a child, and tells of it.
    fn welcome(&mut self, newborn: Newborn, since: Nanos) {
        let Newborn { assignment, record, result } = newborn;
        let worker = assignment.worker;
        let watched = result.and_then(|(pid, channel)| {
            Proc::watch(&self.epoll, &assignment, pid, channel, record.unwrap_or_default(), since)
        });
        match watched {
            Ok(mut proc) => {
                let pid = proc.pid.get();
                proc.is_command = self.pools[assignment.pool].program.producer().is_some();
                self.procs.insert(worker, proc);
                self.events.push_back(Event::Forked { worker, pid });
                self.after_fork(&assignment);
            }
            Err(error) => {
                crate::log::debug!(self.log, "worker {worker}: cannot fork: {error}");
                self.free_records.extend(record);
                let errno = error.raw_os_error().unwrap_or(0);
                self.events.push_back(Event::ForkFailed { worker, errno });
            }
        }
    }
}
