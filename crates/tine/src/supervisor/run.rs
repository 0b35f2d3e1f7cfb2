//! The supervisor's loop: wait, translate into events, step, perform.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tine_os::clock::monotonic;
use tine_os::event::EventFd;
use tine_os::fd::copy_of;
use tine_os::image::Image;
use tine_os::nursery::gather;
use tine_os::poll::{Epoll, Interest, Ready};
use tine_os::process;
use tine_os::signal::{Signal, SignalFd};

use super::action::Outcome;
use super::casualty::Casualties;
use super::event::{Command, Event};
use super::handover::{Leaving, Reason};
use super::held::taken_signals;
use super::procs::Proc;
use super::state::{Rules, State, WorkerId};
use super::tend::Tended;
use super::terminal::Terminal;
use super::watch::Watch;
use crate::accept::Share;
use crate::control;
use crate::counted::arc;
use crate::daemon::Ready as Birth;
use crate::handover::{Estate, Probe, ProgramFile};
use crate::hooks::{Hooked, WorkerInfo};
use crate::listen::{Listener, Listeners};
use crate::log::{Log, LogFile};
use crate::notify::Manager;
use crate::passthrough::Passed;
use crate::plan::PoolPlan;
use crate::program::Program;
use crate::scoreboard::{Bell, Scoreboard};
use crate::shared::Region;
use crate::signals::Signals;
use crate::spares::Line;
use crate::statusfile::StatusFile;
use crate::{Error, Result};

/// Tokens of the epoll: what is ready, and whose.
pub(super) const KIND: u64 = 60;
pub(super) const SIGNALS: u64 = 0;
pub(super) const WAKE: u64 = 1;
pub(super) const STOP: u64 = 2;
pub(super) const PIDFD: u64 = 3;
pub(super) const CHANNEL: u64 = 4;
pub(super) const CONTROL: u64 = 5;
pub(super) const LISTENER: u64 = 6;
pub(super) const PROBE: u64 = 7;

/// Events of one wait, at most; the rest comes at the next.
const BATCH: usize = 256;

/// A pool at run time.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) plan: PoolPlan,
    pub(crate) program: Program,
    pub(crate) bound: Rc<Listeners>,
    pub(crate) listeners: Vec<Rc<Listener>>,
    pub(crate) line: Line,
    pub(crate) bell: Bell,
    /// When somebody looks at whether its workers come back.
    pub(crate) watch: Watch,
    pub(crate) poke: Arc<EventFd>,
    pub(crate) share: Share,
    /// Its workers are to look at the sockets.
    pub(crate) to_look: bool,
    /// What workers that are gone have done.
    pub(crate) past: super::procs::Totals,
}

/// Everything of a running service. See the module.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) pools: Vec<Pool>,
    pub(crate) board: Scoreboard,
    pub(crate) regions: Vec<Region>,
    pub(super) tended: Vec<Tended>,
    pub(crate) log: Log,
    pub(crate) log_files: Vec<LogFile>,
    pub(crate) pid: process::Pid,
    /// Written by a worker that uses up the spares.
    pub(crate) wake: Arc<EventFd>,
    pub(super) rules: Vec<Rules>,
    pub(super) state: State,
    pub(super) procs: BTreeMap<WorkerId, Proc>,
    pub(super) free_records: Vec<usize>,
    pub(super) epoll: Epoll,
    pub(crate) control: Option<control::Server>,
    pub(super) started: u64,
    pub(super) stop: Arc<EventFd>,
    pub(super) signals: SignalFd,
    pub(super) terminal: Terminal,
    preset: Signals,
    pub(crate) passed: Passed,
    pub(super) pid_file: Option<(PathBuf, i32)>,
    pub(super) status_file: Option<Rc<StatusFile>>,
    /// Where a reload finds the program.
    pub(super) program: ProgramFile,
    pub(super) probe: Option<Probe>,
    /// The program that has been probed.
    pub(super) next: Option<Image>,
    /// The program before, while this one has not shown that it can serve.
    pub(super) before: Option<Image>,
    /// Why it is to come back, while it is tried.
    pub(super) back: Option<Reason>,
    pub(super) leaving: Option<Leaving>,
    pub(super) birth: Option<Birth>,
    /// Who wants to be told how the service is.
    pub(super) manager: Option<Manager>,
    /// The manager's people were told so last.
    pub(super) serves: bool,
    reaps_orphans: bool,
    pub(super) events: VecDeque<Event>,
    pub(super) outcome: Option<Outcome>,
    /// The text of the last failure a worker told of: the reason, should none ever become ready.
    pub(super) last_words: Option<String>,
    pub(super) casualties: Casualties,
    pub(crate) hooks: Hooked,
    /// Who was forked last, by pool and place.
    pub(super) last_in_place: BTreeMap<(usize, usize), WorkerInfo>,
    /// The signal that has begun the stop, if one did.
    pub(crate) stopped_by: Option<Signal>,
    /// The hook that has ended the service, and its words.
    pub(super) refusal: Option<(String, String)>,
    /// That has just happened.
    pub(super) refused: bool,
}

