//! What takes real forks of this crate's own parts. A threaded test runner cannot fork, so this is a program
//! with one thread that runs each check in a child of its own, prints a line per check, and fails if any
//! did.
#![allow(clippy::print_stdout)]

mod daemon;
mod logs;

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tine_os::poll::readable;
use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::Signal;

/// A named check. It runs in a process of its own and fails by a panic.
type Check = (&'static str, fn());

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What a test runner asks before it runs anything.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| name.contains(wanted.as_str()));
    let checks = [daemon::CHECKS, logs::CHECKS];
    let mut all_well = true;
    for (name, check) in checks.into_iter().flatten().filter(|(name, _)| is_wanted(name)) {
        let (pid, pidfd) = child(check);
        let in_time = readable(&pidfd, Some(DEADLINE)).expect("poll");
        let _ = process::signal_group(pid, Signal::KILL);
        let end = end_of(&pidfd);
        let well = in_time && end == Change::Exited(0);
        let outcome = if well { "ok".to_owned() } else { format!("FAILED: {end:?}") };
        println!("check {name} ... {outcome}");
        all_well &= well;
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Forks a child that runs `body`, as the leader of a group; it ends with 0, or with 101 if it panics. It does not outlive
/// the process that has made it, whatever a check comes to; see [`end_with_parent`].
fn child(body: impl FnOnce()) -> (Pid, OwnedFd) {
    let parent = process::pid();
    lasting_child(|| {
        end_with_parent();
        assert_eq!(process::parent(), Some(parent), "it is gone already");
        body();
    })
}

/// The same, and it may outlive it.
fn lasting_child(body: impl FnOnce()) -> (Pid, OwnedFd) {
    match process::fork().expect("fork") {
        Forked::Child => {
            let life = || {
                process::lead_own_group().expect("own group");
                body();
            };
            let code = catch_unwind(AssertUnwindSafe(life)).map_or(101, |()| 0);
            process::exit_now(code)
        }
        Forked::Parent(pid) => (pid, process::pidfd(pid).expect("pidfd")),
    }
}

/// Has the kernel end this child when its parent ends. A change of user takes that back (prctl(2)), so it is said again
/// then.
fn end_with_parent() {
    process::die_with_parent(Signal::KILL).expect("prctl");
}

/// Waits for a child's end and reaps it.
fn end_of(pidfd: &OwnedFd) -> Change {
    assert!(readable(pidfd, Some(DEADLINE)).expect("poll"), "the child does not end");
    process::reap(pidfd).expect("reap").expect("a child that has ended")
}

/// Looks again and again until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
