//! The probe: a process that runs the new program up to the point of serving, and says whether it could.
//!
//! It has what the program will have when it takes over: the descriptors that the service was started with, the working
//! directory, limits, signal mask and environment. Different are standard input, which is empty, and standard output and
//! error, which are kept as the reason, should it end without one.
//!
//! Its parent is a keeper of its own, between it and the supervisor, which adopts whatever the program starts, in a session
//! of its own or not. When the program has ended, or is to, the keeper ends all of it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use tine_os::daemon::{Standard, null, redirect};
use tine_os::fd::{message_pair, pass_on, receive_message, send_message};
use tine_os::image::Image;
use tine_os::memory::{page, read_page};
use tine_os::poll::readable;
use tine_os::privilege::{Resource, set_limit};
use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::{self, Signal, SignalFd};
use tine_os::{exec, family};

use super::program::arguments;
use crate::program::environment;

/// Bytes that a probe may write to its outputs; the reason is looked for there if it does not say it.
const OUTPUT: usize = 64 << 10;
/// Bytes of an answer.
const REASON: usize = 1024;
/// Bytes that are quoted of the outputs: room for many faults of a configuration, in one line of the log.
const QUOTED: usize = 6 << 10;
/// What it says if it could serve.
const FINE: &[u8] = b"fine";
/// Exit status of a child that could not execute the program.
const NOT_EXECUTED: i32 = 126;
/// How long a keeper kills what its program has started: a process may hang in the kernel.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two rounds of that: what was born during one gets the next.
const ROUND: Duration = Duration::from_millis(5);

/// A probe that runs.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    channel: OwnedFd,
    output: OwnedFd,
    /// The program that is tried; it, and no other, may take over then.
    pub(crate) image: Image,
}

impl Probe {
    /// Starts it, and its keeper.
    pub(crate) fn start(image: Image, letter: &OwnedFd) -> io::Result<Self> {
        let (channel, theirs) = message_pair()?;
        let output = page("tine-probe", OUTPUT)?;
        let parent = process::pid();
        match process::fork()? {
            Forked::Parent(pid) => match process::pidfd(pid) {
                Ok(pidfd) => Ok(Self { pid, pidfd, channel, output, image }),
                Err(error) => {
                    kill(pid);
                    Err(error)
                }
            },
            Forked::Child => {
                let kept = keep(parent, &theirs, || execute(&image, &theirs, letter, &output));
                let status = kept.unwrap_or_else(|error| {
                    let _ = send_message(&theirs, error.to_string().as_bytes());
                    NOT_EXECUTED
                });
                process::exit_now(status)
            }
        }
    }

    /// Numbers of its descriptors, which a worker must close.
    pub(crate) fn descriptors(&self) -> [i32; 4] {
        [self.pidfd.as_fd(), self.channel.as_fd(), self.output.as_fd(), self.image.as_fd()]
            .map(|fd| fd.as_raw_fd())
    }

    /// Ends it and whatever it has started.
    pub(crate) fn end(self) {
        let _ = process::send(&self.pidfd, Signal::TERM);
        // The keeper is quick, unless one of its processes hangs in the kernel.
        if !readable(&self.pidfd, Some(2 * PATIENCE)).unwrap_or(false) {
            return kill(self.pid);
        }
        let _ = process::signal_group(self.pid, Signal::KILL);
        let _ = process::reap(&self.pidfd);
    }

    /// It has ended: the program that could serve, or why it could not.
    pub(crate) fn verdict(self) -> Result<Image, String> {
        // Where its keeper could not see what there was.
        let _ = process::signal_group(self.pid, Signal::KILL);
        let mut buffer = [0; REASON];
        let said = receive_message(&self.channel, &mut buffer).unwrap_or_default();
        let how = process::reap(&self.pidfd).ok().flatten();
        match said {
            Some(FINE) => Ok(self.image),
            Some(text) if !text.is_empty() => Err(String::from_utf8_lossy(text).into_owned()),
            _ => Err(self.obituary(how)),
        }
    }

    /// What is known of one that has ended without a word.
    fn obituary(&self, how: Option<Change>) -> String {
        let how = match how {
            Some(Change::Exited(status)) => format!("ended with status {status}"),
            Some(Change::Signaled { signal, .. }) => format!("was killed by {signal}"),
            _ => "ended".to_owned(),
        };
        let written = read_page(&self.output).unwrap_or_default();
        match quoted(&written).trim() {
            "" => format!("the new program {how} before it was ready to serve"),
            words => format!("the new program {how} before it was ready to serve: {words}"),
        }
    }
}

