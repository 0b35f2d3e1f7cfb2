//! A worker, as the program sees it: its listeners, its place, and how to serve.

use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tine_os::socket::receive_from;

use crate::accept::{Acceptor, Next};
use crate::access::Gate;
use crate::conn::{Conn, Packet};
use crate::door::Door;
use crate::fatal::{Alarm, Fatal};
use crate::hooks::{Hooked, WorkerInfo};
use crate::listen::Listener;
use crate::log::{Log, error};
use crate::scoreboard::Record;
use crate::seat::{Busy, Leave, Seat, Sender, Shutdown};
use crate::shared::Region;

/// What a program's code inside a worker may fail with; the text goes to the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A worker process, given to the program's closure after the fork and after the privileges are
/// dropped. [`crate::Prefork::solo`] makes one without any fork.
pub struct Worker {
    pub(crate) seat: Arc<Seat>,
    pub(crate) shutdown: Shutdown,
    pub(crate) listeners: Vec<Rc<Listener>>,
    pub(crate) regions: Vec<Region>,
    pub(crate) log: Log,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) hooks: Hooked,
    /// The one connection of a process that was started for it.
    pub(crate) given: Option<Conn>,
    pub(crate) id: u64,
    pub(crate) pool: String,
    pub(crate) place: usize,
    pub(crate) generation: u32,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .field("pool", &self.pool)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Its number: counted from 1 over the life of the service, never given twice.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its place in the pool, from 0; a replacement has its predecessor's (row F20).
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// Its pool's name.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Its generation: 1, and one more at every reload.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How many connections it may serve at once.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        self.seat.concurrency
    }

    /// The pool's listeners, in the order they were named; where an address has several sockets, all of them.
    /// A server with an accept loop of its own accepts from each: nobody does it in its stead.
    #[must_use]
    pub fn listeners(&self) -> &[Rc<Listener>] {
        &self.listeners
    }

    /// A shared region of the service, by name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name() == name)
    }

    /// The log of the service.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its line in the scoreboard.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.seat.record
    }

    /// Says that it has booted, and waits until the place is its own: a successor is ready before the
    /// worker it replaces has left. Every `serve` does both; a server with a loop of its own calls this
    /// before its first accept.
    ///
    /// # Errors
    /// What `epoll_wait(2)` says.
    pub fn ready(&self) -> io::Result<()> {
        self.seat.ready();
        self.shutdown.wait_for_place()
    }

    /// By which any thread of the worker can say that the service cannot go on.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm::new(self.seat.clone())
    }

    /// What tells this worker to end: for a server with a loop of its own.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// What speaks to the supervisor's hooks.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender::new(self.seat.clone())
    }

    /// What hooks know of it.
    pub(crate) fn info(&self) -> WorkerInfo {
        WorkerInfo {
            number: self.id,
            pid: tine_os::process::pid().get(),
            command: None,
            pool: self.pool.clone(),
            place: self.place,
            generation: self.generation,
        }
    }

    pub(crate) fn door(&self) -> Door {
        Door { gate: self.gate.clone(), hooks: self.hooks.clone(), log: self.log.clone() }
    }

    /// Counts a connection that a loop of the program's own has taken; hold it while it is served.
    #[must_use = "the connection counts as served until this is dropped"]
    pub fn busy(&self) -> Busy {
        self.seat.taken()
    }

    /// Serves stream connections one after the other, each to its end.
    ///
    /// An error of the handler ends its connection and is logged; a panic ends the worker, and only it.
    /// Returns when the worker is to leave and its last connection is done: a handler that waits for a
    /// silent client keeps a stop waiting up to `stop_timeout`, so give its reads a deadline.
    ///
    /// # Errors
    /// What accepting can fail with beyond the connection at hand.
    pub fn serve<H>(self, mut handler: H) -> Result<(), BoxError>
    where
        H: FnMut(Conn) -> io::Result<()>,
    {
        self.serve_all(&mut handler, &mut |_packet: &Packet<'_>| Ok(()), |listener| {
            listener.is_stream()
        })
    }

    /// Serves datagrams one after the other.
    ///
    /// # Errors
    /// As [`Worker::serve`].
    pub fn serve_datagrams<H>(self, mut handler: H) -> Result<(), BoxError>
    where
        H: FnMut(&Packet<'_>) -> io::Result<()>,
    {
        self.serve_all(&mut |_| Ok(()), &mut handler, |listener| !listener.is_stream())
    }

    /// Serves both, when a pool listens for both.
    ///
    /// # Errors
    /// As [`Worker::serve`].
    pub fn serve_both<C, P>(self, mut streams: C, mut datagrams: P) -> Result<(), BoxError>
    where
        C: FnMut(Conn) -> io::Result<()>,
        P: FnMut(&Packet<'_>) -> io::Result<()>,
    {
        self.serve_all(&mut streams, &mut datagrams, |_| true)
    }

    fn serve_all(
        mut self,
        streams: &mut dyn FnMut(Conn) -> io::Result<()>,
        datagrams: &mut dyn FnMut(&Packet<'_>) -> io::Result<()>,
        wanted: impl Fn(&Listener) -> bool,
    ) -> Result<(), BoxError> {
        let door = self.door();
        if let Some(conn) = self.given.take() {
            self.seat.ready();
            return door.serve(conn, streams).map_err(Into::into);
        }
        let listeners = self.listeners.iter().filter(|listener| wanted(listener)).cloned();
        let mut acceptor = Acceptor::new(&self.shutdown, listeners, true)?;
        let mut buffer = vec![0; self.datagram_bytes()];
        self.seat.ready();
        loop {
            let next = acceptor.next()?;
            self.seat.runs();
            let result = match next {
                Next::Conn(conn) => door.serve(conn, streams),
                Next::Datagram(listener) => self.receive(&door, &listener, &mut buffer, datagrams),
                Next::Nothing => Ok(()),
                Next::Done => return Ok(()),
            };
            self.seat.rests();
            if let Err(failure) = result {
                if Fatal::is_io(&failure) {
                    return Err(failure.into());
                }
                error!(self.log, "worker {}: a connection failed: {failure}", self.id);
            }
        }
    }

    fn datagram_bytes(&self) -> usize {
        let datagrams = self.listeners.iter().filter(|listener| !listener.is_stream());
        datagrams.map(|listener| listener.options().datagram_bytes).max().unwrap_or(0)
    }

    /// Handles what a datagram socket holds, up to a bound so that others have their turn; of a service
    /// that stops, whatever has come.
    fn receive(
        &self,
        door: &Door,
        listener: &Rc<Listener>,
        buffer: &mut [u8],
        handler: &mut dyn FnMut(&Packet<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let turn = if self.seat.leave() == Leave::Together { 65_536 } else { 64 };
        for _ in 0..turn {
            let datagram = match receive_from(&**listener, buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An ICMP error of an earlier answer: it concerns nobody here (udp(7)).
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let busy = self.seat.taken();
            self.seat.runs();
            let bytes = &buffer[..datagram.bytes];
            let mut packet =
                Packet::new(bytes, datagram.truncated, datagram.sender, listener.clone());
            if door.admit_packet(&mut packet) {
                handler(&packet)?;
            }
            drop(busy);
            if self.seat.leave() == Leave::Alone {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What `prepare` gets: a worker before its privileges are dropped.
#[derive(Debug)]
pub struct Setup<'a> {
    pub(crate) place: usize,
    pub(crate) chroot: Option<&'a Path>,
}

impl Setup<'_> {
    /// The worker's place.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// The directory that will be its root.
    #[must_use]
    pub fn chroot(&self) -> Option<&Path> {
        self.chroot
    }
}
