//! 256 clients at once, at a pool that has five workers and may have 256; and beside it what the kernel takes at least for so
//! many forks, on this machine, at this moment.

use std::path::Path;
use std::time::Duration;

use testkit::Server;

use crate::load::Crowd;
use crate::program::{self, Program};
use crate::sample::{best, median, millis, worst};
use crate::server::{BODY, PATH, Tine};
use crate::table::Row;

const RUNS: usize = 9;
const CLIENTS: usize = 256;
const IDLE_BEFORE: u64 = 5;
const WANTED: Duration = Duration::from_millis(60);

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let [forks] = program::build("tine-bench", ["tine-bench-forks"]).expect("the floor");
    // In turns, so that whatever else the machine does meets both.
    let times: Vec<_> = (0..RUNS).map(|_| (run(program), floor(&forks))).collect();
    let (ours, floors): (Vec<Duration>, Vec<Duration>) = times.into_iter().unzip();
    let words = |times: &[Duration]| {
        let [middle, best, worst] = [median(times), best(times), worst(times)].map(millis);
        format!("median {middle}, best {best}, worst {worst} of {RUNS}")
    };
    let ratio = median(&ours).as_secs_f64() / median(&floors).as_secs_f64();
    vec![
        Row::judged(
            "256 clients at once, 5..256 isolated workers: last answer after",
            format!("{}; {ratio:.2} × the floor", words(&ours)),
            "median ≤ 60 ms",
            median(&ours) <= WANTED,
        ),
        Row::told("the floor: 256 bare forks, a runtime each, from one process", words(&floors)),
    ]
}

/// The same burst at processes that are forked for it, and do nothing else.
fn floor(forks: &Path) -> Duration {
    let running = Server::command(forks).arg(CLIENTS.to_string()).start();
    let address = running.address().parse().expect("it listens on an IPv4 address");
    let mut crowd = Crowd::gather(CLIENTS, PATH, BODY).expect("sockets for the clients");
    crowd.burst(address).unwrap_or_else(|error| panic!("the floor's burst: {error}"))
}

/// One burst at a fresh server.
fn run(program: &Program) -> Duration {
    let tine = Tine::with_idle(program, IDLE_BEFORE, "--concurrency 1 --workers 5..256");
    let mut crowd = Crowd::gather(CLIENTS, PATH, BODY).expect("sockets for the clients");
    let took = crowd.burst(tine.socket_address());
    took.unwrap_or_else(|error| panic!("the burst: {error}\n{}", tine.running().lines().join("\n")))
}
