//! A daemon's manners: to go into the background without lying about it; to serve the one connection that
//! inetd hands over; to leave a core where an operator looks for it.
//!
//! Who starts a daemon waits, in [`Daemon::start`], until it serves or has failed, and learns which (row
//! N40). One fork is enough. The second one of the classic recipe takes away the lead of the session, so
//! that a terminal that is opened later cannot become the daemon's own; but it can only become a session
//! leader's, and only if it is opened without `O_NOCTTY` (open(2)): workers lead no session, and the
//! supervisor opens its log with it and no other device. With one fork the daemon is the starter's own
//! child, whose end is seen at once and whose pid is known.

mod cores;
mod inetd;

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tine_os::daemon::{Standard, has_reader, null, redirect};
use tine_os::fd::{message_pair, receive_message, send_message};
use tine_os::poll::{Epoll, Interest, Ready as Woken, readable};
use tine_os::privilege::change_dir;
use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::Signal;

pub use cores::{CoreDirectory, core_directory};
pub use inetd::inetd_connection;

use crate::{Error, Result};

/// Bytes of a failure's text, at most.
const TEXT_BYTES: usize = 4096;
/// Between `SIGTERM` and `SIGKILL` for a daemon that is not in time.
const GRACE: Duration = Duration::from_secs(5);

/// How to go into the background.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is started"]
pub struct Daemon {
    deadline: Duration,
    directory: Option<PathBuf>,
    keeps_stdout: bool,
    keeps_stderr: bool,
}

/// On which side of the fork [`Daemon::start`] returns.
#[derive(Debug)]
pub enum Role {
    /// In the process that was started: this is what became of the daemon, and it is time to exit.
    Parent(Verdict),
    /// In the daemon, which is to start serving.
    Child(Ready),
}

/// What became of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It serves; its pid.
    Serving(Pid),
    /// It has ended, or will not serve.
    Failed {
        /// Why, for people.
        text: String,
        /// What its starter should exit with; never 0.
        code: u8,
    },
}

impl Verdict {
    /// The same as a result, whose error has the code as [`Error::exit_code`].
    ///
    /// # Errors
    /// If the daemon does not serve.
    pub fn into_result(self) -> Result<Pid> {
        match self {
            Self::Serving(pid) => Ok(pid),
            Self::Failed { text, code: 2 } => Err(Error::config(text)),
            Self::Failed { text, code: 3 } => {
                Err(Error::bind(text, io::Error::other("in the daemon")))
            }
            Self::Failed { text, code: 4 } => Err(Error::privilege(text)),
            Self::Failed { text, code: 5 } => Err(Error::command(text)),
            Self::Failed { text, .. } => Err(Error::boot(text)),
        }
    }

    fn failed(text: impl Into<String>) -> Self {
        Self::Failed { text: text.into(), code: 1 }
    }
}

impl Daemon {
    /// A daemon that must serve within `deadline`, or is ended. Its working directory is `/`, so that no
    /// file system is kept busy; its standard streams are `/dev/null`.
    ///
    /// The deadline is for a daemon that hangs; one that fails says so before. So let it be longer than the
    /// boot deadlines inside.
    pub fn new(deadline: Duration) -> Self {
        let directory = Some(PathBuf::from("/"));
        Self { deadline, directory, keeps_stdout: false, keeps_stderr: false }
    }

    /// Another working directory; `None`: the one it was started in.
    pub fn directory(mut self, directory: Option<PathBuf>) -> Self {
        self.directory = directory;
        self
    }

    /// Standard error stays what it is if that is a file: for a log that goes there. A terminal, a pipe and a socket are
    /// let go of all the same: the program at the other end waits for the end of the output, and the daemon has none.
    pub fn keep_stderr(mut self) -> Self {
        self.keeps_stderr = true;
        self
    }

    /// The same for standard output.
    pub fn keep_stdout(mut self) -> Self {
        self.keeps_stdout = true;
        self
    }

    /// Forks. Returns at once in the daemon, which leads a session of its own, and when it is settled in the
    /// process that called this. Resolve relative paths before, see [`absolute`].
    ///
    /// # Errors
    /// If this process has more than one thread, or the kernel refuses a fork or a descriptor. Always in the
    /// starter: a daemon that cannot be set up is a [`Verdict::Failed`] there.
    pub fn start(self) -> Result<Role> {
        let failed = |error| Error::os("cannot go into the background", error);
        // What is buffered would be written twice.
        let _ = io::stdout().flush();
        let (ours, theirs) = message_pair().map_err(failed)?;
        match process::fork().map_err(failed)? {
            Forked::Parent(pid) => {
                drop(theirs);
                let birth = Birth::watch(pid, ours);
                let verdict = birth.and_then(|birth| birth.verdict(self.deadline));
                verdict.map(Role::Parent).map_err(|error| {
                    // It is our child and not reaped, so the number is still its own.
                    let _ = process::signal_pid(pid, Signal::TERM);
                    Error::os("cannot wait for the daemon, and ended it", error)
                })
            }
            Forked::Child => {
                drop(ours);
                let ready = Ready(theirs);
                match self.detach() {
                    Ok(()) => Ok(Role::Child(ready)),
                    Err(text) => {
                        ready.tell(Err((&text, 1)));
                        process::exit_now(1)
                    }
                }
            }
        }
    }

