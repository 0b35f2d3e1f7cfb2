//! What a connection costs among 256 isolated workers, against 4: whether it matters how many sleep.

use testkit::{Load, process};

use crate::program::Program;
use crate::sample::median;
use crate::server::{PATH, Tine};
use crate::table::Row;

const ROUNDS: usize = 3;
const CONNECTIONS: u64 = 20_000;
/// Connections before the first round: pages a fork shares are copied when they are first written,
/// which is a price of starting and not of serving.
const BEFORE: u64 = 2_000;
const CLIENTS: usize = 32;
const WANTED: f64 = 1.8;

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let few = Tine::with_idle(program, 4, "--concurrency 1 --workers 4");
    let many = Tine::with_idle(program, 256, "--concurrency 1 --workers 256");
    load(&few, BEFORE);
    load(&many, BEFORE);
    // In turn: what else the machine does then falls on both.
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (cost(&few), cost(&many))).collect();
    let (few, many): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    let (few, many) = (median(&few), median(&many));
    let ratio = many / few;
    vec![Row::judged(
        "CPU a connection, 256 isolated workers against 4",
        format!("{many:.1} µs against {few:.1} µs: {ratio:.2} ×"),
        "≤ 1.8 ×",
        ratio <= WANTED,
    )]
}

fn load(tine: &Tine, connections: u64) {
    let load = Load::one_per_connection(tine.address(), PATH).connections(CLIENTS);
    let report = load.run_requests(connections);
    assert_eq!(report.answered, connections, "every client has its answer: {report:?}");
}

/// Microseconds of CPU a connection, supervisor and workers together.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds are far below 2^52")]
fn cost(tine: &Tine) -> f64 {
    let spent = || process::family_cpu_nanos(tine.running().pid());
    let before = spent();
    load(tine, CONNECTIONS);
    (spent() - before) as f64 / CONNECTIONS as f64 / 1e3
}
