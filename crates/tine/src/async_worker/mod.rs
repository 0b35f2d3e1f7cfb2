//! Asynchronous workers: the only room of this crate that knows a runtime (`exit_guard` knows no more
//! than a way to be told).
//!
//! The runtime is made in the worker, after the fork (tokio calls a fork after its start unsupported),
//! has one thread, and takes futures that are not `Send`. While none of its tasks is alive the worker
//! sleeps in the acceptor's own epoll, where a new connection wakes one worker and not all; as soon as
//! any task lives, the program's background work too, it sleeps in the runtime.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::{Instant, sleep};

use crate::accept::{Acceptor, Next, Tidy, Upkeep};
use crate::conn::Conn;
use crate::exit_guard::{ExitGuard, Guards};
use crate::fatal::Alarm;
use crate::listen::Listener;
use crate::seat::{Leave, PANICKED, Seat, Sender, Shutdown};
use crate::worker::{BoxError, Worker};

mod many;

use many::{Crowd, multiplexed};

/// Events the runtime takes from the kernel in one go. tokio's 1024 are 12 KiB in every worker; a second
/// call for the rest of a burst costs nothing beside the work it brings.
const IO_EVENTS: usize = 128;

/// Whether this code runs inside a runtime: then a fork would copy half of it.
pub(crate) fn runtime_is_entered() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// A descriptor of its own for something the runtime is to watch.
#[derive(Debug)]
struct Watched(OwnedFd);

impl Watched {
    /// Has the runtime this is called in watch for reading.
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function, and this crate has none; the descriptor is owned, \
                  never replaced, and closed after it is deregistered"
    )]
    fn register(descriptor: impl AsFd) -> io::Result<AsyncFd<Self>> {
        let own = Self(tine_os::fd::duplicate(descriptor)?);
        AsyncFd::with_interest(own, tokio::io::Interest::READABLE)
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What an asynchronous handler can know of its worker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    shutdown: Shutdown,
    watched: Rc<AsyncFd<Watched>>,
    guards: Arc<Guards>,
    listeners: Rc<[Rc<Listener>]>,
    crowd: Rc<Crowd>,
    upkeep: Upkeep,
    isolated: bool,
}

impl Context {
    /// Has `make_room` called while the worker serves as many connections as it may, more than one, and
    /// others wait for it: with how many do, first when they have waited for about 100 ms and then every
    /// 10 ms, as long as that is so. It should end connections that nobody uses. On the worker's thread,
    /// between two turns of its tasks; whoever calls this last is asked.
    pub fn when_crowded(&self, make_room: impl Fn(u32) + 'static) {
        *self.crowd.make_room.borrow_mut() = Some(Box::new(make_room));
    }

    /// Has `tell` called once the worker is to leave, at once if it is already, unless it [serves one connection at a time](Self::is_isolated):
    /// for who has many connections wait for that without each of them asking. On the worker's thread, between two
    /// turns of its tasks; whoever calls this last is told.
    pub fn when_leaving(&self, tell: impl Fn() + 'static) {
        if self.is_leaving() {
            return tell();
        }
        *self.crowd.tell.borrow_mut() = Some(Box::new(tell));
    }

    /// Has `tidy` called whenever the worker is about to sleep because nothing comes, and when a connection cannot be accepted
    /// for want of descriptors: to give up what is only remembered. It says after how long it wants to be called again if
    /// nothing comes until then; `None` if it need not. No task lives for that, so an idle worker sleeps as it would
    /// without. On the worker's thread, between two turns of its tasks; whoever calls this last is asked.
    ///
    /// It should cost little when there is nothing to do, for it may be called once a connection.
    pub fn when_idle(&self, tidy: impl Fn(Tidy) -> Option<Duration> + 'static) {
        self.upkeep.is_done_by(tidy);
    }

    /// Whether the worker serves one connection at a time: so it does with a concurrency of 1, and when it was
    /// given its only connection ([`crate::Prefork::run_inetd`]).
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Waits until the worker is to leave.
    pub async fn leaving(&self) {
        while !self.is_leaving() {
            match self.watched.readable().await {
                Ok(mut guard) => {
                    if !self.shutdown.is_requested() {
                        guard.clear_ready();
                    }
                }
                // The runtime ends, and with it whoever waits here.
                Err(_) => std::future::pending().await,
            }
        }
        self.guards.tell();
    }

