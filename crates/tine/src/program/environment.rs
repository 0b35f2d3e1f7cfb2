//! The environment, as far as it says who this process is, and what of it goes on to a foreign program.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::process::Command as Process;

use tine_os::process;

/// Says to a process that was executed as a worker which one it is, and where its channel is: `PID,NUMBER`. The
/// pid keeps what the worker itself starts from taking it for its own (row F4).
const MARKER: &str = "TINE_WORKER";

/// What is said to the supervisor by whoever started it, and would be wrong for a command: sd_listen_fds(3),
/// sd_notify(3), sd_watchdog_enabled(3).
const NOT_PASSED_ON: [&str; 7] = [
    MARKER,
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Where programs without a `/` in their name are looked for if no `PATH` says so (what execvp(3) does).
const PATH: &str = "/bin:/usr/bin";

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
