//! Steady load from a bounded number of connections, for tests that do something to a server
//! meanwhile.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::client::request;
use crate::load_loop::{Engine, Plan};
use crate::net::Target;
use crate::report::Report;
use crate::wait::{DEADLINE, holds_within};

/// The most connections one load may have.
const MOST_CONNECTIONS: usize = 512;

/// GET requests for one path, to be sent by one thread over [`connections`](Self::connections)
/// connections at a time.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `start` or `run_requests`"]
pub struct Load {
    address: String,
    path: String,
    keep_alive: bool,
    connections: usize,
    think: Duration,
    rate: Option<f64>,
    deadline: Duration,
}

impl Load {
    /// Many requests over each connection. One that the server closes between two requests, or
    /// whose response says `Connection: close`, is replaced: that is no failure.
    pub fn keep_alive(addr: &str, path: &str) -> Self {
        Self {
            address: addr.to_owned(),
            path: path.to_owned(),
            keep_alive: true,
            connections: 1,
            think: Duration::ZERO,
            rate: None,
            deadline: DEADLINE,
        }
    }

    /// A new connection for each request, which says `Connection: close`.
    pub fn one_per_connection(addr: &str, path: &str) -> Self {
        Self { keep_alive: false, ..Self::keep_alive(addr, path) }
    }

    /// How many connections at a time: 1 to 512, by default 1.
    ///
    /// # Panics
    /// For another number.
    #[track_caller]
    pub fn connections(mut self, n: usize) -> Self {
        assert!(
            (1..=MOST_CONNECTIONS).contains(&n),
            "{n} connections are not 1 to {MOST_CONNECTIONS}"
        );
        self.connections = n;
        self
    }

    /// How long each connection rests between an answer and its next request; by default not at
    /// all.
    pub fn think(mut self, pause: Duration) -> Self {
        self.think = pause;
        self
    }

    /// At most so many requests a second, all connections together; by default as many as are
    /// answered.
    ///
    /// # Panics
    /// For a rate that is not above 0.
    #[track_caller]
    pub fn rate(mut self, per_second: impl Into<f64>) -> Self {
        let rate = per_second.into();
        assert!(rate > 0.0, "a rate of {rate} per second sends nothing");
        self.rate = Some(rate);
        self
    }

    /// How long a request, connecting included, may take before it counts as failed; by default
    /// [`DEADLINE`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts it; it goes on until stopped.
    #[track_caller]
    pub fn start(self) -> LoadHandle {
        self.launch(u64::MAX)
    }

    /// Sends so many requests in all, failed attempts counted, and waits for the last answer.
    #[track_caller]
    pub fn run_requests(self, total: u64) -> Report {
        self.launch(total).finish()
    }

    #[track_caller]
    fn launch(self, total: u64) -> LoadHandle {
        let target = Target::parse(&self.address)
            .unwrap_or_else(|error| panic!("{}: {error}", self.address));
        let fields = if self.keep_alive { "" } else { "Connection: close\r\n" };
        let plan = Plan {
            request: request("GET", &self.path, &target.host(), fields).into_bytes(),
            target,
            keep_alive: self.keep_alive,
            connections: self.connections,
            think: self.think,
            pause: self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            deadline: self.deadline,
            total,
        };
        let controls = Arc::new(Controls {
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd"),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let engine = Engine::new(plan, Arc::clone(&controls));
        LoadHandle { controls, thread: Some(thread::spawn(move || engine.run())) }
    }
}

/// What the test and the thread that sends share.
#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) stop: AtomicBool,
    /// Readable once `stop` is set.
    pub(crate) wake: OwnedFd,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// A load that is being sent. Dropping it stops it.
#[derive(Debug)]
pub struct LoadHandle {
    controls: Arc<Controls>,
    thread: Option<JoinHandle<Report>>,
}

impl LoadHandle {
    /// How many requests have been answered so far.
    pub fn answered(&self) -> u64 {
        self.controls.answered.load(Ordering::Relaxed)
    }

    /// How many have failed so far: [`Report::failed_total`].
    pub fn failed(&self) -> u64 {
        self.controls.failed.load(Ordering::Relaxed)
    }

    /// Waits until `more` requests have been answered from now on: how a test lets load go on "for
    /// a while".
    ///
    /// # Panics
    /// When that takes longer than [`DEADLINE`].
    #[track_caller]
    pub fn wait_answered(&self, more: u64) {
        let wanted = self.answered() + more;
        if !holds_within(DEADLINE, || self.answered() >= wanted) {
            let (answered, failed) = (self.answered(), self.failed());
            panic!(
                "not {wanted} answers within {DEADLINE:?}, but {answered}, and {failed} failures"
            );
        }
    }

    /// Sends no new request, waits for the answers to those sent (each within its deadline), and
    /// reports.
    #[track_caller]
    pub fn stop(self) -> Report {
        self.tell();
        self.finish()
    }

    fn tell(&self) {
        self.controls.stop.store(true, Ordering::Relaxed);
        rustix::io::write(&self.controls.wake, &1u64.to_ne_bytes()).expect("an eventfd takes a 1");
    }

    #[track_caller]
    fn finish(mut self) -> Report {
        let thread = self.thread.take().expect("it is finished once");
        thread.join().expect("the load's thread does not panic")
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // The thread ends by itself: a test that fails need not wait for it.
            self.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Worker: one\r\nContent-Length: 2\r\n\r\nok";
    const LAST: &[u8] =
        b"HTTP/1.1 200 OK\r\nX-Worker: two\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    /// Serves each connection in a thread: `with` gets its number, its stream, and a reader of it.
    fn serve(with: fn(usize, &mut TcpStream, &mut dyn BufRead)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number").to_string();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let mut stream = stream;
                thread::spawn(move || with(number, &mut stream, &mut reader));
            }
        });
        address
    }

