//! A worker's life from its first step to its last, whichever way its process was made.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tine_os::event::EventFd;
use tine_os::process::{self, Pid};
use tine_os::signal::{self, Signal};

use super::super::action::Assignment;
use super::super::run::Supervisor;
use crate::accept::Share;
use crate::fatal::Fatal;
use crate::hooks::Hooked;
use crate::last_words::keep_panics;
use crate::listen::Listener;
use crate::log::Log;
use crate::passthrough::Passed;
use crate::plan::PoolPlan;
use crate::program::{Program, environment, status};
use crate::scoreboard::{Bell, Record, Siblings, Tail};
use crate::seat::{FAILURE, FATAL, Parts, Seat, Shutdown};
use crate::shared::Region;
use crate::spares::Line;
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

/// Why a worker ends that has nothing to serve on: whoever takes its place will not either.
const DESERTED: &str = "its listeners were shut down by another process that has them";

/// The process that is a worker; 0 = none yet. A number, so that a child of a worker's own is not one.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// See [`crate::is_worker`].
pub(crate) fn is_worker() -> bool {
    WORKER.load(Relaxed) == process::pid().get() || environment::marked().is_some()
}

/// What a child has from its supervisor.
pub(crate) struct Kit<'a> {
    pub(crate) plan: &'a PoolPlan,
    pub(crate) program: &'a Program,
    pub(crate) assignment: Assignment,
    pub(crate) supervisor: Pid,
    pub(crate) channel: OwnedFd,
    pub(crate) record: Record,
    pub(crate) tail: Tail,
    pub(crate) siblings: Siblings,
    pub(crate) line: Line,
    pub(crate) bell: Bell,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) poke: Arc<EventFd>,
    pub(crate) share: Share,
    pub(crate) listeners: Vec<Rc<Listener>>,
    pub(crate) regions: Vec<Region>,
    pub(crate) log: Log,
    pub(crate) hooks: Hooked,
    pub(crate) passed: Passed,
}

impl<'a> Kit<'a> {
    /// What a fork leaves in the child's memory.
    pub(super) fn inherited(
        supervisor: &'a Supervisor,
        assignment: Assignment,
        record: usize,
        channel: OwnedFd,
    ) -> Self {
        let pool = &supervisor.pools[assignment.pool];
        Self {
            plan: &pool.plan,
            program: &pool.program,
            supervisor: supervisor.pid,
            channel,
            record: supervisor.board.record(record),
            tail: supervisor.board.tail(record),
            siblings: supervisor.board.siblings(assignment.pool),
            line: pool.line.clone(),
            bell: pool.bell.clone(),
            wake: supervisor.wake.clone(),
            poke: pool.poke.clone(),
            share: pool.share.clone(),
            listeners: pool.listeners.clone(),
            regions: supervisor.regions.clone(),
            log: supervisor.log.clone(),
            hooks: supervisor.hooks.clone(),
            passed: supervisor.passed.clone(),
            assignment,
        }
    }
}

/// A worker's life; its value is the exit status.
pub(crate) fn live(kit: Kit<'_>) -> i32 {
    let Kit { plan, program, assignment, supervisor, .. } = kit;
    let (log, hooks) = (kit.log.clone(), kit.hooks.clone());
    let worker = match enter(kit) {
        Ok(worker) => worker,
        Err(error) => {
            crate::log::error!(log, "worker {}: cannot boot: {error}", assignment.worker);
            return status::CANNOT_BOOT;
        }
    };
    let seat = worker.seat.clone();
    let fail = |text: String, code: i32| {
        seat.tell(FAILURE, &text);
        code
    };
    if let Err((text, code)) = settle(plan, program, assignment.place) {
        return fail(text, code);
    }
    // A changed uid has cleared it (prctl(2)).
    if let Err(error) = process::die_with_parent(Signal::TERM) {
        return fail(error.to_string(), status::CANNOT_BOOT);
    }
    let info = worker.info();
    if let Err(error) = hooks.worker_started(&worker) {
        return fail(format!("the hook worker_started: {error}"), status::CANNOT_BOOT);
    }
    let result = (program.serve)(worker);
    // The signal of its death may come before its pidfd says so.
    let orphaned = seat.is_orphaned() || process::parent() != Some(supervisor);
    if orphaned && let Some(tell) = &program.orphaned {
        tell();
    }
    hooks.worker_ended(&info);
    match result {
        Ok(()) if seat.is_fatal() => status::FATAL,
        Ok(()) if seat.is_deserted() && !orphaned => fail(DESERTED.to_owned(), status::FAILED),
        Ok(()) => 0,
        Err(error) if Fatal::is(&error) => {
            seat.tell(FATAL, &error.to_string());
            status::FATAL
        }
        Err(error) if seat.is_ready() => fail(error.to_string(), status::FAILED),
        Err(error) => fail(error.to_string(), status::CANNOT_BOOT),
    }
}

