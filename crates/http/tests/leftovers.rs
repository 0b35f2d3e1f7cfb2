//! What refused requests leave behind in their worker: nothing. Each file of `requests/invalid` is a class and is
//! repeated by itself, so that what one leaves is not lost among the others.
//!
//! The measure is what the worker has allocated and not freed, to the byte: its resident pages would hide a small leak
//! in what the allocator keeps. Those are held against a coarser bound at the end, as are its descriptors.

mod support;

use std::fs;
use std::time::Duration;

use support::{GOAWAY, RST_STREAM, read_frame, requests, start};
use testkit::process::{anonymous_kib, open_fds};
use testkit::{Client, DEADLINE, Running, client, holds_within, wait_until};

const REPETITIONS: usize = 1000;
/// Of a long one: a worker that is not optimized takes 20 ms for a trailer of 70 KB.
const LONG_REPETITIONS: usize = 50;
const LONG: usize = 10_000;
/// What a class may leave in all, in bytes: 4 for each repetition, 80 of a long one.
const LEFT: usize = 4096;
const ROUNDS: usize = 3;
const PUT_AWAY: Duration = Duration::from_secs(1);
/// What the resident memory of a worker with few clients at once may grow by in all, in KiB, after each class was seen. The
/// allocator keeps more or less of what they had: up to 6 MiB were seen.
const GROWN: u64 = 16 * 1024;

/// For those who take their time, in milliseconds.
const SHORT: [&str; 5] = [
    "header_timeout=100",
    "body_timeout=100",
    "send_timeout=100",
    "idle_timeout=300",
    "drain_idle=100",
];

/// A worker, and how many clients come to it at once.
struct Worker {
    server: Running,
    address: String,
    pid: u32,
    at_once: usize,
}

/// What is repeated.
struct Class {
    name: String,
    request: Vec<u8>,
}

/// Whether it is a deadline that ends it.
fn takes_time(name: &str) -> bool {
    [".408", ".dropped", ".idle"].iter().any(|how| name.ends_with(how))
}

fn classes(wanted: impl Fn(&str) -> bool) -> Vec<Class> {
    let named = requests("invalid").into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        wanted(&name).then(|| Class { name, request: fs::read(&path).expect("a request") })
    });
    named.collect()
}

impl Class {
    fn repetitions(&self) -> usize {
        if self.request.len() > LONG { LONG_REPETITIONS } else { REPETITIONS }
    }

    /// Reads to the end of what is refused.
    fn is_refused(&self, client: &mut Client) -> bool {
        let (_, how) = self.name.rsplit_once('.').expect("what comes of it");
        let frame = match how {
            "end" => GOAWAY,
            "reset" => RST_STREAM,
            "calm" | "dropped" | "idle" => return client.closed(),
            status => return client.read_to_end().get(9..12) == Some(status.as_bytes()),
        };
        let seen = std::iter::from_fn(|| read_frame(client)).any(|read| read.kind == frame);
        seen && (how == "reset" || client.closed())
    }
}

impl Worker {
    fn start(at_once: usize, limits: &[&str]) -> Self {
        let (server, address) = start(&[&["1", "1000", "body_bytes=131072"], limits].concat());
        let pid = server.wait_children(1)[0];
        Self { server, address, pid, at_once }
    }

    fn heap(&self) -> usize {
        client::get(&self.address, "/heap").text().parse().expect("a number")
    }

    fn repeat(&self, class: &Class, repetitions: usize) {
        let connect = |_| {
            let mut client = Client::connect(&self.address);
            // It may have been refused before all of it was sent.
            let _ = client.try_send(&class.request);
            client
        };
        for first in (0..repetitions).step_by(self.at_once) {
            let count = self.at_once.min(repetitions - first);
            let mut clients: Vec<_> = (0..count).map(connect).collect();
            assert!(clients.iter_mut().all(|client| class.is_refused(client)), "{}", class.name);
        }
    }

    /// What the repetitions of a class leave, in bytes.
    fn left(&self, class: &Class) -> usize {
        let before = self.heap();
        self.repeat(class, class.repetitions());
        let mut left = 0;
        // The last ones are still being put away.
        holds_within(PUT_AWAY, || {
            left = self.heap().saturating_sub(before);
            left <= LEFT
        });
        left
    }

    /// Repeats each of them, and holds what is left against the bounds; by how many KiB its resident memory has grown.
    fn keeps_nothing_of(self, classes: &[Class]) -> u64 {
        classes.iter().for_each(|class| self.repeat(class, self.at_once));
        let (resident, open) = (anonymous_kib(self.pid), open_fds(self.pid).len());
        for class in classes {
            // A table that grows does so once; what is left behind adds up every time.
            let mut left = (0..ROUNDS).map(|_| self.left(class));
            assert!(left.any(|bytes| bytes <= LEFT), "more than {LEFT} bytes of {}", class.name);
        }
        // The client that asks, and the one before it.
        wait_until("no descriptor left", DEADLINE, || open_fds(self.pid).len() <= open + 2);
        let grown = anonymous_kib(self.pid).saturating_sub(resident);
        assert_eq!(self.server.children(), [self.pid], "it is the same one");
        assert_eq!(client::get(&self.address, "/").text(), "hello");
        grown
    }
}

#[test]
fn a_thousand_refused_requests_of_each_class_leave_nothing_behind() {
    let classes = classes(|name| !name.starts_with("h2-") && !takes_time(name));
    assert!(classes.len() > 50);
    let grown = Worker::start(20, &[]).keeps_nothing_of(&classes);
    assert!(grown <= GROWN, "{grown} KiB");
}

#[test]
fn a_thousand_refused_streams_and_connections_of_each_class_leave_nothing_behind() {
    let classes = classes(|name| name.starts_with("h2-") && !takes_time(name));
    assert!(classes.len() > 15);
    let grown = Worker::start(20, &[]).keeps_nothing_of(&classes);
    assert!(grown <= GROWN, "{grown} KiB");
}

#[test]
fn a_thousand_clients_of_each_class_that_take_their_time_leave_nothing_behind() {
    let classes = classes(takes_time);
    assert!(classes.len() > 8);
    // All of them at once are as slow as one.
    Worker::start(250, &SHORT).keeps_nothing_of(&classes);
}
