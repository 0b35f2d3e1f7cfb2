//! The service's own log: a line an event, to standard error, a file, syslog, or a function of the
//! program's.
//!
//! The supervisor must never wait for whoever reads its log, nor end because of it: a line that a full pipe
//! or a full disk would not take at once is dropped, and the next one that gets through says how many were,
//! and why.
//!
//! # Rotation
//!
//! Who rotates a log renames its file and asks for a new one. [`Log::reopen`] opens the path anew, and only
//! if that worked is the old file left. A worker has descriptors of its own, and may be in another root
//! directory and without rights: it finds the new file's descriptor where its supervisor has left it
//! ([`Log::share`]), before its next line, whatever it is busy with. So once a reopening is done nobody
//! begins a line in the renamed file, which may be compressed at once. A process that was not forked is
//! given the descriptor ([`Log::descriptor`], [`Log::replace`]).

mod file;
mod level;
mod line;
mod mailbox;
mod own;
mod reader;
mod sink;
mod syslog;

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use level::Level;
pub(crate) use line::bounded;
pub use line::{escaped, is_unprintable};
pub use own::LogFile;
pub use syslog::{Facility, Syslog};

use self::file::File;
use self::sink::{Sink, Torn};
use crate::Result;
use crate::counted::rc;
use crate::handover::LogLeft;
use crate::scoreboard::Tail;

/// A log; cheap to clone, and shared by the supervisor and the workers forked from it.
///
/// Clones share where their lines go, so that a reopening holds for all of them; each has a level of its
/// own.
#[derive(Clone)]
pub struct Log {
    level: Level,
    /// Lines are the text and nothing else.
    bare: bool,
    sink: Rc<Sink>,
    lost: Rc<Cell<Lost>>,
    /// Where a worker's lines are kept beside, for its supervisor to read when it has died.
    tail: Rc<OnceCell<Tail>>,
}

/// Lines that nobody took.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    lines: u64,
    /// What the system said to the last one; `None`: that its reader is behind.
    errno: Option<i32>,
    /// Whose lines: a forked process does not tell of its parent's.
    process: u32,
}

/// A log in a file, as processes share it that were not forked from one another.
pub(crate) struct Shared<'a> {
    /// Where lines go now.
    pub(crate) file: Rc<OwnedFd>,
    /// Where the next file will be found.
    pub(crate) mailbox: BorrowedFd<'a>,
    /// Whether standard error goes there, too.
    pub(crate) has_stderr: bool,
}

impl Default for Log {
    /// Standard error, [`Level::Info`].
    fn default() -> Self {
        Self {
            level: Level::Info,
            bare: false,
            sink: rc(Sink::Stderr(Torn::default())),
            lost: rc(Cell::default()),
            tail: rc(OnceCell::new()),
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, sink, .. } = self;
        f.debug_struct("Log").field("level", level).field("sink", sink).finish_non_exhaustive()
    }
}

impl Log {
    /// The same log that shows lines up to this level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The same log whose lines are their text alone, without time, level and process: for programs whose lines others
    /// read. Not for syslog, whose own form has them.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Lines go to a function, without time and level. It runs in the supervisor for the supervisor's
    /// lines and in the worker for a worker's, and must not block.
    #[must_use]
    pub fn to_function(self, sink: impl Fn(Level, &str) + 'static) -> Self {
        self.to(Sink::Function(Box::new(sink)))
    }

    /// Lines are appended to a file, which is made if there is none, with mode 0640 less the umask. A
    /// relative path is taken from the working directory of this moment. A named pipe will do if it has a reader.
    ///
    /// `/dev/stdout`, `/dev/stderr` and `/proc/self/fd/N` are that very descriptor, be it a file, a pipe, a socket or a
    /// terminal, and stay so at a reopening. A file is appended to, also by the other processes that share it.
    ///
    /// Links are followed if they were made by root or by this process's user, in a directory of one of these. In a
    /// directory where others may make files, a file with a second name is refused, and so is a pipe of another user.
    ///
    /// # Errors
    /// A configuration error if it cannot be opened.
    pub fn to_file(self, path: impl AsRef<Path>) -> Result<Self> {
        Ok(self.to(Sink::File(File::open(path.as_ref())?)))
    }

