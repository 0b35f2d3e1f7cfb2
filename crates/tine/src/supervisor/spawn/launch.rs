//! The last steps before a foreign program: in the process that becomes it.

use std::io::{PipeWriter, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;

use tine_os::daemon::{Standard, null, redirect};
use tine_os::exec::place;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal};

use super::life::{Kit, settle};
use crate::program::{Command, Passed, status};

/// The first number of `LISTEN_FDS` (sd_listen_fds(3)).
const LISTEN_FDS_START: i32 = 3;

/// Becomes the command. Returns only if that fails: the reason is in the pipe then, and this is the exit status.
/// The pipe is closed by the exec itself.
pub(super) fn launch(
    kit: &Kit<'_>,
    keeper: Pid,
    command: &Command,
    passed: &[Passed],
    report: PipeWriter,
) -> i32 {
    let mut report = OwnedFd::from(report);
    let (text, code) = match steps(kit, keeper, command, passed, &mut report) {
        Ok(error) => (error, status::NO_COMMAND),
        Err(failure) => failure,
    };
    // If the keeper is gone, so is whoever could be told.
    let _ = PipeWriter::from(report).write_all(text.as_bytes());
    code
}

/// The reason why there was no exec; an error is one for something before it, with its exit status.
fn steps(
    kit: &Kit<'_>,
    keeper: Pid,
    command: &Command,
    passed: &[Passed],
    report: &mut OwnedFd,
) -> Result<String, (String, i32)> {
    let failed = |error: std::io::Error| (error.to_string(), status::CANNOT_BOOT);
    // Below another root there may be no such file.
    let empty = null().map_err(failed)?;
    settle(kit.plan, kit.program, kit.assignment.place)?;
    redirect(Standard::Input, empty).map_err(failed)?;
    // After the change of user, which clears it (prctl(2)).
    process::die_with_parent(Signal::KILL).map_err(failed)?;
    if process::parent() != Some(keeper) {
        return Err(("its keeper is gone".to_owned(), status::CANNOT_BOOT));
    }
    signal::reset_all_dispositions().map_err(failed)?;
    signal::unblock_all().map_err(failed)?;
    let wanted: Vec<_> = kit.listeners.iter().zip(passed).collect();
    let wanted: Vec<_> = wanted.iter().map(|(fd, passed)| (fd.as_fd(), passed.number)).collect();
    *report = place(&wanted, &*report).map_err(|error| {
        let numbers: Vec<String> = passed.iter().map(|one| one.number.to_string()).collect();
        let text = format!("listeners cannot be at {}: {error}", numbers.join(", "));
        (text, status::NO_COMMAND)
    })?;
    let mut process = command.to_process();
    let in_a_row = (LISTEN_FDS_START..).zip(passed).all(|(number, one)| number == one.number);
    if in_a_row && !passed.is_empty() {
        process.env("LISTEN_FDS", passed.len().to_string());
        process.env("LISTEN_PID", process::pid().to_string());
    }
    let error = process.exec();
    let reason = command.check().err().unwrap_or_else(|| error.to_string());
    Ok(format!("cannot run {}: {reason}", command.program()))
}
