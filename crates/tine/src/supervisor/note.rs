//! Notes in words: the supervisor's log lines, one arm a note.

use tine_os::signal::Signal;

use super::action::Note;
use super::event::Exit;
use super::run::Supervisor;
use super::state::{Why, WorkerId};
use crate::log::{debug, error, info, warning};

impl Supervisor {
    /// Writes a note to the log.
    pub(super) fn note(&mut self, note: &Note) {
        let log = self.log.clone();
        match note {
            Note::Serving(id) => debug!(log, "{} serves", self.who(*id)),
            Note::Exited { worker, exit, why, crash, retry_ms } => {
                self.note_exit(*worker, *exit, *why, *crash, *retry_ms);
            }
            Note::ForkFailing { errno, retry_ms } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                let left = self.procs.len();
                error!(
                    log,
                    "cannot fork: {reason}; {left} workers are left, next try in {retry_ms} ms"
                );
            }
            Note::ForkRecovered => info!(log, "forks work again"),
            Note::BootTimeout(id) => error!(log, "{} was not ready in time: killed", self.who(*id)),
            Note::Halted(id) => {
                warning!(log, "{} was stopped by a signal: replaced", self.who(*id))
            }
            Note::Overdue { worker, killed } => {
                let how = if *killed { "SIGKILL" } else { "SIGTERM" };
                warning!(log, "{} did not end in time: {how}", self.who(*worker));
            }
            Note::Resized { pool, from, to } => {
                debug!(log, "pool {}: {from} → {to} workers", self.pools[*pool].plan.name);
            }
            Note::Saturated { pool, queued } => {
                let (name, max) =
                    (&self.pools[*pool].plan.name, self.state.pools[*pool].sizing.max);
                warning!(
                    log,
                    "pool {name}: all {max} workers are busy and {queued} connections wait; \
                               consider a higher maximum"
                );
            }
            Note::BreakerOpen { pool, failures } => {
                let name = &self.pools[*pool].plan.name;
                error!(log, "pool {name}: {failures} workers failed, too fast: replacements wait");
            }
            Note::Rolling { generation } => info!(log, "reload: generation {generation} begins"),
            Note::Rolled { generation } => info!(log, "reload: generation {generation} serves"),
            Note::Stopping { workers, seconds } => {
                info!(log, "stopping: {workers} workers finish what they have, within {seconds} s");
            }
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
        let (log, who, text) = (self.log.clone(), self.who(id), exit_text(exit));
        if let Some(proc) = self.procs.get(&id).filter(|_| crash) {
            self.pools[proc.pool].past.crashes += 1;
        }
        // What a command is asked to leave with.
        const TERM: i32 = Signal::TERM.number();
        let after = match retry_ms {
            0 => String::new(),
            wait => format!("; its place is tried again in {wait} ms"),
        };
        match (why, exit) {
            _ if crash => error!(log, "{who} {text}{after}"),
            (None, _) => info!(log, "{who} ended by itself{after}"),
            (Some(why), Exit::Signal { number: TERM, .. }) if self.is_command(id) => {
                debug!(log, "{who} is gone ({why:?})")
            }
            (Some(why), Exit::Clean) => debug!(log, "{who} is gone ({why:?})"),
            (Some(why), _) => warning!(log, "{who} {text} while it was leaving ({why:?})"),
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

/// How a worker ended, as people say it.
pub(super) fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Clean => "exited with status 0".to_owned(),
        Exit::BootFailed => "could not boot".to_owned(),
        Exit::NoCommand => "had no command to run".to_owned(),
        Exit::PrivilegeFailed => "could not drop its privileges".to_owned(),
        Exit::Panicked => "panicked".to_owned(),
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal { number, core } => {
            let name = Signal::from_number(number)
                .map_or_else(|| number.to_string(), |signal| signal.to_string());
            let core = if core { ", core dumped" } else { "" };
            format!("was killed by {name} ({number}){core}")
        }
    }
}
