//! What is said when the server serves: what, and how it is stopped.

use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};

use tine::{Hooks, Level, Log, Supervision, WorkerInfo};

/// See the module.
#[derive(Debug)]
pub(super) struct Hello {
    root: PathBuf,
}

impl Hello {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.canonicalize().unwrap_or_else(|_| root.to_owned()) }
    }

    /// Names ways to stop it that work: Ctrl-C where there is a terminal to type it, a command if it finds the server.
    pub(super) fn say(&self, log: &Log, service: Option<&Supervision<'_>>) {
        let pid = std::process::id();
        let command = service.map(|service| match service.control() {
            Some(_) if service.is_found_by_pid() => format!("tine stop --pid {pid}"),
            Some(path) => format!("tine stop --control {}", path.display()),
            None => format!("kill {pid}"),
        });
        // A daemon has none.
        let typed = stdin().is_terminal() || service.is_none();
        let ways: Vec<String> =
            typed.then(|| "Ctrl-C".to_owned()).into_iter().chain(command).collect();
        let text = format!("serving {}; stop with {}", self.root.display(), ways.join(" or: "));
        log.line(Level::Info, format_args!("{text}"));
    }
}

impl Hooks for Hello {
    /// By the first worker of all: from then on it is true.
    fn serving(&self, service: &Supervision<'_>, worker: &WorkerInfo) {
        if worker.number == 1 {
            self.say(service.log(), Some(service));
        }
    }
}
