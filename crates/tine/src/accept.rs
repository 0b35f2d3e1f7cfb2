//! Taking connections from listeners that all workers share.
//!
//! A worker that is idle sleeps here, in an epoll of its own in which every listener stands with
//! `EPOLLEXCLUSIVE`: a new connection wakes one worker, not all. Two things follow. A worker that was
//! woken and does not accept (it leaves, is stopped, dies) takes the wake-up with it; so there is a second
//! exclusive descriptor, the pool's *poke*, on which a leaving worker passes the wake on and on which the
//! supervisor wakes somebody after a death. And the kernel wakes in the order of registration, so
//! nothing here may depend on who is woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tine_os::poll::{Epoll, Interest, Ready};
use tine_os::socket::accept;

use crate::conn::Conn;
use crate::listen::Listener;
use crate::seat::{FAILURE, Leave, Seat, Shutdown};

/// Tokens of the epoll; a listener's is its index.
const CONTROL: u64 = u64::MAX;
const POKE: u64 = u64::MAX - 1;

/// Accept failures that concern one connection or pass by themselves: the next one is tried at once
/// (`accept(2)`, "Error handling"; Apache's list is A2 of its specification).
const TRANSIENT: [i32; 11] = [
    4,   // EINTR
    1,   // EPERM: a firewall's rule
    71,  // EPROTO
    92,  // ENOPROTOOPT
    100, // ENETDOWN
    101, // ENETUNREACH
    103, // ECONNABORTED
    104, // ECONNRESET
    110, // ETIMEDOUT
    112, // EHOSTDOWN
    113, // EHOSTUNREACH
];
/// The machine or the process has run out of something: wait a little, others may free it.
const EXHAUSTED: [i32; 4] = [
    12,  // ENOMEM
    23,  // ENFILE
    24,  // EMFILE
    105, // ENOBUFS
];
/// The listener is closed: the service stops (`EBADF`, `EINVAL`).
const CLOSED: [i32; 2] = [9, 22];

/// Attempts to take something without asking the epoll.
const ASK_AFTER: u8 = 16;
/// First and longest pause when descriptors run out.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// A worker that leaves without its supervisor's word takes what is queued for this long, then leaves
/// the rest.
const LAST_ROUND: Duration = Duration::from_secs(1);

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
    epoll: Epoll,
    ready: Ready,
    listeners: Vec<Entry>,
    /// Where the next look begins, so that no listener starves another.
    next: usize,
    /// Accepted sockets do not block.
    nonblocking: bool,
    /// Whether the listeners stand in the epoll.
    open: bool,
    /// Attempts since the epoll was last asked.
    unasked: u8,
    /// The epoll spoke of a connection, and nobody has looked for it yet.
    woken: bool,
    pause: Option<(Instant, Duration)>,
    last_round: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    listener: Rc<Listener>,
    /// It had something at the last look.
    hot: bool,
    closed: bool,
}

impl Acceptor {
    pub(crate) fn new(
        shutdown: &Shutdown,
        listeners: impl Iterator<Item = Rc<Listener>>,
        nonblocking: bool,
    ) -> io::Result<Self> {
        let seat = shutdown.seat().clone();
        let epoll = Epoll::new()?;
        epoll.add(shutdown, CONTROL, Interest::READ)?;
        let entry = |listener| Entry { listener, hot: true, closed: false };
        Ok(Self {
            shutdown: shutdown.clone(),
            epoll,
            ready: Ready::with_capacity(8),
            listeners: listeners.map(entry).collect(),
            next: 0,
            nonblocking,
            open: false,
            unasked: 0,
            woken: false,
            pause: None,
            last_round: None,
            seat,
        })
    }

