//! Signals that arrive although this process may not signal other users' processes.
//!
//! Root without `CAP_KILL` (a container with `cap_drop: ALL`, a unit with a `CapabilityBoundingSet`) gets `EPERM` for
//! every process of another user. With `CAP_SETUID`, which it needed to start that process, it can be that user for one
//! system call: kill(2) goes by the sender's effective user. Its real user stays, so that user's processes can
//! neither signal nor trace it meanwhile.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::process as sys;
use rustix::thread::{CapabilitySet, capabilities};

use crate::process::{Pid, send, signal_group, signal_pid};
use crate::signal::Signal;

/// What setresuid(2) takes for "leave it as it is".
const AS_IT_IS: u32 = u32::MAX;

/// Sends a signal to the process of a [`pidfd`](crate::process::pidfd), with the number `pid`, be it another user's. Only
/// for a process with one thread.
///
/// # Errors
/// `ESRCH` if it has ended and been reaped; `EPERM` if it is not ours to signal in any way.
pub fn deliver(pidfd: impl AsFd, pid: Pid, signal: Signal) -> io::Result<()> {
    as_any_user(pid, || send(&pidfd, signal))
}

/// The same by number, for a child that is not reaped, so that the number is still its own.
///
/// # Errors
/// As [`deliver`].
pub fn deliver_to_child(pid: Pid, signal: Signal) -> io::Result<()> {
    as_any_user(pid, || signal_pid(pid, signal))
}

/// As this process's own user, and if that is not enough as that of process `pid`.
fn as_any_user(pid: Pid, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let refused = match act() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    match owner_of(pid) {
        Some(user) if user != effective() => as_user(user, &act),
        _ => Err(refused),
    }
}

/// Sends a signal to every process of the group that `leader` leads, or led, be it this user's or one of `users`. Only
/// for a process with one thread.
///
/// # Errors
/// As [`signal_group`], if not one of them got it.
pub fn deliver_to_group(
    leader: Pid,
    users: impl IntoIterator<Item = u32>,
    signal: Signal,
) -> io::Result<()> {
    let mut result = signal_group(leader, signal);
    // The kernel says yes as soon as one of them could be signalled.
    if may_signal_all() {
        return result;
    }
    for user in users.into_iter().filter(|&user| user != effective()) {
        // One of them has none there, as often as not.
        result = as_user(user, || signal_group(leader, signal)).or(result);
    }
    result
}

/// Whether this process may signal those of every user (`CAP_KILL`).
#[must_use]
pub fn may_signal_all() -> bool {
    capabilities(None).is_ok_and(|all| all.effective.contains(CapabilitySet::KILL))
}

/// The real user of a process, a zombie too; `None` if it is gone or `/proc` does not say.
#[must_use]
pub fn owner_of(pid: Pid) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().next()?.parse().ok()
}

fn effective() -> u32 {
    sys::geteuid().as_raw()
}

/// Does one thing with another effective user. What the kernel takes away with a change of user is put back: whether
/// this process may dump core, and the signal of its parent's death.
///
/// # Errors
/// `EPERM` without `CAP_SETUID`; else what `act` says.
fn as_user(user: u32, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let own = effective();
    if sys::getuid().as_raw() != own {
        // The way back is open to the real user only.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let dumpable = sys::dumpable_behavior();
    let death_signal = sys::parent_process_death_signal();
    set_effective(user)?;
    let result = act();
    if set_effective(own).is_err() {
        // The kernel never refuses the real user. Should it do so, this process must not go on as another user.
        std::process::abort();
    }
    if let Ok(dumpable @ sys::DumpableBehavior::Dumpable) = dumpable {
        let _ = sys::set_dumpable_behavior(dumpable);
    }
    if let Ok(signal @ Some(_)) = death_signal {
        let _ = sys::set_parent_process_death_signal(signal);
    }
    result
}

fn set_effective(user: u32) -> io::Result<()> {
    // SAFETY: takes three integers.
    match unsafe { libc::setresuid(AS_IT_IS, user, AS_IT_IS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
