//! Where lines go, and what can be done to each of the places.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use tine_os::sink::{PIPE_BYTES, write_now};
use tine_os::word::SharedWord;

use super::Shared;
use super::file::File;
use super::level::Level;
use super::syslog::Connection;

/// The most bytes of one line, with all that is around its text.
pub(super) const LINE_BYTES: usize = 8192;
/// What is around a text, at most: time, level, name, pid, and the end of the line; or a syslog header.
const AROUND_BYTES: usize = 96;

/// A function of the program's.
pub(super) type Function = Box<dyn Fn(Level, &str)>;

/// A place for lines.
pub(super) enum Sink {
    Stderr(Torn),
    File(File),
    Syslog(Connection),
    Function(Function),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr(_) => f.write_str("standard error"),
            Self::File(file) => file.fmt(f),
            Self::Syslog(connection) => connection.fmt(f),
            Self::Function(_) => f.write_str("function"),
        }
    }
}

impl Sink {
    /// How many bytes of text a line can have here.
    pub(super) fn room(&self) -> usize {
        let line = match self {
            Self::Stderr(_) => PIPE_BYTES,
            Self::File(file) => file.line_bytes(),
            Self::Syslog(_) | Self::Function(_) => LINE_BYTES,
        };
        line - AROUND_BYTES
    }

    /// Writes a line, or fails at once.
    pub(super) fn put(&self, level: Level, text: &str, bare: bool) -> io::Result<()> {
        match self {
            Self::Stderr(torn) if bare => append_bare(io::stderr(), torn, text),
            Self::Stderr(torn) => append(io::stderr(), torn, level, text),
            Self::File(file) => file.put(level, text, bare),
            Self::Syslog(connection) => connection.put(level, text),
            Self::Function(sink) => {
                sink(level, text);
                Ok(())
            }
        }
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        match self {
            Self::Stderr(_) | Self::Function(_) => Ok(()),
            Self::File(file) => file.reopen(),
            Self::Syslog(connection) => connection.call(),
        }
    }

    /// The file it is, if it is one.
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::File(file) => Some(file),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => None,
        }
    }

    pub(super) fn share(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.share(),
            Self::Stderr(_) => {
                // A file that is standard output, too, and another log, and was opened twice. Closed, it takes no line.
                let _ = tine_os::sink::append_only(io::stderr());
                Ok(())
            }
            Self::Syslog(_) | Self::Function(_) => Ok(()),
        }
    }

    pub(super) fn private_descriptor(&self) -> Option<i32> {
        match self {
            Self::File(file) => file.private_descriptor(),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => None,
        }
    }

    pub(super) fn shared(&self) -> Option<Shared<'_>> {
        match self {
            Self::File(file) => file.shared(),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => None,
        }
    }

    pub(super) fn follow(
        &self,
        file: OwnedFd,
        mailbox: OwnedFd,
        has_stderr: bool,
    ) -> io::Result<()> {
        match self {
            Self::File(log) => log.follow(file, mailbox, has_stderr),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => Ok(()),
        }
    }

    pub(super) fn descriptor(&self) -> Option<Rc<OwnedFd>> {
        match self {
            Self::File(file) => Some(file.descriptor()),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => None,
        }
    }

    pub(super) fn replace(&self, new: OwnedFd) -> io::Result<()> {
        match self {
            Self::File(file) => file.replace(new),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => Ok(()),
        }
    }

    pub(super) fn capture_output(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.capture_output(),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => Ok(()),
        }
    }

    pub(super) fn capture_stderr(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.capture_stderr(),
            Self::Stderr(_) | Self::Syslog(_) | Self::Function(_) => Ok(()),
        }
    }
}

/// Whether the last line in a file is torn: the same for all processes that append to it, for whichever comes next has to
/// end it.
pub(super) enum Torn {
    Shared(SharedWord),
    /// Where there was no memory for that.
    Own(AtomicU64),
}

impl Default for Torn {
    fn default() -> Self {
        SharedWord::new().map_or_else(|_| Self::Own(AtomicU64::new(0)), Self::Shared)
    }
}

