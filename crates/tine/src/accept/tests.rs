//! That a worker pays what it owes its queues. Where a test depends on who is told of a connection, others sleep at the socket first.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use tine_os::event::EventFd;
use tine_os::fd::{message_pair, receive_message, send_message};
use tine_os::poll::{Epoll, Interest, Ready, readable};

use super::*;
use crate::hooks::Hooked;
use crate::listen::{ListenOptions, Listeners, bind_sharded};
use crate::scoreboard::Scoreboard;
use crate::seat::{LOOK, Leave, Parts};

/// Far more than any step takes.
const DEADLINE: Duration = Duration::from_secs(10);
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// A pool without a supervisor.
struct Pool {
    listeners: Listeners,
    share: Share,
    poke: Arc<EventFd>,
}

/// A worker's acceptor, and the supervisor's end of its channel.
struct Member {
    acceptor: Acceptor,
    supervisor: OwnedFd,
}

fn pool(mode: Accept, addresses: usize, sockets: u32) -> Pool {
    let any = || ("127.0.0.1:0".parse().expect("an address"), ListenOptions::default());
    let endpoints: Vec<_> = (0..addresses).map(|_| any()).collect();
    let (listeners, _) = bind_sharded(&endpoints, Vec::new(), sockets).expect("sockets");
    let share = Share::create(mode, sockets, sockets).expect("memory");
    Pool { listeners, share, poke: Arc::new(EventFd::semaphore().expect("an event descriptor")) }
}

fn shutdown(share: &Share, poke: &Arc<EventFd>, channel: Option<OwnedFd>) -> Shutdown {
    let event = || Arc::new(EventFd::new().expect("an event descriptor"));
    let board = Scoreboard::create(1, 1).expect("memory");
    let seat = Seat::new(Parts {
        record: board.record(0),
        siblings: board.siblings(0),
        line: None,
        bell: None,
        channel,
        supervisor: None,
        leave_event: event(),
        wake: event(),
        poke: poke.clone(),
        share: share.clone(),
        place: 0,
        standby: false,
        concurrency: 100,
        max_connections: 0,
        max_requests: 0,
        grace: DEADLINE,
    });
    Shutdown::new(Arc::new(seat), Hooked::default(), None).expect("an epoll")
}

impl Pool {
    /// The worker of the first place, which serves many connections at once and has nothing to do.
    fn member(&self) -> Member {
        let (supervisor, channel) = message_pair().expect("a channel");
        let shutdown = shutdown(&self.share, &self.poke, Some(channel));
        let acceptor = Acceptor::new(&shutdown, self.listeners.iter().cloned(), false);
        let mut member = Member { acceptor: acceptor.expect("an epoll"), supervisor };
        assert!(matches!(member.poll(), Next::Nothing), "nobody has come");
        member
    }

    fn connect(&self, listener: usize) -> TcpStream {
        TcpStream::connect(self.listeners[listener].address()).expect("it is queued")
    }

    /// Clients, of whom one waits at this socket of an address that has several, and none at another.
    fn connect_to_shard(&self, shard: usize, member: &mut Member) -> Vec<TcpStream> {
        let mut clients = Vec::new();
        loop {
            clients.push(self.connect(0));
            if readable(&self.listeners[shard], AT_ONCE).expect("an answer") {
                return clients;
            }
            member.acceptor.look().expect("an answer");
            assert!(matches!(member.poll(), Next::Conn(_)), "it is at the other socket");
            while !matches!(member.poll(), Next::Nothing) {}
        }
    }
}

impl Member {
    fn poll(&mut self) -> Next {
        self.acceptor.poll().expect("no error")
    }

    fn is_told_to_look(&self) -> bool {
        let mut buffer = [0; 64];
        while let Ok(Some([kind, ..])) = receive_message(&self.supervisor, &mut buffer) {
            if *kind == LOOK {
                return true;
            }
        }
        false
    }
}

/// Starts a thread, and returns when it sleeps in what `sleep` does; it sends what that returns.
fn sleeper<T: Send + 'static>(sleep: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (ready, told) = channel();
    let (done, result) = channel();
    thread::spawn(move || {
        let own = std::fs::read_link("/proc/thread-self").expect("a thread has a directory");
        ready.send(own).expect("the test waits");
        let _ = done.send(sleep());
    });
    let stat = std::path::Path::new("/proc").join(told.recv().expect("it runs")).join("syscall");
    let end = Instant::now() + DEADLINE;
    // epoll_wait(2) and epoll_pwait(2), on the machines this is tested on.
    let waits = |text: &str| ["232 ", "281 ", "441 ", "22 "].iter().any(|it| text.starts_with(it));
    while !std::fs::read_to_string(&stat).is_ok_and(|text| waits(&text)) {
        assert!(Instant::now() < end, "it does not sleep");
        thread::yield_now();
    }
    result
}

