//! Waiting: every wait of the kit goes through here, on an event where there is one, always with a
//! deadline.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::process;

/// How long the kit waits for anything, unless told: 10 s. Long enough for a loaded machine;
/// reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// First and longest pause between two looks at a condition nothing announces.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Whether `f` becomes true within `deadline`. Looks at once, then after pauses of 1 ms growing to
/// 10 ms.
///
/// This is the one place where the kit polls: for the state of something foreign (`/proc`, a file,
/// another process's socket) that has no descriptor to wait on. Whatever has one is waited for
/// there.
pub fn holds_within(deadline: Duration, mut f: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        if f() {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        // Ends early by a signal: one look more than needed.
        let _ = poll(&mut [], Some(&timespec(pause.min(left))));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until `f` is true: see [`holds_within`].
///
/// # Panics
/// With `what`, when it is not within `deadline`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, f: impl FnMut() -> bool) {
    assert!(holds_within(deadline, f), "not within {deadline:?}: {what}");
}

/// Waits until process `pid` has ended (a zombie has), through a pidfd. It need not be a child of
/// the test.
///
/// # Panics
/// When it still runs after [`DEADLINE`].
#[track_caller]
pub fn wait_gone(pid: u32) {
    match pidfd_open(process::pid(pid), PidfdFlags::empty()) {
        Ok(pidfd) => assert!(
            readable_within(&pidfd, DEADLINE),
            "process {pid} still runs after {DEADLINE:?}"
        ),
        Err(Errno::SRCH) => {}
        Err(error) => panic!("pidfd_open({pid}): {error}"),
    }
}

/// Whether process `pid` exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    process::entry(pid).is_some_and(|entry| entry.runs())
}

/// Whether `fd` becomes readable (or hung up) within `deadline`.
pub(crate) fn readable_within(fd: impl AsFd, deadline: Duration) -> bool {
    ready_within(fd, PollFlags::IN, deadline)
}

/// Whether one of `events`, a hang-up or an error comes to `fd` within `deadline`.
pub(crate) fn ready_within(fd: impl AsFd, events: PollFlags, deadline: Duration) -> bool {
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&fd, events)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) | Err(Errno::INTR) if !left.is_zero() => {}
            Ok(count) => return count > 0,
            Err(Errno::INTR) => return false,
            Err(error) => panic!("poll: {error}"),
        }
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// As [`Pid`], for the calls that take one.
pub(crate) fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        wait_until("three looks", DEADLINE, || {
            looks += 1;
            looks == 3
        });
        assert!(!holds_within(Duration::from_millis(20), || false));
    }

    #[test]
    fn a_process_that_ends_is_noticed_and_a_zombie_counts_as_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
        assert!(alive(child.id()));
        assert!(process::signal(child.id(), libc::SIGKILL));
        wait_gone(child.id());
        assert!(!alive(child.id()), "a zombie is not alive");
        child.wait().expect("it is a child");
        wait_gone(child.id());
    }
}
