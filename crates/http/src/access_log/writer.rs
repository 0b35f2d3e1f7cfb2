//! A worker's lines on their way: made without allocating, gathered, and written several at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use tine::log::LogFile;
use tine::{Activity, Level, Log, Record};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::escape::Out;
use super::field::{Asked, End, Field, Outcome, Phase};
use super::format::{Format, Part, Run};
use super::line::Slip;
use super::{AccessLog, Sink};
use crate::client::{Client, Origin};
use crate::refusal::Unreadable;

/// Bytes of lines that are gathered before they are written.
const GATHERED_BYTES: usize = 32 * 1024;
/// How long a line waits at most while its worker has connections.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// Bytes of one value, as it is written, in a file.
const VALUE_BYTES: usize = 8 * 1024;
/// The same for a named pipe, which takes no more than 4 KiB whole.
const PIPE_VALUE_BYTES: usize = 1024;
/// Slips that are kept for the next requests, and the most bytes of one.
const SLIPS: usize = 256;
const SLIP_BYTES: usize = 4 * 1024;

/// See the module. One a worker.
pub(crate) struct Writer {
    format: Rc<Format>,
    sink: Sink,
    log: Log,
    /// Where the worker says what it is at; `None` in tests.
    record: Option<Record>,
    /// Whether the worker is to leave.
    leaving: Box<dyn Fn() -> bool>,
    asks_sent: bool,
    asks_end: bool,
    asks_time: bool,
    /// How many runs are written when the request comes.
    asked_runs: usize,
    /// Some are when it is answered.
    asks_answer: bool,
    gathered_bytes: usize,
    value_bytes: usize,
    connections: Cell<u32>,
    desk: RefCell<Desk>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// What changes with every line.
#[derive(Debug)]
struct Desk {
    lines: Vec<u8>,
    slips: Vec<Rc<RefCell<Slip>>>,
    clock: Clock,
    /// The task that writes if nobody else does.
    alarm: Option<AbortHandle>,
}

/// Held by a connection: when the last one ends, nothing waits any longer.
#[derive(Debug)]
pub(crate) struct Open(Rc<Writer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        if self.0.connections.get() == 0 {
            self.0.flush();
        }
    }
}

impl Writer {
    /// In the worker. `log` is told of lines that are lost.
    pub(crate) fn new(
        from: &AccessLog,
        log: Log,
        record: Option<Record>,
        leaving: impl Fn() -> bool + 'static,
    ) -> Rc<Self> {
        let whole = match &from.sink {
            Sink::File(file) => file.whole_bytes(),
            Sink::Log | Sink::Function(_) => usize::MAX,
        };
        let desk = Desk { lines: Vec::new(), slips: Vec::new(), clock: Clock::new(), alarm: None };
        Rc::new(Self {
            asks_sent: from.format.asks_sent(),
            asks_end: from.format.asks_end(),
            asks_time: from.format.asks_time(),
            asked_runs: from.format.runs.iter().filter(|run| run.phase == Phase::Request).count(),
            asks_answer: from.format.runs.iter().any(|run| run.phase == Phase::Answer),
            format: from.format.clone(),
            sink: from.sink.clone(),
            log,
            record,
            leaving: Box::new(leaving),
            gathered_bytes: whole.min(GATHERED_BYTES),
            value_bytes: if whole < GATHERED_BYTES { PIPE_VALUE_BYTES } else { VALUE_BYTES },
            connections: Cell::new(0),
            desk: RefCell::new(desk),
        })
    }

    /// A connection begins.
    pub(crate) fn open(self: &Rc<Self>) -> Open {
        self.connections.set(self.connections.get() + 1);
        Open(self.clone())
    }

    /// Whether lines say where clients connected to.
    pub(crate) fn asks_local(&self) -> bool {
        self.format.asks_local()
    }

    pub(super) fn asks_sent(&self) -> bool {
        self.asks_sent
    }

    /// Whether it matters what becomes of the connection of a request that comes now: the format says so, or nothing
    /// else would write its line.
    pub(super) fn asks_end(&self) -> bool {
        self.asks_end || self.desk.borrow().alarm.is_none()
    }

    /// Takes back what was used for a line.
    pub(super) fn keep(&self, slip: Rc<RefCell<Slip>>) {
        self.desk.borrow_mut().keep(slip);
    }

    /// Whether lines say how long requests took.
    pub(super) fn asks_time(&self) -> bool {
        self.asks_time
    }

    /// A line of a request that could not be read.
    pub(crate) fn refused(
        self: &Rc<Self>,
        client: &Client,
        origin: &Origin,
        unreadable: Unreadable<'_>,
    ) {
        let first_line = unreadable.first_line;
        let asked = Asked { client, origin, head: None, first_line, now: tine::now() };
        let slip = self.begin(&asked);
        self.answer(&mut slip.borrow_mut(), None);
        let (took, end) = (Duration::ZERO, End::Closed);
        let status = Some(unreadable.status.as_u16());
        let sent = unreadable.answer as u64;
        let outcome = Outcome { user: b"", status, body: 0, sent, took, end };
        self.end(&slip.borrow(), &outcome);
        self.keep(slip);
    }

    /// Writes down what a request says.
    pub(super) fn begin(&self, asked: &Asked<'_>) -> Rc<RefCell<Slip>> {
        let mut desk = self.desk.borrow_mut();
        let slip = desk.slips.pop().unwrap_or_default();
        self.write_down(&mut slip.borrow_mut(), Phase::Request, |field, out| {
            field.ask(out, asked, &mut desk.clock);
        });
        slip
    }

