//! Real sockets, real clients.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tine_os::clock::monotonic;
use tine_os::event::EventFd;
use tine_os::poll::{Epoll, Interest, Ready};
use tine_os::socket::probe_unix;

mod elsewhere;
mod files;
mod patience;
mod talk;

use super::command::Answer;
use super::{By, Client, Reply, Request, Server, Status, WorkerStatus, find};

const BASE: u64 = 1 << 40;
const STOP: u64 = 7;
const SECOND: u64 = 1_000_000_000;
const LONG: Duration = Duration::from_secs(20);
const PING: &str = r#"{"tine":1,"do":"ping"}"#;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{}.sock", process::id()));
    (directory, path)
}

/// A socket file that no process has. Another test may be starting a process just now, which has a copy of
/// every descriptor until it executes its program.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    until(|| (!probe_unix(path).unwrap()).then_some(()));
}

/// So many workers, each with a text in its record that no buffer of a socket holds together.
fn status(workers: u64) -> Status {
    let worker =
        |worker| WorkerStatus { worker, request: "x".repeat(120), ..WorkerStatus::default() };
    Status {
        phase: "running".into(),
        workers: (0..workers).map(worker).collect(),
        ..Status::default()
    }
}

fn reply(request: Request) -> Reply {
    match request {
        Request::Status => Reply::Status(Box::new(status(5000))),
        Request::Reload => Reply::Refused("not today".into()),
        Request::Reloaded(which) => Reply::Reloading(which),
        Request::Rollout(_) => Reply::Reloading(1),
        Request::Stop { .. }
        | Request::Promote
        | Request::Abort
        | Request::Grow
        | Request::Shrink => Reply::Done,
    }
}

/// A server in a loop of its own, as the supervisor has one.
struct Running {
    stop: Arc<EventFd>,
    turns: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn at(path: &Path) -> Self {
        let server = Server::open(path).unwrap();
        let (stop, turns) = (Arc::new(EventFd::new().unwrap()), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&turns));
        let run = move || serve(server, &stopped, &counted);
        Self { stop, turns, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.signal();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn serve(mut server: Server, stop: &EventFd, turns: &AtomicU32) {
    let epoll = Epoll::new().unwrap();
    epoll.add(stop, STOP, Interest::READ).unwrap();
    server.register(&epoll, BASE).unwrap();
    let mut ready = Ready::with_capacity(64);
    loop {
        let wait = server.deadline().map(|at| Duration::from_nanos(at.saturating_sub(monotonic())));
        epoll.wait(&mut ready, wait).unwrap();
        turns.fetch_add(1, SeqCst);
        for event in ready.iter() {
            if event.token == STOP {
                server.remove();
                return;
            }
            server.handle(&epoll, event.token - BASE, monotonic(), &mut reply);
        }
        server.expire(&epoll, monotonic());
    }
}

/// A server whose loop and clock are the test's.
struct Stepped {
    server: Server,
    epoll: Epoll,
    ready: Ready,
    now: u64,
    _directory: TempDir,
}

impl Stepped {
    fn new() -> Self {
        let (_directory, path) = place();
        let mut server = Server::open(&path).unwrap();
        let epoll = Epoll::new().unwrap();
        server.register(&epoll, BASE).unwrap();
        Self { server, epoll, ready: Ready::with_capacity(64), now: SECOND, _directory }
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.server.path()).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// Turns the loop until nothing happens any more; how often something did.
    fn settle(&mut self) -> usize {
        for turns in 0..1000 {
            self.epoll.wait(&mut self.ready, Some(Duration::ZERO)).unwrap();
            if self.ready.is_empty() {
                return turns;
            }
            for event in self.ready.iter() {
                self.server.handle(&self.epoll, event.token - BASE, self.now, &mut reply);
            }
        }
        panic!("the loop spins");
    }

    fn pass(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        self.server.expire(&self.epoll, self.now);
    }
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

fn ask(client: &mut BufReader<UnixStream>, line: &str) -> String {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    hear(client)
}

fn hear(client: &mut BufReader<UnixStream>) -> String {
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    answer
}

/// Whether the server has hung up: cleanly, or with something of ours unread.
fn is_over(mut client: impl Read) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

struct Killed(process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer, or it has taken too long.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LONG, "it does not happen");
        std::thread::yield_now();
    }
}
