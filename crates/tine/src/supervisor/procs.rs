//! The processes: their descriptors, their messages, their ends.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tine_os::deliver::{deliver_to_child, deliver_to_group, owner_of};
use tine_os::fd::{copy_of, receive_message};
use tine_os::inspect;
use tine_os::poll::{Epoll, Interest, readable};
use tine_os::process::{self, Change, Pid};
use tine_os::signal::Signal;

use super::action::Assignment;
use super::casualty::Story;
use super::event::Event;
use super::event::Exit;
use super::run::{CHANNEL, KIND, PIDFD, Supervisor};
use super::sample::Scale;
use super::state::{Nanos, WorkerId};
use super::trial::Work;
use crate::handover::ProcLeft;
use crate::program::{exit_of, exit_told};
use crate::scoreboard::Scoreboard;
use crate::seat::{
    BEGUN, CONTINUED, ENDED, EXPIRING, FAILURE, FATAL, HALTED, LEAVING, LOOK, MESSAGE, PANICKED,
    READY, TURN, WIRE_BYTES,
};

/// Turns a worker gets after its end: more than a full channel takes. Somebody it has left behind may go on
/// writing.
const LAST_TURNS: usize = 32;

/// A worker's process as the supervisor holds it.
#[derive(Debug)]
pub(crate) struct Proc {
    pub(crate) pool: usize,
    pub(crate) place: usize,
    pub(crate) pid: Pid,
    /// What it is signalled by: never its pid, which could be somebody else's by then.
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: OwnedFd,
    pub(crate) record: usize,
    /// The scoreboard of its record, if that is not the service's: it is older than the plan.
    pub(super) old_board: Option<Scoreboard>,
    /// It is the keeper of a command.
    pub(super) is_command: bool,
    /// Of a keeper: its command, for people.
    pub(super) command: Option<u32>,
    /// Its channel is closed and no longer watched.
    silent: bool,
    /// Of a keeper: it was told to end everything.
    pub(super) told: bool,
    /// Of a keeper: how its command ended.
    ended: Option<Exit>,
    pub(super) story: Story,
    pub(super) scale: Scale,
}

/// What the workers of a pool have done that are gone, so that totals never fall.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    #[serde(default)]
    pub(crate) errors: u64,
    pub(crate) exits: u64,
    pub(crate) crashes: u64,
}

impl Totals {
    pub(super) fn work(&self) -> Work {
        let Self { connections, requests, errors, .. } = *self;
        Work { connections, requests, errors }
    }
}

impl Proc {
    /// Watches a child that was just forked; one that cannot be watched is ended here and now.
    pub(super) fn watch(
        epoll: &Epoll,
        assignment: &Assignment,
        pid: Pid,
        channel: OwnedFd,
        record: usize,
        since: Nanos,
    ) -> io::Result<Self> {
        let watched = Self::open(epoll, assignment.worker, pid, &channel);
        let made = |pidfd| Self::new(assignment, pid, (pidfd, channel), record, since);
        watched.map(made).inspect_err(|_| {
            // It is our child and not reaped, so the number is still its own.
            let _ = deliver_to_child(pid, Signal::KILL);
            let _ = deliver_to_group(pid, owner_of(pid), Signal::KILL);
            while process::reap_pid(pid).is_ok_and(|change| change.is_none()) {
                std::thread::yield_now();
            }
        })
    }

    fn open(epoll: &Epoll, worker: WorkerId, pid: Pid, channel: &OwnedFd) -> io::Result<OwnedFd> {
        let pidfd = process::pidfd(pid)?;
        epoll.add(&pidfd, PIDFD << KIND | worker.0, Interest::READ)?;
        epoll.add(channel, CHANNEL << KIND | worker.0, Interest::READ)?;
        Ok(pidfd)
    }

    fn new(
        assignment: &Assignment,
        pid: Pid,
        (pidfd, channel): (OwnedFd, OwnedFd),
        record: usize,
        since: Nanos,
    ) -> Self {
        let Assignment { pool, place, generation, .. } = *assignment;
        Self {
            pool,
            place,
            pid,
            pidfd,
            channel,
            record,
            old_board: None,
            is_command: false,
            command: None,
            silent: false,
            told: false,
            ended: None,
            story: Story::new(generation, since),
            scale: Scale::default(),
        }
    }

    /// Goes on with a worker of the program before.
    pub(super) fn take_over(epoll: &Epoll, left: &ProcLeft, pool: usize) -> io::Result<Self> {
        let worker = WorkerId(left.worker);
        let pid = Pid::from_raw(left.pid).ok_or(io::ErrorKind::InvalidData)?;
        let channel = copy_of(left.channel)?;
        let pidfd = Self::open(epoll, worker, pid, &channel)?;
        let story = Story::left(left);
        Ok(Self {
            pool,
            place: left.place,
            pid,
            pidfd,
            channel,
            record: left.record,
            old_board: None,
            is_command: left.is_command,
            command: left.command,
            silent: false,
            told: left.told,
            ended: None,
            story,
            scale: Scale::default(),
        })
    }

    /// What the next program needs for that.
    pub(super) fn left(&self, worker: WorkerId, board: usize) -> ProcLeft {
        ProcLeft {
            worker: worker.0,
            pool: self.pool,
            place: self.place,
            pid: self.pid.get(),
            channel: self.channel.as_raw_fd(),
            board,
            record: self.record,
            is_command: self.is_command,
            command: self.command,
            told: self.told,
            generation: self.story.generation,
            since: self.story.since,
            cwd: self.story.cwd.clone(),
            killed: self.story.killed,
        }
    }