/// What a supervisor is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) pools: Vec<Pool>,
    pub(crate) board: Scoreboard,
    pub(crate) regions: Vec<Region>,
    pub(crate) tended: Vec<Tended>,
    pub(crate) log: Log,
    pub(crate) log_files: Vec<LogFile>,
    pub(crate) control: Option<control::Server>,
    pub(crate) stop: Arc<EventFd>,
    pub(crate) preset: Signals,
    /// A reload replaces the workers alone.
    pub(crate) rolls: bool,
    /// It goes by its command line.
    pub(crate) untitled: bool,
    pub(crate) passed: Passed,
    /// Its path, and its descriptor, which no worker may keep: it is the lock.
    pub(crate) pid_file: Option<(PathBuf, i32)>,
    pub(crate) status_file: Option<Rc<StatusFile>>,
    pub(crate) program: ProgramFile,
    /// Of the program before, if this is a reload.
    pub(crate) estate: Option<Estate>,
    /// Who wants to be told how the service is.
    pub(crate) manager: Option<Manager>,
    /// Who waits for the service to serve.
    pub(crate) birth: Option<Birth>,
    pub(crate) hooks: Hooked,
}

impl Supervisor {
    /// Ready to run; the signals are held already, see [`HeldSignals`].
    pub(crate) fn new(parts: Parts) -> std::io::Result<Self> {
        warm_up();
        parts.log.share()?;
        parts.log_files.iter().try_for_each(LogFile::share)?;
        let rules: Vec<Rules> = parts.pools.iter().map(|pool| pool.plan.rules.clone()).collect();
        let now = monotonic();
        let mut supervisor = Self {
            state: State::new(&rules, now ^ u64::from(process::pid().get())),
            rules,
            pools: parts.pools,
            free_records: (0..parts.board.records()).rev().collect(),
            board: parts.board,
            regions: parts.regions,
            tended: parts.tended,
            log: parts.log,
            log_files: parts.log_files,
            pid: process::pid(),
            wake: arc(match &parts.estate {
                Some(estate) => copy_of(estate.letter.wake)?.into(),
                None => EventFd::new()?,
            }),
            procs: BTreeMap::new(),
            epoll: Epoll::new()?,
            control: parts.control,
            started: now,
            stop: parts.stop,
            signals: SignalFd::new(&taken_signals(&parts.passed))?,
            terminal: Terminal::of_this_process(),
            passed: parts.passed,
            preset: parts.preset,
            pid_file: parts.pid_file,
            status_file: parts.status_file,
            program: parts.program,
            probe: None,
            next: None,
            before: None,
            back: None,
            leaving: None,
            birth: parts.birth,
            manager: parts.manager,
            serves: true,
            reaps_orphans: process::pid().get() == 1 || process::is_subreaper(),
            events: VecDeque::new(),
            outcome: None,
            last_words: None,
            casualties: Casualties::new(),
            hooks: parts.hooks,
            last_in_place: BTreeMap::new(),
            stopped_by: None,
            refusal: None,
            refused: false,
        };
        supervisor.register()?;
        if let Some(estate) = parts.estate {
            supervisor.take_over(estate).map_err(std::io::Error::other)?;
        }
        supervisor.state.reloads.rolls = parts.rolls;
        let names: Vec<&str> = supervisor.pools.iter().map(|pool| &*pool.plan.name).collect();
        if !parts.untitled {
            // The command line is what people and scripts look for (pgrep(1), `-f`). Where the kernel has no titles, ps shows
            // it alone.
            let line: Vec<_> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            let title = format!("tine: supervisor {}: {}", names.join(" "), line.join(" "));
            let _ = tine_os::title::set(&title);
        }
        Ok(supervisor)
    }

    fn register(&mut self) -> std::io::Result<()> {
        self.epoll.add(&self.signals, SIGNALS << KIND, Interest::READ)?;
        self.epoll.add(&*self.wake, WAKE << KIND, Interest::READ)?;
        self.epoll.add(&*self.stop, STOP << KIND, Interest::READ)?;
        if let Some(control) = &mut self.control {
            control.register(&self.epoll, CONTROL << KIND)?;
        }
        Ok(())
    }

