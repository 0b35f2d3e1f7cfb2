//! The pid file: says which process runs, and is locked while it does, so that two cannot have it at once
//! (rows N38, A27).
//!
//! The lock decides, not the number: the number of a process that is gone may be another's by now, as it is in a container
//! that is started again. The file appears whole or not at all, under its name and with its lock held. It is not touched
//! by a reload, and removed by the process that made it alone, if it is still the same file.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf, absolute};
use std::process;
use std::time::Duration;

use tine_os::fd::copy_of;
use tine_os::no_follow::{Found, Place, There, find};
use tine_os::poll::readable;
use tine_os::process::{Pid, pidfd};

use crate::{Error, Result};

mod beside;

use beside::{sweep, write};

/// Longest file that is taken for a pid file, in bytes, unless it begins with a number: a mistyped path
/// shall not cost anybody his password file.
const LONGEST: usize = 64;
/// How often somebody else may be quicker.
const ATTEMPTS: usize = 16;

/// A pid file of this process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Open for the lock's sake.
    file: File,
    creator: u32,
}

impl PidFile {
    /// Writes `pid` and a newline to `path`, mode 0644, and keeps the file locked (`flock`).
    ///
    /// Replaced is what nobody has locked: a pid, whosever it is by now, and what is no pid, if it is short. Refused are a
    /// file that is locked, and what is no plain file.
    pub(crate) fn create(path: &Path, pid: u32) -> Result<Self> {
        let path = absolute(path).map_err(|error| failed(path, error))?;
        let place = place(&path)?;
        sweep(&place);
        for _ in 0..ATTEMPTS {
            let Some(old) = existing(&path, &place)? else {
                match write(&place, pid, |new| beside::publish(new, &place)) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    made => return Self::of(path, made),
                }
            };
            let text = claim(&path, &old)?;
            // While its lock was waited for nobody else could replace it; before, he could.
            if !is_at(&place, &old).map_err(|error| failed(&path, error))? {
                continue;
            }
            judge(&path, &text)?;
            let made = write(&place, pid, |new| new.rename(&place));
            return Self::of(path, made);
        }
        Err(failed(&path, io::Error::other("other processes write it all the time")))
    }

    /// Whether it could be written, asked without writing it: the process that has it now. The file is locked for a
    /// moment, together with whoever else asks.
    ///
    /// # Errors
    /// As [`Self::create`], but for that process.
    pub(crate) fn check(path: &Path) -> Result<Option<u32>> {
        let path = absolute(path).map_err(|error| failed(path, error))?;
        tine_os::possible::make(&path).map_err(|error| failed(&path, error))?;
        let Some(old) = existing(&path, &place(&path)?)? else { return Ok(None) };
        let text = beginning(&path, &old)?;
        match old.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Ok(pid_in(&text)),
            Ok(()) | Err(TryLockError::Error(_)) => judge(&path, &text).map(|()| None),
        }
    }

    fn of(path: PathBuf, made: io::Result<File>) -> Result<Self> {
        match made {
            Ok(file) => Ok(Self { path, file, creator: process::id() }),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// The one that the program before has left, if it is where this one's should be.
    pub(crate) fn take_over(path: &Path, left: &(PathBuf, i32)) -> Result<Option<Self>> {
        let wanted = absolute(path).map_err(|error| failed(path, error))?;
        if wanted != left.0 {
            return Ok(None);
        }
        let file = copy_of(left.1).map_err(|error| failed(path, error))?;
        Ok(Some(Self { path: wanted, file: file.into(), creator: process::id() }))
    }

    /// Its path, and the number of its descriptor, which a forked child must close: the lock lasts as long as
    /// anybody has it open.
    pub(crate) fn left(&self) -> (PathBuf, i32) {
        (self.path.clone(), self.file.as_raw_fd())
    }

    /// Removes it, unless another process made it, or another file is in its place by now.
    pub(crate) fn remove(self) -> Result<()> {
        if process::id() != self.creator || tine_os::comeback::is_open() {
            return Ok(());
        }
        let os =
            |error| Error::os(format!("cannot remove the pid file {}", self.path.display()), error);
        let place = place(&self.path)?;
        match is_at(&place, &self.file).map_err(os)? {
            true => place.remove().map_err(os),
            false => Ok(()),
        }
    }
}

/// Whether a process has this number. One that has ended, and waits to be reaped, does not count.
///
/// # Errors
/// If it cannot be told: no descriptors are left, say.
pub(crate) fn is_alive(number: u32) -> io::Result<bool> {
    const ESRCH: i32 = 3;
    let Some(pid) = Pid::from_raw(number) else { return Ok(false) };
    match pidfd(pid) {
        Ok(process) => Ok(!readable(process, Some(Duration::ZERO))?),
        Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(false),
        // A thread that is not its process's first has a number, too (pidfd_open(2)).
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Where the path leads, by links of root's or this user's.
fn place(path: &Path) -> Result<Place> {
    match find(path).map_err(|error| failed(path, error))? {
        Found::Place(place) => Ok(place),
        Found::Descriptor { .. } => Err(no_plain_file(path)),
    }
}

/// The file that is there, open; `None` if there is none.
fn existing(path: &Path, place: &Place) -> Result<Option<File>> {
    let missing = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(failed(path, error)),
    };
    match place.look().map_err(|error| failed(path, error))? {
        Some(There { is_file: true, .. }) => place.open().map(Some).or_else(missing),
        Some(_) => Err(no_plain_file(path)),
        None => Ok(None),
    }
}

fn no_plain_file(path: &Path) -> Error {
    let path = path.display();
    Error::config(format!("the pid file {path} cannot be written: what is there is no plain file"))
}

/// Locks a file that somebody else wrote, and reads how it begins.
fn claim(path: &Path, old: &File) -> Result<Vec<u8>> {
    let locked = old.try_lock();
    let text = beginning(path, old)?;
    match locked {
        Ok(()) => Ok(text),
        Err(TryLockError::Error(error)) => Err(failed(path, error)),
        Err(TryLockError::WouldBlock) => Err(match pid_in(&text) {
            Some(pid) if is_alive(pid).unwrap_or(true) => runs(path, pid),
            _ => Error::config(format!(
                "{} is locked: a process that has it runs, starts or is on its way \
                 out; wait for it, or stop it",
                path.display()
            )),
        }),
    }
}

fn beginning(path: &Path, old: &File) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = old.take(LONGEST as u64 + 1).read_to_end(&mut text);
    read.map(|_| text).map_err(|error| failed(path, error))
}

/// Refuses what must not be replaced, though nobody has locked it.
fn judge(path: &Path, text: &[u8]) -> Result<()> {
    match pid_in(text) {
        None if text.len() > LONGEST => Err(Error::config(format!(
            "{} is no pid file: remove it, or choose another path",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// The number a file begins with; other programs write more after it.
fn pid_in(text: &[u8]) -> Option<u32> {
    let first = text.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    std::str::from_utf8(first).ok()?.parse().ok().filter(|&pid| pid != 0)
}

/// Whether this file is the one in its place.
fn is_at(place: &Place, file: &File) -> io::Result<bool> {
    let ours = There::open(file)?;
    Ok(place.look()?.is_some_and(|found| found.identity == ours.identity))
}

fn runs(path: &Path, pid: u32) -> Error {
    let path = path.display();
    Error::config(format!("{path} says that process {pid} runs: stop it or remove the file"))
}

fn failed(path: &Path, error: io::Error) -> Error {
    let shown = path.display();
    match (error.kind(), path.parent()) {
        (ErrorKind::NotFound, Some(directory)) if !directory.exists() => Error::config(format!(
            "the pid file {shown} cannot be written: there is no directory {}",
            directory.display()
        )),
        _ => Error::file(format!("the pid file {shown} cannot be written"), error),
    }
}

#[cfg(test)]
mod tests;
