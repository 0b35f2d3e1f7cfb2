//! A log in a file that can be renamed under us, and replaced by a new one.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf, absolute};
use std::rc::Rc;

use tine_os::daemon::{Standard, redirect};
use tine_os::sink::{PIPE_BYTES, is_regular, open_append};

use super::Shared;
use super::level::Level;
use super::mailbox::Mailbox;
use super::sink::{LINE_BYTES, append, append_lines};
use super::{Log, error, warning};
use crate::counted::rc;
use crate::handover::LogLeft;
use crate::{Error, Result};

/// Mode of a new file, less the umask: what clients ask for is nobody else's business.
const MODE: u32 = 0o640;

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
        if self.file.line_bytes == PIPE_BYTES { PIPE_BYTES } else { usize::MAX }
    }

    /// Appends whole lines, each with its end, in one write. What a full disk or a slow reader would not take
    /// at once is lost; `log` is told when that begins, and how many lines it was when it is over.
    pub fn write(&self, lines: &[u8], log: &Log) {
        let path = self.file.path.display();
        match self.file.put_lines(lines) {
            Ok(()) => match self.lost.take() {
                0 => {}
                1 => warning!(log, "{path}: 1 line was lost"),
                lost => warning!(log, "{path}: {lost} lines were lost"),
            },
            Err((error, rest)) => {
                if self.lost.get() == 0 {
                    error!(log, "{path}: lines are being lost: {error}");
                }
                let lines = rest.iter().filter(|&&byte| byte == b'\n').count();
                self.lost.set(self.lost.get() + lines as u64);
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
        &self.file.path
    }

    /// See [`Log::left`].
    pub(crate) fn left(&self) -> Option<LogLeft> {
        self.file.left()
    }

    /// See [`Log::take_over`].
    pub(crate) fn take_over(&self, left: &LogLeft) -> io::Result<()> {
        self.file.take_over(left)
    }
}

/// See the module.
pub(super) struct File {
    path: PathBuf,
    file: RefCell<Rc<OwnedFd>>,
    line_bytes: usize,
    /// Whether its last line is torn.
    torn: Cell<bool>,
    /// Whether standard error goes where this goes.
    has_stderr: Cell<bool>,
    /// Where forked processes find the file that is to follow.
    mailbox: OnceCell<Mailbox>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || {
            // The working directory of a daemon changes.
            let path = absolute(path)?;
            let file = open_append(&path, MODE)?;
            let line_bytes = if is_regular(&file)? { LINE_BYTES } else { PIPE_BYTES };
            let file = RefCell::new(Rc::new(file));
            let (torn, has_stderr) = Default::default();
            Ok(Self { path, file, line_bytes, torn, has_stderr, mailbox: OnceCell::new() })
        };
        open().map_err(|error: io::Error| {
            Error::config(format!("the log file {} cannot be opened: {error}", path.display()))
        })
    }

    /// The most bytes of one line that are sure not to be torn.
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    pub(super) fn put(&self, level: Level, text: &str) -> io::Result<()> {
        self.take_news();
        append(self.descriptor(), &self.torn, level, text)
    }

    fn put_lines<'a>(&self, lines: &'a [u8]) -> std::result::Result<(), (io::Error, &'a [u8])> {
        self.take_news();
        append_lines(self.descriptor(), &self.torn, lines)
    }

    /// Takes the file that is to follow, if there is one.
    fn take_news(&self) {
        if let Some(new) = self.mailbox.get().and_then(Mailbox::news) {
            // Standard error may stay behind; the line does not.
            let _ = self.replace(new);
        }
    }

    pub(super) fn descriptor(&self) -> Rc<OwnedFd> {
        self.file.borrow().clone()
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        let new = open_append(&self.path, MODE)?;
        if let Some(mailbox) = self.mailbox.get().filter(|mailbox| mailbox.is_own()) {
            mailbox.put(&new)?;
        }
        self.replace(new)
    }

    pub(super) fn share(&self) -> io::Result<()> {
        if self.mailbox.get().is_none() {
            let _ = self.mailbox.set(Mailbox::new()?);
        }
        Ok(())
    }

    pub(super) fn private_descriptor(&self) -> Option<i32> {
        self.mailbox.get().and_then(Mailbox::private_descriptor)
    }

    pub(super) fn shared(&self) -> Option<Shared<'_>> {
        let mailbox = self.mailbox.get()?.receiver();
        Some(Shared { file: self.descriptor(), mailbox, has_stderr: self.has_stderr.get() })
    }

    pub(super) fn follow(
        &self,
        file: OwnedFd,
        mailbox: OwnedFd,
        has_stderr: bool,
    ) -> io::Result<()> {
        self.has_stderr.set(has_stderr);
        let _ = self.mailbox.set(Mailbox::of_another(mailbox));
        self.replace(file)
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(super) fn left(&self) -> Option<LogLeft> {
        let mailbox = self.mailbox.get()?.left()?;
        Some(LogLeft { path: self.path.clone(), mailbox, has_stderr: self.has_stderr.get() })
    }

    /// The file was opened anew, and may be another one: those who follow find it where they look.
    pub(super) fn take_over(&self, left: &LogLeft) -> io::Result<()> {
        if left.has_stderr {
            self.capture_stderr()?;
        }
        let mailbox = Mailbox::taken_over(left.mailbox)?;
        self.mailbox.get_or_init(|| mailbox).put(&self.descriptor())
    }

    pub(super) fn replace(&self, new: OwnedFd) -> io::Result<()> {
        let new = Rc::new(new);
        self.file.replace(new.clone());
        self.torn.set(false);
        if self.has_stderr.get() { redirect(Standard::Error, new) } else { Ok(()) }
    }

    pub(super) fn capture_stderr(&self) -> io::Result<()> {
        redirect(Standard::Error, self.descriptor())?;
        self.has_stderr.set(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::LogFile;
    use crate::log::{Log, debug, info, warning};
    use tine_os::poll::writable_now;
    use tine_os::sink::{open_append, write_now};

    /// The texts of a file's lines, each of which must be whole.
    fn texts(path: &std::path::Path) -> Vec<String> {
        let all = fs::read_to_string(path).unwrap();
        assert!(all.is_empty() || all.ends_with('\n'), "{all:?}");
        let head = format!(" tine[{}]: ", std::process::id());
        let text = |line: &str| match line.split_once(&head) {
            Some((before, text)) => {
                let (time, level) = before.split_once(' ').unwrap();
                humantime::parse_rfc3339(time).unwrap();
                format!("{} {text}", level.trim_end())
            }
            None => panic!("{line:?}"),
        };
        all.lines().map(text).collect()
    }

    #[test]
    fn lines_are_appended_with_time_level_and_pid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for _ in 0..2 {
            let log = Log::default().to_file(&path).unwrap();
            info!(log, "one\ntwo");
            warning!(log, "three");
            debug!(log, "not shown");
        }
        let lines = ["info one\\ntwo", "warn three"];
        assert_eq!(texts(&path), [lines, lines].concat());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn what_cannot_be_opened_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["", "no/log", "."] {
            let path = directory.path().join(path);
            let error = Log::default().to_file(&path).unwrap_err();
            let text = error.to_string();
            assert!(error.is_config() && text.contains(&*path.to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn a_renamed_file_is_left_only_for_one_that_can_be_opened() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        fs::create_dir(&below).unwrap();
        let path = below.join("log");
        let log = Log::default().to_file(&path).unwrap();
        let clone = log.clone();
        let old = directory.path().join("old");
        info!(log, "before");
        fs::rename(&path, &old).unwrap();
        info!(log, "renamed");
        fs::remove_dir(&below).unwrap();
        log.reopen().unwrap_err();
        info!(log, "still there");
        fs::create_dir(&below).unwrap();
        log.reopen().unwrap();
        info!(clone, "after");
        assert_eq!(texts(&old), ["info before", "info renamed", "info still there"]);
        assert_eq!(texts(&path), ["info after"]);
    }

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Log::default().to_file("/dev/full").unwrap();
        (0..3).for_each(|number| info!(log, "{number}"));
        let room = Log::default().to_file(&path).unwrap();
        log.replace(room.descriptor().unwrap().try_clone().unwrap()).unwrap();
        info!(log, "room again");
        info!(log, "and again");
        let told = "warn 3 lines were lost: No space left on device (os error 28)";
        assert_eq!(texts(&path), [told, "info room again", "info and again"]);
    }

    #[test]
    fn lines_of_a_log_file_are_whole_and_the_lost_ones_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let log = Log::default().to_file(&told).unwrap();
        let path = directory.path().join("visits");
        let visits = LogFile::open(&path).unwrap();
        visits.write(b"one\ntwo\n", &log);
        visits.file.replace(open_append("/dev/full".as_ref(), 0).unwrap()).unwrap();
        visits.write(b"lost\n", &log);
        visits.write(b"lost\nlost, too\n", &log);
        visits.reopen().unwrap();
        visits.write(b"three\n", &log);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        let begins = format!(
            "error {}: lines are being lost: No space left on device (os error 28)",
            path.display()
        );
        assert_eq!(texts(&told), [begins, format!("warn {}: 3 lines were lost", path.display())]);
    }

    #[test]
    fn a_reader_that_is_behind_is_not_waited_for() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let log = Log::default().to_file("/dev/null").unwrap();
        log.replace(writer.into()).unwrap();
        let pipe = log.descriptor().unwrap();
        while writable_now(&pipe) {
            write_now(&pipe, &[b'x'; 4095]).unwrap();
        }
        info!(log, "lost");
        info!(log, "lost, too");
        let mut full = vec![0; 1 << 20];
        std::io::Read::read(&mut reader, &mut full).unwrap();
        info!(log, "{}", "y".repeat(10_000));
        drop((pipe, log));
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut reader, &mut rest).unwrap();
        let lines: Vec<&str> = rest.trim_start_matches('x').lines().collect();
        assert!(lines[0].ends_with("2 lines were lost: nobody read them"), "{lines:?}");
        assert!(lines[1].ends_with("bytes cut]") && lines[1].len() < 4096, "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_reader_that_is_gone_ends_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Log::default().to_file(&path).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        log.replace(writer.into()).unwrap();
        drop(reader);
        info!(log, "nobody is there");
        log.reopen().unwrap();
        info!(log, "new");
        let told = "warn 1 line was lost: Broken pipe (os error 32)";
        assert_eq!(texts(&path), [told, "info new"]);
    }
}
