//! One alarm a connection, for all of its deadlines.
//!
//! It is moved only when a deadline comes nearer than it is set: a request that comes and is answered
//! sets no timer at all. When it rings, what the connection waits for now says whether it is overdue.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::batched_writes;
use crate::connection_state::{Progress, Wait, nanos};
use crate::eviction::Member;
use crate::frame_budget::Account;
use crate::limits::{ASK_AGAIN, ASKED, HEAD_LEAST, PINGS_BYTES, SEND_LEAST, TICK};
use crate::settings::Settings;

/// Why a connection's HTTP is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// No request has come for long, or others wait for this worker.
    Request,
    /// A request's header has begun and does not come to its end.
    Head,
    /// The client takes nothing of what it is sent.
    Client,
    /// The client gives up more requests than it lets be answered, says too much that asks for nothing, or goes on after
    /// GOAWAY.
    Flood,
    /// It had what a connection gets; over HTTP/2 there is no answer that could say so.
    Last,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    settings: Rc<Settings>,
    progress: Arc<Progress>,
    alarm: Pin<Box<Sleep>>,
    /// When the alarm rings; monotonic nanoseconds.
    rings: u64,
    /// When it last rang.
    rang: u64,
    /// Since when the client has taken nothing, as far as is known.
    looked: u64,
    /// What was taken, handed out and asked for until then.
    taken: u64,
    unsent: u64,
    given: u64,
    requests: u64,
    isolated: bool,
    /// What its client says over HTTP/2 that asks for nothing.
    account: Account,
    /// Since the alarm was set it was waited for, so that it wakes its task.
    armed: bool,
    /// Its place among the worker's connections, where there are several.
    member: Option<Member>,
    /// It had its first turn.
    began: bool,
    /// All there is to be sent waited for the client, when last seen.
    stalled: bool,
    /// How often in a row somebody else was found to wait for this worker.
    wanted: u8,
}

impl Watch {
    pub(crate) fn new(settings: Rc<Settings>, progress: Arc<Progress>) -> Self {
        let isolated = settings.context.is_isolated();
        let now = progress.since.get();
        let mut watch = Self {
            alarm: Box::pin(sleep_until(Instant::now())),
            rings: u64::MAX,
            rang: now,
            looked: now,
            taken: 0,
            unsent: 0,
            given: 0,
            requests: 0,
            isolated,
            account: Account::new(now),
            armed: false,
            member: None,
            began: false,
            stalled: false,
            wanted: 0,
            settings,
            progress,
        };
        // Not reset: a timer that nobody has polled yet is known to no runtime. One that is costs the first of a runtime a write
        // to its own event descriptor, and a connection that is answered at once needs none.
        watch.rings = watch.due();
        watch.alarm.set(sleep_until(at(watch.rings, now)));
        watch
    }

    /// The connection's driver gets its turn.
    pub(crate) fn begin_turn(&mut self) {
        // The first comes as soon as the connection does.
        if std::mem::replace(&mut self.began, true) {
            batched_writes::send_late(self.progress.look());
        }
        if self.progress.must_send.get() {
            self.progress.must_send.set(false);
            batched_writes::send_all();
        }
    }

