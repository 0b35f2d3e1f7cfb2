//! What can be said of the service around the pool.

use std::path::PathBuf;
use std::time::Duration;

use tine_os::signal::Signal;

use super::Prefork;
use crate::hooks::Hooks;
use crate::log::{Log, LogFile};
use crate::shared::Region;
use crate::signals::Signals;

impl Prefork {
    /// Shared memory of `words` 64-bit words that all workers find by its name, see
    /// [`crate::Worker::region`].
    pub fn region(mut self, name: impl Into<String>, version: u32, words: usize) -> Self {
        self.service = self.service.region(name, version, words);
        self
    }

    /// The same, with something that keeps its content up to date in the supervisor; see
    /// [`crate::Service::tended_region`].
    pub fn tended_region(
        mut self,
        name: impl Into<String>,
        version: u32,
        words: usize,
        tend: impl Fn(&Region) -> Duration + 'static,
    ) -> Self {
        self.service = self.service.tended_region(name, version, words, tend);
        self
    }

    /// The log. Default: standard error, level info.
    pub fn log(mut self, log: Log) -> Self {
        self.log = log.clone();
        self.service = self.service.log(log);
        self
    }

    /// A log of the program's own: opened anew when the service's is (USR1). Any number.
    pub fn log_file(mut self, file: LogFile) -> Self {
        self.service = self.service.log_file(file);
        self
    }

    /// What signals mean. Default: Tine's own table.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.service = self.service.signals(signals);
        self
    }

    /// Signals that go on to every worker, before the supervisor does what they mean to itself; see
    /// [`crate::Service::pass_signals`].
    pub fn pass_signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.service = self.service.pass_signals(signals);
        self
    }

    /// Writes the supervisor's pid to a file.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.service = self.service.pid_file(path);
        self
    }

    /// Keeps a file of who serves; see [`crate::Service::status_file`].
    pub fn status_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.service = self.service.status_file(path);
        self
    }

    /// Where the control socket is. Default: by pid, in the runtime directory.
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.service = self.service.control(path);
        self
    }

    /// Runs in the background; see [`crate::Service::daemonize`].
    pub fn daemonize(mut self) -> Self {
        self.service = self.service.daemonize();
        self
    }

    /// A reload replaces the workers and nothing else; see [`crate::Service::rolls`].
    pub fn rolls(mut self) -> Self {
        self.service = self.service.rolls();
        self
    }

    /// The supervisor keeps its command line in ps; see [`crate::Service::untitled`].
    pub fn untitled(mut self) -> Self {
        self.service = self.service.untitled();
        self
    }

    /// What the program does at the turns of the service's life; see [`Hooks`].
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Self {
        self.service = self.service.hooks(hooks);
        self
    }

    /// No control socket.
    pub fn no_control(mut self) -> Self {
        self.service = self.service.no_control();
        self
    }
}