#[test]
fn a_worker_that_stops_watching_a_socket_takes_what_it_was_told_of_there() {
    let pool = pool(Accept::Sharded, 1, 2);
    pool.share.set_orphaned(0, false);
    let mut member = pool.member();
    let _clients = pool.connect_to_shard(1, &mut member);
    // The other place has a worker now. Both arrive while this one sleeps.
    pool.share.set_orphaned(1, false);
    send_message(&member.supervisor, &[LOOK]).expect("it is sent");
    member.acceptor.look().expect("an answer");
    assert!(matches!(member.poll(), Next::Conn(_)), "nobody else was told of it");
    assert!(matches!(member.poll(), Next::Nothing));
}

#[test]
fn a_worker_that_leaves_has_all_look_where_they_watch_different_sockets() {
    let pool = pool(Accept::Sharded, 1, 2);
    let mut member = pool.member();
    let _clients = pool.connect_to_shard(0, &mut member);
    member.acceptor.look().expect("an answer");
    member.acceptor.seat.begin_to_leave(Leave::Alone);
    assert!(matches!(member.poll(), Next::Done));
    assert!(member.is_told_to_look(), "one that is poked might watch the other socket");
}

#[test]
fn a_worker_that_leaves_after_it_took_from_one_listener_passes_on_what_it_was_told_of_another() {
    let pool = pool(Accept::Shared, 2, 1);
    let mut member = pool.member();
    let _clients = [pool.connect(0), pool.connect(1)];
    member.acceptor.look().expect("an answer");
    assert!(matches!(member.poll(), Next::Conn(_)));
    member.acceptor.seat.begin_to_leave(Leave::Alone);
    assert!(matches!(member.poll(), Next::Done));
    assert!(pool.poke.take().is_some() && pool.poke.take().is_none(), "one poke");
}

#[test]
fn a_worker_that_leaves_and_owes_nothing_wakes_nobody() {
    let pool = pool(Accept::Shared, 1, 1);
    let mut member = pool.member();
    let _client = pool.connect(0);
    member.acceptor.look().expect("an answer");
    assert!(matches!(member.poll(), Next::Conn(_)));
    member.acceptor.seat.begin_to_leave(Leave::Alone);
    assert!(matches!(member.poll(), Next::Done));
    assert!(pool.poke.take().is_none());
}

/// Others were told of two connections, and have died with that: the epoll of the one that is poked does not speak of them.
#[test]
fn a_worker_that_is_poked_looks_until_the_queue_is_empty() {
    let pool = pool(Accept::Shared, 2, 1);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let epoll = Epoll::new().expect("an epoll");
            epoll.add(&pool.listeners[0], 0, Interest::READ_EXCLUSIVE).expect("it is watched");
            sleeper(move || {
                let mut ready = Ready::with_capacity(1);
                epoll.wait(&mut ready, Some(DEADLINE)).map(|()| epoll)
            })
        })
        .collect();
    let mut member = pool.member();
    let clients = [pool.connect(0), pool.connect(0)];
    let told: Vec<_> = others.iter().map(|it| it.recv_timeout(DEADLINE)).collect();
    assert!(told.iter().all(Result::is_ok), "each other was told of one");
    member.acceptor.look().expect("an answer");
    assert!(matches!(member.poll(), Next::Nothing), "this one was told of none");
    pool.poke.signal();
    member.acceptor.look().expect("an answer");
    for _ in &clients {
        assert!(matches!(member.poll(), Next::Conn(_)));
    }
}

#[test]
fn a_worker_that_is_woken_for_its_turn_and_leaves_wakes_the_next() {
    let pool = pool(Accept::Serialized, 1, 1);
    let lock = pool.share.lock().expect("a lock").clone();
    assert!(lock.take().is_some(), "the holder");
    let queue = |leaves: bool| {
        let (share, poke, lock) = (pool.share.clone(), pool.poke.clone(), lock.clone());
        sleeper(move || {
            let mut turn = Turn::new(&lock, &shutdown(&share, &poke, None)).expect("an epoll");
            turn.queue(None).expect("no error");
            if leaves {
                turn.give_up();
            }
            turn
        })
    };
    let (first, second) = (queue(true), queue(false));
    lock.signal();
    first.recv_timeout(DEADLINE).expect("it is woken for its turn");
    let woken = second.recv_timeout(DEADLINE);
    assert!(!matches!(woken, Err(RecvTimeoutError::Timeout)), "the turn is free, and nobody knows");
    assert!(woken.expect("it is woken").take());
}
