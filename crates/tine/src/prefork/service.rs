//! What can be said of the service around the pool.

use std::path::PathBuf;
use std::time::Duration;

use tine_os::signal::Signal;

use super::Prefork;
use crate::hooks::Hooks;
use crate::log::{Log, LogFile};
use crate::shared::Region;
use crate::signals::Signals;

/// What the service is told in the same words.
macro_rules! of_the_service {
    ($($(#[$doc:meta])* $name:ident($($what:ident: $type:ty),*);)*) => {
        $($(#[$doc])* pub fn $name(mut self, $($what: $type),*) -> Self {
            self.service = self.service.$name($($what),*);
            self
        })*
    };
}

impl Prefork {
    of_the_service! {
        /// Shared memory of `words` 64-bit words that all workers find by its name, see
        /// [`crate::Worker::region`].
        region(name: impl Into<String>, version: u32, words: usize);
        /// The same, with something that keeps its content up to date in the supervisor; see
        /// [`crate::Service::tended_region`].
        tended_region(
            name: impl Into<String>,
            version: u32,
            words: usize,
            tend: impl Fn(&Region) -> Duration + 'static
        );
        /// A log of the program's own: opened anew when the service's is (USR1). Any number.
        log_file(file: LogFile);
        /// What signals mean. Default: Tine's own table.
        signals(signals: Signals);
        /// Signals that go on to every worker, before the supervisor does what they mean to itself; see
        /// [`crate::Service::pass_signals`].
        pass_signals(signals: impl IntoIterator<Item = Signal>);
        /// Writes the supervisor's pid to a file.
        pid_file(path: impl Into<PathBuf>);
        /// Keeps a file of who serves; see [`crate::Service::status_file`].
        status_file(path: impl Into<PathBuf>);
        /// Where the control socket is. Default: by pid, in the runtime directory.
        control(path: impl Into<PathBuf>);
        /// No control socket.
        no_control();
        /// Runs in the background; see [`crate::Service::daemonize`].
        daemonize();
        /// A reload replaces the workers and nothing else; see [`crate::Service::rolls`].
        rolls();
        /// The supervisor keeps its command line in ps; see [`crate::Service::untitled`].
        untitled();
        /// What the program does at the turns of the service's life; see [`Hooks`].
        hooks(hooks: impl Hooks + 'static);
    }

    /// The log. Default: standard error, level info.
    pub fn log(mut self, log: Log) -> Self {
        self.log = log.clone();
        self.service = self.service.log(log);
        self
    }
}
