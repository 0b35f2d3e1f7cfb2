//! The thread behind a load: non-blocking connections, one poll(2) for all of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::http::{self, Context};
use crate::load::Controls;
use crate::net::{self, Target};
use crate::report::Report;
use crate::wait::timespec;

/// How long a connection rests after a failure, so that a server that is gone is not asked in a
/// tight loop.
const AFTER_FAILURE: Duration = Duration::from_millis(5);
/// When to connect again after a full queue (Unix sockets) or a connection that ended unused.
const RETRY: Duration = Duration::from_millis(1);

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) request: Vec<u8>,
    pub(crate) keep_alive: bool,
    pub(crate) connections: usize,
    pub(crate) think: Duration,
    /// Between two requests, all connections together.
    pub(crate) pause: Option<Duration>,
    pub(crate) deadline: Duration,
    pub(crate) total: u64,
}

/// Where a connection stands with its current request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two requests, at least until then.
    Resting {
        until: Instant,
    },
    /// Has a request to send, and is to connect (again) then.
    Waiting {
        until: Instant,
    },
    Connecting,
    /// So many bytes of the request are sent.
    Sending(usize),
    Reading,
    Finished,
}

#[derive(Debug)]
struct Connection {
    socket: Option<OwnedFd>,
    phase: Phase,
    received: Vec<u8>,
    /// When the current request began.
    begun: Instant,
}

pub(crate) struct Engine {
    plan: Plan,
    controls: Arc<Controls>,
    report: Report,
    connections: Vec<Connection>,
    started: u64,
    /// When the rate allows the next request.
    next: Instant,
    /// As of the beginning of this round: what is decided in it and what it waits for must agree.
    stopping: bool,
}

impl Engine {
    pub(crate) fn new(plan: Plan, controls: Arc<Controls>) -> Self {
        let now = Instant::now();
        let fresh = || Connection {
            socket: None,
            phase: Phase::Resting { until: now },
            received: Vec::new(),
            begun: now,
        };
        let connections = (0..plan.connections).map(|_| fresh()).collect();
        Self {
            plan,
            controls,
            report: Report::default(),
            connections,
            started: 0,
            next: now,
            stopping: false,
        }
    }

    pub(crate) fn run(mut self) -> Report {
        while self.connections.iter().any(|connection| connection.phase != Phase::Finished) {
            self.stopping = self.controls.stop.load(Ordering::Relaxed);
            for index in 0..self.connections.len() {
                self.attend(index);
            }
            for index in self.wait() {
                self.progress(index);
            }
        }
        self.report
    }

    /// What is due by the clock.
    fn attend(&mut self, index: usize) {
        let now = Instant::now();
        let connection = &mut self.connections[index];
        match connection.phase {
            Phase::Finished => {}
            Phase::Resting { until } => {
                if self.started >= self.plan.total || self.stopping {
                    connection.phase = Phase::Finished;
                    connection.socket = None;
                } else if until.max(self.next) <= now {
                    self.started += 1;
                    if let Some(pause) = self.plan.pause {
                        // What was missed is not made up for: that would be a burst.
                        self.next = now.max(self.next + pause);
                    }
                    self.begin(index, now);
                }
            }
            _ if connection.begun + self.plan.deadline <= now => {
                let why =
                    format!("no answer within {:?} ({:?})", self.plan.deadline, connection.phase);
                self.fail(index, why);
            }
            Phase::Waiting { until } if until <= now => self.connect(index),
            Phase::Waiting { .. } | Phase::Connecting | Phase::Sending(_) | Phase::Reading => {}
        }
    }

