//! What a worker process shares among its parts: its record, its limits, and its way to the supervisor.
//!
//! Everything here runs in the worker. The supervisor's word arrives on the channel, its death on its
//! pidfd, and a signal sent to the worker itself on an event descriptor; all three end in the same
//! place: [`Seat::is_leaving`].

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Relaxed, Ordering::SeqCst,
};
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::fd::{receive_message, send_message};

use crate::accept::Share;
use crate::scoreboard::{Activity, Bell, Record, Siblings};
use crate::spares::Line;

mod message;
mod shutdown;
mod siblings;

pub(crate) use message::{
    BEGUN, CONTINUED, ENDED, EXPIRING, FAILURE, FATAL, FINISH, GO, HALTED, LEAVE, LEAVING, LOOK,
    MESSAGE, PANICKED, READY, TRIM, TURN, WIRE_BYTES, cut, send_own,
};
pub use message::{MESSAGE_BYTES, Sender};
pub use shutdown::Shutdown;

/// Why a worker leaves, as far as it matters to what it does with the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Leave {
    /// It does not.
    No,
    /// Siblings take what is queued.
    Alone,
    /// Everybody leaves: what is queued is taken by whoever still can.
    Together,
    /// As [`Leave::Together`]; and another owner of the listeners has shut them down.
    Deserted,
}

/// See the module.
pub(crate) struct Seat {
    pub(crate) record: Record,
    siblings: Siblings,
    /// Only a pool that breathes counts its idle workers.
    line: Option<Line>,
    /// Only a pool that is watched, for its time or its memory, has one.
    bell: Option<Bell>,
    channel: Option<OwnedFd>,
    supervisor: Option<OwnedFd>,
    /// Readable once the worker is to leave, for ever.
    leave_event: Arc<EventFd>,
    /// Wakes the supervisor.
    wake: Arc<EventFd>,
    /// Wakes one idle sibling.
    poke: Arc<EventFd>,
    share: Share,
    place: usize,
    leave: AtomicU8,
    go: AtomicBool,
    announced: AtomicBool,
    ready: AtomicBool,
    orphaned: AtomicBool,
    /// It has said that the service cannot go on.
    fatal: AtomicBool,
    /// The supervisor said that the service ends, and keeps new connections away.
    finish: AtomicBool,
    /// The supervisor said that workers should look at the sockets.
    look: AtomicBool,
    /// Connections that are open now, and were ever taken; requests answered. The record shows copies: any process of
    /// the service can write over those.
    open: AtomicU64,
    taken: AtomicU64,
    answered: AtomicU64,
    pub(crate) concurrency: u32,
    /// Connections to take; 0 = no limit.
    max_connections: u64,
    /// Requests to answer; 0 = no limit.
    max_requests: u64,
    /// How long a worker may go on when its supervisor is dead.
    grace: Duration,
}

/// What a seat is made of.
pub(crate) struct Parts {
    pub(crate) record: Record,
    pub(crate) siblings: Siblings,
    pub(crate) line: Option<Line>,
    pub(crate) bell: Option<Bell>,
    pub(crate) channel: Option<OwnedFd>,
    pub(crate) supervisor: Option<OwnedFd>,
    pub(crate) leave_event: Arc<EventFd>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) poke: Arc<EventFd>,
    pub(crate) share: Share,
    pub(crate) place: usize,
    pub(crate) standby: bool,
    pub(crate) concurrency: u32,
    pub(crate) max_connections: u64,
    pub(crate) max_requests: u64,
    pub(crate) grace: Duration,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("leave", &self.leave()).finish_non_exhaustive()
    }
}

