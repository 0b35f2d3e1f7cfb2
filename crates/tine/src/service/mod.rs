//! A service: pools under one supervisor, from what was asked for to its end.
//!
//! [`crate::Prefork`] is a service with one pool; use this for several.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tine_os::comeback;
use tine_os::event::EventFd;
use tine_os::signal::Signal;

mod again;
mod check;
mod inetd;
mod pool;
mod prepare;
mod renew;
mod solo;
mod start;

pub use pool::Pool;

use crate::daemon::{Ready, Role};
use crate::handover::{self, Estate, Summons as Reload};
use crate::hooks::{Hooked, Hooks};
use crate::log::{Log, LogFile, info, warning};
use crate::notify::Wishes;
use crate::passthrough::Passed;
use crate::pidfile::PidFile;
use crate::plan::PoolPlan;
use crate::shared::Region;
use crate::shared::wanted::{Tend, Wanted};
use crate::signals::Signals;
use crate::statusfile::StatusFile;
use crate::supervisor::held::HeldSignals;
use crate::supervisor::run::{Parts, Supervisor};
use crate::supervisor::tend::Tended;
use crate::{Error, Result};
use start::{
    Cleanup, announce, bind, board, manager, open_control, pid_file, program, refuse_old_kernels,
    refuse_threads, regions, remarks,
};

/// Stops a service from code; cheap to clone, and still good in a process forked from the supervisor's.
#[derive(Clone, Debug)]
pub struct Handle(Arc<EventFd>);

impl Handle {
    /// Asks for a graceful stop, after the lame-duck time if there is one; a second time, for the end of that time, or for
    /// an end at once (row F13).
    pub fn stop(&self) {
        self.0.signal();
    }
}

/// Where the control socket is.
#[derive(Clone, Debug, Default)]
enum ControlAt {
    /// By pid, in the runtime directory.
    #[default]
    Default,
    Path(PathBuf),
    Nowhere,
}

/// Pools under one supervisor.
#[derive(Debug)]
#[must_use = "a service does nothing until it runs"]
pub struct Service {
    pools: Vec<Pool>,
    regions: Vec<Wanted>,
    log: Log,
    log_files: Vec<LogFile>,
    signals: Signals,
    pid_file: Option<PathBuf>,
    status_file: Option<PathBuf>,
    control: ControlAt,
    daemonize: bool,
    rolls: bool,
    untitled: bool,
    hooks: Hooked,
    passed: Vec<Signal>,
    stop: Result<Arc<EventFd>>,
    /// What the service manager wants to hear; known when it runs.
    wishes: Option<Wishes>,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// A service without a pool.
    pub fn new() -> Self {
        let stop = EventFd::new().map(Arc::new);
        Self {
            pools: Vec::new(),
            regions: Vec::new(),
            log: Log::default(),
            log_files: Vec::new(),
            signals: Signals::default(),
            pid_file: None,
            status_file: None,
            control: ControlAt::default(),
            daemonize: false,
            rolls: false,
            untitled: false,
            hooks: Hooked::default(),
            passed: Vec::new(),
            wishes: None,
            stop: stop.map_err(|error| Error::os("cannot make an event descriptor", error)),
        }
    }

