//! Taking connections from the pool's listeners.
//!
//! A worker that is idle sleeps here, in an epoll of its own in which its listeners stand with
//! `EPOLLEXCLUSIVE`: a new connection wakes one worker, not all. Two things follow. A worker that was
//! woken and does not accept (it leaves, is stopped, dies) takes the wake-up with it; so there is a second
//! exclusive descriptor, the pool's *poke*, on which a leaving worker passes the wake on and on which the
//! supervisor wakes somebody after a death. And the kernel wakes in the order of registration, so
//! nothing here may depend on which worker is woken. The rule about wake-ups is in [`owed`].
//!
//! Which listeners are a worker's is [`watch`]'s matter, and that of the [mode](Accept): one for all, a
//! socket each, or one after the other ([`turn`]). Among workers that serve many at once [`courtesy`] keeps
//! the shares even.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tine_os::socket::{accept, has_message};

use crate::conn::Conn;
use crate::listen::Listener;
use crate::seat::{Seat, Shutdown};

mod courtesy;
mod last_round;
mod mode;
mod owed;
mod share;
mod steer;
#[cfg(test)]
mod tests;
mod trouble;
mod turn;
mod upkeep;
mod watch;

use courtesy::Courtesy;
pub use mode::Accept;
use owed::Owed;
pub(crate) use share::Share;
use steer::Steer;
use trouble::{IN_A_ROW, Trouble};
use turn::Turn;
#[cfg(feature = "tokio")]
pub use upkeep::Tidy;
pub(crate) use upkeep::Upkeep;
use watch::Watch;

/// Attempts to take something without asking the epoll.
const ASK_AFTER: u8 = 16;
/// How long a worker that could not have the turn at a connection waits before it looks whether the
/// connection is still there.
const TURN_RETRY: Duration = Duration::from_millis(10);
/// What came.
#[derive(Debug)]
pub(crate) enum Next {
    /// A connection.
    Conn(Conn),
    /// A datagram socket has something to read.
    Datagram(Rc<Listener>),
    /// Nothing to take right now.
    Nothing,
    /// Nothing will be taken any more.
    Done,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Acceptor {
    seat: Arc<Seat>,
    shutdown: Shutdown,
    watch: Watch,
    /// Of a worker that serves many at once from sockets all share.
    courtesy: Option<Courtesy>,
    /// Where whoever is free takes what comes.
    steer: Option<Steer>,
    /// Of a pool whose workers take turns.
    turn: Option<Turn>,
    /// Where the next look begins, so that no listener starves another.
    next: usize,
    /// Accepted sockets do not block.
    nonblocking: bool,
    /// Attempts since the epoll was last asked.
    unasked: u8,
    /// A poke was taken, and what it stood for is not known to be served.
    poked: bool,
    /// Out of something: until when nothing is taken, and how long that is.
    pause: Option<(Instant, Duration)>,
    /// When that was last said.
    said: Option<Instant>,
    /// Until when others may take what there is.
    aside: Option<Instant>,
    /// It has taken something since it last slept.
    has_taken: bool,
    last_round: Option<Instant>,
    pub(crate) upkeep: Upkeep,
}

impl Acceptor {
    pub(crate) fn new(
        shutdown: &Shutdown,
        listeners: impl Iterator<Item = Rc<Listener>>,
        blocking: bool,
    ) -> io::Result<Self> {
        let seat = shutdown.seat().clone();
        let alone = blocking || seat.is_isolated();
        let turn = seat.accept_lock().map(|lock| Turn::new(lock, shutdown)).transpose()?;
        let watch = Watch::new(shutdown, listeners, alone)?;
        let polite = !alone && turn.is_none() && watch.is_all_shared();
        let steered = turn.is_none() && (alone || watch.is_all_shared());
        Ok(Self {
            shutdown: shutdown.clone(),
            courtesy: polite.then(|| Courtesy::new(&seat)),
            steer: steered.then(|| Steer::new(&seat)),
            watch,
            turn,
            next: 0,
            nonblocking: !blocking,
            unasked: 0,
            poked: false,
            pause: None,
            said: None,
            aside: None,
            has_taken: false,
            last_round: None,
            upkeep: Upkeep::default(),
            seat,
        })
    }

