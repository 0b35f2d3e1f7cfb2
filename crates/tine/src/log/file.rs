//! A log in a file that can be renamed under us, and replaced by a new one.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf, absolute};
use std::rc::Rc;

use tine_os::daemon::{Standard, null, redirect};
use tine_os::fd::copy_of;
use tine_os::no_follow::{Found, find};
use tine_os::sink::{PIPE_BYTES, ends_within_a_line, is_regular, open_append, reopen_append};

use super::Shared;
use super::level::Level;
use super::mailbox::Mailbox;
use super::reader::Reader;
use super::sink::{LINE_BYTES, Torn, append, append_bare, append_lines};
use crate::handover::LogLeft;
use crate::program::environment;
use crate::{Error, Result};

/// Mode of a new file, less the umask: what clients ask for is nobody else's business.
const MODE: u32 = 0o640;

/// See the module.
pub(super) struct File {
    /// Where it is; of a command, for people.
    path: PathBuf,
    /// Whose standard input it is, if it is no file.
    reader: Option<Reader>,
    file: RefCell<Rc<OwnedFd>>,
    line_bytes: usize,
    torn: Torn,
    /// Whether standard error goes where this goes.
    has_stderr: Cell<bool>,
    /// The same of standard output.
    has_stdout: Cell<bool>,
    /// Where forked processes find the file that is to follow.
    mailbox: OnceCell<Mailbox>,
    /// Why it could not be opened, in a process that is given the open file later. Until then lines are lost.
    unopened: RefCell<Option<io::Error>>,
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
            let (file, unopened) = match open_append(&path, MODE) {
                Ok(file) => (file, None),
                Err(error) if environment::is_to_be_given_its_logs() => (null()?, Some(error)),
                Err(error) => return Err(error),
            };
            let unopened = RefCell::new(unopened);
            let line_bytes = if is_regular(&file)? { LINE_BYTES } else { PIPE_BYTES };
            let file = RefCell::new(Rc::new(file));
            let (torn, has_stderr, has_stdout): (Torn, _, _) = Default::default();
            torn.set(ends_within_a_line(&*file.borrow().clone()));
            let mailbox = OnceCell::new();
            let reader = None;
            Ok(Self {
                path,
                reader,
                file,
                line_bytes,
                torn,
                has_stderr,
                has_stdout,
                mailbox,
                unopened,
            })
        };
        open().map_err(|error| refused(path, &error))
    }

    /// Whether it could be opened.
    pub(super) fn check(path: &Path) -> Result<()> {
        let check = absolute(path).and_then(|path| tine_os::possible::append(&path));
        check.map_err(|error| refused(path, &error))
    }

    /// The standard input of a command.
    pub(super) fn to_command(command: &str) -> Result<Self> {
        let reader = Reader::new(command);
        let file = reader.begin().map_err(|error| {
            Error::config(format!("the log cannot be given to {command:?}: {error}"))
        })?;
        let (torn, has_stderr, has_stdout) = Default::default();
        Ok(Self {
            path: PathBuf::from(format!("| {command}")),
            reader: Some(reader),
            file: RefCell::new(Rc::new(file)),
            line_bytes: PIPE_BYTES,
            torn,
            has_stderr,
            has_stdout,
            mailbox: OnceCell::new(),
            unopened: RefCell::default(),
        })
    }

    /// The descriptor of this process that it was asked to write to, such as 1 for `/dev/stdout`.
    pub(super) fn own_descriptor(&self) -> Option<i32> {
        match find(&self.path) {
            Ok(Found::Descriptor { number, .. }) if self.reader.is_none() => Some(number),
            _ => None,
        }
    }

    /// Whether it is the standard input of a command.
    pub(super) fn is_command(&self) -> bool {
        self.reader.is_some()
    }

    /// If it could not be opened, and was not given to this process either: why.
    pub(super) fn opened(&self) -> Result<()> {
        self.unopened.take().map_or(Ok(()), |error| Err(refused(&self.path, &error)))
    }

    /// Opens it once more.
    fn open_anew(&self) -> io::Result<OwnedFd> {
        match &self.reader {
            Some(reader) => reader.begin(),
            None => reopen_append(&self.path, MODE, self.descriptor()),
        }
    }

    /// The most bytes of one line that are sure not to be torn.
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    pub(super) fn put(&self, level: Level, text: &str, bare: bool) -> io::Result<()> {
        self.take_news();
        let put = || match bare {
            true => append_bare(self.descriptor(), &self.torn, text),
            false => append(self.descriptor(), &self.torn, level, text),
        };
        match (put(), &self.reader) {
            // Who read it has ended: there is another one for this line.
            (Err(error), Some(reader))
                if error.kind() == io::ErrorKind::BrokenPipe && reader.may_begin() =>
            {
                self.reopen().and_then(|()| put())
            }
            (result, _) => result,
        }
    }

    /// An error comes with the number of lines that were lost.
    pub(super) fn put_lines(&self, lines: &[u8]) -> std::result::Result<(), (io::Error, u64)> {
        self.take_news();
        append_lines(self.descriptor(), &self.torn, lines)
    }

    /// Takes the file that is to follow, if there is one.
    fn take_news(&self) {
        if let Some(new) = self.mailbox.get().and_then(Mailbox::news) {
            // Standard error may stay behind; the line does not.
            let _ = self.exchange(new);
        }
    }

    pub(super) fn descriptor(&self) -> Rc<OwnedFd> {
        self.file.borrow().clone()
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        let new = self.open_anew()?;
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
        if self.reader.is_some() {
            return None;
        }
        let mailbox = self.mailbox.get()?.left()?;
        let file = Some(self.file.borrow().as_raw_fd());
        let has_stderr = self.has_stderr.get();
        Some(LogLeft { path: self.path.clone(), mailbox, has_stderr, file })
    }

    /// The file was opened anew, and may be another one: those who follow find it where they look. One that cannot be
    /// opened any more is the one that the program before has open; the answer is why.
    pub(super) fn take_over(&self, left: &LogLeft) -> io::Result<Option<io::Error>> {
        let unopened = match left.file {
            Some(_) => self.unopened.take(),
            None => None,
        };
        if let (Some(number), true) = (left.file, unopened.is_some()) {
            self.replace(copy_of(number)?)?;
        }
        if left.has_stderr {
            self.capture_stderr()?;
        }
        let mailbox = Mailbox::taken_over(left.mailbox)?;
        self.mailbox.get_or_init(|| mailbox).put(&self.descriptor())?;
        Ok(unopened)
    }

    pub(super) fn replace(&self, new: OwnedFd) -> io::Result<()> {
        self.torn.set(ends_within_a_line(&new));
        self.exchange(new)
    }

    /// The same where another process knows how the file ends.
    fn exchange(&self, new: OwnedFd) -> io::Result<()> {
        let new = Rc::new(new);
        self.file.replace(new.clone());
        self.unopened.take();
        if self.has_stdout.get() {
            redirect(Standard::Output, &*new)?;
        }
        if self.has_stderr.get() { redirect(Standard::Error, new) } else { Ok(()) }
    }

    pub(super) fn capture_output(&self) -> io::Result<()> {
        redirect(Standard::Output, self.descriptor())?;
        self.has_stdout.set(true);
        self.capture_stderr()
    }

    pub(super) fn capture_stderr(&self) -> io::Result<()> {
        redirect(Standard::Error, self.descriptor())?;
        self.has_stderr.set(true);
        Ok(())
    }
}

fn refused(path: &Path, error: &io::Error) -> Error {
    Error::config(format!("the log file {} cannot be opened: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use crate::log::{Log, LogFile, debug, info, warning};
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
        visits.file().replace(open_append("/dev/full".as_ref(), 0).unwrap()).unwrap();
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