    /// Lines go to the standard input of a command, through `/bin/sh -c`. A reopening begins another one, and the one
    /// before ends when nobody writes to it any more. One that has ended by itself is begun again by the next line, a
    /// second after it was begun at the earliest; one that does not read is not waited for.
    ///
    /// # Errors
    /// A configuration error if it cannot be begun.
    pub fn to_command(self, command: &str) -> Result<Self> {
        Ok(self.to(Sink::File(File::to_command(command)?)))
    }

    /// Lines go to the syslog daemon of this machine.
    ///
    /// # Errors
    /// A configuration error if nobody listens there.
    pub fn to_syslog(self, syslog: Syslog) -> Result<Self> {
        Ok(self.to(Sink::Syslog(syslog::Connection::open(syslog)?)))
    }

    fn to(self, sink: Sink) -> Self {
        Self { sink: rc(sink), lost: rc(Cell::default()), ..self }
    }

    /// Keeps what is said from now on where the supervisor finds it, too, by whichever clone. In the worker.
    pub(crate) fn keep_tail(&self, tail: Tail) {
        let _ = self.tail.set(tail);
    }

    /// Whether lines go to standard error, which a daemon then keeps.
    #[must_use]
    pub fn is_stderr(&self) -> bool {
        matches!(*self.sink, Sink::Stderr(_))
    }

    /// Whether a line of this level is shown.
    #[must_use]
    pub fn shows(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes one line. What is not to be printed is shown, not sent, and what is beyond 8 KiB (to standard
    /// error and to a named pipe 4 KiB, which a pipe takes whole) is cut off, and the line says so.
    pub fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if !self.shows(level) {
            return;
        }
        let text = line::bounded(text, self.sink.room());
        if let Some(tail) = self.tail.get() {
            tail.push(level.letter(), &text);
        }
        let before = self.lost();
        let told = before.lines == 0 || self.put(Level::Warn, &before.to_string());
        if told && before.lines > 0 {
            self.lost.set(Lost::default());
        }
        if !told || !self.put(level, &text) {
            let lost = self.lost.get();
            let process = std::process::id();
            self.lost.set(Lost { lines: self.lost().lines + 1, process, ..lost });
        }
    }

    /// Whether it was taken; if not, why is kept.
    fn put(&self, level: Level, text: &str) -> bool {
        let Err(error) = self.sink.put(level, text, self.bare) else { return true };
        let errno = match error.kind() {
            io::ErrorKind::WouldBlock => None,
            _ => error.raw_os_error(),
        };
        self.lost.set(Lost { errno, ..self.lost.get() });
        false
    }

    fn lost(&self) -> Lost {
        let lost = self.lost.get();
        if lost.process == std::process::id() { lost } else { Lost::default() }
    }

    /// Opens the log's file anew, or calls the syslog daemon again. For the other kinds of log there is
    /// nothing to do. In the process that has [shared](Self::share) the log this is done for all.
    ///
    /// # Errors
    /// If that cannot be done; lines go where they went before. Or if standard error, where it is
    /// [captured](Self::capture_stderr), could not follow.
    pub fn reopen(&self) -> io::Result<()> {
        self.sink.reopen()
    }

    /// From now on the processes forked from this one follow when it reopens the log. Costs two descriptors
    /// if the log is a file, and nothing if it is not: a syslog connection is shared as it is.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn share(&self) -> io::Result<()> {
        self.sink.share()
    }

    /// The number of the descriptor that a process forked from the one that shares the log must close: with
    /// it, it could give the others another log.
    #[must_use]
    pub fn private_descriptor(&self) -> Option<i32> {
        self.sink.private_descriptor()
    }

