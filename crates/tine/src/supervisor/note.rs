//! Notes in words: the supervisor's log lines, one arm a note.

use tine_os::signal::Signal;

use super::action::Note;
use super::event::{Exit, Overrun};
use super::run::Supervisor;
use super::state::{Nanos, SECOND, Why, WorkerId};
use crate::Bytes;
use crate::log::{debug, error, info, warning};

impl Supervisor {
    /// Writes a note to the log.
    pub(super) fn note(&mut self, note: &Note) {
        let log = self.log.clone();
        match note {
            Note::Ready(_) | Note::Serving(_) | Note::Staffed => self.note_progress(note),
            Note::Exited { worker, exit, why, crash, retry_ms, .. } => {
                self.note_exit(*worker, *exit, *why, *crash, *retry_ms);
            }
            Note::ForkFailing { errno, retry_ms } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                // Not those that are gone and still in the tables, and not those that could not be forked.
                let left = self.state.workers.values().filter(|it| it.pid.is_some()).count();
                error!(
                    log,
                    "cannot fork: {reason}; {left} workers are left, next try in {retry_ms} ms"
                );
            }
            Note::ForkRecovered => info!(log, "forks work again"),
            Note::BootTimeout(id) => {
                self.report_hanging(*id, "was not ready in time: killed".to_owned());
            }
            Note::Panicked(id) => {
                self.report_living(*id, "lost a connection: its handler panicked".to_owned(), true);
            }
            Note::Halted(id) => {
                warning!(log, "{} was stopped by a signal: replaced", self.who(*id))
            }
            Note::Overrun { worker, what, ran } => {
                if let Some(proc) = self.procs.get(worker) {
                    self.pools[proc.pool].past.crashes += 1;
                }
                self.report_hanging(*worker, format!("{}: aborted", overrun_text(*what, *ran)));
            }
            Note::Oversized { worker, private, limit } => {
                let (private, limit) = (Bytes(*private), Bytes(*limit));
                info!(
                    log,
                    "{} has {private} of private memory, of {limit}: replaced",
                    self.who(*worker)
                );
            }
            Note::Overdue { worker, killed } => {
                let how = if *killed { "SIGKILL" } else { "SIGTERM" };
                warning!(log, "{} did not end in time: {how}", self.who(*worker));
            }
            Note::Resized { .. } | Note::AtBound { .. } | Note::Saturated { .. } => {
                self.note_size(note);
            }
            Note::BreakerOpen { pool, failures } => {
                let name = &self.pools[*pool].plan.name;
                error!(log, "pool {name}: {failures} workers failed, too fast: replacements wait");
            }
            Note::Rolling { .. }
            | Note::OnTrial { .. }
            | Note::Promoted { .. }
            | Note::Rolled { .. }
            | Note::ReloadFailed { .. } => {
                self.note_reload(note);
            }
            Note::LameDuck { .. } | Note::Stopping { .. } => self.note_stop(note),
        }
    }

    fn note_size(&self, note: &Note) {
        match note {
            Note::Resized { pool, from, to } => {
                debug!(self.log, "pool {}: {from} → {to} workers", self.pools[*pool].plan.name);
            }
            Note::AtBound { pool, workers } => {
                let name = &self.pools[*pool].plan.name;
                warning!(
                    self.log,
                    "pool {name}: {workers} is its bound from the start: it stays so"
                );
            }
            Note::Saturated { pool, queued } => {
                let (name, max) =
                    (&self.pools[*pool].plan.name, self.state.pools[*pool].sizing.max);
                warning!(
                    self.log,
                    "pool {name}: all {max} workers are busy and {queued} connections wait; \
                               consider a higher maximum"
                );
            }
            _ => {}
        }
    }

    fn note_stop(&self, note: &Note) {
        match note {
            Note::LameDuck { seconds } => {
                info!(
                    self.log,
                    "stopping in {seconds} s: until then it serves, and health checks say no"
                );
            }
            Note::Stopping { workers, seconds } => {
                info!(
                    self.log,
                    "stopping: {workers} workers finish what they have, within {seconds} s"
                );
            }
            _ => {}
        }
    }

    fn note_progress(&self, note: &Note) {
        match note {
            Note::Ready(id) => debug!(self.log, "{} is ready", self.who(*id)),
            Note::Serving(id) => debug!(self.log, "{} serves", self.who(*id)),
            _ => debug!(self.log, "every place is taken"),
        }
    }

    fn note_reload(&self, note: &Note) {
        match note {
            Note::Rolling { generation } => {
                info!(self.log, "reload: generation {generation} begins");
            }
            Note::OnTrial { generation } => {
                info!(self.log, "rollout: generation {generation} is on trial");
            }
            Note::Promoted { generation } => {
                info!(self.log, "rollout: generation {generation} replaces the others");
            }
            Note::Rolled { generation } => {
                info!(self.log, "reload: generation {generation} serves");
            }
            Note::ReloadFailed { generation, text } => {
                error!(self.log, "reload failed, generation {generation} goes on: {text}");
            }
            _ => {}
        }
    }

    fn note_exit(
        &mut self,
        id: WorkerId,
        exit: Exit,
        why: Option<Why>,
        crash: bool,
        retry_ms: u64,
    ) {
        let (log, who, text) = (self.log.clone(), self.who(id), self.end_text(id, exit));
        let Some(proc) = self.procs.get(&id) else { return };
        if crash {
            self.pools[proc.pool].past.crashes += 1;
        }
        let helper = self.state.pools[proc.pool].every.is_some();
        // What a command is asked to leave with.
        const TERM: i32 = Signal::TERM.number();
        let after = match retry_ms {
            0 => String::new(),
            wait => format!("; its place is tried again in {wait} ms"),
        };
        let open = proc.board(&self.board).record(proc.record).read().open;
        match (why, exit) {
            _ if proc.story.reported => {
                self.amend_report(id, exit, &text);
                warning!(log, "{who} {text}{after}");
            }
            _ if crash => {
                let told = proc.story.failure.as_ref().filter(|_| exit.is_explained());
                let reason = told.map_or(String::new(), |text| format!(": {text}"));
                self.report_dead(id, exit, format!("{text}{reason}"), &after);
            }
            (None, _) if open > 0 => {
                let cause = format!("ended by itself in the middle of {open} connections");
                self.report_dead(id, exit, cause, &after);
            }
            (None, _) if helper => debug!(log, "{who} is done"),
            (None, _) => info!(log, "{who} ended by itself{after}"),
            (Some(why), Exit::Signal { number: TERM, .. }) if self.is_command(id) => {
                debug!(log, "{who} is gone ({why})")
            }
            (Some(why), Exit::Clean) => debug!(log, "{who} is gone ({why})"),
            (Some(why), _) => warning!(log, "{who} {text} while it was leaving ({why})"),
        }
    }

    /// Reports of a worker that hangs and is ended now.
    fn report_hanging(&mut self, id: WorkerId, cause: String) {
        self.report_living(id, cause, false);
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.story.reported = true;
        }
    }

    fn who(&self, id: WorkerId) -> String {
        match self.procs.get(&id) {
            Some(proc) => {
                let pool = &self.pools[proc.pool].plan.name;
                format!("worker {id} (pid {}, {pool} place {})", proc.pid, proc.place)
            }
            None => format!("worker {id}"),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&exit_text(*self))
    }
}

