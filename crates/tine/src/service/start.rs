//! The steps of a start, each with its refusal, and what is to be removed whatever step fails.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::fd::duplicate;

use super::{ControlAt, Pool};
use crate::accept::{Accept, Share};
use crate::control;
use crate::counted::{arc, rc};
use crate::endpoint::Endpoint;
use crate::handover::{Estate, ProgramFile};
use crate::listen::{Leftovers, ListenOptions, Listeners, bind_pool};
use crate::log::{Log, info, warning};
use crate::notify::{Manager, Wishes};
use crate::pidfile::PidFile;
use crate::plan::PoolPlan;
use crate::scoreboard::{Bell, Scoreboard};
use crate::shared::Region;
use crate::shared::wanted::Wanted;
use crate::spares::Line;
use crate::statusfile::StatusFile;
use crate::supervisor::run::Pool as RunningPool;
use crate::supervisor::watch::Watch;
use crate::{Error, Result};

/// Between two attempts to bind an address that is in use, in milliseconds: half a second, all together. Each that fails
/// looks through `/proc` for the holder.
const BIND_PAUSES: [u64; 6] = [10, 20, 40, 80, 150, 200];

/// What a service leaves on disk, removed however [`Service::run`] is left; never in a child, which ends
/// without destructors.
#[derive(Debug, Default)]
pub(super) struct Cleanup {
    bound: Vec<Rc<Listeners>>,
    pub(super) pid_file: Option<PidFile>,
    pub(super) status_file: Option<Rc<StatusFile>>,
}

impl Cleanup {
    pub(super) fn perform(mut self) {
        self.clean();
    }

    fn clean(&mut self) {
        for listeners in self.bound.drain(..) {
            // Gone already, or somebody else's by now: nothing to do about it at the end.
            let _ = listeners.unlink();
        }
        if let Some(file) = self.status_file.take() {
            file.remove();
        }
        if let Some(file) = self.pid_file.take() {
            let _ = file.remove();
        }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.clean();
    }
}

/// Refuses a kernel, or a sandbox, that lacks what a supervisor is made of.
pub(super) fn refuse_old_kernels() -> Result<()> {
    const EPERM: i32 = 1;
    tine_os::kernel::pidfds().map_err(|(call, error)| {
        let why = match error.raw_os_error() {
            Some(EPERM) => "a sandbox refuses it: allow it there, or update what makes the sandbox",
            _ => "this takes Linux 5.4 or newer",
        };
        let text = format!(
            "the system call {call} is not to be had, and {why}; without a supervisor (`tine serve --solo`) it is not \
             needed"
        );
        Error::os(text, error)
    })
}

/// What cannot be done without `/proc`, if it is not there.
fn remark_on_proc() -> Option<&'static str> {
    let there = std::path::Path::new("/proc/self/stat").exists();
    (!there).then_some(
        "/proc is not mounted: a reload cannot bring another program, workers are not begun by exec, and memory and \
         titles of processes are not known",
    )
}

pub(super) fn refuse_threads() -> Result<()> {
    #[cfg(feature = "tokio")]
    if crate::async_worker::runtime_is_entered() {
        let text = "the service runs inside a tokio runtime; run it from a plain main: the workers make \
                    runtimes of their own";
        return Err(Error::config(text));
    }
    // Where nobody can say, that there are none is the program's to know.
    let threads = tine_os::process::thread_count().unwrap_or(1);
    if threads > 1 {
        let names = tine_os::process::other_threads().unwrap_or_default().join(", ");
        let text = format!(
            "this process has {threads} threads ({names} beside the main one), and a fork would copy one of \
             them; run the service before any thread is started, or test with Prefork::solo"
        );
        return Err(Error::config(text));
    }
    Ok(())
}

