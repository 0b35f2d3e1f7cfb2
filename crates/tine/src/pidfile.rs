//! The pid file: says which process runs, and is locked while it does, so that two cannot have it at once
//! (rows N38, A27).
//!
//! It appears whole or not at all, under its name and with its lock held. It is not touched by a reload,
//! and removed by the process that made it alone, if it is still the same file.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};
use std::process;
use std::time::Duration;

use tine_os::fd::copy_of;
use tine_os::poll::readable;
use tine_os::process::{Pid, pidfd};

use crate::{Error, Result};

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
    /// Replaced are this very pid, which in a container is always the same; the pid of a process that is
    /// gone; and what is no pid, if it is short. Refused are a process that runs, a file that is locked, and
    /// what is no plain file.
    pub(crate) fn create(path: &Path, pid: u32) -> Result<Self> {
        let path = absolute(path).map_err(|error| failed(path, error))?;
        for _ in 0..ATTEMPTS {
            let Some(old) = existing(&path)? else {
                match write(&path, pid, |new| publish(new, &path)) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    made => return Self::of(path, made),
                }
            };
            let text = claim(&path, &old)?;
            // While its lock was waited for nobody else could replace it; before, he could.
            if !is_at(&path, &old).map_err(|error| failed(&path, error))? {
                continue;
            }
            judge(&path, &text, pid)?;
            let made = write(&path, pid, |new| fs::rename(new, &path));
            return Self::of(path, made);
        }
        Err(failed(&path, io::Error::other("other processes write it all the time")))
    }

    /// Whether it could be written, asked without writing or locking it: the process that has it now.
    ///
    /// # Errors
    /// As [`Self::create`], but for that process.
    pub(crate) fn check(path: &Path) -> Result<Option<u32>> {
        let path = absolute(path).map_err(|error| failed(path, error))?;
        tine_os::possible::make(&path).map_err(|error| failed(&path, error))?;
        let Some(old) = existing(&path)? else { return Ok(None) };
        let text = beginning(&path, &old)?;
        match pid_in(&text) {
            Some(pid) if is_alive(pid).unwrap_or(true) => Ok(Some(pid)),
            _ => judge(&path, &text, process::id()).map(|()| None),
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
        let removed = || match is_at(&self.path, &self.file)? {
            true => fs::remove_file(&self.path),
            false => Ok(()),
        };
        if process::id() != self.creator || tine_os::comeback::is_open() {
            return Ok(());
        }
        removed().map_err(|error| {
            Error::os(format!("cannot remove the pid file {}", self.path.display()), error)
        })
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

/// The file that is there, open; `None` if there is none.
fn existing(path: &Path) -> Result<Option<File>> {
    let missing = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(failed(path, error)),
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => File::open(path).map(Some).or_else(missing),
        // To open a named pipe would be to wait for its writer.
        Ok(_) => Err(Error::config(format!(
            "the pid file {} cannot be written: what is there is no plain file",
            path.display()
        ))),
        Err(error) => missing(error),
    }
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

/// Refuses what must not be replaced.
fn judge(path: &Path, text: &[u8], own: u32) -> Result<()> {
    match pid_in(text) {
        Some(pid) if pid == own => Ok(()),
        Some(pid) => match is_alive(pid) {
            Ok(true) => Err(runs(path, pid)),
            Ok(false) => Ok(()),
            Err(error) => Err(failed(path, error)),
        },
        None if text.len() > LONGEST => Err(Error::config(format!(
            "{} is no pid file: remove it, or choose another path",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// The number a file begins with; other programs write more after it.
fn pid_in(text: &[u8]) -> Option<u32> {
    let first = text.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    std::str::from_utf8(first).ok()?.parse().ok().filter(|&pid| pid != 0)
}

/// Writes and locks a new file beside `path`, and has it `put` in place. Nothing is left of a failure.
fn write(path: &Path, pid: u32, put: impl Fn(&Path) -> io::Result<()>) -> io::Result<File> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}", process::id(), serial()));
    let new = path.with_file_name(hidden);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    let mut made = || {
        // Whatever the umask says: it is there to be read.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.try_lock()?;
        file.write_all(format!("{pid}\n").as_bytes())?;
        put(&new)
    };
    let made = made();
    if made.is_err() {
        let _ = fs::remove_file(&new);
    }
    made.map(|()| file)
}

/// Tells the files of one process from each other.
fn serial() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// Puts a file where none may be; a rename would replace one that has come meanwhile.
fn publish(new: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(new, path) {
        // A second name that stays does no harm.
        Ok(()) => {
            let _ = fs::remove_file(new);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links, where two that start at the same moment are not told apart.
        Err(_) => fs::rename(new, path),
    }
}

/// Whether this file is the one at `path`.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
