//! The terminal that the supervisor was started from: its end stops the service, and is no reload, though both are a HUP.
//!
//! The kernel itself sends HUP when a terminal is gone: to the leader of its session, and to the group in its foreground
//! when that leader ends. A shell that gets it sends it on to its jobs, by kill(2). Then the sender is an ancestor of this
//! process (the leader, or a shell that was started in a shell), and the session has no terminal any more. A reload is asked
//! for by kill(2), too, but while there is a terminal, or from elsewhere.

use tine_os::daemon::has_terminal;
use tine_os::inspect;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal, SignalInfo};

use super::event::{Command, Event};
use super::run::Supervisor;

/// Shells in shells that are remembered, at most.
const MOST_SHELLS: usize = 32;

/// What is known of it at the start.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The ancestors of this process that are of its session, the leader last; empty without a terminal.
    shells: Vec<Pid>,
    /// Started by nohup(1): the end of the terminal means nothing.
    ignored: bool,
}

impl Terminal {
    pub(super) fn of_this_process() -> Self {
        let shells = if has_terminal() { ancestors_in_session() } else { Vec::new() };
        Self { shells, ignored: signal::is_ignored(Signal::HUP) }
    }

    /// Whether this signal says that the terminal is gone.
    fn is_gone(&self, info: &SignalInfo) -> bool {
        let by_shell =
            || self.shells.iter().any(|shell| shell.get() == info.pid) && !has_terminal();
        info.signal == Signal::HUP && (info.is_from_kernel() || by_shell())
    }
}

/// From the parent to the leader of the session, the leader itself at least; without `/proc`, the parent and the leader.
fn ancestors_in_session() -> Vec<Pid> {
    let session = process::session_leader(process::pid());
    let Some(leader) = session.filter(|leader| *leader != process::pid()) else {
        return Vec::new();
    };
    let parent_of = |pid: &Pid| Pid::from_raw(inspect::stat(*pid).ok()?.parent);
    let line = std::iter::successors(process::parent(), parent_of).take(MOST_SHELLS);
    let shells = line.take_while(|pid| *pid != leader && process::session_leader(*pid) == session);
    shells.chain([leader]).collect()
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
