//! What an idle worker among 256 weighs.

use testkit::process::pss_kib;

use crate::load::Crowd;
use crate::program::Program;
use crate::sample::worst;
use crate::server::{BODY, PATH, Tine};
use crate::table::Row;

const WORKERS: u16 = 256;
/// KiB of proportional memory: the mean, since a file's page that only one of them has looked at is
/// counted as that one's alone, and says nothing of the others.
const WANTED: f64 = 100.0;

pub(super) fn rows(program: &Program) -> Vec<Row> {
    let count = u64::from(WORKERS);
    let tine = Tine::with_idle(program, count, "--concurrency 1 --workers 256");
    let fresh = weights(&tine);
    let supervisor = pss_kib(tine.running().pid());
    let mut crowd = Crowd::gather(WORKERS.into(), PATH, BODY).expect("sockets for the clients");
    crowd.burst(tine.socket_address()).expect("as many workers as clients");
    drop(crowd);
    tine.wait_idle(count);
    vec![
        Row::judged(
            "256 idle isolated workers: PSS each",
            format!("{}; the supervisor {supervisor} KiB", words(&fresh)),
            "mean ≤ 100 KiB",
            mean(&fresh) <= WANTED,
        ),
        Row::told("the same after each has answered a request", words(&weights(&tine))),
    ]
}

fn weights(tine: &Tine) -> Vec<u64> {
    tine.serving().iter().map(|worker| pss_kib(worker.pid)).collect()
}

fn words(weights: &[u64]) -> String {
    format!("mean {:.0}, largest {} KiB", mean(weights), worst(weights))
}

#[expect(clippy::cast_precision_loss, reason = "kibibytes of 256 processes are far below 2^52")]
fn mean(weights: &[u64]) -> f64 {
    weights.iter().sum::<u64>() as f64 / weights.len() as f64
}