/// What a plan's reader should know: nothing is corrected without a word (row A6), and every worker costs the supervisor
/// a pidfd and a channel.
pub(super) fn remarks(plans: &[PoolPlan], open_files: io::Result<u64>) -> Vec<String> {
    let corrected = |plan: &PoolPlan| {
        let line = |text: &String| format!("pool {}: {text}", plan.name);
        plan.corrected.iter().map(line).collect::<Vec<_>>()
    };
    let workers: u64 = plans.iter().map(|plan| u64::from(plan.rules.sizing.max)).sum();
    let need = 2 * workers + 64;
    let mut all: Vec<String> = plans.iter().flat_map(corrected).collect();
    match open_files {
        Ok(limit) if need > limit => all.push(format!(
            "{workers} workers need {need} open files and the limit is {limit}: raise it"
        )),
        Ok(_) => {}
        Err(error) => all.push(format!("the limit of open files stays as it is: {error}")),
    }
    all.extend(remark_on_proc().map(str::to_owned));
    all
}

/// The scoreboard: the one that was left, if it fits.
pub(super) fn board(
    plans: &[PoolPlan],
    estate: Option<&mut Estate>,
    log: &Log,
) -> Result<Scoreboard> {
    let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
    let records = plans.iter().map(PoolPlan::records).sum();
    let left = estate.map_or(Ok(None), |estate| estate.board(&names, records, log))?;
    left.map_or_else(|| Scoreboard::create(plans.len(), records), Ok)
}

/// The shared regions: those that were left, if they are the same.
pub(super) fn regions(
    wanted: &[Wanted],
    estate: Option<&Estate>,
    log: &Log,
) -> Result<Vec<Region>> {
    let region = |wanted: &Wanted| {
        let left = estate.map_or(Ok(None), |estate| estate.region(wanted, log))?;
        left.map_or_else(|| wanted.make(), Ok)
    };
    wanted.iter().map(region).collect()
}

pub(super) fn pid_file(path: &Path, pid: u32, estate: Option<&Estate>) -> Result<PidFile> {
    let left = estate.and_then(|estate| estate.letter.pid_file.as_ref());
    let kept = left.map_or(Ok(None), |left| PidFile::take_over(path, left))?;
    kept.map_or_else(|| PidFile::create(path, pid), Ok)
}

/// The line to the service manager that has started the service, or the program before, if there is one that listens.
pub(super) fn manager(
    wishes: Option<Wishes>,
    estate: Option<&Estate>,
    daemon: bool,
    log: &Log,
) -> Option<Manager> {
    let wishes = match estate {
        Some(estate) => estate.letter.notify.clone()?,
        None => Wishes { main_pid: daemon, ..wishes? },
    };
    match Manager::open(wishes, tine_os::clock::monotonic()) {
        Ok(manager) => Some(manager),
        Err(error) => {
            warning!(log, "nobody is told that the service is ready: NOTIFY_SOCKET: {error}");
            None
        }
    }
}

/// Where a reload finds the program.
pub(super) fn program(estate: Option<&Estate>) -> Result<ProgramFile> {
    let found = match estate {
        Some(estate) => Ok(ProgramFile::at(estate.letter.program.clone())),
        None => ProgramFile::of_this_process(),
    };
    found.map_err(|error| Error::os("cannot tell which program this is", error))
}

pub(super) fn bind(
    pool: Pool,
    plan: PoolPlan,
    (line, bell): (Line, Bell),
    log: &Log,
    cleanup: &mut Cleanup,
    estate: Option<&Estate>,
) -> Result<RunningPool> {
    let endpoints = pool.endpoints(&plan)?;
    let (bound, notes) = match estate {
        Some(estate) => {
            bind_pool(&endpoints, pool.sockets, plan.sockets, (&estate.listeners, &plan.name))?
        }
        None => bind_patiently(&endpoints, pool.sockets, &plan)?,
    };
    bound.name_last(pool.inherited.unwrap_or_default());
    notes.iter().for_each(|note| warning!(log, "{note}"));
    if let Some(producer) = pool.program.producer()
        && let Err(text) = producer.ready_listeners(&bound)
    {
        let _ = bound.unlink();
        return Err(Error::config(format!("pool {}: {text}", plan.name)));
    }
    let bound = rc(bound);
    cleanup.bound.push(bound.clone());
    let poke = estate.map_or_else(EventFd::semaphore, |estate| estate.poke(&plan.name));
    let poke = poke.map_err(|error| Error::os("cannot make an event descriptor", error))?;
    Ok(RunningPool {
        watch: Watch::default(),
        share: Share::create(plan.accept, plan.rules.capacity, plan.sockets)?,
        to_look: false,
        plan,
        program: pool.program,
        listeners: bound.iter().cloned().collect(),
        bound,
        line,
        bell,
        poke: arc(poke),
        past: crate::supervisor::procs::Totals::default(),
    })
}