    /// A hold on the worker, for work that goes on when its connection or its request is done.
    #[must_use = "the worker is held until this is dropped"]
    pub fn exit_guard(&self) -> ExitGuard {
        self.guards.hold()
    }

    /// Whether somebody waits to be accepted while no worker of the pool is idle: as
    /// [`Conn::is_wanted_elsewhere`], at all listeners.
    #[must_use]
    pub fn is_wanted_elsewhere(&self) -> bool {
        self.shutdown.seat().is_wanted_elsewhere(&self.listeners)
    }

    /// Whether the worker is to leave, as far as it is known without asking the kernel.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shutdown.seat().is_leaving()
    }

    /// Whether the service ends, and not this worker alone, as far as it is known without asking the kernel.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shutdown.seat().leave() == Leave::Together
    }

    /// Whether clients should be sent here, for health checks: until the service is about to stop. It serves on for a
    /// while then, see [`crate::PoolConfig::lame_duck`]. As far as it is known without asking the kernel.
    #[must_use]
    pub fn wants_clients(&self) -> bool {
        self.shutdown.seat().wants_clients()
    }

    /// The worker's line in the scoreboard.
    #[must_use]
    pub fn record(&self) -> &crate::Record {
        &self.shutdown.seat().record
    }

    /// What speaks to the supervisor's hooks.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender::new(self.shutdown.seat().clone())
    }

    /// A request is answered: counts it, and against `max_requests`. `now` is monotonic nanoseconds.
    pub fn request_ended(&self, now: u64) {
        self.shutdown.seat().answered(now);
    }

    /// A request that is answered has failed by the server's fault: counted, and what a rollout goes by
    /// ([`crate::control::Canary`]). No system call.
    pub fn request_failed(&self) {
        self.shutdown.seat().record.request_failed();
    }

    /// A task of a handler's has panicked while its connection goes on: told and counted as a connection is that was lost
    /// by a panic. A worker that serves one at a time should end by it instead ([`std::panic::resume_unwind`]).
    pub fn panicked(&self) {
        self.shutdown.seat().tell(PANICKED, "");
    }

    /// By which any task or thread can say that the service cannot go on.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm::new(self.shutdown.seat().clone())
    }

    /// How many connections the worker may serve at once; 1 = isolated.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        self.shutdown.seat().concurrency
    }
}

impl Worker {
    /// Serves stream connections with futures on a runtime of this worker's own.
    ///
    /// `make` runs first; the worker is ready when it has finished, and cannot boot if it fails. The
    /// handler it returns gets each connection, its socket not blocking. Up to
    /// [`Worker::concurrency`] handlers run at once. Returns when the worker is to leave and all of
    /// them are done.
    ///
    /// # Errors
    /// What `make` fails with, and what the runtime or accepting can fail with.
    pub fn serve_async<M, MF, H, HF>(mut self, make: M) -> Result<(), BoxError>
    where
        M: FnOnce(Context) -> MF,
        MF: Future<Output = Result<H, BoxError>>,
        H: Fn(Conn) -> HF + 'static,
        HF: Future<Output = ()> + 'static,
    {
        let runtime = runtime(&self.seat)?;
        if self.given.is_none() && !self.listeners.iter().any(|listener| listener.is_stream()) {
            return Err(
                "no listener for connections: an asynchronous worker takes no datagrams".into()
            );
        }
        let guards = Guards::new(self.seat.clone());
        let context = runtime.block_on(async { self.context(guards.clone()) })?;
        let made = runtime.block_on(make(context.clone()))?;
        let inside = Rc::new((self.door(), made));
        let handler = Rc::new(move |conn: Conn| {
            let inside = inside.clone();
            async move {
                let (door, handler) = &*inside;
                door.serve_async(conn, handler).await;
            }
        });
        if let Some(conn) = self.given.take() {
            tine_os::fd::set_nonblocking(&conn, true)?;
            self.seat.ready();
            runtime.block_on(handler(conn));
            return Ok(());
        }
        let listeners = self.listeners.iter().filter(|listener| listener.is_stream()).cloned();
        let mut acceptor = Acceptor::new(&self.shutdown, listeners, false)?;
        acceptor.upkeep = context.upkeep.clone();
        self.seat.ready();
        if self.seat.concurrency == 1 {
            isolated(&runtime, &self.seat, &mut acceptor, &*handler)?;
        } else {
            multiplexed(&runtime, context, &mut acceptor, &handler)?;
        }
        guards.tell();
        runtime.block_on(guards.all_released());
        // Background work that outlives its connections has nobody to finish for.
        runtime.shutdown_timeout(Duration::from_millis(100));
        Ok(())
    }