    /// The connections something happened to, after waiting for that, or for the time of the next
    /// thing due.
    fn wait(&self) -> Vec<usize> {
        let mut owners = Vec::with_capacity(self.connections.len());
        let mut fds = Vec::with_capacity(self.connections.len() + 1);
        let mut due: Option<Instant> = None;
        for (index, connection) in self.connections.iter().enumerate() {
            let (events, until) = match connection.phase {
                Phase::Finished => continue,
                Phase::Resting { until } => (PollFlags::IN, until.max(self.next)),
                Phase::Waiting { until } => (PollFlags::empty(), until),
                Phase::Connecting | Phase::Sending(_) => {
                    (PollFlags::OUT, connection.begun + self.plan.deadline)
                }
                Phase::Reading => (PollFlags::IN, connection.begun + self.plan.deadline),
            };
            due = Some(due.map_or(until, |due| due.min(until)));
            if let Some(socket) = &connection.socket {
                owners.push(index);
                fds.push(PollFd::new(socket, events));
            }
        }
        let Some(due) = due else { return Vec::new() };
        if !self.stopping {
            fds.push(PollFd::new(&self.controls.wake, PollFlags::IN));
        }
        let left = due.saturating_duration_since(Instant::now());
        // A signal ends it early: one round more than needed.
        let _ = poll(&mut fds, Some(&timespec(left)));
        owners
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(index, _)| index)
            .collect()
    }

    /// What the socket is ready for.
    fn progress(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match connection.phase {
            // Whatever comes between two requests ends the connection's use: its end, or a
            // complaint about its idling.
            Phase::Resting { .. } => {
                self.report.closed_unused += 1;
                connection.socket = None;
            }
            Phase::Connecting => self.finish_connecting(index),
            Phase::Sending(_) => self.send(index),
            Phase::Reading => self.read(index),
            Phase::Waiting { .. } | Phase::Finished => {}
        }
    }

    fn begin(&mut self, index: usize, now: Instant) {
        let connection = &mut self.connections[index];
        connection.begun = now;
        connection.received.clear();
        let usable = connection.socket.as_ref().map(net::is_quiet);
        if usable == Some(true) {
            connection.phase = Phase::Sending(0);
            return self.send(index);
        }
        if usable == Some(false) {
            self.report.closed_unused += 1;
        }
        self.connect(index);
    }

    fn connect(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.socket = None;
        match self.plan.target.connect() {
            Ok(socket) => {
                connection.socket = Some(socket);
                connection.phase = Phase::Connecting;
            }
            Err(Errno::AGAIN) => {
                connection.phase = Phase::Waiting { until: Instant::now() + RETRY }
            }
            Err(error) => self.fail_to_connect(index, error),
        }
    }

    fn finish_connecting(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else { return };
        match net::connected(socket) {
            Ok(()) => {
                self.report.connections += 1;
                connection.phase = Phase::Sending(0);
                self.send(index);
            }
            Err(Errno::CONNRESET | Errno::PIPE) => self.wait_unused(index),
            Err(error) => self.fail_to_connect(index, error),
        }
    }

    fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let (Some(socket), Phase::Sending(sent)) = (&connection.socket, connection.phase) else {
            return;
        };
        match net::transmit(socket, &self.plan.request[sent..]) {
            Ok(count) => {
                self.report.sent += u64::from(sent == 0);
                let sent = sent + count;
                let whole = sent == self.plan.request.len();
                connection.phase = if whole { Phase::Reading } else { Phase::Sending(sent) };
            }
            Err(Errno::AGAIN) => {}
            Err(_) if sent == 0 => self.wait_unused(index),
            Err(error) => self.lose(index, &format!("after {sent} bytes of the request: {error}")),
        }
    }

    fn read(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else { return };
        let ended = match net::receive(socket, &mut connection.received) {
            Ok(count) => count == 0,
            Err(Errno::AGAIN) => return,
            Err(error) => {
                let why =
                    format!("after {} bytes of the response: {error}", connection.received.len());
                return self.lose(index, &why);
            }
        };
        let context = Context { ended: ended && !connection.received.is_empty(), head: false };
        loop {
            match http::parse(&connection.received, context) {
                // An interim response: the answer is yet to come.
                Ok(Some((response, length))) if matches!(response.status, 100..200) => {
                    connection.received.drain(..length);
                }
                Ok(Some((response, _))) => {
                    let took = connection.begun.elapsed();
                    self.report.note_answer(&response, took);
                    self.controls.answered.fetch_add(1, Ordering::Relaxed);
                    let keep = self.plan.keep_alive && !response.closes();
                    return self.rest(index, keep, self.plan.think);
                }
                Ok(None) if ended => {
                    let why =
                        format!("closed after {} bytes of the response", connection.received.len());
                    return self.lose(index, &why);
                }
                Ok(None) => return,
                Err(why) => return self.fail(index, why),
            }
        }
    }

    fn rest(&mut self, index: usize, keep: bool, pause: Duration) {
        let connection = &mut self.connections[index];
        if !keep {
            connection.socket = None;
        }
        connection.phase = Phase::Resting { until: Instant::now() + pause };
    }

    /// The server ended the connection before the request: it goes over another one.
    fn wait_unused(&mut self, index: usize) {
        self.report.closed_unused += 1;
        let connection = &mut self.connections[index];
        connection.socket = None;
        connection.phase = Phase::Waiting { until: Instant::now() + RETRY };
    }

    fn fail_to_connect(&mut self, index: usize, error: Errno) {
        self.report.refused += u64::from(matches!(error, Errno::CONNREFUSED | Errno::NOENT));
        self.fail(index, format!("connecting: {error}"));
    }

    fn lose(&mut self, index: usize, why: &str) {
        self.report.reset_after_send += 1;
        self.fail(index, format!("request sent, not answered: {why}"));
    }

    fn fail(&mut self, index: usize, why: String) {
        self.report.note_failure(why);
        self.controls.failed.fetch_add(1, Ordering::Relaxed);
        self.rest(index, false, AFTER_FAILURE);
    }
}