    fn detach(&self) -> std::result::Result<(), String> {
        fn step<T>(what: &str, result: io::Result<T>) -> std::result::Result<T, String> {
            result.map_err(|error| format!("cannot go into the background: {what}: {error}"))
        }
        step("a session", process::new_session())?;
        if let Some(directory) = &self.directory {
            step(&directory.display().to_string(), change_dir(directory))?;
        }
        let null = step("/dev/null", null())?;
        step("standard input", redirect(Standard::Input, &null))?;
        if !self.keeps_stdout || step("standard output", has_reader(io::stdout()))? {
            step("standard output", redirect(Standard::Output, &null))?;
        }
        if !self.keeps_stderr || step("standard error", has_reader(io::stderr()))? {
            step("standard error", redirect(Standard::Error, &null))?;
        }
        Ok(())
    }
}

/// The daemon's word to whoever started it. Dropped in silence it leaves him to his deadline, or to the
/// daemon's end.
#[derive(Debug)]
#[must_use = "somebody waits for it"]
pub struct Ready(OwnedFd);

impl Ready {
    /// Says that it serves, or why it does not and what to exit with (0 is taken for 1). If nobody waits any
    /// more nothing happens.
    pub fn tell(self, result: std::result::Result<(), (&str, u8)>) {
        let message = match result {
            Ok(()) => vec![0],
            Err((text, code)) => {
                let text = &text.as_bytes()[..text.len().min(TEXT_BYTES)];
                [&[code.max(1)], text].concat()
            }
        };
        let _ = send_message(self.0, &message);
    }

    /// The number of its descriptor, which a worker must close: it would keep the line open.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// The daemon as its starter sees it.
struct Birth {
    pid: Pid,
    pidfd: OwnedFd,
    channel: OwnedFd,
    epoll: Epoll,
}

impl Birth {
    fn watch(pid: Pid, channel: OwnedFd) -> io::Result<Self> {
        let pidfd = process::pidfd(pid)?;
        let epoll = Epoll::new()?;
        epoll.add(&pidfd, 0, Interest::READ)?;
        epoll.add(&channel, 0, Interest::READ)?;
        Ok(Self { pid, pidfd, channel, epoll })
    }

    fn verdict(mut self, deadline: Duration) -> io::Result<Verdict> {
        let end = Instant::now() + deadline;
        let mut woken = Woken::with_capacity(2);
        loop {
            // Asked first: its end comes after its words.
            let ended = readable(&self.pidfd, Some(Duration::ZERO))?;
            if let Some(verdict) = self.word()? {
                return Ok(verdict);
            }
            if ended {
                return Ok(self.obituary());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.give_up(deadline);
            }
            self.epoll.wait(&mut woken, Some(left))?;
        }
    }

    /// What it has said, if it has.
    fn word(&mut self) -> io::Result<Option<Verdict>> {
        let mut buffer = [0; TEXT_BYTES + 1];
        Ok(match receive_message(&self.channel, &mut buffer)? {
            None => None,
            // It will say no more; its end, or the deadline, decides.
            Some([]) => {
                let _ = self.epoll.remove(&self.channel);
                None
            }
            Some([0, ..]) => Some(Verdict::Serving(self.pid)),
            Some([code, text @ ..]) => {
                let text = String::from_utf8_lossy(text).into_owned();
                Some(Verdict::Failed { text, code: *code })
            }
        })
    }

    /// The verdict on one that ended without a word.
    fn obituary(&self) -> Verdict {
        let how = match process::reap(&self.pidfd) {
            Ok(Some(Change::Exited(status))) => {
                let code = u8::try_from(status).unwrap_or(1).max(1);
                let text = format!("the daemon ended before it served, with status {status}");
                return Verdict::Failed { text, code };
            }
            Ok(Some(Change::Signaled { signal, .. })) => format!(": killed by {signal}"),
            _ => String::new(),
        };
        Verdict::failed(format!("the daemon ended before it served{how}"))
    }

    /// It is ended, so that "does not serve" is true and stays true.
    fn give_up(&self, deadline: Duration) -> io::Result<Verdict> {
        for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, GRACE)] {
            let _ = process::send(&self.pidfd, signal);
            if readable(&self.pidfd, Some(patience))? {
                let _ = process::reap(&self.pidfd);
                break;
            }
        }
        let deadline = deadline.as_secs_f64();
        Ok(Verdict::failed(format!("the daemon did not serve within {deadline} s, and was ended")))
    }
}

/// A path as it is meant now, for a process whose working directory will change.
///
/// # Errors
/// A configuration error if it is empty, or if it is relative and the working directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::config(format!("path {:?}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_from_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("a/log")).unwrap(), here.join("a/log"));
        assert_eq!(absolute(Path::new("/a/log")).unwrap(), Path::new("/a/log"));
        assert!(absolute(Path::new("")).unwrap_err().is_config());
    }

    #[test]
    fn a_failure_keeps_its_exit_code() {
        for code in 1..=4 {
            let failed = Verdict::Failed { text: "why".into(), code };
            let error = failed.into_result().unwrap_err();
            assert_eq!((error.exit_code(), error.to_string()), (code, "why".into()));
        }
    }
}
