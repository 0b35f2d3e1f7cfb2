//! A worker is killed: how soon does another one serve?

use std::time::{Duration, Instant};

use testkit::{client, process};

use crate::program::Program;
use crate::sample::{median, millis, worst};
use crate::server::{BODY, PATH, Tine};
use crate::table::Row;

const KILLS: usize = 20;
const WANTED: Duration = Duration::from_millis(10);
/// How long a successor may take before the row fails altogether.
const DEADLINE: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let ready = successors(program);
    let answered = next_answers(program);
    let words = |times: &[Duration]| {
        format!("median {}, worst {} of {KILLS}", millis(median(times)), millis(worst(times)))
    };
    vec![
        Row::judged(
            "kill -9 of one of 5 idle workers → its successor serves",
            words(&ready),
            "median ≤ 10 ms",
            median(&ready) <= WANTED,
        ),
        Row::told("kill -9 of the only worker → the next client has its answer", words(&answered)),
    ]
}

/// From before kill(2) until the supervisor's line "… place N) serves" has been read.
fn successors(program: &Program) -> Vec<Duration> {
    let flags = "--concurrency 1 --workers 5..256 --log-level debug";
    let tine = Tine::with_idle(program, 5, flags);
    let kill = |round: usize| {
        let workers = tine.serving();
        let victim = workers[round % workers.len()];
        let line = format!("place {}) serves", victim.place);
        tine.running().mark();
        let start = Instant::now();
        assert!(process::signal(victim.pid, SIGKILL), "the victim lives");
        tine.running().wait_line_within(&line, DEADLINE);
        let took = start.elapsed();
        tine.wait_idle(5);
        took
    };
    (0..KILLS).map(kill).collect()
}

/// From before kill(2) until a client that connects right after it has its whole answer.
fn next_answers(program: &Program) -> Vec<Duration> {
    let tine = Tine::with_idle(program, 1, "--concurrency 1 --workers 1");
    let kill = |_| {
        let victim = tine.serving()[0];
        let start = Instant::now();
        assert!(process::signal(victim.pid, SIGKILL), "the victim lives");
        let answer = client::get(tine.address(), PATH);
        let took = start.elapsed();
        assert_eq!(answer.text(), BODY);
        tine.wait_idle(1);
        took
    };
    (0..KILLS).map(kill).collect()
}