    /// Whether a whole request came.
    fn request_came(reader: &mut dyn BufRead) -> bool {
        let mut line = String::new();
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return false,
                Ok(_) if line == "\r\n" => return true,
                Ok(_) => {}
            }
        }
    }

    fn answer_ten(_: usize, stream: &mut TcpStream, reader: &mut dyn BufRead) {
        for round in 0..10 {
            if !request_came(reader)
                || stream.write_all(if round < 9 { ANSWER } else { LAST }).is_err()
            {
                return;
            }
        }
    }

    #[test]
    fn connections_that_say_they_close_are_replaced_without_a_failure() {
        let report = Load::keep_alive(&serve(answer_ten), "/").connections(4).run_requests(400);
        assert_eq!(
            (report.sent, report.answered, report.failed_total),
            (400, 400, 0),
            "{report:?}"
        );
        assert!(report.connections >= 40, "{report:?}");
        let workers = report.by_header("x-WORKER");
        assert_eq!(workers["one"] + workers["two"], 400);
        assert!(workers["two"] >= 37 && report.statuses[&200] == 400, "{workers:?}");
        assert!(report.quantile(0.5) <= report.slowest && !report.slowest.is_zero());
    }

    #[test]
    fn a_load_goes_on_until_it_is_stopped() {
        let address = serve(answer_ten);
        let load = Load::one_per_connection(&address, "/").connections(3).rate(2000).start();
        load.wait_answered(50);
        let resting = Load::keep_alive(&address, "/").think(Duration::from_secs(3600)).start();
        resting.wait_answered(1);
        assert_eq!(resting.stop().answered, 1);
        let report = load.stop();
        assert_eq!((report.failed_total, report.sent), (0, report.answered), "{report:?}");
        assert!(report.answered >= 50 && report.connections == report.answered, "{report:?}");
    }

    #[test]
    fn a_request_without_an_answer_is_lost_and_an_unused_connection_is_not() {
        // Every second connection ends with its first request unanswered; the others after one
        // answer.
        let address = serve(|number, stream, reader| {
            if request_came(reader) && number % 2 == 1 {
                let _ = stream.write_all(ANSWER);
            }
        });
        // Long enough for the end of an answered connection to arrive before the next request.
        let think = Duration::from_millis(200);
        let report = Load::keep_alive(&address, "/").think(think).run_requests(4);
        assert_eq!((report.sent, report.answered, report.failed_total), (4, 2, 2), "{report:?}");
        assert_eq!((report.reset_after_send, report.closed_unused), (2, 1), "{report:?}");
        assert!(report.failed[0].contains("not answered"), "{report:?}");
    }

    #[test]
    fn refusals_and_silence_are_failures() {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let bound = rustix::net::getsockname(&socket).expect("its address");
        let bound = SocketAddrV4::try_from(bound).expect("of IPv4");
        let report = Load::keep_alive(&bound.to_string(), "/").run_requests(3);
        assert_eq!((report.sent, report.refused, report.failed_total), (0, 3, 3), "{report:?}");
        let silent = serve(|_, _, reader| while request_came(reader) {});
        let report =
            Load::keep_alive(&silent, "/").deadline(Duration::from_millis(30)).run_requests(1);
        assert_eq!((report.sent, report.answered, report.failed_total), (1, 0, 1), "{report:?}");
        assert!(report.failed[0].contains("no answer within 30ms"), "{report:?}");
    }

    #[test]
    fn hundreds_of_connections_over_a_unix_socket_with_a_short_queue() {
        let directory = crate::TempDir::new().expect("a directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                if request_came(&mut reader) {
                    let _ = (&stream).write_all(LAST);
                }
            }
        });
        let report = Load::one_per_connection(&format!("unix:{}", path.display()), "/")
            .connections(300)
            .run_requests(2000);
        assert_eq!(
            (report.sent, report.answered, report.failed_total),
            (2000, 2000, 0),
            "{report:?}"
        );
    }
}
