//! Reports: what a worker was at when it came to grief. For one that hangs this is asked before it is ended,
//! for then there still is somebody to look at.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tine_os::clock::monotonic;
use tine_os::inspect::{self, Usage};
use tine_os::signal::Signal;

use super::event::Exit;
use super::note::exit_text;
use super::procs::Proc;
use super::run::Supervisor;
use super::state::WorkerId;
use crate::control::Report;
use crate::handover::ProcLeft;
use crate::last_words::PANIC;
use crate::log::error;
use crate::scoreboard::TailLine;

/// Reports that are kept for the status, the last ones.
const REPORTS: usize = 16;
/// Of a worker's last lines, how many say why a reload failed.
const LAST_LINES: usize = 4;
/// The signal with which the kernel ends a process for want of memory, and others do too (signal(7)).
const KILL: i32 = Signal::KILL.number();
/// Workers that the kernel kills together are reaped within this, nanoseconds.
const OOM_MOMENT: u64 = 1_000_000_000;
/// The signal of abort(3).
const ABORT: i32 = Signal::ABRT.number();

/// What there is to tell of one worker that its record does not hold.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) generation: u32,
    /// When it was forked; monotonic nanoseconds.
    pub(super) since: u64,
    /// Its working directory when it was ready, as far as this process may know.
    pub(super) cwd: Option<PathBuf>,
    /// What it told of a failure last.
    pub(super) failure: Option<String>,
    /// `SIGKILL` was sent.
    pub(super) killed: bool,
    /// It was reported of while it lived.
    pub(super) reported: bool,
    /// What it had used, once it has ended.
    pub(super) usage: Option<Usage>,
}

impl Story {
    pub(super) fn new(generation: u32, since: u64) -> Self {
        Self {
            generation,
            since,
            cwd: None,
            failure: None,
            killed: false,
            reported: false,
            usage: None,
        }
    }

    /// Of a worker that the program before has left.
    pub(super) fn left(left: &ProcLeft) -> Self {
        let ProcLeft { generation, since, killed, .. } = *left;
        Self { killed, cwd: left.cwd.clone(), ..Self::new(generation, since) }
    }
}

/// The reports so far, and what it takes to tell one cause from another.
#[derive(Debug)]
pub(super) struct Casualties {
    /// With the moment of each, monotonic nanoseconds.
    reports: Vec<(u64, Report)>,
    oom: Option<OomCount>,
}

/// What the kernel says of the processes that it killed for want of memory.
#[derive(Debug)]
struct OomCount {
    file: PathBuf,
    /// Its count when it was read last.
    kills: u64,
    /// How many of them are not accounted for, and when the last was seen; monotonic nanoseconds.
    left: u64,
    seen: u64,
}

impl Casualties {
    pub(super) fn new() -> Self {
        let counted = |file: PathBuf| {
            let kills = inspect::oom_kills(&file)?;
            Some(OomCount { file, kills, left: 0, seen: 0 })
        };
        Self { reports: Vec::new(), oom: inspect::oom_file().and_then(counted) }
    }

    /// All of them, for the next program.
    pub(super) fn left(&self) -> Vec<(u64, Report)> {
        self.reports.clone()
    }

    /// Goes on with those of the program before.
    pub(super) fn take_over(&mut self, reports: Vec<(u64, Report)>) {
        self.reports = reports;
    }

    /// The last reports, the newest last.
    pub(super) fn reports(&self, now: u64) -> Vec<Report> {
        let dated = self.reports.iter().map(|(at, report)| Report {
            ago: Duration::from_nanos(now.saturating_sub(*at)).as_secs_f64(),
            ..report.clone()
        });
        dated.collect()
    }

    /// The panic and the last lines of a worker that is reported of.
    pub(super) fn last_words_of(&self, worker: WorkerId) -> Option<String> {
        let report = self.reports.iter().rev().map(|(_, report)| report);
        let report = report.into_iter().find(|report| report.worker == worker.0)?;
        let lines = &report.lines[report.lines.len().saturating_sub(LAST_LINES)..];
        let lines = lines.iter().filter(|line| **line != report.panic).map(String::as_str);
        let panic = Some(report.panic.as_str()).filter(|panic| !panic.is_empty());
        let words: Vec<&str> = panic.into_iter().chain(lines).collect();
        (!words.is_empty()).then(|| format!("its last words: {}", words.join(" | ")))
    }

    /// Whether the kernel has killed a process for want of memory of late, whose end is not accounted for yet.
    fn ran_out_of_memory(&mut self, now: u64) -> bool {
        let Some(oom) = &mut self.oom else { return false };
        let Some(kills) = inspect::oom_kills(&oom.file) else { return false };
        let more = kills.saturating_sub(oom.kills);
        oom.kills = kills;
        if more > 0 {
            oom.seen = now;
        } else if now.saturating_sub(oom.seen) > OOM_MOMENT {
            oom.left = 0;
        }
        oom.left = oom.left.saturating_add(more);
        let found = oom.left > 0;
        oom.left = oom.left.saturating_sub(1);
        found
    }

    fn add(&mut self, at: u64, report: Report) {
        if self.reports.len() == REPORTS {
            self.reports.remove(0);
        }
        self.reports.push((at, report));
    }
}

