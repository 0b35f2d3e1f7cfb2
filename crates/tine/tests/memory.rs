//! Workers that grow: bounded by their private memory, and replaced without a loss.

mod support;

use std::time::{Duration, Instant};

use support::{Service, start};
use testkit::process::voluntary_switches;
use testkit::{holds_within, wait_gone};

const LIMIT: u64 = 32 << 20;
const MIB: u64 = 1 << 20;

fn private(pid: u32) -> Option<u64> {
    tine_os::inspect::private_bytes(tine_os::process::Pid::from_raw(pid)?).ok()
}

fn bounded(arguments: &str) -> Service {
    let service = start(&format!("--max-memory {LIMIT} --min-lifetime 0 {arguments}"));
    service.wait_pool("somebody serves", |pool| pool.serving > 0);
    service
}

#[test]
fn a_handler_that_leaks_a_mebibyte_a_request_is_bounded_and_no_request_is_lost() {
    let service = bounded("--workers 2");
    let began = Instant::now();
    let (mut requests, mut most) = (0, 0);
    let mut replaced = 0;
    while replaced < 3 && began.elapsed() < Duration::from_secs(30) {
        let (mut talk, pid) = service.busy_one();
        assert_eq!(talk.ask("leak 1"), "leaked");
        most = most.max(private(pid).unwrap_or(0));
        requests += 1;
        // Twenty a second: a limit's worth takes three seconds of two workers.
        std::thread::sleep(Duration::from_millis(25));
        replaced = service.count_lines("of private memory");
    }
    assert_eq!(replaced, 3, "after {requests} requests");
    // Two samples are a second apart, and the second one decides: so what three seconds leak comes on top.
    assert!(most < LIMIT + 3 * 40 * MIB, "{} MiB", most / MIB);
    assert_eq!((service.pool().crashes, service.status().reports.len()), (0, 0));
    let line = service.wait_line("of private memory");
    assert!(line.contains(" of 32.0 MiB: replaced") && line.contains("info"), "{line}");
    service.stop();
}

#[test]
fn memory_that_is_free_is_given_back_and_the_worker_stays() {
    let service = bounded("--workers 1");
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("churn 64"), "churned");
    let kept = private(pid).expect("it lives");
    assert!(kept > LIMIT, "{kept}");
    drop(talk);
    let light =
        holds_within(Duration::from_secs(10), || private(pid).is_some_and(|now| now < LIMIT));
    assert!(light, "{:?}", private(pid));
    for _ in 0..30 {
        assert_eq!(service.some_worker(), pid);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(service.count_lines("of private memory"), 0);
    service.stop();
}

#[test]
fn what_all_share_is_nobodys_weight() {
    let service = bounded("--workers 2 --ballast 128");
    let workers = service.wait_serving(2);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert!(workers.contains(&service.some_worker()));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(service.count_lines("of private memory"), 0);
    service.stop();
}

#[test]
fn a_worker_in_the_middle_of_a_connection_finishes_it_while_its_successor_serves() {
    let service = bounded("--workers 1");
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("leak 64"), "leaked");
    service.wait_pool("it drains", |pool| (pool.serving, pool.draining) == (1, 1));
    assert_eq!(talk.ask("pid"), pid.to_string());
    assert_ne!(service.some_worker(), pid);
    drop(talk);
    wait_gone(pid);
    service.stop();
}

#[test]
fn nobody_is_replaced_too_young() {
    let service = start(&format!("--workers 1 --max-memory {LIMIT} --min-lifetime 600000"));
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("leak 64"), "leaked");
    drop(talk);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(service.some_worker(), pid);
        std::thread::sleep(Duration::from_millis(50));
    }
    service.stop();
}

#[test]
fn an_idle_pool_with_a_bound_is_not_looked_at() {
    let service = bounded("--workers 2");
    for _ in 0..10 {
        service.some_worker();
    }
    let slept = || {
        let before = voluntary_switches(service.pid());
        std::thread::sleep(Duration::from_secs(2));
        voluntary_switches(service.pid()) == before
    };
    assert!(holds_within(Duration::from_secs(20), slept));
    service.stop();
}
