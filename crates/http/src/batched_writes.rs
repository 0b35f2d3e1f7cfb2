//! The answers of a turn, of all connections of a worker: gathered, and sent one right after the other.
//!
//! Where many clients are ready at once each of their requests would walk from the program through the kernel's
//! send and back, and either would find what the other has left of the processor's caches. So the requests
//! are answered first, and then the answers are sent: up to a tenth of the time a request takes.
//!
//! Who is the first to have one gathered gets another turn, behind all tasks that are ready now, and sends what is there
//! by then. Where others take their time ([`PATIENCE`]) the next connection's turn sends it, so an answer waits for
//! one of them that is at work and no more. Even that is too long where somebody keeps the thread to himself: who has
//! done so once, for [`BLOCKED`], may do so again, and for a while ([`CLOSED`]) every answer is sent at once. So it
//! is for a connection that is alone.
//!
//! The room is the thread's: no connection has any.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::connection_state::Progress;
use crate::socket::Watched;

/// How long the first may have waited when the next comes and they are sent at once.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long one may have waited before the outbox is closed, and for how long it is: more than a process waits for a
/// processor that others have.
const BLOCKED: Duration = Duration::from_millis(20);
const CLOSED: Duration = Duration::from_secs(1);
/// As many are sent at once.
const MOST: usize = 64;
/// So many bytes are sent at once.
const ROOM: usize = 64 * 1024;

thread_local! {
    static CONNECTIONS: Cell<usize> = const { Cell::new(0) };
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox::new()) };
}

/// Where a connection's answers go.
#[derive(Debug)]
pub(crate) struct Outlet {
    socket: Arc<dyn Watched>,
    progress: Arc<Progress>,
    /// Wakes its driver.
    waker: Waker,
    /// What the socket did not take.
    returned: Mutex<Vec<u8>>,
}

impl Outlet {
    pub(crate) fn new(
        socket: Arc<dyn Watched>,
        progress: Arc<Progress>,
        waker: Waker,
    ) -> Arc<Self> {
        Arc::new(Self { socket, progress, waker, returned: Mutex::default() })
    }

    fn send(&self, bytes: &[u8]) {
        self.progress.gathered.set(false);
        let sent = match self.progress.returned.get() {
            // Behind what was there before.
            true => 0,
            // What is wrong with the socket is seen when its connection tries again.
            false => self.socket.write_now(&[IoSlice::new(bytes)]).unwrap_or(0),
        };
        self.progress.written.add(sent as u64);
        if sent < bytes.len() {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            returned.extend_from_slice(&bytes[sent..]);
            self.progress.returned.set(true);
            self.waker.wake_by_ref();
        }
    }

    /// What the socket did not take; it is the caller's to be written.
    pub(crate) fn take_returned(&self) -> Vec<u8> {
        self.progress.returned.set(false);
        take(&mut *self.returned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
struct Outbox {
    bytes: Vec<u8>,
    /// Whose they are, each from where the one before ends to there.
    entries: Vec<(Arc<Outlet>, usize)>,
    /// When the first came, in monotonic nanoseconds.
    began: u64,
    /// Until when it is closed, in the same.
    closed: u64,
}

impl Outbox {
    const fn new() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), began: 0, closed: 0 }
    }

    fn gather(&mut self, outlet: &Arc<Outlet>, bytes: &[u8]) {
        let is_first = self.entries.is_empty();
        let now = outlet.progress.now.get();
        if is_first {
            self.began = now;
        }
        self.bytes.extend_from_slice(bytes);
        self.entries.push((outlet.clone(), self.bytes.len()));
        outlet.progress.gathered.set(true);
        if self.entries.len() >= MOST || self.bytes.len() >= ROOM {
            self.send_all();
        } else if self.waited(now) >= PATIENCE {
            self.send_late(now);
        } else if is_first {
            outlet.progress.must_send.set(true);
            outlet.waker.wake_by_ref();
        }
    }

    /// How long the first has waited.
    fn waited(&self, now: u64) -> Duration {
        let since = if self.entries.is_empty() { now } else { self.began };
        Duration::from_nanos(now.saturating_sub(since))
    }

    /// Sends all if the first has waited for long enough.
    fn send_late(&mut self, now: u64) {
        let waited = self.waited(now);
        if waited >= BLOCKED {
            self.closed = now.saturating_add(CLOSED.as_nanos() as u64);
        }
        if waited >= PATIENCE {
            self.send_all();
        }
    }