    fn context(&self, guards: Arc<Guards>) -> io::Result<Context> {
        let watched = Rc::new(Watched::register(&self.shutdown)?);
        let listeners = self.listeners.iter().filter(|listener| listener.is_stream()).cloned();
        let listeners = listeners.collect();
        let isolated = self.seat.concurrency == 1 || self.given.is_some();
        let (shutdown, crowd) = (self.shutdown.clone(), Rc::default());
        let upkeep = Upkeep::default();
        Ok(Context { shutdown, watched, guards, listeners, crowd, upkeep, isolated })
    }
}

/// A runtime whose parking and unparking the supervisor can see, if it looks.
fn runtime(seat: &Arc<Seat>) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    if seat.is_watched() {
        let (parks, unparks) = (seat.clone(), seat.clone());
        builder.on_thread_park(move || parks.rests()).on_thread_unpark(move || unparks.runs());
    }
    builder.max_io_events_per_tick(IO_EVENTS);
    builder.enable_all().build_local(LocalOptions::default())
}

/// One connection after the other, each driven to its end.
fn isolated<H, HF>(
    runtime: &LocalRuntime,
    seat: &Seat,
    acceptor: &mut Acceptor,
    handler: &H,
) -> io::Result<()>
where
    H: Fn(Conn) -> HF,
    HF: Future<Output = ()>,
{
    loop {
        let next = if runtime.metrics().num_alive_tasks() == 0 {
            outside(seat, acceptor)?
        } else {
            let upkeep = acceptor.upkeep.clone();
            runtime.block_on(with_upkeep(&upkeep, async {
                let watched = Watched::register(&*acceptor)?;
                next_in_runtime(acceptor, &watched).await
            }))?
        };
        match next {
            Next::Conn(conn) => runtime.block_on(with_upkeep(&acceptor.upkeep, handler(conn))),
            Next::Datagram(_) | Next::Nothing => {}
            Next::Done => return Ok(()),
        }
    }
}

/// Waits for something in the runtime, and tidies up beside it when nothing happens.
async fn with_upkeep<T>(upkeep: &Upkeep, awaited: impl Future<Output = T>) -> T {
    let mut awaited = pin!(awaited);
    let mut alarm = pin!(sleep(Duration::ZERO));
    let mut is_set = false;
    poll_fn(|cx| {
        if let Poll::Ready(found) = awaited.as_mut().poll(cx) {
            return Poll::Ready(found);
        }
        while !is_set || alarm.as_mut().poll(cx).is_ready() {
            let next = upkeep.idle();
            is_set = next.is_some();
            let Some(next) = next else { break };
            alarm.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    })
    .await
}

/// The acceptor outside the runtime, where nothing else goes on.
fn outside(seat: &Seat, acceptor: &mut Acceptor) -> io::Result<Next> {
    seat.rests();
    let next = acceptor.next();
    seat.runs();
    next
}

/// The acceptor inside the runtime: other tasks go on meanwhile.
async fn next_in_runtime(acceptor: &mut Acceptor, watched: &AsyncFd<Watched>) -> io::Result<Next> {
    loop {
        match acceptor.poll()? {
            Next::Nothing => {
                // Other tasks may run for as long as they like.
                acceptor.end_turn();
                wait(watched, acceptor.resume_in()).await?;
            }
            found => return Ok(found),
        }
        acceptor.look()?;
    }
}

/// Waits for the acceptor's epoll, at most so long.
async fn wait(watched: &AsyncFd<Watched>, at_most: Option<Duration>) -> io::Result<()> {
    match at_most {
        None => watched.readable().await?.clear_ready(),
        Some(pause) => {
            // Time over is an answer, too: the pause has ended.
            if let Ok(guard) = tokio::time::timeout(pause, watched.readable()).await {
                guard?.clear_ready();
            }
        }
    }
    Ok(())
}
