//! That no connection lies in a queue while workers sleep, however many workers start and die: in every mode, among
//! workers that serve many connections at once and among isolated ones.
//!
//! Whether a connection is forgotten depends on a race of microseconds. So there are hundreds of starts, each with few clients: a
//! client that comes later to the same socket would hide what was forgotten. The tests beside `tine::accept` bring each race about on
//! purpose; these ask the whole program.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use testkit::{Running, Server, bin, process};

const KILL: i32 = 9;
const TERM: i32 = 15;
const WORKERS: usize = 4;
/// The first clients of a service, and those after workers were killed.
const FIRST: usize = 12;
const AFTER: usize = 6;
/// Workers start one after the other within some milliseconds; the clients come spread over that time.
const PACE: Duration = Duration::from_micros(400);
/// A connection that is not answered by then is forgotten: an answer takes milliseconds.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// Services that are started at once.
const AT_ONCE: usize = 4;

const MODES: [&str; 4] = ["sharded", "buckets=2", "shared", "serialized"];

fn start(mode: &str, concurrency: u32) -> Running {
    Server::command(bin("examples/accept_fixture"))
        .args(["--listen", "127.0.0.1:0", "--workers", &WORKERS.to_string()])
        .args(["--accept", mode, "--concurrency", &concurrency.to_string()])
        .args(["--killed", "yes"])
        .start()
}

fn come(address: &str) -> Option<TcpStream> {
    let mut client = TcpStream::connect(address).ok()?;
    client.set_read_timeout(Some(FORGOTTEN)).expect("an option");
    // A worker that is killed takes its connections with it.
    let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    Some(client)
}

/// Clients that come one after the other; how many of them were forgotten.
fn forgotten(address: &str, clients: usize) -> usize {
    let clients: Vec<TcpStream> = (0..clients)
        .map(|_| {
            thread::sleep(PACE);
            come(address).expect("it is queued")
        })
        .collect();
    let is_forgotten = |mut client: TcpStream| {
        let end = client.read_to_end(&mut Vec::new());
        end.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    clients.into_iter().map(is_forgotten).filter(|forgotten| *forgotten).count()
}

fn stop(service: &Running) {
    service.signal(TERM);
    assert!(service.wait_exit().success());
}

/// The connections that were forgotten after one start.
fn at_a_start(mode: &str, concurrency: u32) -> usize {
    let service = start(mode, concurrency);
    let forgotten = forgotten(&service.address(), FIRST);
    stop(&service);
    forgotten
}

fn starts(mode: &str, concurrency: u32, count: usize) {
    let run = || (0..count / AT_ONCE).map(|_| at_a_start(mode, concurrency)).sum::<usize>();
    let forgotten: usize = thread::scope(|scope| {
        let runs: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().expect("its services start and stop")).sum()
    });
    assert_eq!(
        forgotten, 0,
        "connections forgotten in {count} starts, {mode}, {concurrency} at once"
    );
}

#[test]
fn no_first_connection_is_forgotten_in_hundreds_of_starts_with_a_socket_a_worker() {
    starts("sharded", 1000, 160);
}

#[test]
fn no_first_connection_is_forgotten_in_any_mode() {
    for mode in MODES {
        starts(mode, 1, 8);
        starts(mode, 1000, 16);
    }
}

/// Kills workers, all but as many as `left`, again and again; how many connections were forgotten.
fn under_kills(mode: &str, concurrency: u32, left: usize, rounds: usize) -> usize {
    let service = start(mode, concurrency);
    let address = service.address();
    let mut lost = 0;
    for round in 0..rounds {
        let mut workers = service.wait_children(WORKERS);
        workers.rotate_left(round % WORKERS);
        workers[left..].iter().for_each(|&worker| assert!(process::signal(worker, KILL)));
        lost += forgotten(&address, AFTER);
    }
    stop(&service);
    lost
}

#[test]
fn no_connection_is_forgotten_while_hundreds_of_workers_are_killed() {
    thread::scope(|scope| {
        for (mode, concurrency) in
            MODES.into_iter().flat_map(|mode| [1, 1000].map(|concurrency| (mode, concurrency)))
        {
            scope.spawn(move || {
                for left in [1, 3] {
                    let lost = under_kills(mode, concurrency, left, 12);
                    assert_eq!(lost, 0, "{mode}, {concurrency} at once, all killed but {left}");
                }
            });
        }
    });
}
