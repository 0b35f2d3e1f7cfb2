//! How long clients wait whose worker has just died, or been stopped: at a socket of its own, or with the
//! lock in its hand.

use std::time::Duration;

use testkit::{Load, process};

use super::server::Way;
use super::{start, start_with};
use crate::load::Crowd;
use crate::sample::{median, millis, worst};
use crate::server::{BODY, Tine};
use crate::table::Row;

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
const CLIENTS: usize = 300;
const HOLDERS: usize = 100;
const STOPPED_HOLDERS: usize = 10;
const WAIT_AT_SOCKETS: Duration = Duration::from_millis(200);
const WAIT_FOR_LOCK: Duration = Duration::from_millis(50);

pub(super) fn rows() -> Vec<Row> {
    vec![
        at_sockets("killed", SIGKILL),
        at_sockets("stopped", SIGSTOP),
        for_the_lock("killed", SIGKILL, HOLDERS),
        for_the_lock("stopped", SIGSTOP, STOPPED_HOLDERS),
    ]
}

/// Three of four workers go, and 300 clients come at that moment.
fn at_sockets(how: &str, signal: i32) -> Row {
    let tine = start(Way::Sharded, 4);
    let mut crowd = Crowd::gather(CLIENTS, "/", BODY).expect("sockets for the clients");
    for worker in &tine.serving()[1..] {
        process::signal(worker.pid, signal);
    }
    let took = crowd.burst(tine.socket_address()).expect("everybody is answered");
    Row::judged(
        format!("Sharded: {CLIENTS} clients as 3 of 4 workers are {how}: last answer after"),
        millis(took),
        "≤ 200 ms",
        took <= WAIT_AT_SOCKETS,
    )
}

/// Of two isolated workers that take turns, the one whose turn it is goes.
fn for_the_lock(how: &str, signal: i32, times: usize) -> Row {
    let tine = start_with(Way::Serialized, 2, 1);
    let waits: Vec<Duration> = (0..times)
        .map(|_| {
            tine.wait_idle(2);
            let before = tine.connections();
            ask(&tine);
            // Whoever has just served gave the turn to the other.
            let served = tine.connections().iter().zip(&before).position(|(now, then)| now > then);
            let holder = tine.serving()[1 - served.expect("one has served")].pid;
            process::signal(holder, signal);
            let wait = ask(&tine);
            process::signal(holder, SIGKILL);
            testkit::wait_gone(holder);
            wait
        })
        .collect();
    Row::judged(
        format!(
            "Serialized: the holder of the lock is {how}, {times} times: the next client waits"
        ),
        format!("median {}, worst {}", millis(median(&waits)), millis(worst(&waits))),
        "≤ 50 ms",
        worst(&waits) <= WAIT_FOR_LOCK,
    )
}

fn ask(tine: &Tine) -> Duration {
    let report = Load::one_per_connection(tine.address(), "/").run_requests(1);
    assert_eq!(report.failed_total, 0, "{report:?}");
    report.slowest
}
