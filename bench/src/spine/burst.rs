//! 256 clients at once, at a pool that has five workers and may have 256.

use std::time::Duration;

use crate::load::Crowd;
use crate::program::Program;
use crate::sample::{best, median, millis, worst};
use crate::server::{BODY, PATH, Tine};
use crate::table::Row;

const RUNS: usize = 9;
const CLIENTS: usize = 256;
const IDLE_BEFORE: u64 = 5;
const WANTED: Duration = Duration::from_millis(60);

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let times: Vec<Duration> = (0..RUNS).map(|_| run(program)).collect();
    let middle = median(&times);
    let measured = format!(
        "median {}, best {}, worst {} of {RUNS}",
        millis(middle),
        millis(best(&times)),
        millis(worst(&times))
    );
    vec![Row::judged(
        "256 clients at once, 5..256 isolated workers: last answer after",
        measured,
        "median ≤ 60 ms",
        middle <= WANTED,
    )]
}

/// One burst at a fresh server.
fn run(program: &Program) -> Duration {
    let tine = Tine::with_idle(program, IDLE_BEFORE, "--concurrency 1 --workers 5..256");
    let mut crowd = Crowd::gather(CLIENTS, PATH, BODY).expect("sockets for the clients");
    let took = crowd.burst(tine.socket_address());
    took.unwrap_or_else(|error| panic!("the burst: {error}\n{}", tine.running().lines().join("\n")))
}
