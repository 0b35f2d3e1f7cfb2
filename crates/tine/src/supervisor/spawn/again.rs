//! A worker that is this program once more: how it is executed, and how it knows what it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;

use tine_os::exec::place;
use tine_os::fd::{adopt, send_message};
use tine_os::process;
use tine_os::signal::{self, Signal};
use tine_os::socket::peer_credentials;

use super::super::action::Assignment;
use super::super::run::Supervisor;
use super::letter::{self, Descriptors, Letter};
use crate::program::{environment, status};
use crate::seat::{FAILURE, cut};
use crate::{Error, Result};

/// The number of the channel in the new image.
const CHANNEL: i32 = 3;

/// In the forked child: becomes this program once more. Returns only if that fails, with the exit status.
pub(super) fn go(
    supervisor: &Supervisor,
    assignment: &Assignment,
    record: usize,
    channel: OwnedFd,
    parents_end: &OwnedFd,
) -> i32 {
    let prepare = || {
        process::lead_own_group()?;
        // Until it can look after itself; main could hang before it knows of any supervisor.
        process::die_with_parent(Signal::KILL)?;
        if process::parent() != Some(supervisor.pid) {
            return Err(io::Error::other("the supervisor is gone"));
        }
        letter::send(supervisor, assignment, record, parents_end)?;
        // What main starts before it knows what it is would keep them held back.
        signal::unblock_all()?;
        place(&[(channel.as_fd(), CHANNEL)], &channel)
    };
    let (error, channel) = match prepare() {
        Ok(spare) => (environment::again(CHANNEL).exec(), spare),
        Err(error) => (error, channel),
    };
    refuse(&channel, &format!("cannot execute this program again: {error}"))
}

/// Says why this process cannot be a worker; the status to end with.
pub(crate) fn refuse(channel: &OwnedFd, text: &str) -> i32 {
    // A supervisor that is gone need not know.
    let _ = send_message(channel, &cut(FAILURE, text));
    status::CANNOT_BOOT
}

/// What makes a process that has just begun a worker.
#[derive(Debug)]
pub(crate) struct Summons {
    pub(crate) channel: OwnedFd,
    pub(crate) letter: Letter,
    pub(crate) descriptors: Descriptors,
}

/// In a process that may have been executed as a worker: whether it was. From then on it has no marker any
/// more; the second answer is no.
///
/// # Errors
/// A boot error if it was, and cannot be one: the supervisor is dead, or this process has threads already.
pub(crate) fn summons() -> Result<Option<Summons>> {
    let Some(number) = environment::marked() else { return Ok(None) };
    let failed =
        |error: io::Error| Error::boot(format!("this process cannot be a worker: {error}"));
    let channel = adopt(number).map_err(failed)?;
    let open = || {
        environment::unmark()?;
        // The kernel's word, not the marker's: a pair's maker is its peer (unix(7), SO_PEERCRED).
        if peer_credentials(&channel)?.pid != process::parent() {
            return Err(io::Error::other("its supervisor is gone"));
        }
        letter::receive(&channel)
    };
    match open() {
        Ok((letter, descriptors)) => Ok(Some(Summons { channel, letter, descriptors })),
        Err(error) => {
            refuse(&channel, &error.to_string());
            Err(failed(error))
        }
    }
}