impl Seat {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            record: parts.record,
            siblings: parts.siblings,
            line: parts.line,
            bell: parts.bell,
            channel: parts.channel,
            supervisor: parts.supervisor,
            leave_event: parts.leave_event,
            wake: parts.wake,
            poke: parts.poke,
            share: parts.share,
            place: parts.place,
            leave: AtomicU8::new(Leave::No as u8),
            go: AtomicBool::new(!parts.standby),
            announced: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            fatal: AtomicBool::new(false),
            finish: AtomicBool::new(false),
            look: AtomicBool::new(false),
            open: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            concurrency: parts.concurrency,
            max_connections: parts.max_connections,
            max_requests: parts.max_requests,
            grace: parts.grace,
        }
    }

    /// Tells the supervisor that the service cannot go on, and leaves; only the first call does.
    pub(crate) fn fatal(&self, text: &str) {
        if !self.fatal.swap(true, SeqCst) {
            self.tell(FATAL, text);
            self.begin_to_leave(Leave::Alone);
        }
    }

    /// Whether it has done so.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal.load(Relaxed)
    }

    /// Tells the supervisor that work can be taken; only the first call does.
    pub(crate) fn ready(&self) {
        if !self.ready.swap(true, SeqCst) {
            // Booting has a deadline of its own.
            self.rests();
            self.record.set(Activity::Idle);
            self.tell(READY, "");
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Whether the place is this worker's (a successor waits for it).
    pub(crate) fn may_take(&self) -> bool {
        self.go.load(Relaxed)
    }

    pub(crate) fn leave(&self) -> Leave {
        match self.leave.load(SeqCst) {
            0 => Leave::No,
            1 => Leave::Alone,
            _ => Leave::Together,
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leave() != Leave::No
    }

    /// Whether the queue is emptied whatever time it takes.
    pub(crate) fn may_finish(&self) -> bool {
        self.finish.load(SeqCst)
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.load(Relaxed)
    }

    /// Takes nothing new from now on.
    pub(crate) fn begin_to_leave(&self, how: Leave) {
        let before = self.leave.fetch_max(how as u8, SeqCst);
        if before == Leave::No as u8 {
            if self.open() == 0 {
                self.record.set(Activity::Leaving);
            }
            self.publish_leaving();
            self.leave_event.signal();
            self.tell(LEAVING, "");
        }
    }

    /// Whether it has as many connections open as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Relaxed) >= u64::from(self.concurrency)
    }

    /// A connection is taken: counts it, and says what follows from it.
    pub(crate) fn taken(self: &Arc<Self>) -> Busy {
        let open = self.open.fetch_add(1, AcqRel).wrapping_add(1);
        let taken = self.taken.fetch_add(1, Relaxed).wrapping_add(1);
        self.record.opened(open, taken);
        self.publish(open);
        if open == 1 {
            self.ring();
        }
        if open == u64::from(self.concurrency) && self.line.as_ref().is_some_and(Line::became_busy)
        {
            self.wake.signal();
        }
        let limit = self.max_connections;
        if limit > 0 {
            self.near_limit(taken, limit);
        }
        Busy { seat: self.clone() }
    }

    /// At the limit the worker leaves; a little before, its successor is asked for, so that it is ready.
    fn near_limit(&self, done: u64, limit: u64) {
        if done >= limit {
            self.begin_to_leave(Leave::Alone);
        } else if done >= limit - (limit / 8).max(1) && !self.announced.swap(true, SeqCst) {
            self.tell(EXPIRING, "");
        }
    }

    /// Whether the supervisor looks at when this worker works.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_watched(&self) -> bool {
        self.bell.is_some()
    }

    /// The worker begins to work, or comes up for air: from now on a handler that does not come back is
    /// overdue some day. Costs a look at the clock, and that only where the pool is watched.
    pub(crate) fn runs(&self) {
        if self.bell.is_some() {
            self.record.runs(tine_os::clock::monotonic());
            self.ring();
        }
    }

    /// The worker waits, for a connection or in its runtime.
    pub(crate) fn rests(&self) {
        if self.bell.is_some() {
            self.record.runs(0);
        }
    }

    /// Wakes the supervisor if it sleeps because nobody works.
    fn ring(&self) {
        if self.bell.as_ref().is_some_and(Bell::ring) {
            self.wake.signal();
        }
    }

    /// A request is answered: counts it, and against the limit. `now` is monotonic nanoseconds.
    pub(crate) fn answered(&self, now: u64) {
        let answered = self.answered.fetch_add(1, Relaxed).wrapping_add(1);
        self.record.request_ended(now, answered);
        if self.bell.is_some() {
            self.record.runs(now);
        }
        if self.max_requests > 0 {
            self.near_limit(answered, self.max_requests);
        }
    }

    fn released(&self) {
        // The first connection's allocations are the worker's first pages, too.
        tine_os::nursery::close();
        let open = self.open.fetch_sub(1, AcqRel).saturating_sub(1);
        self.record.closed(open);
        self.publish(open);
        if open.wrapping_add(1) == u64::from(self.concurrency)
            && let Some(line) = &self.line
        {
            line.became_idle();
        }
        if open == 0 {
            let next = if self.is_leaving() { Activity::Leaving } else { Activity::Idle };
            self.record.set(next);
        }
    }

    pub(crate) fn leave_event(&self) -> Arc<EventFd> {
        self.leave_event.clone()
    }

    /// Sends a message; a supervisor that is gone or does not read is noticed elsewhere.
    pub(crate) fn tell(&self, kind: u8, text: &str) {
        let Some(channel) = &self.channel else { return };
        let _ = send_message(channel, &cut(kind, text));
    }

    /// Reads what has arrived; `told` gets the messages of the program's own.
    fn attend(&self, told: &mut dyn FnMut(&[u8])) {
        // A signal sent to this worker, or a solo worker's handle. The others may have got the same signal:
        // so nobody relies on a sibling for what is queued.
        if !self.is_leaving() && is_readable(&*self.leave_event) {
            self.begin_to_leave(Leave::Together);
        }
        // The kernel closes a dying process's descriptors before its pidfd speaks.
        let gone = self.read_channel(told);
        let orphaned = gone || self.supervisor.as_ref().is_some_and(is_readable);
        if orphaned && !self.orphaned.swap(true, SeqCst) {
            // Nobody is left who could kill a worker that hangs; the kernel will.
            tine_os::signal::arm_alarm(self.grace);
            self.begin_to_leave(Leave::Together);
        }
    }

    /// The listeners are closed: by the supervisor, which has said so before, or by a sibling that has seen
    /// it die, a moment before this worker can.
    pub(crate) fn learn_why(&self) {
        const MOMENT: Duration = Duration::from_millis(500);
        self.attend(&mut |_| {});
        if !self.may_finish()
            && let Some(supervisor) = &self.supervisor
        {
            let _ = tine_os::poll::readable(supervisor, Some(MOMENT));
            self.attend(&mut |_| {});
        }
    }

    /// Takes the supervisor's messages, up to a bound; true if it has closed its end.
    fn read_channel(&self, told: &mut dyn FnMut(&[u8])) -> bool {
        let Some(channel) = &self.channel else { return false };
        let mut buffer = [0; WIRE_BYTES];
        for _ in 0..TURN {
            match receive_message(channel, &mut buffer) {
                Ok(Some([MESSAGE, bytes @ ..])) => told(bytes),
                Ok(Some([GO, ..])) => self.go.store(true, SeqCst),
                Ok(Some([LEAVE, ..])) => self.begin_to_leave(Leave::Alone),
                Ok(Some([LOOK, ..])) => self.look.store(true, SeqCst),
                Ok(Some([FINISH, ..])) => {
                    self.finish.store(true, SeqCst);
                    self.begin_to_leave(Leave::Together);
                }
                // Between two connections of an isolated worker; a multiplexed one has no better moment.
                Ok(Some([TRIM, ..])) => tine_os::memory::trim(),
                // From a newer supervisor.
                Ok(Some([_, ..])) => {}
                Ok(Some([])) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
        false
    }
}

fn is_readable(descriptor: impl AsFd) -> bool {
    tine_os::poll::readable(descriptor, Some(Duration::ZERO)).unwrap_or(true)
}

/// Held while a connection is served: the scoreboard, the pool's size and the worker's limit go by it.
///
/// A server with an accept loop of its own takes one for every connection and drops it at its end.
#[derive(Debug)]
pub struct Busy {
    seat: Arc<Seat>,
}

impl Busy {
    pub(crate) fn record(&self) -> &Record {
        &self.seat.record
    }

    /// A request of this connection is answered: counts towards [`crate::Prefork::max_requests`].
    pub fn answered(&self) {
        self.seat.answered(tine_os::clock::monotonic());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.released();
    }
}