    /// The scoreboard with its record, of which `current` is the service's.
    pub(super) fn board<'a>(&'a self, current: &'a Scoreboard) -> &'a Scoreboard {
        self.old_board.as_ref().unwrap_or(current)
    }
}

impl Supervisor {
    /// Reads what a worker has to say, up to a bound; whether there may be more.
    pub(super) fn read_channel(&mut self, id: WorkerId) -> bool {
        let mut buffer = [0; WIRE_BYTES];
        let is_command = self.is_command(id);
        for _ in 0..TURN {
            let Some(proc) = self.procs.get_mut(&id).filter(|proc| !proc.silent) else {
                return false;
            };
            let (kind, text) = match receive_message(&proc.channel, &mut buffer) {
                Ok(Some([MESSAGE, bytes @ ..])) => {
                    self.hear(id, bytes);
                    continue;
                }
                Ok(Some([kind, text @ ..])) => (*kind, String::from_utf8_lossy(text).into_owned()),
                Ok(None) => return false,
                Ok(Some([])) | Err(_) => {
                    proc.silent = true;
                    let _ = self.epoll.remove(&proc.channel);
                    return false;
                }
            };
            match kind {
                READY => {
                    proc.story.cwd = inspect::working_directory(proc.pid).ok();
                    self.happen(Event::Ready(id));
                }
                FATAL => {
                    crate::log::error!(self.log, "worker {id}: the service cannot go on: {text}");
                    proc.story.failure = Some(text.clone());
                    self.last_words = Some(text);
                    self.happen(Event::Fatal(id));
                }
                PANICKED => self.happen(Event::Panicked(id)),
                EXPIRING => self.happen(Event::Expiring(id)),
                LEAVING => self.happen(Event::Leaving(id)),
                LOOK => self.pools[proc.pool].to_look = true,
                BEGUN if is_command => {
                    proc.command = text.parse().ok();
                    self.begun(id);
                }
                HALTED => self.happen(Event::Halted(id)),
                CONTINUED => self.happen(Event::Continued(id)),
                ENDED if is_command => proc.ended = exit_told(&text),
                FAILURE => {
                    crate::log::error!(self.log, "worker {id}: {text}");
                    proc.story.failure = Some(text.clone());
                    self.last_words = Some(text);
                }
                _ => crate::log::debug!(self.log, "worker {id}: unknown message {kind}"),
            }
        }
        true
    }

    /// A worker is gone: its last words first, then its end.
    pub(super) fn reap(&mut self, id: WorkerId) {
        let Some(proc) = self.procs.get_mut(&id) else { return };
        if !readable(&proc.pidfd, Some(Duration::ZERO)).unwrap_or(true) {
            return;
        }
        // What it has started goes with it. Not reaped, it still holds its number, and so its group's.
        let members = [Some(proc.pid), proc.command.and_then(Pid::from_raw)];
        let members = members.into_iter().flatten().filter_map(owner_of);
        let planned = self.pools[proc.pool].plan.privileges.identity.as_ref().map(|it| it.uid);
        let _ = deliver_to_group(proc.pid, members.chain(planned), Signal::KILL);
        proc.story.usage = inspect::usage_at_end(&proc.pidfd).unwrap_or(None);
        let change = match process::reap(&proc.pidfd) {
            Ok(change) => change,
            // Somebody else has reaped it: gone all the same.
            Err(_) => Some(Change::Exited(0)),
        };
        let Some(exit) = change.and_then(exit_of) else { return };
        for _ in 0..LAST_TURNS {
            if !self.read_channel(id) {
                break;
            }
        }
        let Some(proc) = self.procs.get(&id) else { return };
        let exit = proc.ended.unwrap_or(exit);
        let _ = self.epoll.remove(&proc.pidfd);
        if !proc.silent {
            let _ = self.epoll.remove(&proc.channel);
        }
        let exit = self.judged(id, exit);
        let did = self.fold(id);
        self.happen(Event::Exited { worker: id, exit, did });
        if let Some(proc) = self.procs.remove(&id) {
            proc.board(&self.board).record(proc.record).clear();
            if proc.old_board.is_none() {
                self.free_records.push(proc.record);
            }
        }
    }

    /// Adds what a worker did to its pool's past; what it wrote is a claim, so sums saturate.
    fn fold(&mut self, id: WorkerId) -> Work {
        let Some(proc) = self.procs.get(&id) else { return Work::default() };
        let work = proc.board(&self.board).record(proc.record).work();
        let past = &mut self.pools[proc.pool].past;
        let sum = past.work().plus(work);
        (past.connections, past.requests, past.errors) =
            (sum.connections, sum.requests, sum.errors);
        past.exits += 1;
        work
    }

    /// Finds the workers that a signal has stopped, or let go on.
    pub(super) fn find_stopped(&mut self) {
        let ids: Vec<WorkerId> = self.procs.keys().copied().collect();
        for id in ids {
            let Some(proc) = self.procs.get(&id) else { continue };
            match process::stop_state(&proc.pidfd) {
                Ok(Some(Change::Stopped(_))) => self.happen(Event::Halted(id)),
                Ok(Some(Change::Continued)) => self.happen(Event::Continued(id)),
                _ => {}
            }
        }
    }
}