/// What a worker is at for too long, as people say it.
fn overrun_text(what: Overrun, ran: Nanos) -> String {
    let time = ran / SECOND;
    let tenth = ran % SECOND / (SECOND / 10);
    match what {
        Overrun::Request => format!("has been at a request for {time}.{tenth} s"),
        Overrun::Connection => format!("has been at a connection for {time}.{tenth} s"),
        Overrun::Turn => format!("has not come up for air for {time}.{tenth} s"),
    }
}

/// How a worker ended, as people say it.
pub(super) fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Clean => "exited with status 0".to_owned(),
        Exit::BootFailed => "could not boot".to_owned(),
        Exit::NoCommand => "had no command to run".to_owned(),
        Exit::PrivilegeFailed => "could not drop its privileges".to_owned(),
        Exit::Fatal => "said that the service cannot go on".to_owned(),
        Exit::Panicked => "panicked".to_owned(),
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::OutOfMemory => {
            "was killed by SIGKILL (9), and the kernel has killed for want of memory meanwhile"
                .to_owned()
        }
        Exit::Signal { number, core } => {
            let name = Signal::from_number(number)
                .map_or_else(|| number.to_string(), |signal| signal.to_string());
            let core = if core { ", core dumped" } else { "" };
            format!("was killed by {name} ({number}){core}")
        }
    }
}