    /// Sleeps until there is something to take, and takes it; never answers [`Next::Nothing`].
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        loop {
            match self.poll()? {
                Next::Nothing if self.waits_for_turn() => self.queue()?,
                Next::Nothing => {
                    self.requeue()?;
                    self.sleep(self.sleep_at_most())?;
                }
                found => return Ok(found),
            }
        }
    }

    /// Goes to the end of the line of those who are woken, if it has had its share: a worker that serves
    /// many at once would take them all while the others sleep. An isolated one stays where it is: it is
    /// busy while it serves, and the caches of whoever served last are warm.
    fn requeue(&mut self) -> io::Result<()> {
        let open = self.watch.is_open() && self.courtesy.is_some();
        if open && std::mem::take(&mut self.has_taken) {
            self.watch.shut();
            self.open()?;
        }
        Ok(())
    }

    /// Takes something if there is something, without sleeping.
    pub(crate) fn poll(&mut self) -> io::Result<Next> {
        if self.seat.is_leaving() {
            return self.take_the_rest();
        }
        if !self.seat.may_take() {
            self.look()?;
            if !self.seat.may_take() {
                return Ok(Next::Nothing);
            }
        }
        if self.resume_in().is_some_and(|left| !left.is_zero()) {
            return Ok(Next::Nothing);
        }
        let waited = self.aside.take().is_some();
        self.watch.adopt()?;
        self.open()?;
        // With one listener an attempt is cheaper than a question, but a queue that never empties must not
        // hide the supervisor's word; with several, asking is what keeps a busy one from hiding a quiet one.
        self.unasked += 1;
        if self.watch.count() > 1 || self.unasked >= ASK_AFTER {
            self.look()?;
            if self.seat.is_leaving() {
                return self.take_the_rest();
            }
        }
        if (!waited && self.steps_aside()) || !self.has_turn() {
            return Ok(Next::Nothing);
        }
        let found = self.take()?;
        if let Some(steer) = self.steer.as_mut().filter(|_| waited) {
            steer.has_waited(!matches!(found, Next::Nothing));
        }
        if let Some(courtesy) = self.courtesy.as_mut().filter(|_| waited) {
            courtesy.has_waited(!matches!(found, Next::Nothing));
        }
        match found {
            Next::Nothing if self.seat.is_leaving() => self.take_the_rest(),
            Next::Nothing => Ok(Next::Nothing),
            found => {
                self.end_turn();
                Ok(found)
            }
        }
    }

    /// How long to sleep at most. Nothing wakes a worker whose listeners are out of the epoll, so a pause that
    /// has just ended is a short sleep and not none.
    pub(crate) fn resume_in(&self) -> Option<Duration> {
        let pause = self.pause.filter(|_| !self.watch.is_open());
        let until = pause.map(|(until, _)| until).max(self.aside)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// The same, before a sleep: what can be tidied up now is.
    pub(crate) fn sleep_at_most(&self) -> Option<Duration> {
        let (resume, again) = (self.resume_in(), self.upkeep.idle());
        resume.into_iter().chain(again).min()
    }

    /// Notes what there is, without sleeping.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.sleep(Some(Duration::ZERO))
    }

    /// How many connections the worker may serve at once.
    #[cfg(feature = "tokio")]
    pub(crate) fn concurrency(&self) -> u32 {
        self.seat.concurrency
    }

