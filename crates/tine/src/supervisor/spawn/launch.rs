//! The last steps before a foreign program: in the process that becomes it.

use std::io::{PipeWriter, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;

use tine_os::daemon::{Standard, null, redirect};
use tine_os::exec::place;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal};

use super::life::{Kit, settle};
use super::sign::Sign;
use crate::program::{Command, Producer, Spawn, dialects, status};

/// Why there is no command: the reason, and the exit status.
pub(super) type Failure = (String, i32);

/// What is launched.
#[derive(Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) kit: &'a Kit<'a>,
    pub(super) keeper: Pid,
    pub(super) producer: &'a Producer,
    pub(super) command: &'a Command,
    pub(super) spawn: &'a Spawn,
    pub(super) sign: &'a Sign,
}

/// Becomes the command. Returns only if that fails: the reason is in the pipe then, and this is the exit status.
/// The pipe is closed by the exec itself.
pub(super) fn launch(all: Launch<'_>, report: PipeWriter) -> i32 {
    let mut report = OwnedFd::from(report);
    let (text, code) = match steps(all, &mut report) {
        Ok(error) => (error, status::NO_COMMAND),
        Err(failure) => failure,
    };
    // If the keeper is gone, so is whoever could be told.
    let _ = PipeWriter::from(report).write_all(text.as_bytes());
    code
}

/// The reason why there was no exec; an error is one for something before it, with its exit status.
fn steps(all: Launch<'_>, report: &mut OwnedFd) -> Result<String, Failure> {
    let Launch { kit, keeper, producer, command, spawn, sign } = all;
    let passed = &spawn.listeners;
    let failed = |error: std::io::Error| (error.to_string(), status::CANNOT_BOOT);
    // Below another root there may be no such file.
    let empty = null().map_err(failed)?;
    settle(kit.plan, kit.program, kit.assignment.place)?;
    if !producer.inherits.contains(&0) {
        redirect(Standard::Input, empty).map_err(failed)?;
    }
    // After the change of user, which clears it (prctl(2)).
    process::die_with_parent(Signal::KILL).map_err(failed)?;
    if process::parent() != Some(keeper) {
        return Err(("its keeper is gone".to_owned(), status::CANNOT_BOOT));
    }
    signal::reset_all_dispositions().map_err(failed)?;
    signal::unblock_all().map_err(failed)?;
    let wanted: Vec<_> = kit.listeners.iter().zip(passed).collect();
    let wanted = wanted.iter().map(|(fd, passed)| (fd.as_fd(), passed.number));
    let mut wanted: Vec<_> = wanted.chain(sign.descriptors()).collect();
    let inherited = inherited(producer, &wanted).map_err(failed)?;
    wanted.extend(inherited.iter().map(|(fd, number)| (fd.as_fd(), *number)));
    *report = place(&wanted, &*report).map_err(|error| {
        let numbers: Vec<String> = passed.iter().map(|one| one.number.to_string()).collect();
        let text = format!("listeners cannot be at {}: {error}", numbers.join(", "));
        (text, status::NO_COMMAND)
    })?;
    let mut process = command.to_process().map_err(|text| (text, status::NO_COMMAND))?;
    let who = dialects::Processes { own: process::pid().get(), parent: keeper.get() };
    dialects::systemd(&mut process, passed, who);
    if producer.every_dialect {
        dialects::all(&mut process, spawn, who);
    }
    sign.tell(&mut process);
    if producer.ignores_pipe {
        tine_os::exec::ignoring(&mut process, Signal::PIPE);
    }
    let error = process.exec();
    let reason = command.check().err().unwrap_or_else(|| error.to_string());
    Ok(format!("cannot run {}: {reason}", command.program()))
}

/// What the command finds at the numbers where this process has it, as far as nothing else is to be there.
fn inherited(
    producer: &Producer,
    wanted: &[(BorrowedFd<'_>, RawFd)],
) -> std::io::Result<Vec<(OwnedFd, RawFd)>> {
    let taken = |number: RawFd| wanted.iter().any(|(_, other)| *other == number);
    let numbers = producer.inherits.iter().filter(|&&number| number > 0 && !taken(number));
    numbers.map(|&number| Ok((tine_os::fd::copy_of(number)?, number))).collect()
}

/// Asks the producer.
pub(super) fn produce(kit: &Kit<'_>, producer: &Producer) -> Result<(Command, Spawn), Failure> {
    let listeners = kit.listeners.iter().map(|it| (it.address(), it.name()));
    let passed = producer.pass(listeners).map_err(|text| (text, status::NO_COMMAND))?;
    let spawn = Spawn {
        worker: kit.assignment.worker.0,
        place: kit.assignment.place,
        generation: kit.assignment.generation,
        listeners: passed,
    };
    match producer.produce(&spawn) {
        Ok(command) => Ok((command, spawn)),
        Err(error) => Err((format!("no command: {error}"), status::NO_COMMAND)),
    }
}
