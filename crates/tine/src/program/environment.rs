//! The environment, as far as it says who this process is, and what of it goes on to a foreign program.

use std::ffi::{OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::process::Command as Process;

use tine_os::process;

use crate::{Error, Result};

/// Says to a process that was executed as a worker which one it is, and where its channel is: `PID,NUMBER`. The
/// pid keeps what the worker itself starts from taking it for its own (row F4).
const MARKER: &str = "TINE_WORKER";

/// How systemd says which sockets it has passed in (sd_listen_fds(3)).
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// What is said to the supervisor by whoever started it, and would be wrong for a command: sd_listen_fds(3),
/// sd_notify(3), sd_watchdog_enabled(3).
const NOT_PASSED_ON: [&str; 7] = [
    MARKER,
    LISTEN_FDS,
    LISTEN_PID,
    LISTEN_FDNAMES,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Where programs without a `/` in their name are looked for if no `PATH` says so (what execvp(3) does).
pub(super) const PATH: &str = "/bin:/usr/bin";

/// The number of this process's channel, if the marker means this very process.
pub(crate) fn marked() -> Option<RawFd> {
    let value = std::env::var(MARKER).ok()?;
    let (pid, number) = value.split_once(',')?;
    let number: RawFd = number.parse().ok().filter(|&number| number > 2)?;
    (pid.parse() == Ok(process::pid().get()) && is_socket(number)).then_some(number)
}

/// A stranger's variable may mean anything: a number that is no socket is no channel.
fn is_socket(number: RawFd) -> bool {
    let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
    target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
}

/// Removes the marker, so that nothing this process starts sees it.
///
/// # Errors
/// If there is a second thread already.
pub(crate) fn unmark() -> std::io::Result<()> {
    tine_os::exec::remove_variable(MARKER)
}

/// This very image once more, with this process's arguments and environment, and the marker for this process.
pub(crate) fn again(channel: RawFd) -> Process {
    use std::os::unix::process::CommandExt as _;
    let mut arguments = std::env::args_os();
    let mut process = Process::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        process.arg0(name);
    }
    process.args(arguments).env(MARKER, format!("{},{channel}", process::pid()));
    process
}

/// The sockets that systemd, or whoever speaks its protocol, has left for this very process, from number 3 on, and
/// their names; and removes what said so, so that nothing this process starts takes them for its own
/// (sd_listen_fds(3)).
///
/// # Errors
/// A configuration error if there are none, or they are another process's.
pub(crate) fn sockets_passed_in() -> Result<Vec<(OwnedFd, Option<String>)>> {
    const FIRST: RawFd = 3;
    let number = |name: &str| {
        let value = std::env::var(name).map_err(|_| {
            Error::config(format!(
                "no sockets were passed in: {name} is not set; systemd sets it for a service with a socket unit"
            ))
        })?;
        value.parse::<u32>().map_err(|_| Error::config(format!("{name}={value:?}: it is a number")))
    };
    let (pid, count) = (number(LISTEN_PID)?, number(LISTEN_FDS)?);
    if pid != process::pid().get() {
        let text = format!("the sockets that were passed in are process {pid}'s (LISTEN_PID)");
        return Err(Error::config(text));
    }
    if count == 0 {
        return Err(Error::config("no sockets were passed in: LISTEN_FDS is 0"));
    }
    let names = std::env::var(LISTEN_FDNAMES).unwrap_or_default();
    let mut names = names.split(':').map(|name| (!name.is_empty()).then(|| name.to_owned()));
    for name in [LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES] {
        tine_os::exec::remove_variable(name)
            .map_err(|error| Error::os(format!("cannot remove {name}"), error))?;
    }
    let adopt = |number: RawFd| {
        let socket = tine_os::fd::adopt(number).map_err(|error| {
            Error::config(format!("descriptor {number}, which LISTEN_FDS counts: {error}"))
        })?;
        Ok((socket, names.next().flatten()))
    };
    let count = RawFd::try_from(count).unwrap_or(RawFd::MAX - FIRST);
    (FIRST..FIRST + count).map(adopt).collect()
}

/// Takes out what is not meant for a command.
pub(crate) fn clean(process: &mut Process) {
    for name in NOT_PASSED_ON {
        process.env_remove(name);
    }
}

/// Where programs are looked for.
pub(super) fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsStr::new(PATH).to_owned())
}
