//! How a keeper ends its command and whatever that has started, also where the kernel lets it signal no other user.

use std::time::Duration;

use tine_os::clock::monotonic;
use tine_os::deliver;
use tine_os::family::{self, Told};
use tine_os::poll::readable;
use tine_os::process::{self, Pid};
use tine_os::signal::Signal;

use super::super::super::state::{Nanos, SECOND};
use super::{Keeper, ROUND};
use crate::seat::FAILURE;

/// How long processes that were killed are waited for: one may hang in the kernel. Less than the supervisor
/// waits before it kills the keeper.
const PATIENCE: Nanos = 4 * SECOND;

impl Keeper {
    /// Kills everything below this process.
    pub(super) fn kill(&mut self) {
        match family::signal_descendants(process::pid(), Signal::KILL) {
            Ok(Told { refused: Some((pid, error)), .. }) => {
                self.refused(pid, Signal::KILL, &error);
            }
            Ok(_) => {}
            // Nothing says which they are: all at once, this process with them. What the kernel lets it not signal, the
            // supervisor ends when it reaps this process.
            Err(_) => drop(process::signal_group(process::pid(), Signal::KILL)),
        }
    }

    /// Sends its command a signal.
    pub(super) fn signal(&mut self, signal: Signal) {
        match deliver::deliver(&self.pidfd, self.command, signal) {
            Ok(()) => {}
            // One that has ended is about to be reaped.
            Err(_) if readable(&self.pidfd, Some(Duration::ZERO)).unwrap_or(true) => {}
            Err(error) => self.refused(self.command, signal, &error),
        }
    }

    /// A signal could not be sent; each is told of once.
    fn refused(&mut self, pid: Pid, signal: Signal, error: &std::io::Error) {
        if !self.complained.contains(&signal) {
            self.complained.push(signal);
            self.tell(FAILURE, &format!("{signal} cannot be sent to process {pid}: {error}"));
        }
    }

    /// The command is gone: so must be all it has started.
    pub(super) fn end_family(&mut self) {
        let end = monotonic() + PATIENCE;
        while family::children(process::pid()).is_ok_and(|left| !left.is_empty()) {
            if monotonic() > end {
                return self.tell(FAILURE, "processes of its command survive SIGKILL");
            }
            self.kill();
            let _ = readable(&self.signals, Some(Duration::from_nanos(ROUND)));
            while self.signals.read().is_some() {}
            self.reap();
        }
    }
}
