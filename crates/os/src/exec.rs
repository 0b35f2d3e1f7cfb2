//! What a program finds when it begins by exec: descriptors at the numbers it expects, and nothing else.
//!
//! For forked children alone. They never return to the code that owns their descriptors, so numbers may be
//! closed and given another meaning here.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::fcntl_dupfd_cloexec;

use crate::process::thread_count;
use crate::signal::{Signal, ignore};

/// The numbers below this are standard input, output and error.
const FIRST: RawFd = 3;

/// Puts descriptors at these numbers for the next `exec`, which closes all others but 0, 1 and 2. Which numbers
/// they had does not matter: none is overwritten before it is copied.
///
/// Answers with a copy of `spare` that is in nobody's way and ends with the `exec`: to say by it that there was
/// none. Of this process's other descriptors any may be another file afterwards.
///
/// # Errors
/// `InvalidInput` for a number twice or below 0; `EINVAL` or `EMFILE` for one beyond the limit of open files
/// (fcntl(2), dup2(2)).
pub fn place(wanted: &[(BorrowedFd<'_>, RawFd)], spare: impl AsFd) -> io::Result<OwnedFd> {
    let mut numbers: Vec<RawFd> = wanted.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    if numbers.first().is_some_and(|&number| number < 0)
        || numbers.windows(2).any(|pair| pair[0] == pair[1])
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a number twice, or below zero"));
    }
    close_all_on_exec()?;
    let above = numbers.last().map_or(FIRST, |&last| last.saturating_add(1).max(FIRST));
    let spare = fcntl_dupfd_cloexec(spare, above)?;
    let mut copies = Vec::with_capacity(wanted.len());
    for (fd, _) in wanted {
        copies.push(fcntl_dupfd_cloexec(fd, above)?);
    }
    for (copy, (_, number)) in copies.iter().zip(wanted) {
        // SAFETY: two integers; that nobody in this process relies on the second one any more is the caller's
        // promise, and the copies are all beyond it.
        if unsafe { libc::dup2(copy.as_raw_fd(), *number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(spare)
}

/// The descriptors from 3 on that the next `exec` would not close: at the beginning of a program those that the process
/// that started it has left open for it.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn inherited() -> io::Result<Vec<RawFd>> {
    // SAFETY: two integers; a number that is not open any more is an error, and left out.
    let flags = |number: RawFd| unsafe { libc::fcntl(number, libc::F_GETFD) };
    let stays = |number: &RawFd| {
        let flags = flags(*number);
        *number >= FIRST && flags != -1 && flags & libc::FD_CLOEXEC == 0
    };
    Ok(open_numbers()?.into_iter().filter(stays).collect())
}

/// Has a program begin with this signal ignored. (`SIGPIPE` is given its default by the standard library at the last
/// moment, whatever it was before.)
pub fn ignoring(command: &mut Command, signal: Signal) {
    // SAFETY: sigaction(2) may be called between fork and exec (signal-safety(7)), and nothing is allocated for it.
    unsafe { command.pre_exec(move || ignore(signal)) };
}

/// Marks every descriptor but 0, 1 and 2.
fn close_all_on_exec() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: three integers; nothing is closed now.
    if unsafe { libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, flags) } == 0 {
        return Ok(());
    }
    // Before Linux 5.11, or where a filter forbids it.
    for number in open_numbers()? {
        // SAFETY: integers; a number that is closed meanwhile is refused.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Closes every descriptor but 0, 1, 2 and these, whoever opened it. See the module.
///
/// # Errors
/// When `/proc` is not there, on a kernel without close_range(2).
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|&number| number >= FIRST).collect();
    keep.sort_unstable();
    let mut from = FIRST;
    for number in keep.iter().copied().chain([RawFd::MAX]) {
        if from < number && !close_range(from, number - 1) {
            let left = open_numbers()?.into_iter().filter(|number| !keep.contains(number));
            crate::fd::close_many(left);
            return Ok(());
        }
        from = from.max(number.saturating_add(1));
    }
    Ok(())
}

/// `false` if there is no close_range(2) (before Linux 5.9), or a filter forbids it.
fn close_range(first: RawFd, last: RawFd) -> bool {
    // SAFETY: three integers; that nobody in this process uses these numbers any more is the caller's promise.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// The numbers that are open, without 0, 1 and 2. The one that reads the list is closed by then.
fn open_numbers() -> io::Result<Vec<RawFd>> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let all = fs::read_dir("/proc/self/fd")?.flatten().filter_map(number);
    Ok(all.filter(|&number| number >= FIRST).collect())
}

/// Takes a variable out of this process's environment, so that nothing it starts sees it.
///
/// # Errors
/// `Other` if there is a second thread: it could be reading the environment; or if `/proc` cannot say.
pub fn remove_variable(name: impl AsRef<OsStr>) -> io::Result<()> {
    if thread_count()? > 1 {
        return Err(io::Error::other("the environment of a process with threads is not changed"));
    }
    // SAFETY: there is no other thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Ok(())
}