    /// Adds a pool.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pools.push(pool);
        self
    }

    /// Adds a shared region of `words` 64-bit words, which workers find by its name.
    pub fn region(mut self, name: impl Into<String>, version: u32, words: usize) -> Self {
        self.regions.push(Wanted { name: name.into(), version, words, tend: None });
        self
    }

    /// The same, with something that keeps its content up to date: called in the supervisor, before the first
    /// worker is forked and from then on whenever the time it asked for is over. It is the region's only
    /// writer by that; a reload calls that of the next program with the same region, content and all.
    ///
    /// It holds everybody up while it runs, so it must not wait for anything. Without a supervisor
    /// ([`crate::Prefork::solo`]) there is nobody to call it, and no such region.
    pub fn tended_region(
        mut self,
        name: impl Into<String>,
        version: u32,
        words: usize,
        tend: impl Fn(&Region) -> Duration + 'static,
    ) -> Self {
        let tend: Option<Tend> = Some(Rc::new(tend));
        self.regions.push(Wanted { name: name.into(), version, words, tend });
        self
    }

    /// The log. Default: standard error, level info.
    pub fn log(mut self, log: Log) -> Self {
        self.log = log;
        self
    }

    /// A log of the program's own: opened anew when the service's is (USR1). Any number.
    pub fn log_file(mut self, file: LogFile) -> Self {
        self.log_files.push(file);
        self
    }

    /// What signals mean.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// Signals that go on to every worker that is ready, before the supervisor does what they mean to itself.
    /// A worker's [`Hooks::signalled`] hears of them, unless the program has a handler of its own: it may set
    /// one in [`Hooks::worker_started`] or later. TERM, INT, QUIT and HUP make a worker leave, as ever. A
    /// foreign command gets them as they are. Default: none.
    pub fn pass_signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.passed.extend(signals);
        self
    }

    /// Writes the supervisor's pid to a file, locked while it runs and removed at its end.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pid_file = Some(path.into());
        self
    }

    /// Keeps a file with a line `NUMBER:PID` for every worker that has been ready and is still there, and removes it at
    /// the end (row S11). The number is the worker's, see [`crate::Spawn::worker`]; the process of a foreign command is
    /// the command's own.
    pub fn status_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.status_file = Some(path.into());
        self
    }

    /// Where the control socket is. Default: by pid, in the runtime directory.
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.control = ControlAt::Path(path.into());
        self
    }

    /// Runs in the background. [`Service::run`] returns in the process that called it once every pool has
    /// had a ready worker, or with the reason why not (row N40).
    pub fn daemonize(mut self) -> Self {
        self.daemonize = true;
        self
    }

    /// A reload replaces the workers and nothing else: this program goes on, and reads no configuration. For foreign
    /// commands, whose own files are what is new.
    pub fn rolls(mut self) -> Self {
        self.rolls = true;
        self
    }

    /// The supervisor is shown by ps with the command line it was started with: for whoever looks for that.
    pub fn untitled(mut self) -> Self {
        self.untitled = true;
        self
    }

    /// What the program does at the turns of the service's life, in the supervisor and in the workers of all
    /// pools; see [`Hooks`].
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Self {
        self.hooks = Hooked::new(hooks);
        self
    }

    /// No control socket: `tine status` and `tine stop` do not find this service.
    pub fn no_control(mut self) -> Self {
        self.control = ControlAt::Nowhere;
        self
    }

    /// Something to stop the service by, from code.
    ///
    /// # Errors
    /// What `eventfd(2)` says.
    pub fn handle(&self) -> Result<Handle> {
        match &self.stop {
            Ok(event) => Ok(Handle(event.clone())),
            Err(error) => Err(Error::config(error.to_string())),
        }
    }

    /// Serves until it is stopped. Call it while the process has one thread and no runtime: workers are
    /// forked from it. In a process that was executed as a worker (see [`crate::Program::exec`]) it is one,
    /// and does not return.
    ///
    /// # Errors
    /// A configuration error before anything is bound; a bind error; a privilege error; a boot error if
    /// no worker ever became ready.
    pub fn run(mut self) -> Result<()> {
        if let Some(summons) = crate::supervisor::spawn::summons()? {
            self.answer(summons);
        }
        match handover::summons()? {
            Some(Reload::Probe(channel, letter)) => self.be_tried(&channel, *letter),
            Some(Reload::Estate(estate)) => return self.take_over(*estate),
            None => {}
        }
        let plans = self.plan()?;
        refuse_old_kernels()?;
        refuse_threads()?;
        self.pools.iter_mut().try_for_each(Pool::take_inherited)?;
        self.wishes = crate::program::environment::wishes()?;
        let mut birth = None;
        if self.daemonize {
            match self.become_daemon(&plans)? {
                Role::Parent(verdict) => return verdict.into_result().map(drop),
                Role::Child(ready) => birth = Some(ready),
            }
        }
        self.begin(plans, &mut birth, None)
    }

    /// From the plan to the end, of which the hooks and whoever waits for a daemon are told.
    fn begin(
        self,
        plans: Vec<PoolPlan>,
        birth: &mut Option<Ready>,
        estate: Option<Estate>,
    ) -> Result<()> {
        let (hooks, log) = (self.hooks.clone(), self.log.clone());
        let result = self.serve(plans, birth, estate);
        let _ = tine_os::title::restore();
        hooks.call(&log, "stopped", |hooks| hooks.stopped(result.as_ref().err()));
        if let (Some(birth), Err(error)) = (birth.take(), &result) {
            birth.tell(Err((&error.to_string(), error.exit_code())));
        }
        result
    }

    /// Everything between the plan and the end. The signals are held until all is done, or the way back is taken.
    fn serve(
        self,
        plans: Vec<PoolPlan>,
        birth: &mut Option<Ready>,
        estate: Option<Estate>,
    ) -> Result<()> {
        let log = self.log.clone();
        let mut cleanup = Cleanup::default();
        let passed = Passed::new(&self.passed)?;
        let held = HeldSignals::take(&passed)
            .map_err(|error| Error::os("cannot take the signals over", error))?;
        let supervisor = self.set_up((plans, passed), birth, estate, &mut cleanup);
        let supervisor = supervisor.inspect_err(|error| comeback::go(&error.whole()))?;
        let result = supervisor.run();
        drop(held);
        cleanup.perform();
        if result.is_ok() {
            info!(log, "stopped");
        }
        result
    }

    /// Makes or takes over all there is in a supervisor.
    fn set_up(
        self,
        (plans, passed): (Vec<PoolPlan>, Passed),
        birth: &mut Option<Ready>,
        mut estate: Option<Estate>,
        cleanup: &mut Cleanup,
    ) -> Result<Supervisor> {
        let log = self.log;
        if let Some(estate) = &estate {
            estate.follow_logs(&log, &self.log_files)?;
        }
        // First of all: whoever sees that the service is there may replace its file.
        let program = program(estate.as_ref())?;
        self.hooks.start(&log, "configured", |hooks| hooks.configured())?;
        let limit = tine_os::privilege::raise_open_files();
        remarks(&plans, limit).iter().for_each(|text| warning!(log, "{text}"));
        let board = board(&plans, estate.as_mut(), &log)?;
        let regions = regions(&self.regions, estate.as_ref(), &log)?;
        let tended = Tended::all(&self.regions, &regions, &log);
        let mut pools = Vec::new();
        for (index, (pool, plan)) in self.pools.into_iter().zip(plans).enumerate() {
            let lines = (board.line(index), board.bell(index));
            pools.push(bind(pool, plan, lines, &log, cleanup, estate.as_ref())?);
        }
        let pid = tine_os::process::pid().get();
        if let Some(path) = &self.pid_file {
            cleanup.pid_file = Some(pid_file(path, pid, estate.as_ref())?);
        }
        cleanup.status_file =
            self.status_file.as_deref().map(StatusFile::prepare).transpose()?.map(Rc::new);
        let control = open_control(&self.control, pid, &pools, &log, estate.as_ref())?;
        announce(&log, &pools, control.as_ref(), estate.as_ref());
        let listeners: Vec<_> = pools.iter().flat_map(|pool| pool.listeners.clone()).collect();
        self.hooks.start(&log, "bound", |hooks| hooks.bound(&listeners))?;
        // Handles that were given out before, here and in the program before, stop the same service.
        let stop = self.stop?;
        if let Some(estate) = &estate {
            estate
                .take_stop(&stop)
                .map_err(|error| Error::os("cannot set the supervisor up", error))?;
        }
        let manager = manager(self.wishes, estate.as_ref(), birth.is_some(), &log);
        let supervisor = Supervisor::new(Parts {
            pools,
            board,
            regions,
            tended,
            log,
            log_files: self.log_files,
            control,
            stop,
            preset: self.signals,
            rolls: self.rolls,
            untitled: self.untitled,
            passed,
            pid_file: cleanup.pid_file.as_ref().map(PidFile::left),
            status_file: cleanup.status_file.clone(),
            program,
            estate,
            manager,
            birth: birth.take(),
            hooks: self.hooks,
        });
        supervisor.map_err(|error| Error::os("cannot set the supervisor up", error))
    }
}
