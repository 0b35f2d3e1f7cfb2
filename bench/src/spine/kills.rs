//! A worker is killed every 100 ms: what do clients notice?

use std::thread;
use std::time::{Duration, Instant};

use testkit::{Load, LoadHandle, Report, process};

use crate::program::Program;
use crate::sample::{millis, per_second};
use crate::server::{PATH, Tine};
use crate::table::Row;

const KILLS: u32 = 100;
const EVERY: Duration = Duration::from_millis(100);
/// The first kill: half a step off, so that kills and the requests of the slow load do not coincide
/// by arithmetic.
const FIRST: Duration = Duration::from_millis(50);
/// Clients under load.
const CONNECTIONS: usize = 8;
/// Requests that may be lost a kill: as many as a worker serves at once.
const CONCURRENCY: u64 = 1;
const WAIT: Duration = Duration::from_millis(200);
/// An answer that takes longer counts as failed, and not as lost in a killed worker.
const DEADLINE: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;

struct Outcome {
    report: Report,
    /// The most failures between two kills.
    most: u64,
    within: Duration,
}

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let keep_alive =
        run(program, |address| Load::keep_alive(address, PATH).connections(CONNECTIONS));
    let one_each =
        run(program, |address| Load::one_per_connection(address, PATH).connections(CONNECTIONS));
    let slow = run(program, |address| Load::one_per_connection(address, PATH).rate(1));
    vec![
        row("keep-alive load", &keep_alive, CONCURRENCY),
        row("one connection a request", &one_each, CONCURRENCY),
        row("one request a second", &slow, 0),
    ]
}

fn row(load: &str, outcome: &Outcome, allowed: u64) -> Row {
    let Outcome { report, most, within } = outcome;
    let stuck = report.failed_total - report.reset_after_send;
    let met = *most <= allowed && stuck == 0 && report.slowest <= WAIT;
    let mut measured = format!(
        "{} of {} lost, at most {most} a kill; slowest {}; {:.0}/s",
        report.failed_total,
        report.sent,
        millis(report.slowest),
        per_second(report.answered, *within),
    );
    if stuck > 0 {
        measured.push_str(&format!("; {stuck} not in a killed worker"));
    }
    let wanted = match allowed {
        0 => "0 lost; ≤ 200 ms".to_owned(),
        some => format!("≤ {some} lost a kill; ≤ 200 ms"),
    };
    Row::judged(format!("{KILLS} kills in 10 s, {load}"), measured, wanted, met)
}

fn run(program: &Program, load: impl Fn(&str) -> Load) -> Outcome {
    let tine = Tine::with_idle(program, 5, "--concurrency 1 --workers 5..256");
    let start = Instant::now();
    let load = load(tine.address()).deadline(DEADLINE).start();
    let most = kill_and_count(&tine, &load, start);
    let report = load.stop();
    Outcome { report, most, within: start.elapsed() }
}

/// Kills a serving worker at each step; the most failures that followed one kill.
fn kill_and_count(tine: &Tine, load: &LoadHandle, start: Instant) -> u64 {
    let mut victims = Draw(0x9e37_79b9_7f4a_7c15);
    let mut most = 0;
    let mut failed = 0;
    for kill in 0..=KILLS {
        let due = FIRST + EVERY * kill;
        thread::sleep(due.saturating_sub(start.elapsed()));
        let now = load.failed();
        most = most.max(now - failed);
        failed = now;
        if kill < KILLS {
            let workers = tine.serving();
            let victim = workers[victims.below(workers.len())];
            // One that has just left by itself is not there to be killed.
            process::signal(victim.pid, SIGKILL);
        }
    }
    most
}

/// Pseudo-random numbers (xorshift64), the same in every run.
struct Draw(u64);

impl Draw {
    #[expect(clippy::cast_possible_truncation, reason = "the remainder fits")]
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
