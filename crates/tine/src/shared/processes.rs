//! The views among real processes, some of them killed in the middle of it.
//!
//! A test runner has threads and cannot fork, so the children are this very program once more, told by
//! the environment to run one test only: [`a_child_plays_its_part`]. The region is their standard input;
//! what they report goes to standard error, a line each time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Region;
use super::cache::{Cache, CacheSize};
use super::counter::Counters;
use super::limiter::{Limiter, Rate, Verdict};
use super::shape::Shape;

const PART: &str = "TINE_TEST_SHARED_PART";
const CHILDREN: usize = 8;
/// The first so many are killed.
const VICTIMS: usize = 4;

const NAMES: [&str; 2] = ["turns", "bytes"];
const TURNS: u64 = 20_000;
/// So many at once, and none for a minute.
const RATE: Rate = Rate::new(20_000, Duration::from_secs(20_000 * 60));
const NOW: u64 = 1_000_000_000_000_000;
const SIZE: CacheSize = CacheSize { entries: 16, key: 8, value: 2000 };
const KEYS: u64 = 40;
const TTL: Duration = Duration::from_secs(3600);

#[test]
fn a_child_plays_its_part() {
    let Some(part) = std::env::var_os(PART) else { return };
    let memory = tine_os::fd::duplicate(io::stdin().as_fd()).expect("a descriptor");
    match part.to_str() {
        Some("count") => count(&Region::adopt(memory, "test", Counters::shape(&NAMES).version)),
        Some("ask") => ask(&Region::adopt(memory, "test", Limiter::shape(1).version)),
        Some("keep") => keep(&Region::adopt(memory, "test", Cache::shape(SIZE).version)),
        part => panic!("what is {part:?}?"),
    }
}

fn report(line: impl std::fmt::Display) {
    writeln!(io::stderr(), "{line}").expect("a parent");
}

fn count(region: &crate::Result<Region>) {
    let counters = region.as_ref().expect("a region").counters(&NAMES).expect("counters");
    let (turns, bytes) = (counters.counter("turns"), counters.counter("bytes"));
    let (turns, bytes) = (turns.expect("turns"), bytes.expect("bytes"));
    for _ in 0..TURNS {
        turns.add(1);
        bytes.add(1000);
        report("counted");
    }
}

fn ask(region: &crate::Result<Region>) {
    let limiter = region.as_ref().expect("a region").limiter(RATE).expect("a limiter");
    while let Verdict::Allowed { .. } = limiter.check(b"client", NOW) {
        report("allowed");
    }
}

/// A value that tells its key: every word is the key's, times the writer's number of it, on top the number.
fn value_of(key: u64, number: u64) -> Vec<u8> {
    let words = 1 + number % 249;
    (0..words).flat_map(|_| (number << 8 | key).to_le_bytes()).collect()
}

fn is_of(key: u64, value: &[u8]) -> bool {
    let number = value.first_chunk().map_or(0, |word| u64::from_le_bytes(*word) >> 8);
    value == value_of(key, number)
}

fn keep(region: &crate::Result<Region>) {
    let cache = region.as_ref().expect("a region").cache(SIZE).expect("a cache");
    let mut hits = 0;
    for turn in 0..TURNS {
        let (written, read) = (turn * 7 % KEYS, turn * 11 % KEYS);
        let number = turn + u64::from(std::process::id());
        cache.put(&written.to_le_bytes(), &value_of(written, number), TTL, crate::now());
        if let Some(value) = cache.get(&read.to_le_bytes(), crate::now()) {
            assert!(is_of(read, &value), "a wrong value for key {read}");
            hits += 1;
        }
        if turn % 100 == 0 {
            report("kept");
        }
    }
    assert!(hits > 0, "it never hit");
    report("done");
}

fn region(shape: Shape) -> Region {
    Region::create("test", shape.version, shape.words).expect("a region")
}

fn start(part: &str, region: &Region) -> Child {
    let memory: File = tine_os::fd::duplicate(region).expect("a descriptor").into();
    let name = format!("{}::a_child_plays_its_part", module_path!().trim_start_matches("tine::"));
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &name, "--nocapture"])
        .env(PART, part)
        .stdin(memory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// What a child reported until its end; killed after `limit` lines, if there is one and it comes so far.
fn follow(mut child: Child, limit: Option<usize>) -> Vec<String> {
    let reports = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = Vec::new();
    for line in reports.lines() {
        lines.push(line.expect("a line"));
        if Some(lines.len()) == limit {
            child.kill().expect("a child");
        }
    }
    let status = child.wait().expect("a status");
    let was_killed = limit.is_some() && status.signal() == Some(9);
    assert!(
        status.success() || was_killed,
        "{status}: {}",
        lines[lines.len().saturating_sub(9)..].join("\n")
    );
    lines
}

/// Lets all children play this part at once, kills some, and says what each has reported.
fn play(part: &str, region: &Region) -> Vec<Vec<String>> {
    thread::scope(|scope| {
        let follow = |index: usize| {
            let limit = (index < VICTIMS).then_some(10 + index * 20);
            scope.spawn(move || follow(start(part, region), limit))
        };
        let threads: Vec<_> = (0..CHILDREN).map(follow).collect();
        threads.into_iter().map(|thread| thread.join().expect("reports")).collect()
    })
}

fn said(reports: &[Vec<String>], word: &str) -> u64 {
    reports.iter().flatten().filter(|line| *line == word).count() as u64
}

#[test]
fn counters_are_what_the_living_and_the_dead_have_counted() {
    let region = region(Counters::shape(&NAMES));
    let reports = play("count", &region);
    let counters = region.counters(&NAMES).expect("counters");
    let values: Vec<u64> = counters.iter().map(|(_, value)| value).collect();
    let reported = said(&reports, "counted");
    assert_eq!(said(&reports[VICTIMS..], "counted"), TURNS * (CHILDREN - VICTIMS) as u64);
    // A dead one may have been between counting and telling.
    let unsaid = 0..=VICTIMS as u64;
    assert!(unsaid.contains(&(values[0] - reported)), "{values:?}, reported {reported}");
    assert_eq!(values[1] % 1000, 0, "nothing is half added");
    assert!(unsaid.contains(&(values[0] - values[1] / 1000)), "{values:?}");
}

#[test]
fn a_limiter_lets_its_budget_through_whoever_dies() {
    let region = region(Limiter::shape(64));
    let reports = play("ask", &region);
    let allowed = said(&reports, "allowed");
    let unsaid = 20_000 - VICTIMS as u64..=20_000;
    assert!(unsaid.contains(&allowed), "{allowed} were let through");
    let limiter = region.limiter(RATE).expect("a limiter");
    assert!(matches!(limiter.check(b"client", NOW), Verdict::Limited { .. }));
}

#[test]
fn a_cache_returns_nothing_wrong_whoever_dies() {
    let region = region(Cache::shape(SIZE));
    let reports = play("keep", &region);
    assert_eq!(said(&reports, "done"), (CHILDREN - VICTIMS) as u64);
    let cache = region.cache(SIZE).expect("a cache");
    let later = crate::now() + 1_000_000_000;
    for key in 0..KEYS {
        let left = cache.get(&key.to_le_bytes(), later);
        assert!(left.is_none_or(|value| is_of(key, &value)), "key {key}");
        assert!(cache.put(&key.to_le_bytes(), b"new", TTL, later), "the dead hold nothing");
        assert_eq!(cache.get(&key.to_le_bytes(), later).as_deref(), Some(&b"new"[..]));
    }
}
