//! Twenty reloads a second: they share what they can, and nobody notices.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Clients;
use super::reloads::Release;
use crate::sample::millis;
use crate::server::Tine;
use crate::table::Row;

const CALLS: u32 = 200;
const EVERY: Duration = Duration::from_millis(50);

pub(super) fn rows(program: &Path) -> Vec<Row> {
    let ways = [
        ("isolated", "--concurrency 1 --workers 16"),
        ("multiplexed", "--concurrency 256 --workers 4"),
    ];
    ways.into_iter().map(|(name, flags)| run(program, name, flags)).collect()
}

fn run(program: &Path, name: &str, flags: &str) -> Row {
    let release = Release::of(program);
    let tine = release.start(flags);
    let clients = Clients::start(tine.address());
    let over = AtomicBool::new(false);
    let (answers, most) = thread::scope(|scope| {
        let watcher = scope.spawn(|| most_generations(&tine, &over));
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLS)
            .map(|number| {
                thread::sleep((began + EVERY * number).saturating_duration_since(Instant::now()));
                let tine = &tine;
                scope.spawn(move || {
                    let asked = Instant::now();
                    tine.try_reload().map(|()| asked.elapsed())
                })
            })
            .collect();
        let answers: Vec<_> =
            callers.into_iter().map(|caller| caller.join().expect("it returns")).collect();
        over.store(true, Ordering::Relaxed);
        (answers, watcher.join().expect("it returns"))
    });
    let outcome = clients.stop();
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    let longest = answers.iter().flatten().max().copied().unwrap_or_default();
    let generation = tine.status()["generation"].as_u64().unwrap_or_default();
    Row::judged(
        format!("20 reloads a second for 10 s: {name}"),
        format!(
            "{outcome}; {CALLS} calls, {failed} failed, answered by {} reloads within {}; at most {most} generations served",
            generation.saturating_sub(1),
            millis(longest),
        ),
        "0 lost, 0 failed, ≤ 2 generations",
        outcome.lost() == 0 && failed == 0 && most <= 2,
    )
}

/// Of how many generations workers have served at the same time, at most.
fn most_generations(tine: &Tine, over: &AtomicBool) -> usize {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        let status = tine.status();
        let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let serving = workers.iter().filter(|worker| worker["stage"] == "serving");
        let generations: BTreeSet<_> =
            serving.filter_map(|worker| worker["generation"].as_u64()).collect();
        most = most.max(generations.len());
        thread::sleep(Duration::from_millis(2));
    }
    most
}