impl Supervisor {
    /// Writes and keeps the report of a worker that lives; `panicked` if that is why.
    pub(super) fn report_living(&mut self, id: WorkerId, cause: String, panicked: bool) {
        let Some(mut report) = self.report(id, cause, panicked) else { return };
        if let Some(proc) = self.procs.get(&id) {
            report.memory = inspect::memory(proc.pid).map_or(0, |memory| memory.resident);
            report.cpu = inspect::stat(proc.pid).map_or(0.0, |stat| stat.cpu.as_secs_f64());
            let inspect::Whereabouts { wait, syscall, stack } = inspect::whereabouts(proc.pid);
            (report.wait, report.syscall, report.stack) = (wait, syscall, stack);
        }
        error!(self.log, "{report}");
        self.casualties.add(monotonic(), report);
    }

    /// The same of one that has died; `after` is said at the line's end.
    pub(super) fn report_dead(&mut self, id: WorkerId, exit: Exit, cause: String, after: &str) {
        // `panic = "abort"` ends in the signal.
        let panicked = matches!(exit, Exit::Panicked | Exit::Signal { number: ABORT, .. });
        let Some(mut report) = self.report(id, cause, panicked) else { return };
        self.post_mortem(id, exit, &mut report);
        error!(self.log, "{report}{after}");
        self.casualties.add(monotonic(), report);
    }

    /// A worker that was reported of while it lived has ended: its report says how.
    pub(super) fn amend_report(&mut self, id: WorkerId, exit: Exit, end: &str) {
        let mut reports = std::mem::take(&mut self.casualties.reports);
        if let Some((_, report)) = reports.iter_mut().rev().find(|(_, it)| it.worker == id.0) {
            self.post_mortem(id, exit, report);
            end.clone_into(&mut report.end);
        }
        self.casualties.reports = reports;
    }

    /// The end as it is to be judged: a `SIGKILL` that this process has not sent may be the kernel's, for want of
    /// memory.
    pub(super) fn judged(&mut self, id: WorkerId, exit: Exit) -> Exit {
        let ours = self.procs.get(&id).is_some_and(|proc| proc.story.killed || proc.told);
        let killed = matches!(exit, Exit::Signal { number: KILL, .. }) && !ours;
        if killed && self.casualties.ran_out_of_memory(monotonic()) {
            return Exit::OutOfMemory;
        }
        exit
    }

    /// How a worker ended, and where its core is.
    pub(super) fn end_text(&self, id: WorkerId, exit: Exit) -> String {
        let text = exit_text(exit);
        match self.core_of(id, exit) {
            Some(core) => format!("{text} {core}"),
            None => text,
        }
    }

    fn core_of(&self, id: WorkerId, exit: Exit) -> Option<String> {
        let proc = self.procs.get(&id)?;
        let Exit::Signal { number, core: true } = exit else { return None };
        let name = format!("tine: {}", self.pools[proc.pool].plan.name);
        let name: String = name.chars().take(15).collect();
        Some(super::cores::place(proc.pid.get(), number, &name, proc.story.cwd.as_deref()))
    }

    /// What can be known at the end only.
    fn post_mortem(&self, id: WorkerId, exit: Exit, report: &mut Report) {
        if let Some(usage) = self.procs.get(&id).and_then(|proc| proc.story.usage) {
            report.cpu = usage.cpu.as_secs_f64();
            report.peak_memory = usage.peak;
        }
        report.core = self.core_of(id, exit).unwrap_or_default();
    }

    /// What shared memory and the supervisor know. A panic that the worker survived, long ago perhaps, is one of
    /// its last lines, and says nothing of what it is at now.
    fn report(&self, id: WorkerId, cause: String, panicked: bool) -> Option<Report> {
        let proc: &Proc = self.procs.get(&id)?;
        let now = monotonic();
        let seconds = |since: u64| Duration::from_nanos(now.saturating_sub(since)).as_secs_f64();
        let record = proc.board(&self.board).record(proc.record);
        let lines = proc.board(&self.board).tail(proc.record).lines();
        let is_reason = |line: &&TailLine| panicked && line.tag == PANIC;
        let panic = lines.iter().rev().find(is_reason);
        // Unwinding has swept away what it was at.
        let read = record.at_panic().filter(|_| panicked).unwrap_or_else(|| record.read());
        Some(Report {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            cause,
            worker: id.0,
            pid: proc.pid.get(),
            pool: self.pools[proc.pool].plan.name.clone(),
            place: u32::try_from(proc.place).unwrap_or(u32::MAX),
            generation: u64::from(proc.story.generation),
            age: seconds(proc.story.since),
            activity: read.activity.map_or("unknown".to_owned(), |activity| activity.to_string()),
            request: read.request,
            client: read.client,
            request_seconds: match read.request_began {
                0 => 0.0,
                began => seconds(began),
            },
            open: read.open,
            connections: read.connections,
            requests: read.requests,
            panic: panic.map_or(String::new(), |line| line.text.clone()),
            lines: lines.iter().filter(|line| !is_reason(line)).map(line_text).collect(),
            ..Report::default()
        })
    }
}

fn line_text(line: &TailLine) -> String {
    let level = match line.tag {
        PANIC => "panic",
        'e' => "error",
        'w' => "warn",
        'i' => "info",
        'd' => "debug",
        _ => "?",
    };
    format!("{level} {}", line.text)
}