/// What comes before the program's own code: its processor, `prepare`, then the drop of privileges. A failure is its text and
/// the exit status it ends in.
pub(super) fn settle(
    plan: &PoolPlan,
    program: &Program,
    place: usize,
) -> Result<(), (String, i32)> {
    if let Some(cpu) = plan.processor(place) {
        tine_os::cpu::stay_on(cpu).map_err(|error| {
            (format!("cannot stay on processor {cpu}: {error}"), status::CANNOT_BOOT)
        })?;
    }
    if let Some(prepare) = &program.prepare {
        let chroot = plan.privileges.chroot.as_deref();
        prepare(&Setup { place, chroot })
            .map_err(|error| (error.to_string(), status::CANNOT_BOOT))?;
    }
    plan.privileges.drop().map_err(|text| (text, status::NO_PRIVILEGE))
}

/// Makes the process a worker: its own group, its own signals, its own descriptors.
fn enter(kit: Kit<'_>) -> Result<Worker, BoxError> {
    let Kit { plan, assignment, .. } = kit;
    process::lead_own_group()?;
    process::set_name(&format!("tine: {}", plan.name))?;
    let Assignment { place, generation, .. } = assignment;
    let title = format!("tine: worker {}/{place} gen {generation}", plan.name);
    // Where the kernel has no such thing, ps shows the command line.
    let _ = tine_os::title::set(&title);
    WORKER.store(process::pid().get(), Relaxed);
    let leave_event = Arc::new(EventFd::new()?);
    let grace = std::time::Duration::from_nanos(plan.rules.stop_timeout);
    signal::on_leave(&leave_event, grace, &LEAVES_ON)?;
    for signal in DISREGARDS {
        signal::disregard(signal)?;
    }
    let notice = kit.passed.expect()?;
    signal::unblock_all()?;
    process::die_with_parent(Signal::TERM)?;
    kit.record.set_pid(process::pid().get());
    kit.log.keep_tail(kit.tail.clone());
    keep_panics(kit.record.clone(), kit.tail);
    let breathes = !plan.rules.sizing.is_fixed();
    let seat = Arc::new(Seat::new(Parts {
        record: kit.record,
        siblings: kit.siblings,
        line: breathes.then_some(kit.line),
        bell: plan.rules.is_watched().then_some(kit.bell),
        channel: Some(kit.channel),
        supervisor: Some(watch_parent(kit.supervisor)?),
        leave_event,
        wake: kit.wake,
        poke: kit.poke,
        share: kit.share,
        place: assignment.place,
        standby: assignment.standby,
        concurrency: plan.concurrency,
        max_connections: assignment.max_connections,
        max_requests: assignment.max_requests,
        grace,
    }));
    Ok(Worker {
        shutdown: Shutdown::new(seat.clone(), kit.hooks.clone(), notice)?,
        seat,
        listeners: kit.listeners,
        regions: kit.regions,
        log: kit.log,
        gate: plan.gate.clone(),
        hooks: kit.hooks,
        given: None,
        id: assignment.worker.0,
        pool: plan.name.clone(),
        place: assignment.place,
        generation: assignment.generation,
    })
}

/// A pidfd of the supervisor, of this worker's own: one descriptor shared by all workers would meet the
/// kernel's bound on wake-up paths through nested epolls (500, `fs/eventpoll.c`).
pub(super) fn watch_parent(supervisor: Pid) -> Result<OwnedFd, BoxError> {
    let pidfd = process::pidfd(supervisor)?;
    if process::parent() != Some(supervisor) {
        return Err("the supervisor is gone".into());
    }
    Ok(pidfd)
}
