//! What a superdaemon says while it runs, and where what its commands say goes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tine::listen::Listener;
use tine::{BoxError, End, Error, Exit, Hooks, Level, Log, Signal, Supervision, WorkerInfo};

use super::Asked;

/// Tine's: the engine's log has all the words; its file has the commands', too.
pub(super) struct Quiet(Log);

impl Quiet {
    pub(super) fn new(log: Log) -> Self {
        Self(log)
    }
}

impl Hooks for Quiet {
    fn bound(&self, _listeners: &[Rc<Listener>]) -> Result<(), BoxError> {
        Ok(self.0.capture_output()?)
    }
}

/// Server::Starter's, word by word: other programs look for them in its log.
pub(super) struct Talkative {
    log: Log,
    hup: Signal,
    term: Signal,
    delay: Duration,
    auto_restart: Option<u64>,
    /// The numbers that were chosen.
    numbers: Vec<i32>,
    /// Workers that have been ready and are still there.
    ready: RefCell<BTreeSet<u64>>,
    /// A restart has been told of, and no new worker is ready yet.
    restarting: Cell<bool>,
    /// Old workers are about to be asked to leave.
    killing: Cell<bool>,
    stopping: Cell<bool>,
}

impl Talkative {
    pub(super) fn new(log: Log, asked: &Asked) -> Self {
        let (ready, restarting, killing, stopping) = Default::default();
        Self {
            log,
            hup: asked.leaves_on.0,
            term: asked.leaves_on.1,
            delay: asked.kill_old_delay,
            auto_restart: asked.auto_restart.map(|(from, _)| from.as_secs()),
            numbers: asked.sockets.iter().filter_map(|socket| socket.number).collect(),
            ready,
            restarting,
            killing,
            stopping,
        }
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        self.log.line(Level::Info, text);
    }

    /// The processes of those who were ready before this one, and are still there.
    fn before(&self, service: &Supervision<'_>, worker: &WorkerInfo) -> Vec<u32> {
        let ready = self.ready.borrow();
        let old = |info: &WorkerInfo| {
            info.number < worker.number
                && info.place == worker.place
                && ready.contains(&info.number)
        };
        service.workers().iter().filter(|info| old(info)).map(pid).collect()
    }
}

fn pid(worker: &WorkerInfo) -> u32 {
    worker.command.unwrap_or(worker.pid)
}

fn list(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// `TERM`, as Perl calls it.
fn short(signal: Signal) -> String {
    let name = signal.to_string();
    name.strip_prefix("SIG").map_or(name.clone(), str::to_owned)
}

/// An end as wait(2) has it, which is what the original shows.
fn status(exit: Exit) -> i32 {
    match exit {
        Exit::Clean => 0,
        Exit::Code(code) => code << 8,
        Exit::Signal { number, core } => number | (i32::from(core) << 7),
        Exit::OutOfMemory => Signal::KILL.number(),
        // Of the original's children, where there is nothing to run.
        _ => 255 << 8,
    }
}

impl Hooks for Talkative {
    fn bound(&self, _listeners: &[Rc<Listener>]) -> Result<(), BoxError> {
        for number in &self.numbers {
            self.say(format_args!("socket is duplicated to file descriptor {number}"));
        }
        Ok(self.log.capture_output()?)
    }

    fn begun(&self, service: &Supervision<'_>, worker: &WorkerInfo) {
        if let Some(interval) = self.auto_restart
            && !self.restarting.get()
            && !self.before(service, worker).is_empty()
        {
            self.restarting.set(true);
            self.say(format_args!("autorestart triggered (interval={interval})"));
        }
        self.say(format_args!("starting new worker {}", pid(worker)));
    }

    fn worker_ready(&self, service: &Supervision<'_>, worker: &WorkerInfo) {
        let old = self.before(service, worker);
        self.ready.borrow_mut().insert(worker.number);
        if !self.restarting.take() {
            return;
        }
        let list = if old.is_empty() { "none".to_owned() } else { list(&old) };
        let signal = short(self.hup);
        self.say(format_args!("new worker is now running, sending {signal} to old workers:{list}"));
        if !self.delay.is_zero() {
            let seconds = self.delay.as_secs();
            self.say(format_args!("sleeping {seconds} secs before killing old workers"));
        }
        self.killing.set(true);
    }

    fn serving(&self, _service: &Supervision<'_>, _worker: &WorkerInfo) {
        if self.killing.take() {
            self.say(format_args!("killing old workers"));
        }
    }

    fn exited(&self, _service: &Supervision<'_>, worker: &WorkerInfo, end: End) {
        self.ready.borrow_mut().remove(&worker.number);
        let (pid, status) = (pid(worker), status(end.exit));
        if self.stopping.get() {
            self.say(format_args!("worker {pid} died, status:{status}"));
        } else if !end.ready {
            let text = format_args!(
                "new worker {pid} seems to have failed to start, exit status:{status}"
            );
            self.say(text);
        } else if end.leaving {
            self.say(format_args!("old worker {pid} died, status:{status}"));
        } else {
            let text =
                format_args!("worker {pid} died unexpectedly with status:{status}, restarting");
            self.say(text);
        }
    }

    fn reloading(&self, _service: &Supervision<'_>, _generation: u32) {
        self.restarting.set(true);
        self.say(format_args!("received HUP, spawning a new worker"));
    }

    fn stopping(&self, service: &Supervision<'_>) {
        self.stopping.set(true);
        let by = service.stopped_by().unwrap_or(Signal::TERM);
        let told = if by == Signal::INT { Signal::TERM } else { self.term };
        let (by, told) = (short(by), short(told));
        let all: Vec<u32> = service.workers().iter().map(pid).collect();
        let all = list(&all);
        self.say(format_args!("received {by}, sending {told} to all workers:{all}"));
    }

    fn stopped(&self, error: Option<&Error>) {
        if error.is_none() {
            self.say(format_args!("exiting"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_wait_has_it() {
        for (exit, number) in [
            (Exit::Clean, 0),
            (Exit::Code(3), 768),
            (Exit::Signal { number: 15, core: false }, 15),
            (Exit::Signal { number: 11, core: true }, 139),
            (Exit::NoCommand, 65280),
        ] {
            assert_eq!(status(exit), number);
        }
    }
}
