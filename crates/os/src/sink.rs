//! Where lines go: files that grow at their end, and writes that do not wait for a reader.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::daemon::is_same_file;
use crate::fd::copy_of;
use crate::no_follow::{Found, find};
use crate::poll::writable_now;

/// The most bytes a pipe takes whole or not at all: `PIPE_BUF` (pipe(7)).
pub const PIPE_BYTES: usize = 4096;

/// Opens a file to append to it, and makes it if there is none, with this mode less the umask. Close-on-exec. A
/// terminal does not become this process's own (`O_NOCTTY`), and a named pipe is not waited for: later writes fail with
/// `WouldBlock` instead.
///
/// Links of other users are not followed, see [`crate::no_follow`]. A path that names a descriptor of this process
/// (`/dev/stdout`, `/proc/self/fd/N`, or a link to one) is a copy of that one. To open it would fail for a socket and for
/// what belongs to another user by now.
///
/// # Errors
/// open(2)'s; `ENXIO` for a named pipe that nobody reads, and for a socket; `EBADF` for a descriptor that is not open, or
/// not to write; those of [`find`].
pub fn open_append(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    match find(path)? {
        Found::Place(place) => place.open_append(mode),
        Found::Descriptor { number, .. } => append_to(number),
    }
}

/// Opens it once more, in the place of `before`. A link that another user has made may have led to standard output from
/// the start; it must not lead there from now on.
///
/// # Errors
/// As [`open_append`].
pub fn reopen_append(path: &Path, mode: u32, before: impl AsFd) -> io::Result<OwnedFd> {
    match find(path)? {
        Found::Place(place) => place.open_append(mode),
        Found::Descriptor { number, trusted } => {
            let file = append_to(number)?;
            if trusted || is_same_file(&file, before)? {
                return Ok(file);
            }
            let text = format!("another user has made {} a link", path.display());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
    }
}

/// A copy of a descriptor of this process to append to: a log that this process was started with. The kernel appends to a
/// file from then on, also for the process that shares the descriptor.
///
/// # Errors
/// `EBADF` if nothing is open there, or not to write.
pub fn append_to(number: i32) -> io::Result<OwnedFd> {
    let copy = copy_of(number)?;
    append_only(&copy)?;
    Ok(copy)
}

/// Has each write to a file go to its end, whoever else writes to it; nothing changes for what is no file.
///
/// # Errors
/// `EBADF` if it is not open to write.
pub fn append_only(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    if flags & OFlags::RWMODE == OFlags::RDONLY || flags.contains(OFlags::PATH) {
        return Err(Errno::BADF.into());
    }
    if is_regular(&fd)? && !flags.contains(OFlags::APPEND) {
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::APPEND)?;
    }
    Ok(())
}

/// Whether this is a file proper, on a disk or in memory: no pipe, socket or device.
///
/// # Errors
/// None is to be expected (fstat(2)).
pub fn is_regular(fd: impl AsFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::RegularFile)
}

/// Whether a file's last line has no end. `false` for what is no regular file, and where this process may not read it.
pub fn ends_within_a_line(fd: impl AsFd) -> bool {
    let last = || {
        let fd = fd.as_fd();
        let size = is_regular(fd)?.then(|| rustix::fs::fstat(fd)).transpose()?.map(|it| it.st_size);
        let Some(last) = size.and_then(|size| u64::try_from(size).ok()?.checked_sub(1)) else {
            return io::Result::Ok(None);
        };
        // The descriptor is open to write; its file is looked at by another one.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mut byte = [0];
        std::fs::File::open(path)?.read_exact_at(&mut byte, last)?;
        Ok(Some(byte[0]))
    };
    matches!(last(), Ok(Some(byte)) if byte != b'\n')
}

/// Writes without waiting for a reader, in one write, and says how much was taken: less than all if a disk
/// is full, or if a pipe gets more than [`PIPE_BYTES`] at once.
///
/// The descriptor's own flags are left as they are, for they are shared with whoever else has the open
/// file: a terminal's shell, say. A disk is waited for; it has no way to say that it would block.
///
/// # Errors
/// `WouldBlock` if the reader is behind; `BrokenPipe` if it is gone, where `SIGPIPE` is ignored; `ENOSPC`,
/// `EDQUOT`, `EIO` (write(2)).
pub fn write_now(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let fd = fd.as_fd();
    if is_regular(fd)? {
        return Ok(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?);
    }
    let at_once =
        || rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT);
    match rustix::io::retry_on_intr(at_once) {
        // Not for this kind of file, or before Linux 6.5, or a filter forbids it. Between the question and
        // the write somebody else may fill a pipe, and then this waits.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {
            match writable_now(fd) {
                true => Ok(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        }
        taken => Ok(taken?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    /// Writes until nothing more is taken; how much was.
    fn fill(fd: impl AsFd) -> usize {
        let mut taken = 0;
        loop {
            match write_now(&fd, &[b'x'; 1000]) {
                Ok(now) => taken += now,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    return taken;
                }
            }
        }
    }

    #[test]
    fn a_full_pipe_or_socket_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(fill(&writer) > 0);
        drop(reader);
        assert_eq!(write_now(&writer, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (_reader, writer) = UnixStream::pair().unwrap();
        assert!(fill(&writer) > 0);
    }

    #[test]
    fn what_a_pipe_cannot_take_whole_it_does_not_take() {
        let (_reader, writer) = io::pipe().unwrap();
        fill(&writer);
        // A thousand bytes did not fit any more; fewer may, but never a part of a line.
        let line = [b'y'; PIPE_BYTES];
        assert_eq!(write_now(&writer, &line).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_is_made_and_grows_at_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let first = open_append(&path, 0o640).unwrap();
        let second = open_append(&path, 0o640).unwrap();
        assert!(is_regular(&first).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        for (fd, line) in [(&first, "one\n"), (&second, "two\n"), (&first, "three\n")] {
            assert_eq!(write_now(fd, line.as_bytes()).unwrap(), line.len());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_line_without_an_end_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = open_append(&path, 0o640).unwrap();
        for (more, torn) in
            [("", false), ("one\n", false), ("tw", true), ("o", true), ("\n", false)]
        {
            write_now(&log, more.as_bytes()).unwrap();
            assert_eq!(ends_within_a_line(&log), torn, "{more:?}");
        }
        let (_reader, writer) = io::pipe().unwrap();
        assert!(!ends_within_a_line(&writer));
    }

    #[test]
    fn a_full_disk_says_so() {
        let full = open_append(Path::new("/dev/full"), 0).unwrap();
        let error = write_now(&full, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
