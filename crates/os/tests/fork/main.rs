//! Everything that needs real forks. A threaded test runner cannot fork, so this is a program with
//! one thread that runs each check in a child of its own, prints a line per check, and fails if any
//! did.
#![allow(clippy::print_stdout)]

mod descriptors;
mod privileges;
mod processes;
mod signals;

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::Signal;
use tine_os::{poll, signal};

/// Why a check was not made, if it was not.
type Outcome = Result<(), &'static str>;
/// A named check. It runs in a process of its own and fails by a panic.
type Check = (&'static str, fn() -> Outcome);

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Exit status of a check that was skipped.
const SKIPPED: i32 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What a test runner asks before it runs anything.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let is_wanted = |name: &str| match wanted {
        Some(wanted) if exact => name == wanted,
        Some(wanted) => name.contains(wanted.as_str()),
        None => true,
    };
    let checks = [processes::CHECKS, signals::CHECKS, descriptors::CHECKS, privileges::CHECKS];
    let mut failed = 0;
    for &(name, check) in checks.into_iter().flatten().filter(|(name, _)| is_wanted(name)) {
        failed += u32::from(!report(name, check));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a check and says what became of it; `true` unless it failed.
fn report(name: &str, check: fn() -> Outcome) -> bool {
    let (pid, pidfd) = child(|| run(check));
    let ended = poll::readable(&pidfd, Some(DEADLINE)).expect("poll");
    // Whatever the check has left behind: it leads a group.
    let _ = signal_everything(pid);
    match wait(&pidfd) {
        Change::Exited(0) => println!("check {name} ... ok"),
        Change::Exited(SKIPPED) => println!("check {name} ... skipped"),
        change if ended => {
            println!("check {name} ... FAILED: {change:?}");
            return false;
        }
        _ => {
            println!("check {name} ... FAILED: still running after {DEADLINE:?}");
            return false;
        }
    }
    true
}

fn signal_everything(leader: Pid) -> std::io::Result<()> {
    process::signal_group(leader, Signal::KILL)
}

fn run(check: fn() -> Outcome) -> i32 {
    process::lead_own_group().expect("own group");
    match check() {
        Ok(()) => 0,
        Err(why) => {
            println!("skipped: {why}");
            SKIPPED
        }
    }
}

/// Forks a child that runs `body` and leaves with its answer, or with 101 if it panics.
fn child(body: impl FnOnce() -> i32) -> (Pid, OwnedFd) {
    match process::fork().expect("fork") {
        Forked::Child => {
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            process::exit_now(code)
        }
        Forked::Parent(pid) => (pid, process::pidfd(pid).expect("pidfd")),
    }
}

/// Waits for a child's end and reaps it.
fn wait(pidfd: &OwnedFd) -> Change {
    assert!(poll::readable(pidfd, Some(DEADLINE)).expect("poll"), "the child does not end");
    process::reap(pidfd).expect("reap").expect("a child that has ended")
}

/// In a child: waits for something that does not come, until a signal ends it.
fn hang() -> ! {
    signal::arm_alarm(DEADLINE);
    hang_on_alarm()
}

/// In a child: waits for a signal that ends it, or the alarm that is set already.
fn hang_on_alarm() -> ! {
    loop {
        std::thread::park_timeout(DEADLINE);
    }
}