    /// Sleeps until there is something to take, and takes it; never answers [`Next::Nothing`].
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        loop {
            match self.poll()? {
                Next::Nothing => self.sleep(self.resume_in())?,
                found => return Ok(found),
            }
        }
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
        if self.resume_in().is_some() {
            return Ok(Next::Nothing);
        }
        self.open()?;
        // With one listener an attempt is cheaper than a question, but a queue that never empties must not
        // hide the supervisor's word; with several, asking is what keeps a busy one from hiding a quiet one.
        self.unasked += 1;
        if self.listeners.len() > 1 || self.unasked >= ASK_AFTER {
            self.look()?;
            if self.seat.is_leaving() {
                return self.take_the_rest();
            }
        }
        match self.take()? {
            Next::Nothing if self.seat.is_leaving() => self.take_the_rest(),
            found => Ok(found),
        }
    }

    /// When a pause ends, if there is one.
    pub(crate) fn resume_in(&self) -> Option<Duration> {
        let left = self.pause?.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
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
        self.epoll.wait(&mut self.ready, timeout)?;
        self.unasked = 0;
        let mut control = false;
        let mut poked = false;
        self.woken |= self.ready.iter().any(|event| event.token != CONTROL);
        for event in self.ready.iter() {
            match event.token {
                CONTROL => control = true,
                POKE => poked = self.seat.poke().take().is_some(),
                index => {
                    if let Some(entry) =
                        usize::try_from(index).ok().and_then(|i| self.listeners.get_mut(i))
                    {
                        entry.hot = true;
                    }
                }
            }
        }
        if poked {
            self.listeners.iter_mut().for_each(|entry| entry.hot = true);
        }
        if control {
            let _ = self.shutdown.is_requested();
        }
        Ok(())
    }

    /// Puts the listeners into the epoll, when the place is ours and no pause is on.
    fn open(&mut self) -> io::Result<()> {
        if self.open {
            return Ok(());
        }
        for (index, entry) in self.listeners.iter().enumerate().filter(|(_, entry)| !entry.closed) {
            self.epoll.add(&*entry.listener, index as u64, Interest::READ_EXCLUSIVE)?;
        }
        self.epoll.add(self.seat.poke(), POKE, Interest::READ_EXCLUSIVE)?;
        self.open = true;
        Ok(())
    }

    /// Takes them out again: a full listener would wake us for ever.
    fn shut(&mut self) {
        if std::mem::take(&mut self.open) {
            for entry in self.listeners.iter().filter(|entry| !entry.closed) {
                let _ = self.epoll.remove(&*entry.listener);
            }
            let _ = self.epoll.remove(self.seat.poke());
        }
    }

    /// Tries the listeners that may have something, beginning after the one that had something last.
    fn take(&mut self) -> io::Result<Next> {
        self.woken = false;
        let count = self.listeners.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            if !self.listeners[index].hot || self.listeners[index].closed {
                continue;
            }
            match self.take_from(index)? {
                Next::Nothing => {}
                found => {
                    self.next = (index + 1) % count;
                    return Ok(found);
                }
            }
        }
        Ok(Next::Nothing)
    }

    fn take_from(&mut self, index: usize) -> io::Result<Next> {
        let listener = self.listeners[index].listener.clone();
        if !listener.is_stream() {
            // The reader finds out whether there still is something, and says so by coming back.
            self.listeners[index].hot = false;
            return Ok(Next::Datagram(listener));
        }
        for _ in 0..64 {
            match accept(&*listener, self.nonblocking) {
                Ok((socket, peer)) => {
                    self.pause = None;
                    let busy = self.seat.taken();
                    // With several listeners the epoll says again which have more, while it is asked.
                    self.listeners[index].hot =
                        self.listeners.len() == 1 || self.last_round.is_some();
                    return Ok(Next::Conn(Conn::new(socket, &peer, listener, busy)));
                }
                Err(error) => match error.raw_os_error() {
                    Some(11) => break,
                    Some(code) if TRANSIENT.contains(&code) => {}
                    Some(code) if EXHAUSTED.contains(&code) => {
                        self.rest(&error);
                        return Ok(Next::Nothing);
                    }
                    Some(code) if CLOSED.contains(&code) => {
                        self.close(index);
                        return Ok(Next::Nothing);
                    }
                    _ => return Err(error),
                },
            }
        }
        self.listeners[index].hot = false;
        Ok(Next::Nothing)
    }

    /// Out of descriptors or memory: nothing is taken for a while, twice as long each time. Said once an
    /// episode.
    fn rest(&mut self, error: &io::Error) {
        self.shut();
        if self.pause.is_none() {
            self.seat.tell(FAILURE, &format!("cannot accept: {error}; trying again"));
        }
        let length = self.pause.map_or(PAUSE.0, |(_, length)| (length * 2).min(PAUSE.1));
        self.pause = Some((Instant::now() + length, length));
        self.listeners.iter_mut().for_each(|entry| entry.hot = true);
        // Somebody else may still have room.
        self.seat.pass_wake_on();
    }

    fn close(&mut self, index: usize) {
        let entry = &mut self.listeners[index];
        entry.closed = true;
        if self.open {
            let _ = self.epoll.remove(&*entry.listener);
        }
        if self.listeners.iter().all(|entry| entry.closed) {
            self.seat.learn_why();
            self.seat.begin_to_leave(Leave::Together);
        }
    }

    /// A leaving worker: the wake-up it may have had goes to a sibling, or, when all leave, the queue
    /// is emptied.
    fn take_the_rest(&mut self) -> io::Result<Next> {
        self.shut();
        // An orphan may, whoever's the place was: nobody else will.
        let may_take = self.seat.leave() == Leave::Together && self.seat.may_take();
        if (may_take || self.seat.is_orphaned()) && self.last_round() {
            match self.take()? {
                Next::Nothing => {}
                found => return Ok(found),
            }
        }
        if self.seat.is_orphaned() {
            self.close_for_all();
        } else if std::mem::take(&mut self.woken) {
            self.seat.pass_wake_on();
        }
        Ok(Next::Done)
    }

    /// Nobody is left to do what the supervisor would have done: without it, clients would wait for
    /// workers that only finish what they have, and nobody else could listen here.
    fn close_for_all(&self) {
        for entry in self.listeners.iter().filter(|entry| !entry.closed) {
            let _ = entry.listener.close_for_good();
        }
    }

    /// Whether there still is time to empty the queues; begins with a look at every listener.
    fn last_round(&mut self) -> bool {
        let end = *self.last_round.get_or_insert_with(|| {
            for entry in &mut self.listeners {
                entry.hot = true;
                if self.seat.is_orphaned() {
                    let _ = entry.listener.refuse_new();
                }
            }
            Instant::now() + LAST_ROUND
        });
        if Instant::now() <= end {
            return true;
        }
        // The supervisor's word may have come later than the signal we leave on.
        let _ = self.shutdown.is_requested();
        self.seat.may_finish()
    }
}

impl AsFd for Acceptor {
    /// Readable when [`Acceptor::poll`] should be asked.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
