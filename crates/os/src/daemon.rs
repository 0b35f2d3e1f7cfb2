//! What a daemon does to the descriptors it was started with.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};

/// One of the three descriptors every program is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standard {
    /// Number 0.
    Input,
    /// Number 1.
    Output,
    /// Number 2.
    Error,
}

/// Makes a standard stream mean another open file (dup2(2)). In between there is no moment in which its
/// number means nothing. It is kept by `exec`, as standard streams are.
///
/// # Errors
/// `EINTR`, `EIO`: what was open there could not be closed well (dup2(2)).
pub fn redirect(stream: Standard, to: impl AsFd) -> io::Result<()> {
    let number = match stream {
        Standard::Input => libc::STDIN_FILENO,
        Standard::Output => libc::STDOUT_FILENO,
        Standard::Error => libc::STDERR_FILENO,
    };
    let to = to.as_fd().as_raw_fd();
    // SAFETY: two open descriptors. The second is nobody's own: the standard library opens the three before
    // `main`, lends them to everybody, and never closes them.
    match unsafe { libc::dup2(to, number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `/dev/null`, to read and to write; close-on-exec.
///
/// # Errors
/// `EMFILE`; `ENOENT` in a root directory without devices.
pub fn null() -> io::Result<OwnedFd> {
    OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from)
}

/// Whether somebody may be at the other end: it is a pipe, a socket or a terminal. A program that waits for the end of its
/// child's output waits as long as any process has this open.
///
/// # Errors
/// None is to be expected (fstat(2)).
pub fn has_reader(fd: impl AsFd) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
    Ok(match kind {
        FileType::Fifo | FileType::Socket => true,
        FileType::CharacterDevice => rustix::termios::isatty(fd),
        _ => false,
    })
}

/// Whether this process's session has a terminal that is still there (tty(4)).
#[must_use]
pub fn has_terminal() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open("/dev/tty", flags, Mode::empty()).is_ok()
}

/// Whether two descriptors mean the same file or socket, be it opened once or twice.
///
/// # Errors
/// None is to be expected (fstat(2)).
pub fn is_same_file(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_reader_and_a_pipe_has() {
        let (reader, writer) = io::pipe().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(has_reader(&reader).unwrap() && has_reader(&writer).unwrap());
        assert!(!has_reader(&file).unwrap() && !has_reader(null().unwrap()).unwrap());
    }

    #[test]
    fn a_copy_is_the_same_file_and_another_is_not() {
        let null = null().unwrap();
        let copy = crate::fd::duplicate(&null).unwrap();
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(is_same_file(&null, &copy).unwrap());
        assert!(!is_same_file(&null, &pipe).unwrap());
    }
}
