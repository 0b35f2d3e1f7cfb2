//! The fork, and a child's first and last steps.
//!
//! The child never returns into the supervisor's code: whatever happens in [`life`], the process ends in
//! [`child`], without a destructor of the supervisor's (pid file, sockets, control socket) being run.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tine_os::event::EventFd;
use tine_os::process::{self, Forked, Pid};
use tine_os::signal::{self, Signal};

use super::action::Assignment;
use super::run::Supervisor;
use crate::program::status;
use crate::seat::{FAILURE, Parts, Seat, Shutdown};
use crate::worker::{BoxError, Setup, Worker};

/// Signals a worker leaves on. Its supervisor asks over the channel; these are for whoever signals a
/// worker by hand, and for a whole control group's TERM.
pub(crate) const LEAVES_ON: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
/// Meant for the supervisor; a worker that gets one by mistake goes on. (PIPE stays ignored: the standard
/// library resets it for the programs it starts.)
const DISREGARDS: [Signal; 6] = [
    Signal::USR1,
    Signal::USR2,
    Signal::TTIN,
    Signal::TTOU,
    Signal::WINCH,
    // Too long a log is no reason to die: the line counts as lost.
    Signal::XFSZ,
];

/// Forks; returns in the parent only.
pub(super) fn fork(
    supervisor: &Supervisor,
    assignment: Assignment,
    record: usize,
    channel: OwnedFd,
    parents_end: &OwnedFd,
) -> std::io::Result<Pid> {
    match process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => child(supervisor, assignment, record, channel, parents_end.as_raw_fd()),
    }
}

fn child(
    supervisor: &Supervisor,
    assignment: Assignment,
    record: usize,
    channel: OwnedFd,
    parents_end: i32,
) -> ! {
    tine_os::nursery::open();
    let life = || life(supervisor, assignment, record, channel, parents_end);
    let code = catch_unwind(AssertUnwindSafe(life)).unwrap_or(status::PANICKED);
    let _ = std::io::stdout().flush();
    process::exit_now(code)
}

/// A worker's life; its value is the exit status.
fn life(
    supervisor: &Supervisor,
    assignment: Assignment,
    record: usize,
    channel: OwnedFd,
    parents_end: i32,
) -> i32 {
    let mut inherited = supervisor.descriptors();
    inherited.push(parents_end);
    tine_os::fd::close_many(&mut inherited);
    let pool = &supervisor.pools[assignment.pool];
    let worker = match enter(supervisor, assignment, record, channel) {
        Ok(worker) => worker,
        Err(error) => {
            crate::log::error!(
                supervisor.log,
                "worker {}: cannot boot: {error}",
                assignment.worker
            );
            return status::CANNOT_BOOT;
        }
    };
    let seat = worker.seat.clone();
    let fail = |text: String, code: i32| {
        seat.tell(FAILURE, &text);
        code
    };
    if let Some(prepare) = &pool.program.prepare {
        let chroot = pool.plan.privileges.chroot.as_deref();
        if let Err(error) = prepare(&Setup { place: assignment.place, chroot }) {
            return fail(error.to_string(), status::CANNOT_BOOT);
        }
    }
    if let Err(text) = pool.plan.privileges.drop() {
        return fail(text, status::NO_PRIVILEGE);
    }
    // A changed uid has cleared it (prctl(2)).
    if let Err(error) = process::die_with_parent(Signal::TERM) {
        return fail(error.to_string(), status::CANNOT_BOOT);
    }
    let result = (pool.program.serve)(worker);
    // The signal of its death may come before its pidfd says so.
    let orphaned = seat.is_orphaned() || process::parent() != Some(supervisor.pid);
    if orphaned && let Some(tell) = &pool.program.orphaned {
        tell();
    }
    match result {
        Ok(()) => 0,
        Err(error) if seat.is_ready() => fail(error.to_string(), status::FAILED),
        Err(error) => fail(error.to_string(), status::CANNOT_BOOT),
    }
}

/// Makes the process a worker: its own group, its own signals, its own descriptors.
fn enter(
    supervisor: &Supervisor,
    assignment: Assignment,
    record: usize,
    channel: OwnedFd,
) -> Result<Worker, BoxError> {
    let pool = &supervisor.pools[assignment.pool];
    process::lead_own_group()?;
    process::set_name(&format!("tine: {}", pool.plan.name))?;
    let leave_event = Arc::new(EventFd::new()?);
    let grace = std::time::Duration::from_nanos(pool.plan.rules.stop_timeout);
    signal::on_leave(&leave_event, grace, &LEAVES_ON)?;
    for signal in DISREGARDS {
        signal::disregard(signal)?;
    }
    signal::unblock_all()?;
    process::die_with_parent(Signal::TERM)?;
    let record = supervisor.board.record(record);
    record.set_pid(process::pid().get());
    let breathes = !pool.plan.rules.sizing.is_fixed();
    let seat = Arc::new(Seat::new(Parts {
        record,
        line: breathes.then(|| pool.line.clone()),
        channel: Some(channel),
        supervisor: Some(watch_parent(supervisor.pid)?),
        leave_event,
        wake: supervisor.wake.clone(),
        poke: pool.poke.clone(),
        standby: assignment.standby,
        concurrency: pool.plan.concurrency,
        max_connections: assignment.max_connections,
        max_requests: assignment.max_requests,
        grace,
    }));
    Ok(Worker {
        shutdown: Shutdown::new(seat.clone())?,
        seat,
        listeners: pool.listeners.clone(),
        regions: supervisor.regions.clone(),
        log: supervisor.log.clone(),
        gate: pool.plan.gate.clone(),
        id: assignment.worker.0,
        pool: pool.plan.name.clone(),
        place: assignment.place,
        generation: assignment.generation,
    })
}

/// A pidfd of the supervisor, of this worker's own: one descriptor shared by all workers would meet the
/// kernel's bound on wake-up paths through nested epolls (500, `fs/eventpoll.c`).
fn watch_parent(supervisor: Pid) -> Result<OwnedFd, BoxError> {
    let pidfd = process::pidfd(supervisor)?;
    if process::parent() != Some(supervisor) {
        return Err("the supervisor is gone".into());
    }
    Ok(pidfd)
}