    /// Whether the worker is to leave, as far as it is known.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_leaving(&self) -> bool {
        self.seat.is_leaving()
    }

    /// Waits for the epoll, and notes what it says.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let news = self.watch.wait(timeout)?;
        self.unasked = 0;
        self.poked |= news.poked;
        if news.control {
            let _ = self.shutdown.is_requested();
        }
        Ok(())
    }

    /// Lets the listeners wake us, now that the place is ours and no pause is on.
    fn open(&mut self) -> io::Result<()> {
        let on_trial = self.steer.as_ref().is_some_and(Steer::is_on_trial);
        if self.watch.is_open() && self.watch.wakes_always() != on_trial {
            self.watch.shut();
        }
        if !self.watch.is_open() {
            self.seat.publish_open();
            self.watch.open(on_trial)?;
        }
        Ok(())
    }

    /// Whether others should have what there is: then it does not wake us for a moment.
    fn steps_aside(&mut self) -> bool {
        if !self.watch.owes() {
            return false;
        }
        let steered = self.steer.as_ref().and_then(Steer::asks_until);
        self.aside = steered.or_else(|| self.courtesy.as_mut()?.asks_until());
        if self.aside.is_some() {
            self.watch.shut();
        }
        self.aside.is_some()
    }

    /// Whether it is our turn, where there are turns.
    fn has_turn(&mut self) -> bool {
        let Some(turn) = &mut self.turn else { return true };
        // A poke may stand for a connection that the holder of the turn was not told of.
        if turn.take() || self.poked {
            return true;
        }
        if self.watch.owes() {
            // The holder looks when its turn begins; should it not, for whatever reason, the epoll says so again.
            self.watch.forgive();
            self.aside = Some(Instant::now() + TURN_RETRY);
        }
        false
    }

    /// Gives the turn to the next, if it is ours: before anything else is done than accepting.
    pub(crate) fn end_turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.end();
        }
    }

    fn waits_for_turn(&self) -> bool {
        let ours = self.turn.as_ref().is_none_or(Turn::is_held);
        !ours && self.pause.is_none() && self.seat.may_take()
    }

    /// Sleeps until it may be our turn.
    fn queue(&mut self) -> io::Result<()> {
        if let Some(turn) = &self.turn {
            turn.queue(self.upkeep.idle())?;
        }
        self.aside = None;
        self.watch.owe_all();
        let _ = self.shutdown.is_requested();
        Ok(())
    }

    /// Tries the listeners that may have something, beginning after the one that had something last.
    fn take(&mut self) -> io::Result<Next> {
        let count = self.watch.entries.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            let entry = &self.watch.entries[index];
            if entry.owed == Owed::Nothing || entry.closed {
                continue;
            }
            match self.take_from(index)? {
                Next::Nothing => {}
                found => {
                    self.next = (index + 1) % count;
                    self.pass_the_rest_on();
                    return Ok(found);
                }
            }
        }
        // Whoever has slept begins with its own.
        self.next = 0;
        self.poked = false;
        Ok(Next::Nothing)
    }

    fn take_from(&mut self, index: usize) -> io::Result<Next> {
        let listener = self.watch.entries[index].listener.clone();
        if !listener.is_stream() {
            return self.take_datagram(index, listener);
        }
        let mut may_tidy = true;
        for failures in 1..=IN_A_ROW {
            match accept(&*listener, self.nonblocking) {
                Ok((socket, peer)) => {
                    self.pause = None;
                    self.has_taken = true;
                    if let Some(steer) = &self.steer {
                        steer.taken();
                    }
                    let busy = self.seat.taken();
                    self.watch.has_taken(index);
                    return Ok(Next::Conn(Conn::new(socket, &peer, listener, busy)));
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::Empty => {
                        self.watch.is_empty(index);
                        return Ok(Next::Nothing);
                    }
                    Trouble::Transient if failures < IN_A_ROW => {}
                    Trouble::Exhausted if may_tidy && self.tidies_after(&error) => may_tidy = false,
                    Trouble::Transient | Trouble::Exhausted => {
                        self.rest(&error);
                        return Ok(Next::Nothing);
                    }
                    Trouble::Closed => {
                        self.close(index);
                        return Ok(Next::Nothing);
                    }
                    Trouble::Unknown => return Err(error),
                },
            }
        }
        Ok(Next::Nothing)
    }

    /// Whoever asked for it reads, and the epoll reports what is left. Where it may not, the socket is asked first: a poke
    /// would go round for ever if every look were a find.
    fn take_datagram(&mut self, index: usize, listener: Rc<Listener>) -> io::Result<Next> {
        let must_ask = self.watch.entries[index].owed == Owed::UntilEmpty;
        let is_empty = must_ask && !has_message(&*listener)?;
        if is_empty || !must_ask {
            self.watch.is_empty(index);
        }
        Ok(if is_empty { Next::Nothing } else { Next::Datagram(listener) })
    }
}

impl AsFd for Acceptor {
    /// Readable when [`Acceptor::poll`] should be asked.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
