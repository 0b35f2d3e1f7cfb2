//! What a program may want to do at the turns of a service's life: one trait, empty defaults.
//!
//! `docs/hooks.md` has the table: every method here, the process it runs in, and what it is called in
//! Net::Server and in fasthttp/prefork.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use tine_os::signal::Signal;

use crate::conn::Conn;
use crate::counted::rc;
use crate::listen::Listener;
use crate::log::Log;
use crate::supervisor::event::Exit;
use crate::supervisor::run::Supervisor;
use crate::worker::{BoxError, Worker};
use crate::{Error, Result};

/// Called at the turns of a service's life; see [`crate::Prefork::hooks`]. Every method does nothing unless
/// it is written.
///
/// **In the supervisor** a hook holds everybody up: no signal is answered and no worker replaced while it
/// runs. So it must not wait for anything, least of all for a worker. A panic in it is logged, and the
/// service goes on. It starts no thread: the next fork would be refused.
///
/// **In a worker** a hook is part of the worker: what it blocks is that worker, and its panic is that
/// worker's crash.
///
/// Each worker has the value as it was in the supervisor at its fork, a copy of its own from then on. Who
/// wants to count over all of them uses a [`crate::Region`], or tells the supervisor: [`crate::Sender`].
pub trait Hooks {
    /// In the supervisor: all that was asked for makes sense, the service is in the background if it was to
    /// go there, and nothing is bound yet. An error ends the start.
    ///
    /// # Errors
    /// Whatever should end the start.
    fn configured(&self) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// In the supervisor: all listeners, of all pools, are bound, the pid file and the control socket are
    /// there, and no worker is. The supervisor has the rights it was started with, for good. An error ends
    /// the start.
    ///
    /// # Errors
    /// Whatever should end the start.
    fn bound(&self, _listeners: &[Rc<Listener>]) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// In the supervisor, before each fork: for which pool and which place.
    fn before_fork(&self, _service: &Supervision<'_>, _pool: &str, _place: usize) {}

    /// In the supervisor, after each fork; the worker is not ready yet. An error ends the service: before
    /// [`Hooks::ready`] at once, later in good order; [`crate::Service::run`] returns it.
    ///
    /// # Errors
    /// Whatever should end the service.
    fn spawned(
        &self,
        _service: &Supervision<'_>,
        _worker: &WorkerInfo,
    ) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// In the supervisor: the process of a foreign command was made; [`WorkerInfo::command`] is known from now on. What
    /// it is to run may still turn out to be missing.
    fn begun(&self, _service: &Supervision<'_>, _worker: &WorkerInfo) {}

    /// In the supervisor: a worker is ready. Its place may still be another's.
    fn worker_ready(&self, _service: &Supervision<'_>, _worker: &WorkerInfo) {}

    /// In the supervisor: a worker that is ready has its place; the one before, if there was one, is asked to leave.
    fn serving(&self, _service: &Supervision<'_>, _worker: &WorkerInfo) {}

    /// In the supervisor, after [`Hooks::spawned`] of a worker whose place had another before: which has
    /// ended, or leaves as soon as this one is ready.
    fn replaced(&self, _service: &Supervision<'_>, _old: &WorkerInfo, _new: &WorkerInfo) {}

    /// In the supervisor, once: every place of the start has a worker that is ready and takes connections. An
    /// error ends the service as that of [`Hooks::spawned`] does.
    ///
    /// # Errors
    /// Whatever should end the service.
    fn ready(
        &self,
        _service: &Supervision<'_>,
        _workers: &[WorkerInfo],
    ) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// In the supervisor: a worker has ended and is reaped; its place is not filled again yet. A crash by a
    /// signal is told here, with the signal's number (row A29).
    fn exited(&self, _service: &Supervision<'_>, _worker: &WorkerInfo, _end: End) {}

    /// In the supervisor: a worker has [sent](crate::Sender::send) this; at most
    /// [`crate::MESSAGE_BYTES`] bytes, and nobody vouches for them: a worker that was taken over sends what it
    /// likes.
    fn message(&self, _service: &Supervision<'_>, _worker: &WorkerInfo, _bytes: &[u8]) {}

    /// In the supervisor, whenever it was awake, before it sleeps again. An idle service does not wake.
    fn woken(&self, _service: &Supervision<'_>) {}

    /// In the supervisor: every worker is about to be replaced by one of this generation.
    fn reloading(&self, _service: &Supervision<'_>, _generation: u32) {}

    /// In the supervisor: they all are.
    fn reloaded(&self, _service: &Supervision<'_>, _generation: u32) {}

    /// In the supervisor: a reload has come to nothing, or, where [`crate::PoolConfig::persists`] says so, goes on
    /// though its first attempt has failed; why.
    fn reload_failed(&self, _service: &Supervision<'_>, _why: &str) {}

    /// In the supervisor: the stop begins; no new connection comes, and the workers are about to be told.
    fn stopping(&self, _service: &Supervision<'_>) {}

    /// In the supervisor, last of all: everybody is gone, and so are the pid file and the sockets; or the
    /// start has failed. With the error that [`crate::Service::run`] is about to return.
    fn stopped(&self, _error: Option<&Error>) {}

    /// In a worker that was just made: its signals are set up, [`crate::Prefork::prepare`] has run, its
    /// privileges are dropped, and the program's closure is next. An error means that it cannot boot.
    ///
    /// # Errors
    /// Whatever keeps the worker from serving.
    fn worker_started(&self, _worker: &Worker) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// In a worker: a connection is accepted, and the access rules are next.
    fn accepted(&self, _conn: &Conn) {}

    /// In a worker: whether a connection that the rules let in may come in indeed. Must not block where a
    /// worker serves many at once.
    fn admits(&self, _conn: &Conn) -> bool {
        true
    }

    /// In a worker: a connection may not come in, and is closed after this. What is written to it should be
    /// short: nobody waits until it is sent.
    fn refused(&self, _conn: &mut Conn) {}

    /// In a worker: a connection's handler has returned, without an error if `well`; or it was refused, and
    /// it is not well. It is closed, unless the handler has given it to somebody else.
    fn served(&self, _peer: Option<SocketAddr>, _well: bool) {}

    /// In a worker: the supervisor has [sent](Supervision::send) this. It is heard between two connections
    /// by a worker that serves one at a time; and wherever a loop of the program's own asks
    /// [`crate::Shutdown::is_requested`]. What comes once the worker leaves may not be heard.
    fn told(&self, _bytes: &[u8]) {}

    /// In a worker: one of [`crate::Prefork::pass_signals`] has come; heard as [`Hooks::told`] is, and once
    /// for several that came together (signal(7)).
    fn signalled(&self, _signal: Signal) {}

    /// In a worker that ends by itself: its closure has returned. Not in one that is killed, panics or
    /// exits.
    fn worker_ended(&self, _worker: &WorkerInfo) {}
}

/// A worker, as hooks in the supervisor and in the worker itself see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its number: counted from 1 over the life of the service, never given twice.
    pub number: u64,
    /// Its process; of a foreign command, its keeper.
    pub pid: u32,
    /// The process of its foreign command, if it is one and was begun.
    pub command: Option<u32>,
    /// Its pool's name.
    pub pool: String,
    /// Its place in the pool, from 0.
    pub place: usize,
    /// Its generation.
    pub generation: u32,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// What its exit status says, or which signal it was.
    pub exit: Exit,
    /// Whether nobody wanted it to end, and it was not by its own good order.
    pub crash: bool,
    /// Whether it was ready, at some time.
    pub ready: bool,
    /// Whether it was leaving: somebody had asked it to, or it had said so.
    pub leaving: bool,
}

/// The running service, as hooks in the supervisor see it.
#[derive(Clone, Copy, Debug)]
pub struct Supervision<'a>(&'a Supervisor);

impl Supervision<'_> {
    /// Everybody who is alive: booting, serving and draining.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.0.known_workers()
    }

    /// Sends up to [`crate::MESSAGE_BYTES`] bytes to the worker of this number, whose [`Hooks::told`] gets
    /// them.
    ///
    /// # Errors
    /// `InvalidInput` if it is more; `NotFound` if there is no such worker; `Unsupported` if it is a foreign
    /// command; `WouldBlock` if it is not ready yet, or has not read what was sent before: it is busy, and
    /// nobody waits for it.
    pub fn send(&self, worker: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.send_to(worker, bytes)
    }

    /// The same to every worker of a pool; says how many it was sent to.
    #[must_use]
    pub fn broadcast(&self, pool: &str, bytes: &[u8]) -> usize {
        let workers = self.workers().into_iter().filter(|worker| worker.pool == pool);
        workers.filter(|worker| self.send(worker.number, bytes).is_ok()).count()
    }

    /// The signal by which the service was told to stop; `None` if it was not, or was told otherwise.
    #[must_use]
    pub fn stopped_by(&self) -> Option<Signal> {
        self.0.stopped_by
    }

    /// The log of the service.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// Where the control socket is, if there is one.
    #[must_use]
    pub fn control(&self) -> Option<&Path> {
        self.0.control.as_ref().map(crate::control::Server::path)
    }

    /// Whether `tine stop --pid` finds the service: its control socket is where such sockets are looked for.
    #[must_use]
    pub fn is_found_by_pid(&self) -> bool {
        self.control() == Some(&*crate::control::default_path(self.0.pid.get()))
    }
}

impl Supervisor {
    /// Calls a hook in the supervisor: its panic is logged, and `None`.
    pub(crate) fn call<T>(
        &self,
        name: &str,
        hook: impl FnOnce(&dyn Hooks, &Supervision<'_>) -> T,
    ) -> Option<T> {
        self.hooks.call(&self.log, name, |hooks| hook(hooks, &Supervision(self)))
    }
}

/// The hooks of a service; without any, all of them are empty.
#[derive(Clone)]
pub(crate) struct Hooked(Rc<dyn Hooks>);

struct Empty;

impl Hooks for Empty {}

impl Default for Hooked {
    fn default() -> Self {
        Self(rc(Empty))
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Deref for Hooked {
    type Target = dyn Hooks;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Hooked {
    pub(crate) fn new(hooks: impl Hooks + 'static) -> Self {
        Self(rc(hooks))
    }

    /// Calls a hook in the supervisor's process: its panic is logged, and `None`.
    pub(crate) fn call<T>(
        &self,
        log: &Log,
        name: &str,
        hook: impl FnOnce(&dyn Hooks) -> T,
    ) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| hook(&*self.0)));
        if result.is_err() {
            crate::log::error!(log, "the hook {name} panicked; the service goes on");
        }
        result.ok()
    }

    /// The same with a hook that can end the start.
    pub(crate) fn start(
        &self,
        log: &Log,
        name: &str,
        hook: impl FnOnce(&dyn Hooks) -> std::result::Result<(), BoxError>,
    ) -> Result<()> {
        let result = self.call(log, name, hook).unwrap_or(Ok(()));
        result.map_err(|error| Error::hook(name, &error.to_string()))
    }
}
