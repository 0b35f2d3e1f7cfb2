//! The terminal that the supervisor was started from: its end stops the service, and is no reload, though both are a HUP.
//!
//! The kernel itself sends HUP when a terminal is gone: to the leader of its session, and to the group in its foreground
//! when that leader ends. A shell that gets it sends it on to its jobs, by kill(2). Then the leader is the sender, and the
//! session has no terminal any more. A reload is asked for by kill(2), too, but while there is a terminal, or from elsewhere.

use tine_os::daemon::has_terminal;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal, SignalInfo};

/// What is known of it at the start.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The leader of a session that has a terminal, if it is not this process.
    shell: Option<Pid>,
    /// Started by nohup(1): the end of the terminal means nothing.
    ignored: bool,
}

/// What a HUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// A command, as any other signal.
    Command,
    /// The terminal is gone.
    Gone,
    /// The terminal is gone, and the service was started to outlive it.
    Survived,
}

impl Terminal {
    pub(super) fn of_this_process() -> Self {
        let leader = process::session_leader().filter(|leader| *leader != process::pid());
        Self { shell: leader.filter(|_| has_terminal()), ignored: signal::is_ignored(Signal::HUP) }
    }

    pub(super) fn judge(&self, info: &SignalInfo) -> Hangup {
        let by_shell =
            || self.shell.is_some_and(|shell| shell.get() == info.pid) && !has_terminal();
        match info.signal == Signal::HUP && (info.is_from_kernel() || by_shell()) {
            false => Hangup::Command,
            true if self.ignored => Hangup::Survived,
            true => Hangup::Gone,
        }
    }
}