    /// Serves until the end.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut ready = Ready::with_capacity(BATCH);
        // Stops and orphans that were not told of across an exec.
        self.children_changed();
        if !self.state.staffed {
            self.ask_for_time();
        }
        self.happen(Event::Time);
        self.look();
        self.watch();
        self.tell_to_look();
        while self.outcome.is_none() {
            self.epoll
                .wait(&mut ready, self.timeout())
                .map_err(|error| Error::os("cannot wait for events", error))?;
            // Signals first: a TERM that the workers got, too, is a stop, and their ends by it are no failures.
            let is_signal = |event: &tine_os::poll::Event| event.token >> KIND == SIGNALS;
            for event in ready.iter().filter(is_signal) {
                self.translate(event.token);
            }
            for event in ready.iter().filter(|event| !is_signal(event)) {
                self.translate(event.token);
            }
            if let Some(control) = &mut self.control {
                control.expire(&self.epoll, monotonic());
            }
            self.happen(Event::Time);
            self.look();
            self.watch();
            self.tend();
            self.notify_serving();
            if let Some(manager) = &mut self.manager {
                manager.attend(monotonic());
            }
            self.tell_to_look();
            self.call("woken", |hooks, service| hooks.woken(service));
            self.leave();
        }
        self.finish()
    }

    fn timeout(&self) -> Option<Duration> {
        let control = self.control.as_ref().and_then(control::Server::deadline);
        let watch = self.pools.iter().filter_map(|pool| pool.watch.deadline()).min();
        let manager = self.manager.as_ref().and_then(Manager::deadline);
        let next = [self.state.deadline(), control, watch, self.tend_deadline(), manager]
            .into_iter()
            .flatten()
            .min()?;
        Some(Duration::from_nanos(next.saturating_sub(monotonic())))
    }

    /// Says what a ready descriptor means.
    fn translate(&mut self, token: u64) {
        let (kind, id) = (token >> KIND, token & ((1 << KIND) - 1));
        match kind {
            SIGNALS => self.read_signals(),
            WAKE => drop(self.wake.take()),
            STOP if self.stop.take().is_some() => self.happen(Event::Command(Command::Stop)),
            PIDFD => self.reap(WorkerId(id)),
            CHANNEL => drop(self.read_channel(WorkerId(id))),
            CONTROL => self.control(id),
            LISTENER => self.knocked(id),
            PROBE => self.probe_ended(),
            _ => {}
        }
    }

    fn read_signals(&mut self) {
        while let Some(info) = self.signals.read() {
            if info.signal == Signal::CHLD {
                self.children_changed();
                continue;
            }
            if self.is_hangup(&info) {
                continue;
            }
            if self.passed.contains(info.signal) {
                self.happen(Event::PassOn(info.signal.number()));
            }
            let command = self.preset.command(info.signal);
            crate::log::debug!(self.log, "{} from pid {}: {command:?}", info.signal, info.pid);
            if matches!(
                command,
                Command::Stop | Command::Drain | Command::Finish | Command::StopNow
            ) {
                self.stopped_by.get_or_insert(info.signal);
            }
            self.happen(Event::Command(command));
        }
    }

    /// A child stopped, went on or ended. Ends are seen on the pidfds; what is looked for here are stops
    /// and, as PID 1 or subreaper, children of nobody.
    fn children_changed(&mut self) {
        if tine_os::process::any_stop_pending().unwrap_or(false) {
            self.find_stopped();
        }
        while self.reaps_orphans {
            let Ok(Some(pid)) = process::peek_exited() else { break };
            if self.probe.as_ref().is_some_and(|probe| probe.pid == pid) {
                self.probe_ended();
                continue;
            }
            match self.procs.iter().find(|(_, proc)| proc.pid == pid).map(|(id, _)| *id) {
                Some(id) => self.reap(id),
                None => drop(process::reap_pid(pid)),
            }
        }
    }

    /// One event, and everything that follows from it.
    pub(super) fn happen(&mut self, event: Event) {
        self.events.push_back(event);
        while let Some(event) = self.next_event() {
            let actions = self.state.step(&self.rules, monotonic(), event);
            self.perform_all(actions);
        }
        if self.birth.is_some()
            && self.refusal.is_none()
            && self.is_born()
            && let Some(birth) = self.birth.take()
        {
            birth.tell(Ok(()));
        }
    }

    /// Whether whoever has started it may go: every pool serves, or will go on trying.
    fn is_born(&self) -> bool {
        let mut pools = self.state.pools.iter().zip(&self.rules);
        pools.all(|(pool, rules)| pool.ever_ready || (rules.persists && pool.boot_failures > 0))
    }
}

/// Does once what every worker would do again after its fork: the standard library asks the CPU for its
/// features at first use, which costs tens of microseconds on a virtual machine, and makes the main
/// thread's handle, in a page that would be copied for it.
fn warm_up() {
    // Tokio counts it.
    gather(|| drop(std::thread::current()));
    #[cfg(target_arch = "x86_64")]
    let _ = std::arch::is_x86_feature_detected!("avx2");
}
