//! A command that reads a log from its standard input (row S15).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio, id};
use std::time::{Duration, Instant};

/// How soon after one has begun another is begun in its stead.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    command: String,
    /// Those that were begun and have not been seen to end.
    begun: RefCell<Vec<Child>>,
    last: Cell<Option<Instant>>,
    /// Whose children they are.
    process: Cell<u32>,
}

impl Reader {
    pub(super) fn new(command: &str) -> Self {
        let (begun, last) = Default::default();
        Self { command: command.to_owned(), begun, last, process: Cell::new(id()) }
    }

    /// Begins one, through the shell, and gives the other end of its input. It is in a group of its own: what a
    /// terminal sends to stop the service is not for it. It ends when nobody has the other end any more.
    pub(super) fn begin(&self) -> io::Result<OwnedFd> {
        if self.process.replace(id()) != id() {
            // Those of a parent, as a daemon's starter is, are not ours to wait for.
            self.begun.take();
        }
        self.begun.borrow_mut().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let (input, output) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command).stdin(Stdio::from(input)).process_group(0);
        self.begun.borrow_mut().push(command.spawn()?);
        self.last.set(Some(Instant::now()));
        Ok(output.into())
    }

    /// Whether one may be begun in the stead of one that has ended: by the process that has begun it, and not all the
    /// time.
    pub(super) fn may_begin(&self) -> bool {
        let rested = self.last.get().is_none_or(|last| last.elapsed() >= PAUSE);
        rested && self.process.get() == id()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Log, info};
    use super::PAUSE;
    use std::fs;
    use std::time::Instant;

    fn wait_for(path: &std::path::Path, text: &str) {
        let end = Instant::now() + std::time::Duration::from_secs(10);
        while !fs::read_to_string(path).unwrap_or_default().contains(text) {
            assert!(Instant::now() < end, "no {text:?} in {path:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn lines_reach_a_command_and_one_that_has_ended_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        // Reads one line and ends.
        let command = format!("head -n 1 >> {}", path.display());
        let log = Log::default().to_command(&command).unwrap().bare();
        info!(log, "one");
        wait_for(&path, "one\n");
        let end = Instant::now() + std::time::Duration::from_secs(10);
        // What was said while there was nobody is told first.
        while !fs::read_to_string(&path).unwrap().contains("lost: Broken pipe") {
            assert!(Instant::now() < end && PAUSE.as_secs() < 10, "no second one");
            info!(log, "again");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        log.reopen().unwrap();
        info!(log, "anew");
        wait_for(&path, "anew\n");
    }
}