    fn send_all(&mut self) {
        let mut start = 0;
        for (outlet, end) in self.entries.drain(..) {
            outlet.send(&self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
    }
}

/// One of the thread's connections, until this is dropped.
#[derive(Debug)]
pub(crate) struct Present(());

impl Present {
    pub(crate) fn new() -> Self {
        CONNECTIONS.set(CONNECTIONS.get() + 1);
        Self(())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        // While a thread ends it may be gone.
        let _ = CONNECTIONS.try_with(|it| it.set(it.get() - 1));
    }
}

/// Whether there are others whose answers may be sent together with one's own, at monotonic nanosecond `now`.
pub(crate) fn is_open(now: u64) -> bool {
    CONNECTIONS.get() > 1 && OUTBOX.with_borrow(|outbox| now >= outbox.closed)
}

/// These are to be sent to a client, behind what was gathered for it before. Whose `progress` says afterwards that it
/// [must send](Progress::must_send) calls [`send_all`] in its next turn, for which it is woken.
pub(crate) fn gather(outlet: &Arc<Outlet>, bytes: &[u8]) {
    OUTBOX.with_borrow_mut(|outbox| outbox.gather(outlet, bytes));
}

/// A connection has its turn, at monotonic nanosecond `now`: what has waited for long enough is sent.
pub(crate) fn send_late(now: u64) {
    OUTBOX.with_borrow_mut(|outbox| outbox.send_late(now));
}

/// Sends what was gathered.
pub(crate) fn send_all() {
    // While a thread ends it may be gone, and then it is empty.
    let _ = OUTBOX.try_with(|outbox| outbox.borrow_mut().send_all());
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use tokio::runtime::Builder;

    use super::*;

    /// How often a connection's driver was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    struct Pair {
        client: UnixStream,
        outlet: Arc<Outlet>,
        woken: Arc<Woken>,
    }

    impl Pair {
        async fn new() -> Self {
            let (client, server) = UnixStream::pair().expect("sockets");
            for socket in [&client, &server] {
                socket.set_nonblocking(true).expect("a socket");
            }
            let server = tokio::net::UnixStream::from_std(server).expect("a runtime");
            server.writable().await.expect("a runtime");
            let woken = Arc::new(Woken::default());
            let progress = Arc::new(Progress::new(1));
            let outlet = Outlet::new(Arc::new(server), progress, woken.clone().into());
            Self { client, outlet, woken }
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Relaxed)
        }

        /// What has come.
        fn received(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            let end = (&self.client).read_to_end(&mut bytes).expect_err("it stays open");
            assert_eq!(end.kind(), ErrorKind::WouldBlock);
            bytes
        }
    }

    fn block_on(test: impl Future<Output = ()>) {
        Builder::new_current_thread().enable_io().build().expect("a runtime").block_on(test);
    }

    #[test]
    fn answers_are_sent_together_by_who_was_first() {
        block_on(async {
            let [first, second] = [Pair::new().await, Pair::new().await];
            gather(&first.outlet, b"a");
            gather(&second.outlet, b"b");
            gather(&first.outlet, b"c");
            assert_eq!([first.received(), second.received()], [b"", b""]);
            assert!(
                first.outlet.progress.must_send.get() && !second.outlet.progress.must_send.get()
            );
            assert_eq!([first.woken(), second.woken()], [1, 0]);
            assert!(first.outlet.progress.gathered.get());
            send_all();
            assert_eq!((first.received(), second.received()), (b"ac".into(), b"b".into()));
            assert!(!first.outlet.progress.gathered.get());
            assert_eq!(first.outlet.progress.written.get(), 2);
        });
    }

    #[test]
    fn the_first_waits_for_no_second_that_comes_late_and_nobody_for_too_many() {
        block_on(async {
            let [first, second] = [Pair::new().await, Pair::new().await];
            gather(&first.outlet, b"a");
            second.outlet.progress.now.set(1 + PATIENCE.as_nanos() as u64);
            gather(&second.outlet, b"b");
            assert_eq!([first.received(), second.received()], [b"a", b"b"]);
            for _ in 1..MOST {
                gather(&first.outlet, b"x");
            }
            assert_eq!(first.received(), b"");
            gather(&second.outlet, b"y");
            assert_eq!((first.received().len(), second.received().len()), (MOST - 1, 1));
        });
    }

    #[test]
    fn nobody_who_was_kept_waiting_for_long_is_gathered_for_a_while() {
        block_on(async {
            let pair = Pair::new().await;
            let _company = [Present::new(), Present::new()];
            let nanos = |duration: Duration| duration.as_nanos() as u64;
            for (waited, sent, open) in [
                (PATIENCE - Duration::from_nanos(1), b"".as_slice(), true),
                (PATIENCE, b"a", true),
                (BLOCKED, b"a", false),
            ] {
                gather(&pair.outlet, b"a");
                let now = 1 + nanos(waited);
                send_late(now);
                assert_eq!((pair.received().as_slice(), is_open(now)), (sent, open), "{waited:?}");
                send_all();
                let _ = pair.received();
            }
            assert!(is_open(1 + nanos(BLOCKED + CLOSED)));
        });
    }

    #[test]
    fn what_the_socket_does_not_take_comes_back_whole_and_in_order() {
        block_on(async {
            let pair = Pair::new().await;
            let full = [IoSlice::new(&[0; 4096])];
            while pair.outlet.socket.write_now(&full).is_ok() {}
            gather(&pair.outlet, b"a");
            gather(&pair.outlet, b"b");
            send_all();
            assert_eq!(pair.woken(), 3, "once as the first, and once for each that came back");
            assert!(!pair.received().is_empty());
            gather(&pair.outlet, b"c");
            send_all();
            assert_eq!(pair.received(), b"", "there would be room, and it was not its turn");
            assert!(pair.outlet.progress.is_writing());
            assert_eq!(pair.outlet.take_returned(), b"abc");
            assert!(!pair.outlet.progress.is_writing() && pair.outlet.take_returned().is_empty());
        });
    }
}
