//! Many connections at once in one worker, each a task; and what a full one does for those who wait.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;

use super::{Context, Watched, next_in_runtime, outside, with_upkeep};
use crate::accept::{Acceptor, Next};
use crate::conn::Conn;
use crate::listen::Listener;

/// How often a full worker asks whether somebody waits for it; how soon again once somebody does, and how
/// many such answers in a row it believes: the next client often comes while the one before still leaves.
const FULL_LOOK: Duration = Duration::from_millis(70);
const FULL_LOOK_AGAIN: Duration = Duration::from_millis(10);
const FULL_ASKED: u8 = 3;

/// What is done in a worker that serves many at once: when it is full and others wait, and when it is to leave.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) make_room: RefCell<Option<MakeRoom>>,
    pub(super) tell: RefCell<Option<Tell>>,
}

pub(super) type MakeRoom = Box<dyn Fn(u32)>;
pub(super) type Tell = Box<dyn Fn()>;

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crowd")
    }
}

impl Context {
    /// How many wait at the listeners while no worker of the pool is idle.
    fn waiting(&self) -> u32 {
        if !self.is_wanted_elsewhere() {
            return 0;
        }
        let queued = |listener: &Rc<Listener>| listener.queue().map_or(0, |(queued, _)| queued);
        // Who waits at a socket whose queue cannot be counted is one.
        self.listeners.iter().map(queued).sum::<u32>().max(1)
    }

    /// Has room made, if there is somebody to make it.
    fn make_room(&self, waiting: u32) {
        if let Some(make_room) = &*self.crowd.make_room.borrow() {
            make_room(waiting);
        }
    }

    /// Has the connections told, once, that the worker is to leave.
    fn tell_leaving(&self) {
        if let Some(tell) = self.crowd.tell.take() {
            tell();
        }
    }
}

/// Up to `concurrency` connections at once, each a task.
pub(super) fn multiplexed<H, HF>(
    runtime: &LocalRuntime,
    context: Context,
    acceptor: &mut Acceptor,
    handler: &Rc<H>,
) -> io::Result<()>
where
    H: Fn(Conn) -> HF + 'static,
    HF: Future<Output = ()> + 'static,
{
    let seat = &context.shutdown.seat().clone();
    let guards = context.guards.clone();
    let tasks = Rc::new(Tasks { context, alive: RefCell::default(), changed: Notify::new() });
    let watched = runtime.block_on(async { Watched::register(&*acceptor) })?;
    loop {
        let is_alone = runtime.metrics().num_alive_tasks() == 0;
        let first = is_alone.then(|| outside(seat, acceptor)).transpose()?;
        if runtime.block_on(tasks.serve(first, acceptor, &watched, handler))? {
            tasks.context.tell_leaving();
            guards.tell();
            runtime.block_on(tasks.all_done());
            return Ok(());
        }
    }
}

/// The connections' tasks of a multiplexed worker.
#[derive(Debug)]
struct Tasks {
    context: Context,
    alive: RefCell<u32>,
    changed: Notify,
}

/// Held by a task while it lives.
#[derive(Debug)]
struct Alive(Rc<Tasks>);

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The runtime catches it; the connection is lost, and the worker goes on.
            self.0.context.panicked();
        }
        *self.0.alive.borrow_mut() -= 1;
        self.0.changed.notify_one();
    }
}

impl Tasks {
    /// Serves what came first, and whatever comes until no connection is left; whether nothing will come any more. In the runtime: a
    /// task that is spawned from outside costs it a write to its own event descriptor.
    async fn serve<H, HF>(
        self: &Rc<Self>,
        first: Option<Next>,
        acceptor: &mut Acceptor,
        watched: &AsyncFd<Watched>,
        handler: &Rc<H>,
    ) -> io::Result<bool>
    where
        H: Fn(Conn) -> HF + 'static,
        HF: Future<Output = ()> + 'static,
    {
        let mut next = match first {
            Some(first) => first,
            None => self.next(acceptor, watched).await?,
        };
        loop {
            match next {
                Next::Conn(conn) => self.spawn(conn, handler.clone()),
                Next::Datagram(_) => {}
                Next::Nothing => return Ok(false),
                Next::Done => return Ok(true),
            }
            if acceptor.is_leaving() {
                self.context.tell_leaving();
            }
            next = self.next(acceptor, watched).await?;
        }
    }

    fn spawn<H, HF>(self: &Rc<Self>, conn: Conn, handler: Rc<H>)
    where
        H: Fn(Conn) -> HF + 'static,
        HF: Future<Output = ()> + 'static,
    {
        let guard = self.begin();
        tokio::task::spawn_local(async move {
            let Context { shutdown, upkeep, .. } = &guard.0.context;
            let mut serving = pin!(handler(conn));
            // A loop with much to do need not park for a long time: every turn is a breath.
            poll_fn(|cx| {
                shutdown.seat().runs();
                let served = serving.as_mut().poll(cx);
                if upkeep.rests() {
                    // Whatever was done now may have to be tidied up.
                    guard.0.changed.notify_one();
                }
                served
            })
            .await;
        });
    }

    fn begin(self: &Rc<Self>) -> Alive {
        *self.alive.borrow_mut() += 1;
        Alive(self.clone())
    }

    /// The next connection, or nothing when the last task has ended: then the worker can sleep in the
    /// acceptor's own epoll again.
    async fn next(&self, acceptor: &mut Acceptor, watched: &AsyncFd<Watched>) -> io::Result<Next> {
        let limit = acceptor.concurrency();
        let mut asked = 0;
        while *self.alive.borrow() >= limit && !acceptor.is_leaving() {
            asked = self.wait_for_room(asked).await;
        }
        let found = next_in_runtime(acceptor, watched);
        let mut found = pin!(with_upkeep(&self.context.upkeep, found));
        let mut changed = pin!(self.changed.notified());
        poll_fn(|cx| {
            if let std::task::Poll::Ready(found) = found.as_mut().poll(cx) {
                return std::task::Poll::Ready(found);
            }
            while changed.as_mut().poll(cx).is_ready() {
                if *self.alive.borrow() == 0 {
                    return std::task::Poll::Ready(Ok(Next::Nothing));
                }
                changed.set(self.changed.notified());
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Waits until a task ends, or until it is time to ask whether somebody waits for this worker, which was
    /// so `asked` times in a row; returns how often it is now.
    async fn wait_for_room(&self, asked: u8) -> u8 {
        let pause = if asked > 0 { FULL_LOOK_AGAIN } else { FULL_LOOK };
        tokio::select! {
            biased;
            () = self.changed.notified() => return asked,
            // Nobody else asks.
            () = self.context.leaving() => return asked,
            () = tokio::time::sleep(pause) => {}
        }
        let _ = self.context.upkeep.idle();
        let waiting = self.context.waiting();
        if waiting == 0 {
            return 0;
        }
        if asked + 1 >= FULL_ASKED {
            self.context.make_room(waiting);
        }
        asked.saturating_add(1).min(FULL_ASKED)
    }

    async fn all_done(&self) {
        while *self.alive.borrow() > 0 {
            self.changed.notified().await;
        }
    }
}