    /// Ready when the connection is to end; call it after the connection was polled.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        if !self.isolated && self.member.is_none() {
            // A connection's driver is one task from beginning to end, so its first waker is its last.
            let (progress, waker) = (self.progress.clone(), cx.waker().clone());
            self.member = Some(self.settings.crowd.join(progress, waker));
        }
        if self.isolated {
            self.stamp();
        }
        if self.progress.has_failed() {
            cx.waker().wake_by_ref();
        }
        let asked = self.progress.unwanted.get() && !self.progress.leaving.get();
        if asked && matches!(self.progress.wait(), Wait::Request(_)) {
            return Poll::Ready(Overdue::Request);
        }
        if self.progress.http2.get() {
            let progress = &self.progress;
            if progress.panicked.get() {
                // What it was has been said.
                std::panic::resume_unwind(Box::new("a stream's handler panicked"));
            }
            let (idle, served) = (progress.idle_frames.get(), progress.served());
            let is_overdrawn = self.account.is_overdrawn(idle, served, progress.now.get());
            if is_overdrawn || progress.is_flooded(&self.settings.limits) {
                return Poll::Ready(Overdue::Flood);
            }
            if self.progress.last.get() && !self.progress.leaving.get() {
                return Poll::Ready(Overdue::Last);
            }
        }
        let due = self.due();
        if due < self.rings {
            self.set(due, tine::now());
        }
        if self.armed && self.progress.now.get() < self.rings {
            return Poll::Pending;
        }
        // Not refused for having done too much in this turn: nobody would wake it then.
        while pin!(unconstrained(self.alarm.as_mut())).poll(cx).is_ready() {
            let now = tine::now();
            if let Some(overdue) = self.look(now) {
                return Poll::Ready(overdue);
            }
            // First, for what is due goes by when it was last looked.
            let pause = self.pause(now);
            let next = self.due().min(now.saturating_add(pause));
            self.set(next, now);
        }
        self.armed = true;
        Poll::Pending
    }

    /// Tells the supervisor, who watches how long a request takes, when it is the client who takes its time:
    /// that is [`Limits::send_timeout`](crate::Limits::send_timeout)'s matter.
    fn stamp(&mut self) {
        let stalled = self.progress.waits_for_client();
        if stalled != self.stalled {
            self.stalled = stalled;
            let works = !stalled && self.progress.busy.get() > 0;
            self.settings.context.record().answering(if works { tine::now() } else { 0 });
        }
    }

    /// When there is something to be done by a deadline, as things are.
    fn due(&self) -> u64 {
        let limits = &self.settings.limits;
        match self.progress.wait() {
            // Where others can be served meanwhile, nothing else would ring before the connection's idle time is over.
            Wait::Answer if self.progress.waits_for_client() => {
                let since = self.progress.since.get().max(self.looked);
                let stalls = since.saturating_add(nanos(self.send_timeout()));
                let tick = self.rang.saturating_add(self.tick());
                if self.asks_meanwhile() { stalls.min(tick) } else { stalls }
            }
            // A stream may be silent for ever, so it is asked whether somebody waits behind it.
            Wait::Answer if self.asks_meanwhile() => self.rang.saturating_add(self.tick()),
            Wait::Answer => u64::MAX,
            Wait::Head(since) => {
                let late = since.saturating_add(nanos(self.header_timeout()));
                if self.isolated { late.min(self.next_ask(since)) } else { late }
            }
            Wait::Request(since) => {
                let idle = since.saturating_add(nanos(limits.idle_timeout));
                if self.isolated { idle.min(self.next_ask(since)) } else { idle }
            }
        }
    }

    /// When it is asked next whether somebody waits behind a client that has been waited for since then.
    fn next_ask(&self, since: u64) -> u64 {
        since.max(self.rang).saturating_add(self.tick())
    }

    /// How long a request's header may be in coming.
    fn header_timeout(&self) -> Duration {
        let timeout = self.settings.limits.header_timeout;
        if self.progress.unwanted.get() { timeout.min(HEAD_LEAST) } else { timeout }
    }

    /// How long a client may take nothing of what it is sent.
    fn send_timeout(&self) -> Duration {
        let timeout = self.settings.limits.send_timeout;
        if self.progress.wanted.get() > 0 { timeout.min(SEND_LEAST) } else { timeout }
    }

    /// Whether it is asked, while it answers, if somebody waits for this worker. Over HTTP/1 between two requests is enough,
    /// unless it is for the client that all waits.
    fn asks_meanwhile(&self) -> bool {
        let may_last = self.progress.http2.get() || self.progress.waits_for_client();
        self.isolated && may_last && self.progress.wanted.get() == 0
    }

    /// How long until the next look, at most.
    fn pause(&mut self, now: u64) -> u64 {
        let talks = self.requests != self.progress.requests.get();
        if talks || !self.progress.waits_for_client() || !self.takes_nothing() {
            self.requests = self.progress.requests.get();
            self.taken = self.progress.taken();
            self.unsent = self.progress.unsent.get();
            self.given = self.progress.given.get();
            self.looked = now;
        }
        self.rang = now;
        if self.isolated && talks { self.tick() } else { nanos(self.send_timeout()) }
    }

    fn look(&mut self, now: u64) -> Option<Overdue> {
        let wait = self.progress.wait();
        let settings = self.settings.clone();
        let limits = &settings.limits;
        let longer = |since: u64, timeout| now >= since.saturating_add(nanos(timeout));
        match wait {
            Wait::Head(since) if longer(since, self.header_timeout()) => Some(Overdue::Head),
            Wait::Head(since) => {
                let wanted = self.is_wanted_elsewhere();
                (wanted && self.progress.tries_patience(since, now)).then_some(Overdue::Head)
            }
            Wait::Request(since) if longer(since, limits.idle_timeout) => Some(Overdue::Request),
            Wait::Request(since) if self.is_wanted_elsewhere() => {
                // Its client talks: the next answer is its last.
                self.progress.make_way(now);
                self.progress.tries_patience(since, now).then_some(Overdue::Request)
            }
            Wait::Request(_) => None,
            Wait::Answer => {
                let talks = self.requests != self.progress.requests.get();
                if (talks || self.asks_meanwhile()) && self.is_wanted_elsewhere() {
                    self.progress.make_way(now);
                    if self.progress.http2.get() && !self.progress.leaving.get() {
                        return Some(Overdue::Last);
                    }
                }
                let stalls = self.takes_nothing()
                    && longer(self.looked, self.send_timeout())
                    && self.progress.waits_for_client();
                stalls.then_some(Overdue::Client)
            }
        }
    }

    /// Whether the client has taken nothing since then.
    fn takes_nothing(&self) -> bool {
        let pings = if self.progress.http2.get() { PINGS_BYTES } else { 0 };
        self.given == self.progress.given.get()
            && self.progress.taken() <= self.taken.saturating_add(pings)
            && self.progress.unsent.get() >= self.unsent
    }

    /// Whether somebody else waits for this worker: again and again, for the next client often comes
    /// while a worker still closes the connection before.
    fn is_wanted_elsewhere(&mut self) -> bool {
        let wanted = self.isolated && self.settings.context.is_wanted_elsewhere();
        self.wanted = if wanted { self.wanted.saturating_add(1) } else { 0 };
        self.wanted >= ASKED
    }

    /// How long until it is asked again, while it is isolated.
    fn tick(&self) -> u64 {
        nanos(if self.wanted > 0 { ASK_AGAIN } else { TICK })
    }

    fn set(&mut self, rings: u64, now: u64) {
        self.alarm.as_mut().reset(at(rings, now));
        (self.rings, self.armed) = (rings, false);
    }
}

/// How a connection's driving ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// By itself.
    Done(T),
    /// It is to end.
    Overdue(Overdue),
    /// Something else happened first.
    Other,
}

/// Drives a connection until it ends, is overdue, or something else happens.
pub(crate) async fn drive_until<C: Future + Unpin>(
    connection: &mut C,
    watch: &mut Watch,
    other: impl Future<Output = ()>,
) -> End<C::Output> {
    let mut other = pin!(other);
    poll_fn(|cx| {
        watch.begin_turn();
        if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(End::Done(result));
        }
        if let Poll::Ready(overdue) = watch.poll(cx) {
            return Poll::Ready(End::Overdue(overdue));
        }
        other.as_mut().poll(cx).map(|()| End::Other)
    })
    .await
}

/// When that is, on the runtime's clock.
fn at(rings: u64, now: u64) -> Instant {
    Instant::now() + Duration::from_nanos(rings.saturating_sub(now))
}
