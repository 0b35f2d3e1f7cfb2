//! A log of the program's own, beside the service's.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use tine_os::sink::PIPE_BYTES;

use super::file::File;
use super::{Log, Shared, error, warning};
use crate::Result;
use crate::counted::rc;
use crate::handover::LogLeft;

/// A log of the program's own beside the service's: an access log, say. Cheap to clone.
///
/// Given to [`crate::Prefork::log_file`], it is opened anew whenever the service's log is: workers find the
/// new file's descriptor before their next write, in whatever root directory and with whatever rights.
///
/// ```no_run
/// use std::io::Write;
/// use tine::{Prefork, log::LogFile};
///
/// # fn main() -> Result<(), tine::Error> {
/// let visits = LogFile::open("/var/log/visits")?;
/// Prefork::new().listen("127.0.0.1:7007").log_file(visits.clone()).try_run(move |worker| {
///     let log = worker.log().clone();
///     worker.serve(|mut conn| {
///         visits.write(format!("{:?}\n", conn.peer()).as_bytes(), &log);
///         conn.write_all(b"welcome\n")
///     })
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LogFile {
    file: Rc<File>,
    /// Lines of this process that were lost since the last that was not.
    lost: Rc<Cell<u64>>,
}

impl LogFile {
    /// Opens it to append to, as [`Log::to_file`] does. In the supervisor, before it runs.
    ///
    /// # Errors
    /// A configuration error if it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { file: rc(File::open(path.as_ref())?), lost: rc(Cell::default()) })
    }

    /// Whether [`LogFile::open`] and [`Log::to_file`] could open it, asked without opening or making it: for a check, see
    /// [`crate::Prefork::check`].
    ///
    /// # Errors
    /// Theirs.
    pub fn check(path: impl AsRef<Path>) -> Result<()> {
        File::check(path.as_ref())
    }

    /// What it is written to.
    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// See [`Log::shared`].
    pub(crate) fn shared(&self) -> Option<Shared<'_>> {
        self.file.shared()
    }

    /// See [`Log::follow`].
    pub(crate) fn follow(&self, file: OwnedFd, mailbox: OwnedFd) -> io::Result<()> {
        self.file.follow(file, mailbox, false)
    }

    /// The most bytes of one write that are sure not to be torn nor mixed with another process's: 4 KiB for
    /// a named pipe (`PIPE_BUF`, pipe(7)); any number for a file on a disk.
    #[must_use]
    pub fn whole_bytes(&self) -> usize {
        if self.file.line_bytes() == PIPE_BYTES { PIPE_BYTES } else { usize::MAX }
    }

    /// Appends whole lines, each with its end, in one write. What a full disk or a slow reader would not take
    /// at once is lost; `log` is told when that begins, and how many lines it was when it is over.
    pub fn write(&self, lines: &[u8], log: &Log) {
        let path = self.file.path().display();
        match self.file.put_lines(lines) {
            Ok(()) => match self.lost.take() {
                0 => {}
                1 => warning!(log, "{path}: 1 line was lost"),
                lost => warning!(log, "{path}: {lost} lines were lost"),
            },
            Err((error, lines)) => {
                if self.lost.get() == 0 {
                    error!(log, "{path}: lines are being lost: {error}");
                }
                self.lost.set(self.lost.get() + lines);
            }
        }
    }

    pub(crate) fn share(&self) -> io::Result<()> {
        self.file.share()
    }

    pub(crate) fn reopen(&self) -> io::Result<()> {
        self.file.reopen()
    }

    pub(crate) fn private_descriptor(&self) -> Option<i32> {
        self.file.private_descriptor()
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// See [`Log::left`].
    pub(crate) fn left(&self) -> Option<LogLeft> {
        self.file.left()
    }

    /// See [`Log::take_over`].
    pub(crate) fn take_over(&self, left: &LogLeft) -> io::Result<Option<io::Error>> {
        self.file.take_over(left)
    }

    /// See [`Log::opened`].
    pub(crate) fn opened(&self) -> Result<()> {
        self.file.opened()
    }

    /// See [`File::own_descriptor`].
    pub(crate) fn own_descriptor(&self) -> Option<i32> {
        self.file.own_descriptor()
    }
}
