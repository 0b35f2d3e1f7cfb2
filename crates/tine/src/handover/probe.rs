//! The probe: a child that runs the new program up to the point of serving, and says whether it could.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tine_os::daemon::{Standard, null, redirect};
use tine_os::exec::place;
use tine_os::fd::{message_pair, receive_message, send_message};
use tine_os::image::Image;
use tine_os::memory::{page, read_page};
use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::{self, Signal};

use super::program::arguments;
use crate::program::environment;

/// Bytes that a probe may write to its outputs; the reason is looked for there if it does not say it.
const OUTPUT: usize = 64 << 10;
/// Bytes of an answer, and of what is quoted of the outputs.
const REASON: usize = 1024;
/// What it says if it could serve.
const FINE: &[u8] = b"fine";
/// Exit status of a child that could not execute the program.
const NOT_EXECUTED: i32 = 126;
/// Numbers in the new image: the channel and the letter.
const CHANNEL: i32 = 3;
const LETTER: i32 = 4;

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
    /// Starts it. The child has nothing of this process but the letter.
    pub(crate) fn start(image: Image, letter: &OwnedFd) -> io::Result<Self> {
        let (channel, theirs) = message_pair()?;
        let output = page("tine-probe", OUTPUT)?;
        let parent = process::pid();
        match process::fork()? {
            Forked::Parent(pid) => match process::pidfd(pid) {
                Ok(pidfd) => Ok(Self { pid, pidfd, channel, output, image }),
                Err(error) => {
                    end(pid);
                    Err(error)
                }
            },
            Forked::Child => {
                let (error, theirs) = become_it(&image, theirs, letter, &output, parent);
                let _ = send_message(&theirs, error.to_string().as_bytes());
                process::exit_now(NOT_EXECUTED)
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
        end(self.pid);
    }

    /// It has ended: the program that could serve, or why it could not.
    pub(crate) fn verdict(self) -> Result<Image, String> {
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
    let from = written.rfind("panicked at").unwrap_or(bytes.len().saturating_sub(REASON));
    String::from_utf8_lossy(&bytes[from..bytes.len().min(from + REASON)]).into_owned()
}

fn end(pid: Pid) {
    // It is our child and not reaped, so the number is still its own.
    let _ = process::signal_group(pid, Signal::KILL);
    let _ = process::signal_pid(pid, Signal::KILL);
    while process::reap_pid(pid).is_ok_and(|change| change.is_none()) {
        std::thread::yield_now();
    }
}

/// In the child. Returns only if it fails: why, and where to say it.
fn become_it(
    image: &Image,
    channel: OwnedFd,
    letter: &OwnedFd,
    output: &OwnedFd,
    parent: Pid,
) -> (io::Error, OwnedFd) {
    let prepare = || {
        process::lead_own_group()?;
        process::die_with_parent(Signal::KILL)?;
        if process::parent() != Some(parent) {
            return Err(io::Error::other("the supervisor is gone"));
        }
        redirect(Standard::Input, null()?)?;
        redirect(Standard::Output, output)?;
        redirect(Standard::Error, output)?;
        signal::unblock_all()?;
        place(&[(channel.as_fd(), CHANNEL), (letter.as_fd(), LETTER)], image)
    };
    let image = match prepare() {
        Ok(image) => Image::from(image),
        Err(error) => return (error, channel),
    };
    let mut command = Command::new(image.path());
    let mut arguments = arguments().into_iter();
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    environment::probe(&mut command, CHANNEL, LETTER);
    let error = command.exec();
    // By its old number it may be another file now.
    (error, tine_os::fd::copy_of(CHANNEL).unwrap_or(channel))
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
