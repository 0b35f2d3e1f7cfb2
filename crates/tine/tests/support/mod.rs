//! The fixture as the tests use it: a running service, and conversations with it.
#![allow(dead_code, reason = "every test program uses a part of it")]

pub mod commands;
pub mod renewable;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::{Client, Running, Server, TempDir};
use tine::control::{self, PoolStatus, Report, Status};

pub const QUIT: i32 = 3;
pub const KILL: i32 = 9;
pub const TERM: i32 = 15;
pub const INT: i32 = 2;
pub const HUP: i32 = 1;
pub const CONT: i32 = 18;
pub const STOP: i32 = 19;
pub const TTIN: i32 = 21;
pub const TTOU: i32 = 22;

/// What is promised at once, on a busy machine. Below the second that each of the next slower mechanisms takes:
/// `term_grace`, `halt_grace`, the last round of a drain, and the longest delay of a place that had served.
pub const AT_ONCE: Duration = Duration::from_millis(900);

/// A running fixture.
pub struct Service {
    running: Running,
    control: PathBuf,
    directory: TempDir,
}

impl Deref for Service {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// Starts a fixture on a port of its own, with further arguments.
#[track_caller]
pub fn start(arguments: &str) -> Service {
    start_with(&format!("--listen 127.0.0.1:0 {arguments}"), |server| server)
}

/// The same without any listener of its own, and started in another way.
#[track_caller]
pub fn start_with(arguments: &str, how: impl FnOnce(Server) -> Server) -> Service {
    let directory = TempDir::new().expect("a directory");
    start_in(directory, arguments, how)
}

/// The same with its files in this directory.
#[track_caller]
pub fn start_in(
    directory: TempDir,
    arguments: &str,
    how: impl FnOnce(Server) -> Server,
) -> Service {
    let control = directory.path().join("control");
    let server = Server::command(testkit::bin("fixture")).arg("--control").arg(&control);
    let running = how(server.args(arguments.split_whitespace())).start();
    Service { running, control, directory }
}

impl Service {
    /// A directory that goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it says about itself.
    #[track_caller]
    pub fn status(&self) -> Status {
        let status = control::Client::connect(&self.control).and_then(|client| client.status());
        status.unwrap_or_else(|error| panic!("no status: {error}\n{}", self.lines().join("\n")))
    }

    /// Its reports, once there are so many.
    #[track_caller]
    pub fn wait_reports(&self, count: usize) -> Vec<Report> {
        self.wait_until(&format!("{count} reports"), || self.status().reports.len() >= count);
        self.status().reports
    }

    /// Its only pool.
    #[track_caller]
    pub fn pool(&self) -> PoolStatus {
        self.status().pools.remove(0)
    }

    /// Waits until so many workers serve and nobody comes or goes.
    #[track_caller]
    pub fn wait_serving(&self, workers: u32) -> Vec<u32> {
        self.wait_pool(&format!("{workers} workers serve and are alone"), |pool| {
            (pool.serving, pool.booting, pool.draining) == (workers, 0, 0)
        });
        self.status().workers.iter().map(|worker| worker.pid).collect()
    }

    /// Waits until the pool says so.
    #[track_caller]
    pub fn wait_pool(&self, what: &str, is_so: impl Fn(&PoolStatus) -> bool) {
        // The control socket is there a moment after the process.
        self.address();
        self.wait_until(what, || {
            let status = control::Client::connect(&self.control).and_then(|client| client.status());
            status.is_ok_and(|status| is_so(&status.pools[0]))
        });
    }

    /// A new conversation.
    #[track_caller]
    pub fn talk(&self) -> Talk {
        Talk::to(&self.address())
    }

    /// One question over a connection of its own.
    #[track_caller]
    pub fn ask(&self, question: &str) -> String {
        self.talk().ask(question)
    }

    /// The worker that answers a new connection.
    #[track_caller]
    pub fn some_worker(&self) -> u32 {
        self.ask("pid").parse().expect("a pid")
    }

    /// Busies so many workers.
    #[track_caller]
    pub fn busy(&self, workers: usize) -> Vec<Talk> {
        (0..workers).map(|_| self.busy_one().0).collect()
    }

    /// Busies a worker; which.
    #[track_caller]
    pub fn busy_one(&self) -> (Talk, u32) {
        let mut talk = self.talk();
        let pid = talk.ask("pid").parse().expect("a pid");
        (talk, pid)
    }

    /// Stops it; it must say that all went well.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(TERM);
        self.wait_success();
    }

    /// Waits for its end, which must be a good one, and must have left nobody.
    #[track_caller]
    pub fn wait_success(&self) {
        let status = self.wait_exit();
        assert!(status.success(), "{status}\n{}", self.lines().join("\n"));
    }
}

/// One connection: questions and answers, a line each.
pub struct Talk(Client);

impl Talk {
    #[track_caller]
    pub fn to(address: &str) -> Self {
        Self(Client::connect(address))
    }

    pub fn within(mut self, deadline: Duration) -> Self {
        self.0.set_deadline(deadline);
        self
    }

    #[track_caller]
    pub fn ask(&mut self, question: &str) -> String {
        self.tell(question);
        self.answer()
    }

    #[track_caller]
    pub fn tell(&mut self, question: &str) {
        self.0.send(format!("{question}\n").as_bytes());
    }

    #[track_caller]
    pub fn answer(&mut self) -> String {
        let line = self.0.read_until(b"\n");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Whether the server ends it.
    pub fn is_closed(&mut self) -> bool {
        self.0.closed()
    }
}

/// How long something takes.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let before = Instant::now();
    let result = what();
    (result, before.elapsed())
}

/// Whether the test can go on; see [`testkit::require_root`].
#[track_caller]
pub fn require_root() -> bool {
    testkit::require_root()
}