/// What says most in a program's last words: its panic, else their end.
fn quoted(written: &str) -> String {
    let bytes = written.trim_end().as_bytes();
    let from = written.rfind("panicked at").unwrap_or(bytes.len().saturating_sub(QUOTED));
    String::from_utf8_lossy(&bytes[from..bytes.len().min(from + QUOTED)]).into_owned()
}

fn kill(keeper: Pid) {
    // It is our child and not reaped, so the number is still its own.
    let _ = process::signal_group(keeper, Signal::KILL);
    let _ = process::signal_pid(keeper, Signal::KILL);
    while process::reap_pid(keeper).is_ok_and(|change| change.is_none()) {
        std::thread::yield_now();
    }
}

/// The keeper's life; its value is the exit status, and that of the program.
fn keep(supervisor: Pid, channel: &OwnedFd, program: impl FnOnce() -> i32) -> io::Result<i32> {
    process::lead_own_group()?;
    process::become_subreaper()?;
    process::die_with_parent(Signal::TERM)?;
    if process::parent() != Some(supervisor) {
        return Err(io::Error::other("the supervisor is gone"));
    }
    let taken = [Signal::TERM, Signal::CHLD];
    signal::block(&taken)?;
    let keeper = process::pid();
    let pid = match process::fork()? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            // Nothing of this process's runs any more if its keeper is killed.
            let alone = process::die_with_parent(Signal::KILL).is_err()
                || process::parent() != Some(keeper);
            process::exit_now(if alone { NOT_EXECUTED } else { program() })
        }
    };
    let (pidfd, signals) = (process::pidfd(pid)?, SignalFd::new(&taken)?);
    let _ = process::set_name("tine: probe");
    let _ = tine_os::title::set("tine: probe of the next program");
    // The supervisor's listeners and its pid file's lock above all.
    let kept = [channel.as_raw_fd(), pidfd.as_raw_fd(), signals.as_fd().as_raw_fd()];
    exec::close_all_but(&kept)?;
    let mut told = false;
    let mut change = None;
    while change.is_none() && !told {
        // Its deadline is the supervisor's, which sends TERM then, as the kernel does at the supervisor's end.
        readable(&signals, None)?;
        while let Some(info) = signals.read() {
            told |= info.signal == Signal::TERM;
        }
        change = reap_all(pid);
    }
    let last = end_family(pid);
    Ok(end_as(change.or(last)))
}

/// Reaps whatever has ended; how the program did, if it has.
fn reap_all(program: Pid) -> Option<Change> {
    let mut found = None;
    while let Ok(Some(pid)) = process::peek_exited() {
        let change = process::reap_pid(pid).ok().flatten();
        found = if pid == program { change } else { found };
    }
    found
}

/// Kills all that is below this process, until there is nothing, or its time is over.
fn end_family(program: Pid) -> Option<Change> {
    let end = Instant::now() + PATIENCE;
    let mut found = None;
    while family::children(process::pid()).is_ok_and(|left| !left.is_empty())
        && Instant::now() < end
    {
        let _ = family::signal_descendants(process::pid(), Signal::KILL);
        std::thread::sleep(ROUND);
        found = found.or(reap_all(program));
    }
    found
}

/// Ends as the program did: by its signal, or with its status.
fn end_as(change: Option<Change>) -> i32 {
    match change {
        Some(Change::Exited(status)) => status,
        Some(Change::Signaled { signal, .. }) => {
            // One core is enough.
            let _ = set_limit(Resource::Core, 0, 0);
            let _ = signal::set_default(signal);
            let _ = signal::unblock_all();
            let _ = process::signal_pid(process::pid(), signal);
            128 + signal.number()
        }
        _ => NOT_EXECUTED,
    }
}

/// Becomes the program. Returns only if that fails, with the exit status; why is said.
fn execute(image: &Image, channel: &OwnedFd, letter: &OwnedFd, output: &OwnedFd) -> i32 {
    let prepare = || {
        redirect(Standard::Input, null()?)?;
        redirect(Standard::Output, output)?;
        redirect(Standard::Error, output)?;
        pass_on(&[channel.as_raw_fd(), letter.as_raw_fd()], true)
    };
    let error = match prepare() {
        Ok(()) => {
            let variables = environment::probe(channel.as_raw_fd(), letter.as_raw_fd());
            image.exec(arguments(), variables)
        }
        Err(error) => error,
    };
    let _ = send_message(channel, error.to_string().as_bytes());
    NOT_EXECUTED
}

/// In a probe: says how it went, and ends.
pub(crate) fn answer(channel: &OwnedFd, result: Result<(), String>) -> ! {
    match result {
        Ok(()) => {
            let _ = send_message(channel, FINE);
        }
        Err(text) => {
            let _ = send_message(channel, &text.as_bytes()[..text.len().min(REASON)]);
        }
    }
    process::exit_now(0)
}
