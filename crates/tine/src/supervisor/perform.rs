//! The supervisor's hands on the world: each action done, its result an event.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};

use tine_os::deliver::deliver;
use tine_os::fd::send_message;
use tine_os::poll::Interest;
use tine_os::signal::Signal;

use super::action::{Action, Note, Tell};
use super::handover::Leaving;
use super::run::{KIND, LISTENER, Pool, Supervisor};
use super::state::WorkerId;
use crate::daemon::Ready as Birth;
use crate::handover::Probe;
use crate::listen::Listeners;
use crate::log::LogFile;
use crate::notify::Manager;
use crate::seat::{FINISH, GO, LEAVE, TRIM};
use crate::statusfile::Row;

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            // All of a step together: see `perform_all`.
            Action::Fork(_) => {}
            Action::Tell(worker, tell) => self.tell(worker, tell),
            Action::PassOn(worker, number) => {
                if let Some(signal) = Signal::from_number(number) {
                    self.signal(worker, signal);
                }
            }
            Action::Terminate(worker) => self.signal(worker, Signal::TERM),
            Action::Abort(worker) => self.signal(worker, Signal::ABRT),
            Action::Kill(worker) => self.kill(worker),
            Action::Poke(pool) => self.pass_wake_on(pool),
            Action::Staffed { pool, place, staffed } => self.staffed(pool, place, staffed),
            Action::Watch { pool, on } => self.watch_listeners(pool, on),
            Action::LameDuck => self.post_lame_duck(),
            Action::StopNew => {
                self.on_listeners(
                    "stop new connections",
                    |_| true,
                    |all| all.stop_new().and(all.unlink()),
                );
            }
            // The listeners of commands are never shut down: an accept that fails in a foreign program is an error there,
            // and often its end. The last process that has such a socket closes it.
            Action::CloseListeners => {
                let own = |pool: &Pool| !pool.plan.rules.command;
                self.on_listeners("close listeners", own, Listeners::close_for_good);
            }
            Action::Reopen => self.reopen_logs(),
            Action::Note(note) => {
                if matches!(note, Note::Rolled { .. }) {
                    self.before = None;
                }
                self.note(&note);
                self.notify(&note);
                self.show_in_status_file(&note);
                self.show_to_hooks(&note);
            }
            Action::Probe => self.begin_probe(),
            Action::EndProbe => self.end_probe(),
            Action::HandOver => self.leaving = Some(Leaving::Onward),
            Action::GoBack(why) => self.begin_to_return(&why),
            Action::Steer(trial) => self.steer(trial),
            Action::End(outcome) => self.outcome = Some(outcome),
        }
    }

    /// Where generations have no scoreboard in common, the share is that of the places.
    fn steer(&mut self, trial: Option<(u32, u32)>) {
        let trial = trial.filter(|_| self.procs.values().all(|proc| proc.old_board.is_none()));
        (0..self.board.pools()).for_each(|pool| self.board.signpost(pool).post_trial(trial));
        // Workers that sleep are to be woken otherwise from now on.
        self.pools.iter_mut().for_each(|pool| pool.to_look = true);
    }

    /// Says so to all workers, those of older plans too.
    fn post_lame_duck(&self) {
        let boards = self.procs.values().filter_map(|proc| proc.old_board.as_ref());
        for board in boards.chain([&self.board]) {
            (0..board.pools()).for_each(|pool| board.signpost(pool).post_lame_duck());
        }
    }

    /// Keeps the status file, if there is one.
    pub(super) fn show_in_status_file(&self, note: &Note) {
        let Some(file) = &self.status_file else { return };
        let written = match note {
            Note::Ready(id) => match self.row(*id) {
                Some(row) => file.ready(row),
                None => return,
            },
            Note::Exited { worker, why, .. } => {
                file.exited(worker.0, why.is_none() && !self.state.is_stopping())
            }
            _ => return,
        };
        if let Err(error) = written {
            let path = file.path().display();
            crate::log::error!(self.log, "the status file {path} cannot be written: {error}");
        }
    }

    /// The line of a worker there; helpers have none.
    fn row(&self, id: WorkerId) -> Option<Row> {
        let proc = self.procs.get(&id)?;
        if self.state.pools[proc.pool].every.is_some() {
            return None;
        }
        let pid = proc.command.unwrap_or(proc.pid.get());
        Some(Row { seat: (proc.pool, proc.place), number: id.0, pid })
    }

    fn reopen_logs(&self) {
        for file in &self.log_files {
            if let Err(error) = file.reopen() {
                let path = file.path().display();
                crate::log::warning!(self.log, "cannot reopen {path}: {error}");
            }
        }
        match self.log.reopen() {
            Ok(()) => crate::log::info!(self.log, "log reopened"),
            Err(error) => {
                let path = self.log.path().map(|path| format!(" {}", path.display()));
                let path = path.unwrap_or_default();
                crate::log::warning!(self.log, "cannot reopen the log{path}: {error}");
            }
        }
    }

    fn on_listeners(
        &self,
        what: &str,
        which: impl Fn(&Pool) -> bool,
        act: impl Fn(&Listeners) -> std::io::Result<()>,
    ) {
        for pool in self.pools.iter().filter(|pool| which(pool)) {
            if let Err(error) = act(&pool.bound) {
                crate::log::warning!(self.log, "cannot {what}: {error}");
            }
        }
    }

    /// Has the loop told of whatever comes to a pool's listeners.
    fn watch_listeners(&self, pool: usize, on: bool) {
        for listener in &self.pools[pool].listeners {
            let token = LISTENER << KIND | pool as u64;
            let result = match on {
                true => self.epoll.add(&**listener, token, Interest::READ),
                false => self.epoll.remove(&**listener),
            };
            if let Err(error) = result {
                crate::log::warning!(self.log, "cannot watch {}: {error}", listener.address());
            }
        }
    }

    fn tell(&mut self, worker: WorkerId, tell: Tell) {
        let Some(proc) = self.procs.get(&worker) else { return };
        let message = match tell {
            Tell::Go => GO,
            Tell::Trim => TRIM,
            Tell::Leave if self.state.is_stopping() => FINISH,
            Tell::Leave => LEAVE,
        };
        let by = self.stopped_by.filter(|_| message == FINISH).map(|it| it.number() as u8);
        let message: Vec<u8> = [message].into_iter().chain(by).collect();
        if let Err(error) = send_message(&proc.channel, &message) {
            // It has ended, or does not read; its pidfd or its deadline will tell.
            crate::log::debug!(self.log, "worker {worker}: {error}");
        }
    }

    /// A keeper ends whatever its command has started when it is told to; itself it is killed only if it has
    /// not done so by the next time.
    fn kill(&mut self, worker: WorkerId) {
        let is_command = self.is_command(worker);
        let told =
            self.procs.get_mut(&worker).is_none_or(|proc| std::mem::replace(&mut proc.told, true));
        if !is_command || told {
            return self.signal(worker, Signal::KILL);
        }
        self.signal(worker, Signal::QUIT);
        self.signal(worker, Signal::CONT);
    }

    /// Whether the worker is a keeper.
    pub(super) fn is_command(&self, worker: WorkerId) -> bool {
        self.procs.get(&worker).is_some_and(|proc| proc.is_command)
    }

    /// Sends a worker a signal, be it another user's. One that cannot be sent is told of: what was to end goes on.
    fn signal(&mut self, worker: WorkerId, signal: Signal) {
        let Some(proc) = self.procs.get_mut(&worker) else { return };
        proc.story.killed |= signal == Signal::KILL;
        match deliver(&proc.pidfd, proc.pid, signal) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let pid = proc.pid;
                crate::log::error!(
                    self.log,
                    "worker {worker} (pid {pid}): {signal} cannot be sent: {error}"
                );
            }
            // It has ended.
            Err(error) => crate::log::debug!(self.log, "worker {worker}: {signal}: {error}"),
        }
    }

    /// Numbers of the descriptors that are the supervisor's alone.
    pub(super) fn descriptors(&self) -> Vec<i32> {
        let mut all = vec![self.epoll.as_fd().as_raw_fd(), self.signals.as_fd().as_raw_fd()];
        for proc in self.procs.values() {
            all.extend([proc.pidfd.as_raw_fd(), proc.channel.as_raw_fd()]);
        }
        if let Some(control) = &self.control {
            control.descriptors(&mut all);
        }
        all.extend(self.pid_file.as_ref().map(|file| file.1));
        all.extend(self.log.private_descriptor());
        all.extend(self.log_files.iter().filter_map(LogFile::private_descriptor));
        all.extend(self.probe.iter().flat_map(Probe::descriptors));
        all.extend(self.before.as_ref().map(|image| image.as_fd().as_raw_fd()));
        all.extend(self.manager.as_ref().map(Manager::descriptor));
        all.extend(self.birth.as_ref().map(Birth::descriptor));
        all
    }
}
