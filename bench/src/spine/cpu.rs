//! What a connection costs among 256 isolated workers, against 4: whether it matters how many sleep.

use std::fs;

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
    let before = spent(tine);
    load(tine, CONNECTIONS);
    (spent(tine) - before) as f64 / CONNECTIONS as f64 / 1e3
}

/// Nanoseconds the supervisor and all its workers have had, those that are gone included.
fn spent(tine: &Tine) -> u64 {
    let supervisor = tine.running().pid();
    let children = tine.running().children();
    let living: u64 = children.into_iter().chain([supervisor]).map(process::cpu_nanos).sum();
    living + waited_for(supervisor)
}

/// Nanoseconds the children of `pid` had that have ended and been waited for: `cutime` and `cstime`
/// of `/proc/PID/stat`, fields 16 and 17 (proc_pid_stat(5)); to a clock tick, 10 ms. What these had
/// before a measurement is not counted twice, since they then count as living in its beginning.
fn waited_for(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // The name stands in parentheses and may have spaces in it; the third field follows it.
    let (_, fields) = text.rsplit_once(") ").unwrap_or_else(|| panic!("{path}: {text}"));
    let ticks: u64 = fields
        .split_whitespace()
        .skip(16 - 3)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
        .sum();
    ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()
}
