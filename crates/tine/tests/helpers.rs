//! Helpers: processes that the clock begins, beside the workers.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use support::{HUP, KILL, Service, start_in, timed};
use testkit::{TempDir, process, wait_gone};

/// A service with a helper: every so many milliseconds, at most, within, and what it does.
fn with_helper(helper: &str, arguments: &str) -> Service {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("runs");
    let arguments =
        format!("--listen 127.0.0.1:0 --helper {},{helper} {arguments}", file.display());
    let service = start_in(directory, &arguments, |server| server);
    service.wait_pool("it serves", |pool| pool.serving > 0);
    service
}

/// The processes that have run so far, in their order.
fn runs(service: &Service) -> Vec<u32> {
    let text = fs::read_to_string(service.directory().join("runs")).unwrap_or_default();
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

#[test]
fn a_helper_runs_every_interval_in_a_process_of_its_own() {
    let (service, took) = timed(|| {
        let service = with_helper("200,1,10000,done", "--workers 2");
        service.wait_until("five runs", || runs(&service).len() >= 5);
        service
    });
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let pids: BTreeSet<u32> = runs(&service).into_iter().collect();
    assert!(pids.len() >= 5 && pids.is_disjoint(&service.wait_serving(2).into_iter().collect()));
    service.wait_until("they are counted", || service.status().pools[1].exits >= 5);
    let status = service.status();
    let queue = &status.pools[1];
    assert_eq!((queue.name.as_str(), queue.crashes, queue.max), ("queue", 0, 1));
    assert!((queue.every - 0.2).abs() < 1e-9, "{}", queue.every);
    service.stop();
}

#[test]
fn no_more_helpers_run_at_once_than_may_and_none_is_counted_in_the_pool() {
    let service = with_helper("50,2,60000,wait", "--workers 2");
    service.wait_until("two are under way", || service.status().pools[1].serving == 2);
    let first = runs(&service);
    // Ten intervals later: nobody else has begun.
    let end = Instant::now() + Duration::from_millis(500);
    service.wait_until("the clock has ticked", || Instant::now() > end);
    assert_eq!(runs(&service), first);
    let pool = service.pool();
    assert_eq!((pool.name.as_str(), pool.serving, pool.max), ("main", 2, 2));
    assert_eq!(service.status().workers.len(), 4, "seen in the status");
    assert!(process::signal(first[0], KILL));
    service.wait_until("another one begins", || runs(&service).len() == 3);
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

#[test]
fn a_helper_that_hangs_is_ended_at_its_deadline_and_the_next_begins() {
    let service = with_helper("100,1,300,hang", "--workers 1 --term-grace 200 --stop-timeout 200");
    service.wait_until("the second has begun", || runs(&service).len() == 2);
    let first = runs(&service)[0];
    wait_gone(first);
    service.wait_line("did not end in time: SIGTERM");
    service.wait_line("did not end in time: SIGKILL");
    let line = service.wait_line("was killed by SIGKILL");
    assert!(line.contains("queue place 0"), "{line}");
    service.some_worker();
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

#[test]
fn a_helper_that_fails_hurts_nobody_and_runs_again_at_its_time() {
    let service = with_helper("100,1,10000,error", "--workers 1 --breaker-stops 2,60000");
    let worker = service.wait_serving(1)[0];
    service.wait_until("three runs", || runs(&service).len() >= 3);
    service.wait_line("told to fail");
    service.wait_until("they are counted", || service.status().pools[1].crashes >= 2);
    assert_eq!(service.some_worker(), worker);
    service.stop();
}

#[test]
fn helpers_end_with_the_service_and_with_its_supervisor() {
    for what in ["wait", "hang"] {
        let arguments = "--workers 1 --stop-timeout 500 --term-grace 200";
        let service = with_helper(&format!("50,2,60000,{what}"), arguments);
        service.wait_until("two are under way", || service.status().pools[1].serving == 2);
        let mut family = runs(&service);
        family.push(service.some_worker());
        if what == "wait" {
            service.stop();
            assert_eq!(service.count_lines("did not end in time"), 0);
        } else {
            service.signal(KILL);
        }
        family.into_iter().for_each(wait_gone);
    }
}

#[test]
fn a_reload_ends_no_helper_and_waits_for_none() {
    let service = with_helper("50,1,60000,wait", "--workers 1");
    service.wait_until("it is under way", || runs(&service).len() == 1);
    let old = service.wait_serving(1)[0];
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    wait_gone(old);
    assert!(testkit::alive(runs(&service)[0]));
    service.stop();
}
