//! Workers are replaced every 50 requests while clients come: nobody may notice.

use std::time::{Duration, Instant};

use testkit::{Load, Report};

use crate::program::Program;
use crate::sample::{millis, per_second};
use crate::server::{PATH, Tine};
use crate::table::Row;

const REQUESTS: u64 = 100_000;
const CONNECTIONS: usize = 16;

/// A way to serve: its name, flags, and how many workers are idle at first.
type Way = (&'static str, &'static str, u64);

const WAYS: [Way; 2] = [
    ("isolated", "--concurrency 1 --workers 5..256 --max-requests 50", 5),
    ("multiplexed", "--concurrency 256 --workers 4 --max-requests 50", 4),
];

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let both = |way: Way| {
        [
            run(program, way, "keep-alive", |address| Load::keep_alive(address, PATH)),
            run(program, way, "one connection a request", |address| {
                Load::one_per_connection(address, PATH)
            }),
        ]
    };
    WAYS.into_iter().flat_map(both).collect()
}

fn run(program: &Program, way: Way, kind: &str, load: impl Fn(&str) -> Load) -> Row {
    let (name, flags, idle) = way;
    let tine = Tine::with_idle(program, idle, flags);
    let start = Instant::now();
    let report = load(tine.address()).connections(CONNECTIONS).run_requests(REQUESTS);
    let within = start.elapsed();
    let met = report.answered == REQUESTS && report.failed_total == 0;
    Row::judged(
        format!("recycling every 50 requests, {name}, {kind}"),
        words(&report, tine.pool("exits"), within),
        "0 failed of 100,000",
        met,
    )
}

fn words(report: &Report, exits: u64, within: Duration) -> String {
    format!(
        "{} failed of {}; {exits} workers replaced; slowest {}; {:.0}/s",
        report.failed_total,
        report.sent,
        millis(report.slowest),
        per_second(report.answered, within),
    )
}
