//! How often processes wake up while nobody comes: the price of being ready.

use std::thread;
use std::time::Duration;

use testkit::process::voluntary_switches;

use crate::program::Program;
use crate::sample::per_second;
use crate::server::Tine;
use crate::table::Row;

/// How long the server is left alone before, so that starting up is not part of it.
const BEFORE: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
/// Wake-ups a second.
const SUPERVISOR_WANTED: f64 = 1.0;

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let fixed = run(program, "a fixed pool of 8", 8, "--concurrency 1 --workers 8");
    let dynamic = run(program, "a pool of 5..256", 5, "--concurrency 1 --workers 5..256");
    fixed.into_iter().chain(dynamic).collect()
}

fn run(program: &Program, pool: &str, workers: u64, flags: &str) -> [Row; 2] {
    let tine = Tine::with_idle(program, workers, flags);
    thread::sleep(BEFORE);
    let supervisor = tine.running().pid();
    let children = tine.running().children();
    let switches = || {
        let all: u64 = children.iter().map(|&pid| voluntary_switches(pid)).sum();
        (voluntary_switches(supervisor), all)
    };
    let before = switches();
    thread::sleep(WINDOW);
    let after = switches();
    let rate = per_second(after.0 - before.0, WINDOW);
    let workers = after.1 - before.1;
    [
        Row::judged(
            format!("idle, {pool}: the supervisor's wake-ups"),
            format!("{rate:.1}/s"),
            "≤ 1/s",
            rate <= SUPERVISOR_WANTED,
        ),
        Row::judged(
            format!("idle, {pool}: all workers' wake-ups"),
            format!("{workers} in {} s", WINDOW.as_secs()),
            "0",
            workers == 0,
        ),
    ]
}