impl Torn {
    fn word(&self) -> &AtomicU64 {
        match self {
            Self::Shared(word) => word,
            Self::Own(word) => word,
        }
    }

    pub(super) fn set(&self, torn: bool) {
        self.word().store(u64::from(torn), Relaxed);
    }

    /// Whether it was; whoever is told ends it.
    fn take(&self) -> bool {
        // An exchange locks the word for all processes: mostly there is nothing to take.
        self.word().load(Relaxed) != 0 && self.word().swap(0, Relaxed) != 0
    }
}

/// Writes a line of its text alone.
pub(super) fn append_bare(fd: impl AsFd, torn: &Torn, text: &str) -> io::Result<()> {
    append_lines(fd, torn, format!("{text}\n").as_bytes()).map_err(|(error, _)| error)
}

/// Writes a line with its time, level and process.
pub(super) fn append(fd: impl AsFd, torn: &Torn, level: Level, text: &str) -> io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let line = format!("{time} {level:<5} tine[{}]: {text}\n", std::process::id());
    append_lines(fd, torn, line.as_bytes()).map_err(|(error, _)| error)
}

/// Writes whole lines, in one write, so that those of several processes do not mix. An error comes with the number of lines
/// that were lost.
///
/// A disk that is full in the middle of a line, or a socket, leaves it torn. What is left of that line is dropped, since
/// another process may have written meanwhile: whichever process writes next ends it, so that each later line stands alone.
pub(super) fn append_lines(
    fd: impl AsFd,
    torn: &Torn,
    lines: &[u8],
) -> Result<(), (io::Error, u64)> {
    let (mut left, mut lost) = (lines, 0);
    loop {
        let ends = torn.take();
        let whole = if ends { Cow::from([b"\n", left].concat()) } else { Cow::from(left) };
        let taken = match write_now(&fd, &whole) {
            // Mostly so, the first time.
            Ok(taken) if taken == whole.len() && lost == 0 => return Ok(()),
            Ok(taken) if taken == whole.len() => {
                return Err((io::ErrorKind::WriteZero.into(), lost));
            }
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            taken => taken,
        };
        match taken {
            Ok(taken) => {
                let taken = taken - usize::from(ends);
                let is_torn = taken > 0 && left[taken - 1] != b'\n';
                let rest = &left[taken..];
                let next =
                    rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
                left = if is_torn { &rest[next..] } else { rest };
                lost += u64::from(is_torn);
                // Known to the others before this process says anything more. It is tried again only now, and says why not.
                torn.set(is_torn);
            }
            Err(error) => {
                if ends {
                    torn.set(true);
                }
                let unwritten = left.iter().filter(|&&byte| byte == b'\n').count();
                return Err((error, lost + unwritten as u64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let (mut reader, writer) = io::pipe().unwrap();
        let torn = Torn::default();
        while tine_os::poll::writable_now(&writer) {
            write_now(&writer, &[b'x'; PIPE_BYTES]).unwrap();
        }
        reader.read_exact(&mut [0; PIPE_BYTES]).unwrap();
        // A pipe takes a part of what is longer than a page: as a disk does that has a little room.
        let long = "y".repeat(PIPE_BYTES + 1000);
        append(&writer, &torn, Level::Info, &long).unwrap_err();
        append(&writer, &torn, Level::Info, "full").unwrap_err();
        assert!(torn.take(), "whoever is told ends it");
        assert!(!torn.take());
        torn.set(true);
        reader.read_exact(&mut [0; 2 * PIPE_BYTES]).unwrap();
        append(&writer, &torn, Level::Info, "next").unwrap();
        append(&writer, &torn, Level::Info, "last").unwrap();
        assert!(!torn.take());
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let lines: Vec<&str> = rest.trim_start_matches('x').lines().collect();
        assert!(lines[0].ends_with("yyy") && lines[1].ends_with(": next"), "{lines:?}");
        assert!(lines[2].ends_with(": last") && lines.len() == 3, "{lines:?}");
    }
}
