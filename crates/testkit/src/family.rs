//! Whom a process of a test left behind: found by several traces, so that nothing outlives its
//! test, and nobody else is hit.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::{self, Entry};
use crate::server::MARKER;
use crate::wait::{alive, holds_within};

/// How long killed processes may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// One started process and everything descended from it.
///
/// A process belongs to it that was seen to be a child of a member, is in a group or session one of
/// them leads, or was started with its marker in the environment. A member is known by number and
/// start time: numbers come again.
#[derive(Debug)]
pub(crate) struct Family {
    marker: String,
    known: Mutex<BTreeMap<u32, u64>>,
}

impl Family {
    /// Of process `root`, which must not have been waited for yet, started with [`MARKER`]`=id`.
    pub(crate) fn new(root: u32, id: &str) -> Self {
        let started = process::entry(root).map(|entry| (root, entry.started));
        Self { marker: format!("{MARKER}={id}"), known: Mutex::new(started.into_iter().collect()) }
    }

    /// Remembers who is related to it now, for when they are orphans; the living ones, in order of
    /// their numbers.
    pub(crate) fn track(&self) -> Vec<Entry> {
        self.gather(|_| false)
    }

    /// As [`track`](Self::track), and who has the marker: dearer, since it reads every process's
    /// environment.
    fn members(&self) -> Vec<Entry> {
        self.gather(|entry| self.marks(entry.pid))
    }

    fn gather(&self, marked: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let table = process::snapshot();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A number that is somebody else's by now leads to nobody.
        for entry in &table {
            if known.get(&entry.pid).is_some_and(|started| *started != entry.started) {
                known.remove(&entry.pid);
            }
        }
        loop {
            let before = known.len();
            for entry in &table {
                let related = [entry.ppid, entry.group, entry.session]
                    .iter()
                    .any(|number| known.contains_key(number));
                if !known.contains_key(&entry.pid) && (related || marked(entry)) {
                    known.insert(entry.pid, entry.started);
                }
            }
            if known.len() == before {
                break;
            }
        }
        table.into_iter().filter(|entry| entry.runs() && known.contains_key(&entry.pid)).collect()
    }

    fn marks(&self, pid: u32) -> bool {
        // Unreadable means another user's or gone; then the other traces must do.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == self.marker.as_bytes())
    }

    /// Kills everyone of it, newcomers too; those who would not go.
    pub(crate) fn kill(&self) -> Vec<u32> {
        let mut left = Vec::new();
        holds_within(KILL_DEADLINE, || {
            left = self.members();
            left.iter().for_each(kill_entry);
            left.retain(|entry| alive(entry.pid));
            left.is_empty() && self.members().is_empty()
        });
        left.iter().map(|entry| entry.pid).collect()
    }
}

/// Kills exactly this process: looks whether the pidfd is still of the one meant before using it.
fn kill_entry(entry: &Entry) {
    let Ok(pidfd) = pidfd_open(process::pid(entry.pid), PidfdFlags::empty()) else { return };
    if process::entry(entry.pid).is_some_and(|now| now.started == entry.started) {
        // Gone meanwhile is what was wanted.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Running, Server, alive, require_peer, wait_gone};

    fn number_after(server: &Running, word: &str) -> u32 {
        let line = server.wait_line(word);
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    #[test]
    fn an_orphan_in_a_session_of_its_own_is_found() {
        if !require_peer("setsid") {
            return;
        }
        let script = "setsid sh -c 'sh -c \"echo daemon \\$\\$; exec sleep 60\" & exit' & wait";
        let server = Server::command("sh").args(["-c", script]).start();
        let daemon = number_after(&server, "daemon ");
        server.wait_exit();
        assert!(alive(daemon));
        drop(server);
        assert!(!alive(daemon));
    }

    #[test]
    fn an_orphan_without_the_marker_is_found_by_its_group() {
        let script = "env -i sh -c 'echo child $$; exec sleep 60' &";
        let server = Server::command("sh").args(["-c", script]).start();
        let child = number_after(&server, "child ");
        server.wait_exit();
        drop(server);
        assert!(!alive(child));
    }

    #[test]
    fn a_stopped_process_and_another_tests_processes() {
        let other = Server::command("sleep").arg("60").start();
        let stopped = Server::command("sleep").arg("60").start();
        stopped.signal(libc::SIGSTOP);
        stopped.wait_until("it is stopped", || crate::process::status(stopped.pid()).state == 'T');
        let pid = stopped.pid();
        drop(stopped);
        wait_gone(pid);
        assert!(alive(other.pid()) && other.try_exit().is_none());
    }
}
