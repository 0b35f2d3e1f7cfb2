//! The environment, as far as it says who this process is, and what of it goes on to a foreign program.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::Command as Process;
use std::time::Duration;

use tine_os::process;

use crate::notify::Wishes;
use crate::{Error, Result};

/// Says to a process that was executed as a worker which one it is, and where its channel is: `PID,NUMBER`. The
/// pid keeps what the worker itself starts from taking it for its own (row F4).
const MARKER: &str = "TINE_WORKER";

/// How systemd says which sockets it has passed in (sd_listen_fds(3)).
pub(super) const LISTEN_FDS: &str = "LISTEN_FDS";
pub(super) const LISTEN_PID: &str = "LISTEN_PID";
pub(super) const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// The number of the first.
pub(super) const LISTEN_FDS_START: RawFd = 3;
/// How Server::Starter does.
pub(super) const SERVER_STARTER_PORT: &str = "SERVER_STARTER_PORT";

/// Where the service manager wants to be told how the service is (sd_notify(3)), and how often that it is alive
/// (sd_watchdog_enabled(3)).
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Says to a process that a reload has begun what it is: see [`Handed`] and [`tine_os::comeback`].
const HANDOVER: &str = tine_os::comeback::MARKER;

/// What is said to the supervisor by whoever started it, and would be wrong for a command: sd_listen_fds(3),
/// sd_notify(3), sd_watchdog_enabled(3).
const NOT_PASSED_ON: [&str; 10] = [
    MARKER,
    HANDOVER,
    LISTEN_FDS,
    LISTEN_PID,
    LISTEN_FDNAMES,
    NOTIFY_SOCKET,
    WATCHDOG_PID,
    WATCHDOG_USEC,
    SERVER_STARTER_PORT,
    "SERVER_STARTER_GENERATION",
];

/// How the variables of Einhorn begin, which are not passed on either.
pub(super) const EINHORN: &str = "EINHORN_";

/// Where programs without a `/` in their name are looked for if no `PATH` says so (what execvp(3) does).
pub(super) const PATH: &str = "/bin:/usr/bin";

/// Sockets that are passed on by number: in a process that a reload has begun they have other numbers, and are known
/// by their addresses.
const PASSED_IN: [&str; 3] = [LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES];

/// What a reload has begun this process as, with the numbers of its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handed {
    /// To say whether it could serve.
    Probe { channel: RawFd, letter: RawFd },
    /// To take over from the program before, which is `image`; `back`: the other way round, for the reason in `note`.
    Take { back: bool, letter: RawFd, image: RawFd, note: RawFd },
}

/// What a reload has begun this process as, if the marker means this very process.
pub(crate) fn handed() -> Option<Handed> {
    let value = std::env::var(HANDOVER).ok()?;
    let mut words = value.split(',');
    let kind = words.next()?;
    let numbers: Vec<i32> = words.map_while(|word| word.parse().ok()).collect();
    let own = process::pid().get().cast_signed();
    match (kind, numbers.as_slice()) {
        ("probe", &[pid, channel, letter]) if pid == own => Some(Handed::Probe { channel, letter }),
        ("take" | "back", &[pid, letter, image, note, _]) if pid == own => {
            Some(Handed::Take { back: kind == "back", letter, image, note })
        }
        _ => None,
    }
}

/// This process's environment for a program that it becomes in order to try it.
pub(crate) fn probe(channel: RawFd, letter: RawFd) -> Vec<OsString> {
    with_marker(&format!("probe,{},{channel},{letter}", process::pid()))
}

/// This process's environment for the program that it is about to become.
pub(crate) fn handover(taken: Handed, patience: Duration) -> Vec<OsString> {
    let Handed::Take { back, letter, image, note } = taken else { return Vec::new() };
    let kind = if back { "back" } else { "take" };
    let time = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX).max(1);
    with_marker(&format!("{kind},{},{letter},{image},{note},{time}", process::pid()))
}

/// What the next image finds in its environment, which is the same for one that is tried.
fn with_marker(marker: &str) -> Vec<OsString> {
    let left_out =
        |name: &OsStr| PASSED_IN.iter().chain(&[MARKER, HANDOVER]).any(|it| OsStr::new(it) == name);
    let kept = std::env::vars_os().filter(|(name, _)| !left_out(name));
    let kept = kept.map(|(name, value)| [&*name, OsStr::new("="), &*value].into_iter().collect());
    kept.chain([format!("{HANDOVER}={marker}").into()]).collect()
}

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

/// Whether this process is about to be given the logs that its supervisor, or the program before, has open: until then
/// one that cannot be opened is no reason to end.
pub(crate) fn is_to_be_given_its_logs() -> bool {
    matches!(handed(), Some(Handed::Take { .. })) || marked().is_some()
}

/// Removes the markers, so that nothing this process starts sees it.
///
/// # Errors
/// If there is a second thread already.
pub(crate) fn unmark() -> std::io::Result<()> {
    tine_os::exec::remove_variable(MARKER)?;
    tine_os::exec::remove_variable(HANDOVER)
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

/// What the service manager that has started this process wants to hear, if it wants to hear anything; and removes what
/// said so, so that no worker takes itself for the one that is meant.
///
/// # Errors
/// If there is a second thread already.
pub(crate) fn wishes() -> Result<Option<Wishes>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = std::env::var_os(WATCHDOG_PID).is_none()
        || number(WATCHDOG_PID) == Some(u64::from(process::pid().get()));
    let watchdog = number(WATCHDOG_USEC).filter(|&micros| ours && micros > 0);
    let socket = std::env::var_os(NOTIFY_SOCKET).filter(|socket| !socket.is_empty());
    for name in [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID] {
        if std::env::var_os(name).is_some() {
            tine_os::exec::remove_variable(name)
                .map_err(|error| Error::os(format!("cannot remove {name}"), error))?;
        }
    }
    let watchdog = watchdog.map(|micros| micros.saturating_mul(1000));
    Ok(socket.map(|socket| Wishes { socket, watchdog, main_pid: false }))
}

/// Takes out what is not meant for a command.
pub(crate) fn clean(process: &mut Process) {
    for name in NOT_PASSED_ON {
        process.env_remove(name);
    }
    let all = std::env::vars_os().map(|(name, _)| name);
    for name in all.filter(|name| name.as_encoded_bytes().starts_with(EINHORN.as_bytes())) {
        process.env_remove(name);
    }
}

/// The directories where programs are looked for.
pub(crate) fn directories() -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(&path()).collect::<Vec<_>>().into_iter()
}

/// Where programs are looked for.
pub(super) fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsStr::new(PATH).to_owned())
}