/// Binds the sockets of a start. Orphans of a supervisor that was killed, perhaps the reason of this start, still have
/// them for a moment.
fn bind_patiently(
    endpoints: &[(Endpoint, ListenOptions)],
    adopted: Vec<OwnedFd>,
    plan: &PoolPlan,
) -> Result<(Listeners, Vec<String>)> {
    let none = Leftovers::default();
    for pause in BIND_PAUSES {
        let copies = adopted.iter().map(duplicate).collect::<io::Result<_>>();
        let copies = copies.map_err(|error| Error::os("cannot copy the sockets", error))?;
        match bind_pool(endpoints, copies, plan.sockets, (&none, &plan.name)) {
            Err(error) if error.is_in_use() => std::thread::sleep(Duration::from_millis(pause)),
            bound => return bound,
        }
    }
    bind_pool(endpoints, adopted, plan.sockets, (&none, &plan.name))
}

pub(super) fn open_control(
    at: &ControlAt,
    pid: u32,
    pools: &[RunningPool],
    log: &Log,
    estate: Option<&Estate>,
) -> Result<Option<control::Server>> {
    let mut addresses: Vec<String> =
        pools.iter().flat_map(|pool| &pool.listeners).map(|l| l.address().to_owned()).collect();
    addresses.dedup();
    let left = estate.and_then(|estate| estate.letter.control.as_ref());
    let open = |path: &Path| {
        let kept = left.filter(|left| std::path::absolute(path).is_ok_and(|it| it == left.path));
        let mut server = match kept {
            Some(left) => control::Server::take_over(left)
                .map_err(|error| Error::os("cannot keep the control socket", error))?,
            None => control::Server::open(path)?,
        };
        server.publish(&addresses)?;
        Ok(server)
    };
    match at {
        ControlAt::Nowhere => Ok(None),
        ControlAt::Path(path) => open(path).map(Some),
        // Nobody asked for it by name, so the service is worth more than its control socket.
        ControlAt::Default => match open(&control::default_path(pid)) {
            Ok(server) => Ok(Some(server)),
            Err(error) => {
                warning!(log, "no control socket: {error}");
                Ok(None)
            }
        },
    }
}

/// Says what there is; after a reload, what is new.
pub(super) fn announce(
    log: &Log,
    pools: &[RunningPool],
    control: Option<&control::Server>,
    estate: Option<&Estate>,
) {
    for pool in pools {
        for listener in &pool.listeners {
            let first = listener.shard().is_none_or(|shard| shard == 0);
            if first && estate.is_none_or(|estate| !estate.has_listener(listener.address())) {
                let with = if listener.tls() { " with TLS" } else { "" };
                info!(log, "listening on {}{with}", listener.address());
            }
        }
        if estate.is_some() {
            continue;
        }
        let sizing = pool.plan.rules.sizing;
        if let Some(every) = pool.plan.rules.every {
            let (name, every) = (&pool.plan.name, Duration::from_nanos(every));
            info!(log, "pool {name}: a helper every {every:?}, at most {} at once", sizing.max);
            continue;
        }
        let workers = match (sizing.min, sizing.max) {
            (min, max) if min == max => format!("{max} workers"),
            (min, max) => format!("{min} to {max} workers"),
        };
        let each = match pool.plan.concurrency {
            1 => "one connection each".to_owned(),
            many => format!("up to {many} connections each"),
        };
        let mode = match (pool.plan.accept, pool.plan.sockets) {
            (Accept::Shared, _) => String::new(),
            (mode, 1) => format!(", accepting {mode}"),
            (mode, sockets) => format!(", accepting {mode}: {sockets} sockets an address"),
        };
        info!(log, "pool {}: {workers}, {each}{mode}", pool.plan.name);
    }
    if let Some(control) = control.filter(|_| estate.is_none()) {
        info!(log, "control socket {}", control.path().display());
    }
}
