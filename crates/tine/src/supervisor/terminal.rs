//! The terminal that the supervisor was started from: its end stops the service, and is no reload, though both are a HUP.
//!
//! The kernel itself sends HUP when a terminal is gone: to the leader of its session, and to the group in its foreground
//! when that leader ends. A shell that gets it sends it on to its jobs, by kill(2). Then the leader is the sender, and the
//! session has no terminal any more. A reload is asked for by kill(2), too, but while there is a terminal, or from elsewhere.

use tine_os::daemon::has_terminal;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal, SignalInfo};

use super::event::{Command, Event};
use super::run::Supervisor;

/// What is known of it at the start.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The leader of a session that has a terminal, if it is not this process.
    shell: Option<Pid>,
    /// Started by nohup(1): the end of the terminal means nothing.
    ignored: bool,
}

impl Terminal {
    pub(super) fn of_this_process() -> Self {
        let leader = process::session_leader().filter(|leader| *leader != process::pid());
        Self { shell: leader.filter(|_| has_terminal()), ignored: signal::is_ignored(Signal::HUP) }
    }

    /// Whether this signal says that the terminal is gone.
    fn is_gone(&self, info: &SignalInfo) -> bool {
        let by_shell =
            || self.shell.is_some_and(|shell| shell.get() == info.pid) && !has_terminal();
        info.signal == Signal::HUP && (info.is_from_kernel() || by_shell())
    }
}

impl Supervisor {
    /// Whether a signal was the end of the terminal, and no command; if it was, what has to be done is done.
    pub(super) fn is_hangup(&mut self, info: &SignalInfo) -> bool {
        if !self.terminal.is_gone(info) {
            return false;
        }
        if self.terminal.ignored {
            let text = "the terminal is gone, and HUP was ignored at the start: nothing changes";
            crate::log::info!(self.log, "{text}");
        } else if self.stopped_by.is_none() && !self.state.is_stopping() {
            // Told twice, by a shell and by its end: once is enough.
            crate::log::info!(self.log, "the terminal is gone");
            self.stopped_by = Some(Signal::HUP);
            self.happen(Event::Command(Command::Stop));
        }
        true
    }
}
