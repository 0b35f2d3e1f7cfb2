//! Workers that hang: found from outside, reported, ended and replaced, while the others serve.

mod support;

use std::time::{Duration, Instant};

use support::{AT_ONCE, Service, Talk, start};
use testkit::process::voluntary_switches;
use testkit::{holds_within, wait_gone};

/// Asks new connections for their worker's pid until it is over; the longest wait for an answer.
fn worst_while(service: &Service, is_over: impl Fn() -> bool) -> Duration {
    let address = service.address();
    let mut worst = Duration::ZERO;
    while !is_over() {
        let before = Instant::now();
        Talk::to(&address).ask("pid");
        worst = worst.max(before.elapsed());
    }
    worst
}

/// Has one of two workers hang, and sees it contained.
fn is_contained(arguments: &str, how: &str, said: &str) {
    let service = start(&format!("--workers 2 {arguments}"));
    service.wait_serving(2);
    let (mut victim, pid) = service.busy_one();
    assert!(victim.ask(how).ends_with("ing"), "{how}");
    let began = Instant::now();
    let worst = worst_while(&service, || !testkit::alive(pid));
    // 50 ms are promised on a machine that has nothing else to do; whoever waited for the victim would wait
    // for ever.
    assert!(worst < AT_ONCE, "{worst:?}");
    assert!(began.elapsed() < 3 * AT_ONCE, "{:?}", began.elapsed());
    let line = service.wait_line(said);
    assert!(line.contains("error") && line.contains(&format!("(pid {pid}, main place")), "{line}");
    assert!(victim.is_closed());
    assert!(!service.wait_serving(2).contains(&pid));
    assert_eq!(service.pool().crashes, 1);
    service.stop();
}

#[test]
fn a_handler_that_loops_for_ever_is_ended_and_replaced_and_the_other_serves_on() {
    is_contained("--request-timeout 300", "loop", "has been at a request for");
}

#[test]
fn a_handler_that_blocks_in_a_system_call_is_ended_and_replaced() {
    is_contained("--request-timeout 300", "block", "has been at a request for");
}

#[test]
fn a_handler_that_sleeps_is_ended_and_replaced() {
    is_contained("--request-timeout 300", "hang", "has been at a request for");
}

#[test]
fn a_connection_has_a_limit_of_its_own() {
    is_contained("--connection-timeout 300", "hang", "has been at a connection for");
}

#[test]
fn a_stopped_worker_is_found_by_its_request_too() {
    let service = start("--workers 2 --request-timeout 300 --halt-grace 60000 --term-grace 200");
    service.wait_serving(2);
    let (mut talk, pid) = service.busy_one();
    talk.tell("sleep 100");
    assert!(testkit::process::signal(pid, support::STOP));
    // It cannot heed a signal but the last.
    service.wait_line("has been at a request for");
    wait_gone(pid);
    service.stop();
}

#[test]
fn whoever_answers_in_time_is_left_alone() {
    let service = start("--workers 1 --request-timeout 1000");
    let (mut talk, pid) = service.busy_one();
    for _ in 0..8 {
        assert_eq!(talk.ask("sleep 300"), "slept");
        assert_eq!(talk.ask("answered"), "answered");
    }
    assert_eq!(talk.ask("pid"), pid.to_string());
    drop(talk);
    assert_eq!(service.some_worker(), pid);
    service.stop();
}

#[test]
fn a_worker_on_its_last_connection_is_looked_after_too() {
    let service = start("--workers 1 --max-connections 2 --request-timeout 300");
    service.some_worker();
    let (mut talk, pid) = service.busy_one();
    service.wait_pool("it drains", |pool| pool.draining == 1);
    assert_eq!(talk.ask("hang"), "hanging");
    wait_gone(pid);
    service.wait_line("has been at a request for");
    service.stop();
}

#[test]
fn a_worker_that_hangs_while_the_service_stops_is_ended_in_its_time() {
    let service = start("--workers 1 --request-timeout 500 --stop-timeout 60000");
    let (mut talk, _) = service.busy_one();
    assert_eq!(talk.ask("hang"), "hanging");
    service.stop();
}

#[test]
fn an_idle_service_that_watches_sleeps() {
    let service = start("--workers 4 --request-timeout 1000 --connection-timeout 2000");
    let workers = service.wait_serving(4);
    for _ in 0..20 {
        service.some_worker();
    }
    let pids: Vec<u32> = workers.into_iter().chain([service.pid()]).collect();
    let switches = || pids.iter().map(|&pid| voluntary_switches(pid)).sum::<u64>();
    // What was served has to be seen to be over: after that, two seconds without a single wake-up.
    let slept = || {
        let before = switches();
        std::thread::sleep(Duration::from_secs(2));
        switches() == before
    };
    assert!(holds_within(Duration::from_secs(20), slept));
    service.stop();
}

#[test]
fn a_busy_service_costs_the_supervisor_a_look_a_second() {
    let service = start("--workers 2 --request-timeout 1000");
    service.wait_serving(2);
    let before = voluntary_switches(service.pid());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        service.some_worker();
    }
    let woken = voluntary_switches(service.pid()) - before;
    assert!(woken <= 20, "{woken} wake-ups in three seconds of thousands of connections");
    service.stop();
}