    /// Writes down what the answer says, or that there was none.
    pub(super) fn answer(&self, slip: &mut Slip, answer: Option<&HeaderMap>) {
        if self.asks_answer {
            self.write_down(slip, Phase::Answer, |field, out| field.answer(out, answer));
        }
    }

    fn write_down(
        &self,
        slip: &mut Slip,
        phase: Phase,
        mut value: impl FnMut(&Field, &mut Out<'_>),
    ) {
        let mut out = self.out(&mut slip.bytes);
        for run in self.format.runs.iter().filter(|run| run.phase == phase) {
            write_run(run, &mut out, &mut value);
            slip.ends.push(u32::try_from(out.line.len()).unwrap_or(u32::MAX));
        }
    }

    fn out<'a>(&self, line: &'a mut Vec<u8>) -> Out<'a> {
        Out { line, json: self.format.json, quoted: false, value_bytes: self.value_bytes }
    }

    /// Puts the line together, and sees to its being written.
    pub(super) fn end(self: &Rc<Self>, slip: &Slip, outcome: &Outcome<'_>) {
        let mut desk = self.desk.borrow_mut();
        let desk = &mut *desk;
        let before = desk.lines.len();
        self.compose(&mut desk.lines, slip, outcome);
        match &self.sink {
            Sink::File(file) => {
                desk.lines.push(b'\n');
                if desk.lines.len() > self.gathered_bytes && before > 0 {
                    self.to_file(file, &desk.lines[..before]);
                    desk.lines.drain(..before);
                }
                self.see_to(desk, outcome);
            }
            Sink::Log => {
                let line = String::from_utf8_lossy(&desk.lines);
                self.log.line(Level::Info, format_args!("{line}"));
                desk.lines.clear();
            }
            Sink::Function(function) => {
                function(&desk.lines);
                desk.lines.clear();
            }
        }
    }

    fn compose(&self, line: &mut Vec<u8>, slip: &Slip, outcome: &Outcome<'_>) {
        let mut out = self.out(line);
        let (mut next_asked, mut next_answered) = (0, self.asked_runs);
        for run in &self.format.runs {
            let next = match run.phase {
                Phase::Request => Some(&mut next_asked),
                Phase::Answer => Some(&mut next_answered),
                Phase::End => None,
            };
            let written = next.map(|next| {
                *next += 1;
                slip.run(*next - 1)
            });
            match written {
                _ if run.when.as_ref().is_some_and(|when| !when.holds(outcome.status)) => {
                    out.quoted = matches!(run.parts[..], [Part::Quoted(_)]);
                    out.absent();
                    out.quoted = false;
                }
                Some(written) => out.line.extend_from_slice(written),
                None => write_run(run, &mut out, &mut |field, out| field.end(out, outcome)),
            }
        }
    }

    /// Lines wait for company, not for long, and not at all in a worker that ends.
    fn see_to(self: &Rc<Self>, desk: &mut Desk, outcome: &Outcome<'_>) {
        let full = desk.lines.len() >= self.gathered_bytes;
        if full || (self.leaving)() || std::thread::panicking() {
            return self.write(desk);
        }
        // The end of the only connection is a moment away, and writes.
        let soon = self.connections.get() == 1 && outcome.end != End::Kept;
        if desk.alarm.is_some() || soon {
            return;
        }
        if Handle::try_current().is_err() {
            return self.write(desk);
        }
        let writer = Rc::downgrade(self);
        let alarm = tokio::task::spawn_local(async move {
            tokio::time::sleep(GATHERED_FOR).await;
            if let Some(writer) = writer.upgrade() {
                writer.desk.borrow_mut().alarm = None;
                writer.flush();
            }
        });
        desk.alarm = Some(alarm.abort_handle());
    }

    fn write(&self, desk: &mut Desk) {
        if let Some(alarm) = desk.alarm.take() {
            alarm.abort();
        }
        if let (Sink::File(file), false) = (&self.sink, desk.lines.is_empty()) {
            self.to_file(file, &desk.lines);
            desk.lines.clear();
        }
    }

    /// A slow disk, or a slow reader of a pipe, keeps the whole worker waiting: it says that this is what it is at.
    fn to_file(&self, file: &LogFile, lines: &[u8]) {
        let write = || file.write(lines, &self.log);
        match &self.record {
            Some(record) => record.meanwhile(Activity::Logging, write),
            None => write(),
        }
    }

    /// Writes whatever waits.
    fn flush(&self) {
        self.write(&mut self.desk.borrow_mut());
    }
}

fn write_run(run: &Run, out: &mut Out<'_>, value: &mut impl FnMut(&Field, &mut Out<'_>)) {
    for part in &run.parts {
        match part {
            Part::Text(text) => out.own(text.as_bytes()),
            Part::Value(field) => value(field, out),
            Part::Quoted(field) => {
                out.quoted = true;
                value(field, out);
                out.quoted = false;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Desk {
    fn keep(&mut self, slip: Rc<RefCell<Slip>>) {
        if self.slips.len() < SLIPS && slip.borrow().bytes.capacity() <= SLIP_BYTES {
            slip.borrow_mut().clear();
            self.slips.push(slip);
        }
    }
}

impl Slip {
    /// What a run was written as.
    fn run(&self, index: usize) -> &[u8] {
        let end = |index: usize| self.ends[index] as usize;
        let start = index.checked_sub(1).map_or(0, end);
        &self.bytes[start..end(index)]
    }
}
