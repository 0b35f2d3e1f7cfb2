//! A started process: its lines, its children, its end.

use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::family::Family;
use crate::log::Log;
use crate::process;
use crate::wait::{DEADLINE, holds_within, readable_within};

/// What a server writes before each address it listens on.
const LISTENING: &str = "listening on ";

/// A process the kit started. Dropping it kills it and all it left behind; during a panic its
/// output is printed first.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    pidfd: OwnedFd,
    child: Mutex<Child>,
    log: Arc<Log>,
    family: Family,
    /// Whether the output has been part of a panic: once is enough.
    shown: AtomicBool,
    _pipes: Option<TempDir>,
}

impl Running {
    pub(crate) fn new(
        child: Child,
        streams: [OwnedFd; 2],
        id: &str,
        pipes: Option<TempDir>,
    ) -> Self {
        let pid = child.id();
        Self {
            pid,
            // Not waited for yet, so the number is surely its own.
            pidfd: pidfd_open(process::pid(pid), PidfdFlags::empty()).expect("a child has a pidfd"),
            log: Log::follow(streams),
            family: Family::new(pid, id),
            child: Mutex::new(child),
            shown: AtomicBool::new(false),
            _pipes: pipes,
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line of its output (standard output or error) with `pattern` in it: from the
    /// beginning, or after the last match. A match moves the cursor behind itself.
    ///
    /// # Panics
    /// With all output, when there is none within [`DEADLINE`], or none can come any more: everyone
    /// who could write has ended.
    #[track_caller]
    pub fn wait_line(&self, pattern: &str) -> String {
        self.wait_line_within(pattern, DEADLINE)
    }

    /// [`wait_line`](Self::wait_line) with another deadline.
    #[track_caller]
    pub fn wait_line_within(&self, pattern: &str, deadline: Duration) -> String {
        match self.log.wait(deadline, |text| text.next_match(pattern)) {
            Ok(line) => line,
            Err(why) => self.fail(&format!("no (further) line with {pattern:?}: {why}")),
        }
    }

    /// All whole lines it has written so far. Order between the two streams is by when they were
    /// read.
    pub fn lines(&self) -> Vec<String> {
        self.log.caught_up().lines.clone()
    }

    /// How many of its lines so far have `pattern` in them.
    pub fn count_lines(&self, pattern: &str) -> usize {
        self.log.caught_up().lines.iter().filter(|line| line.contains(pattern)).count()
    }

    /// Lets the next [`wait_line`](Self::wait_line) see only what is written from now on.
    pub fn mark(&self) {
        let mut text = self.log.caught_up();
        text.cursor = text.lines.len();
    }

    /// Lets the next [`wait_line`](Self::wait_line) begin with the first line again.
    pub fn clear_cursor(&self) {
        self.log.caught_up().cursor = 0;
    }

    /// The first address it says it listens on: the word after `listening on `, e.g.
    /// `127.0.0.1:41234` or `unix:/path`. Leaves the cursor alone.
    #[track_caller]
    pub fn address(&self) -> String {
        self.addresses(1).remove(0)
    }

    /// The first `n` different addresses it says it listens on; waits for them.
    #[track_caller]
    pub fn addresses(&self, n: usize) -> Vec<String> {
        let found = self.log.wait(DEADLINE, |text| {
            let mut found: Vec<String> = Vec::new();
            for address in text.lines.iter().filter_map(|line| address_in(line)) {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            found.truncate(n);
            (found.len() == n).then_some(found)
        });
        found.unwrap_or_else(|why| {
            self.fail(&format!("it does not listen on {n} address(es): {why}"))
        })
    }

    /// Sends it signal `sig`. One that has already ended is not an error.
    ///
    /// # Panics
    /// When `sig` is no named signal, or it may not be signalled.
    #[track_caller]
    pub fn signal(&self, sig: i32) {
        match pidfd_send_signal(&self.pidfd, process::named(sig)) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => self.fail(&format!("signal {sig}: {error}")),
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With all output, when it still runs after [`DEADLINE`].
    #[track_caller]
    pub fn wait_exit(&self) -> ExitStatus {
        self.wait_exit_within(DEADLINE)
    }

    /// [`wait_exit`](Self::wait_exit) with another deadline.
    #[track_caller]
    pub fn wait_exit_within(&self, deadline: Duration) -> ExitStatus {
        if !readable_within(&self.pidfd, deadline) {
            self.fail(&format!("it still runs after {deadline:?}"));
        }
        self.child().wait().expect("it is a child of this process")
    }

    /// How it ended, if it has.
    pub fn try_exit(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("it is a child of this process")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its living direct children (zombies are not living), in order of their numbers.
    pub fn children(&self) -> Vec<u32> {
        let family = self.family.track();
        family.iter().filter(|entry| entry.ppid == self.pid).map(|entry| entry.pid).collect()
    }

    /// Waits until it has exactly `n` living direct children, and returns them.
    #[track_caller]
    pub fn wait_children(&self, n: usize) -> Vec<u32> {
        let mut children = Vec::new();
        let found = holds_within(DEADLINE, || {
            children = self.children();
            children.len() == n
        });
        if !found {
            self.fail(&format!("not {n} children within {DEADLINE:?}, but {children:?}"));
        }
        children
    }

    /// Waits until `f` is true, at most [`DEADLINE`]: see [`holds_within`].
    ///
    /// # Panics
    /// With `what` and all output.
    #[track_caller]
    pub fn wait_until(&self, what: &str, f: impl FnMut() -> bool) {
        if !holds_within(DEADLINE, f) {
            self.fail(&format!("not within {DEADLINE:?}: {what}"));
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        self.shown.store(true, Ordering::Relaxed);
        panic!("{what}\n{}", self.transcript());
    }

    fn transcript(&self) -> String {
        let text = self.log.caught_up().transcript();
        format!("--- output of process {} ---\n{text}\n--- end of output ---", self.pid)
    }
}

impl Drop for Running {
    #[expect(
        clippy::print_stderr,
        reason = "belongs to the test's own output, which the test runner captures"
    )]
    fn drop(&mut self) {
        if thread::panicking() && !self.shown.load(Ordering::Relaxed) {
            eprintln!("{}", self.transcript());
        }
        // Who its descendants are shows best while it lives; that it dies first keeps it from
        // replacing them.
        self.family.track();
        let mut child = self.child();
        // Fails only if it has been waited for.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        let left = self.family.kill();
        if !left.is_empty() {
            eprintln!("processes {left:?}, left behind by {}, survive SIGKILL", self.pid);
        }
    }
}

fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(LISTENING)?;
    let word = rest.split_whitespace().next()?;
    Some(word.trim_end_matches([',', ';', ')', '"']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Server, alive};

    fn shell(script: &str) -> Running {
        Server::command("sh").args(["-c", script]).start()
    }

    /// What `f` panics with.
    fn panic_of(f: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        panic.downcast_ref::<String>().expect("a formatted message").clone()
    }

    #[test]
    fn lines_are_waited_for_from_match_to_match() {
        let server =
            shell("echo one; echo two >&2; read -r line < /dev/null; echo one more; exec sleep 60");
        assert_eq!(server.wait_line("one"), "one");
        assert_eq!(server.wait_line("one"), "one more");
        server.clear_cursor();
        assert_eq!(server.wait_line("two"), "two");
        assert_eq!((server.count_lines("one"), server.lines().len()), (2, 3));
        server.mark();
        let text = panic_of(|| drop(server.wait_line_within("one", Duration::from_millis(20))));
        assert!(text.contains("not within 20ms") && text.contains("one more"), "{text}");
    }

    #[test]
    fn waiting_for_a_line_ends_with_the_output() {
        let server = shell("echo only; printf unfinished; exit 3");
        let text = panic_of(|| drop(server.wait_line("never")));
        assert!(
            text.contains("its output has ended") && text.contains("only\nunfinished"),
            "{text}"
        );
        assert_eq!(server.wait_exit().code(), Some(3));
        assert_eq!(server.lines(), ["only", "unfinished"]);
    }

    #[test]
    fn addresses_are_the_words_after_listening_on() {
        let server =
            shell("echo 'x: listening on 127.0.0.1:1, now'; echo listening on unix:/a; sleep 60");
        server.wait_line("unix");
        assert_eq!(server.address(), "127.0.0.1:1");
        assert_eq!(server.addresses(2), ["127.0.0.1:1", "unix:/a"]);
    }

    #[test]
    fn signals_reach_it_and_its_end_is_told() {
        // Not HUP: whoever is started by nohup ignores it, and so does a shell of its.
        let server = shell("trap 'echo usr1' USR1; echo ready; while :; do sleep 0.01; done");
        server.wait_line("ready");
        assert_eq!(server.try_exit(), None);
        server.signal(libc::SIGUSR1);
        server.wait_line("usr1");
        let text = panic_of(|| {
            server.wait_exit_within(Duration::from_millis(20));
        });
        assert!(text.contains("still runs after 20ms"), "{text}");
        server.signal(libc::SIGTERM);
        assert_eq!(server.wait_exit().signal(), Some(libc::SIGTERM));
        assert_eq!(server.try_exit().and_then(|status| status.signal()), Some(libc::SIGTERM));
        server.signal(libc::SIGTERM);
    }

    #[test]
    fn children_are_the_living_direct_ones() {
        let server =
            shell("sleep 60 & sleep 60 & sh -c 'sleep 60; :' & true & echo ready; exec sleep 60");
        server.wait_line("ready");
        let children = server.wait_children(3);
        server.wait_until("a grandchild", || process::descendants(server.pid()).len() == 4);
        assert!(process::signal(children[0], libc::SIGKILL));
        assert_eq!(server.wait_children(2), children[1..]);
        let family = process::descendants(server.pid());
        drop(server);
        assert!(!family.into_iter().any(alive));
    }
}