    /// What a worker that is not forked needs to follow this log; `None` if it needs nothing.
    pub(crate) fn shared(&self) -> Option<Shared<'_>> {
        self.sink.shared()
    }

    /// Where the log is, if it is a file.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.sink.file().map(File::path)
    }

    /// What the next program needs to take this log over; `None` if it is no file, or is not shared.
    pub(crate) fn left(&self) -> Option<LogLeft> {
        self.sink.file()?.left()
    }

    /// Workers of the program before follow this log, as their own supervisor's. The answer is why its file could not be
    /// opened, if it goes on with the one that is open.
    pub(crate) fn take_over(&self, left: &LogLeft) -> io::Result<Option<io::Error>> {
        self.sink.file().map_or(Ok(None), |file| file.take_over(left))
    }

    /// An error if the log is a file that this process neither could open nor was given.
    pub(crate) fn opened(&self) -> Result<()> {
        self.sink.file().map_or(Ok(()), File::opened)
    }

    /// See [`File::own_descriptor`].
    pub(crate) fn own_descriptor(&self) -> Option<i32> {
        self.sink.file().and_then(File::own_descriptor)
    }

    /// Whether it is the standard input of a command.
    pub(crate) fn is_command(&self) -> bool {
        self.sink.file().is_some_and(File::is_command)
    }

    /// In such a worker: lines go where the supervisor's go, now and after every reopening.
    ///
    /// # Errors
    /// If standard error could not follow (dup2(2)).
    pub(crate) fn follow(
        &self,
        file: OwnedFd,
        mailbox: OwnedFd,
        has_stderr: bool,
    ) -> io::Result<()> {
        self.sink.follow(file, mailbox, has_stderr)
    }

    /// The file lines are appended to; `None` if the log is no file.
    #[must_use]
    pub fn descriptor(&self) -> Option<Rc<OwnedFd>> {
        self.sink.descriptor()
    }

    /// From now on lines are appended to this file: what [`Log::reopen`] does, in a process that was given
    /// the file. If the log is no file, it is closed.
    ///
    /// # Errors
    /// If standard error, where it is [captured](Self::capture_stderr), could not follow (dup2(2)).
    pub fn replace(&self, file: OwnedFd) -> io::Result<()> {
        self.sink.replace(file)
    }

    /// The same for standard output as well: what foreign commands say is then in the log (row S15). One that runs when
    /// the log is opened anew goes on with the old file.
    ///
    /// # Errors
    /// What `dup2(2)` says.
    pub fn capture_output(&self) -> io::Result<()> {
        self.sink.capture_output()
    }

    /// If the log is a file, makes it this process's standard error, too, now and after every reopening:
    /// what a panic says in a daemon would be lost otherwise.
    ///
    /// # Errors
    /// What `dup2(2)` says.
    pub fn capture_stderr(&self) -> io::Result<()> {
        self.sink.capture_stderr()
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = if self.lines == 1 { "line was" } else { "lines were" };
        write!(f, "{} {lines} lost: ", self.lines)?;
        match self.errno {
            None => f.write_str("nobody read them"),
            Some(errno) => io::Error::from_raw_os_error(errno).fmt(f),
        }
    }
}

/// Makes an empty log file if there is none, with this mode less the umask, for [`Log::to_file`] to open: one that others
/// may read, say. A path that leads to standard output is left alone.
///
/// # Errors
/// Why [`Log::to_file`] could not open it.
pub fn make_file(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    tine_os::sink::open_append(path.as_ref(), mode).map(drop)
}

macro_rules! error { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Error, format_args!($($text)*)) } }
macro_rules! warning { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Warn, format_args!($($text)*)) } }
macro_rules! info { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Info, format_args!($($text)*)) } }
macro_rules! debug { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Debug, format_args!($($text)*)) } }
pub(crate) use {debug, error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        let lines = Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = lines.clone();
        let log =
            Log::default().to_function(move |_, text| seen.borrow_mut().push(text.to_owned()));
        info!(log, "GET /\r\nroot logged in\u{1b}[0m");
        debug!(log, "not shown");
        assert_eq!(*lines.borrow(), ["GET /\\r\\nroot logged in\\u{1b}[0m"]);
    }

    #[test]
    fn what_was_lost_is_told_with_its_reason() {
        let lost = |lines, errno| Lost { lines, errno, process: 0 }.to_string();
        assert_eq!(lost(2, None), "2 lines were lost: nobody read them");
        assert!(lost(1, Some(28)).starts_with("1 line was lost: No space left on device"));
    }
}
