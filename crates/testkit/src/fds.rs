//! Handing descriptors at chosen numbers to a child, without unsafe code and without a leak.
//!
//! Clearing close-on-exec in the test would show the descriptor to whatever another thread starts
//! meanwhile. So they travel in the three slots the standard library places by itself between fork
//! and exec, 0, 1 and 2; a shell moves them from there to their numbers, gives the slots back to
//! `/dev/null` and to named pipes, and becomes the program by `exec`: the pid stays.

use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use tempfile::TempDir;

/// As many as there are slots.
pub(crate) const MOST: usize = 3;
/// The numbers a POSIX shell can redirect to.
pub(crate) const TARGETS: std::ops::RangeInclusive<i32> = 3..=9;

/// The ends of a child's standard output and error that the kit reads, non-blocking.
pub(crate) struct Streams {
    pub(crate) read: [OwnedFd; 2],
    /// Named pipes the child has yet to open are in it: to be kept as long as the child.
    pub(crate) pipes: Option<TempDir>,
}

/// Sets the three slots of `command`: descriptors first, then what is left of input, output and
/// error.
pub(crate) fn fill_slots(
    command: &mut Command,
    listeners: Vec<OwnedFd>,
    pipes: Option<TempDir>,
) -> io::Result<Streams> {
    let mut slots = listeners.into_iter();
    command.stdin(slots.next().map_or_else(Stdio::null, Stdio::from));
    let (first, output) = stream(slots.next(), pipes.as_ref(), 1)?;
    let (second, error) = stream(slots.next(), pipes.as_ref(), 2)?;
    command.stdout(output).stderr(error);
    Ok(Streams { read: [first, second], pipes })
}

/// Slot `number` (1 or 2), and the end to read of the stream that belongs there: a pipe in the slot
/// itself, or, where a descriptor travels in it, a named pipe.
fn stream(
    listener: Option<OwnedFd>,
    pipes: Option<&TempDir>,
    number: u8,
) -> io::Result<(OwnedFd, Stdio)> {
    let (Some(listener), Some(pipes)) = (listener, pipes) else {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        return Ok((reader.into(), writer.into()));
    };
    let path = pipes.path().join(number.to_string());
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
    let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    Ok((reader, listener.into()))
}

/// The shell's part: the descriptors to their `targets`, the names in `own_pid` into the
/// environment with the pid the program will have, then the program. Its first argument is the
/// directory of the named pipes.
pub(crate) fn script(targets: &[i32], own_pid: &[String]) -> String {
    let mut text = "pipes=$1; shift; ".to_owned();
    for name in own_pid {
        let _ = write!(text, "export {name}=$$; ");
    }
    text.push_str("exec");
    for (slot, target) in targets.iter().enumerate() {
        let back = match slot {
            0 => "0</dev/null".to_owned(),
            _ => format!("{slot}>\"$pipes/{slot}\""),
        };
        let _ = write!(text, " {target}<&{slot} {back}");
    }
    text.push_str("; exec \"$@\"");
    text
}

/// The arguments of the shell before those of the program.
pub(crate) fn shell(script: String, pipes: Option<&Path>) -> [std::ffi::OsString; 5] {
    let pipes = pipes.unwrap_or(Path::new("/dev/null"));
    ["/bin/sh".into(), "-c".into(), script.into(), "testkit".into(), pipes.into()]
}
