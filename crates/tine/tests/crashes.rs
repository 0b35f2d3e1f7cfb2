//! Workers that die: replaced, told of, and nobody else's business.

mod support;

use std::time::Duration;

use support::{AT_ONCE, CONT, KILL, STOP, Service, Talk, start, timed};
use testkit::process::{self, cpu_nanos};
use testkit::{alive, wait_gone};

/// Waits for an answer of a worker that is none of these.
fn wait_replaced(service: &Service, workers: u32, gone: u32) {
    let pids = service.wait_serving(workers);
    assert!(!pids.contains(&gone), "{gone} is gone, and not among {pids:?}");
}

#[test]
fn a_killed_worker_is_replaced_at_once_and_its_signal_is_logged() {
    let service = start("--workers 3");
    let before = service.wait_serving(3);
    let (_, took) = timed(|| {
        assert!(process::signal(before[0], KILL));
        service.wait_line("was killed by SIGKILL (9)");
        wait_replaced(&service, 3, before[0]);
    });
    assert!(took < AT_ONCE, "{took:?}");
    let after = service.wait_serving(3);
    assert!(before[1..].iter().all(|pid| after.contains(pid)), "others stay: {before:?} {after:?}");
    assert_eq!((service.pool().exits, service.pool().crashes), (1, 1));
    service.stop();
}

#[test]
fn a_crash_is_named_by_its_signal_and_hurts_only_its_own_client() {
    let service = start("--workers 3");
    service.wait_serving(3);
    let mut bystander = service.talk();
    assert!(bystander.ask("pid").parse::<u32>().is_ok());
    for (crash, said) in [
        ("crash SEGV", "was killed by SIGSEGV (11)"),
        ("crash ABRT", "was killed by SIGABRT (6)"),
        ("crash BUS", "was killed by SIGBUS (7)"),
        ("exit 3", "exited with status 3"),
        ("panic", "panicked"),
    ] {
        let mut victim = service.talk();
        let pid: u32 = victim.ask("pid").parse().expect("a pid");
        victim.tell(crash);
        assert!(victim.is_closed(), "{crash}");
        let line = service.wait_line(&format!("(pid {pid}, main place"));
        assert!(line.contains("error") && line.contains(said), "{line}");
        wait_replaced(&service, 3, pid);
    }
    assert_eq!(bystander.ask("place").len(), 1, "it is still served");
    assert_eq!(service.pool().crashes, 5);
    drop(bystander);
    service.stop();
}

#[test]
fn an_error_of_a_handler_ends_its_connection_and_no_more() {
    let service = start("--workers 1");
    let (mut talk, pid) = service.busy_one();
    talk.tell("fail");
    assert!(talk.is_closed());
    service.wait_line("a connection failed: told to fail");
    assert_eq!(service.some_worker(), pid);
    service.stop();
}

#[test]
fn workers_that_end_at_once_are_tried_again_after_growing_delays_and_it_is_logged() {
    let service = start("--workers 1 --life error --backoff 40,10000");
    let delay = |line: &str| -> u64 {
        let (_, rest) = line.split_once("its place is tried again in ").expect("it says so");
        rest.trim_end_matches(" ms").parse().expect("a number")
    };
    let delays: Vec<u64> =
        (0..6).map(|_| delay(&service.wait_line("its place is tried again in"))).collect();
    for (times, &delay) in delays.iter().enumerate() {
        // It doubles; half of it is drawn.
        let longest = 40_u64 << times;
        assert!((longest / 2..=longest).contains(&delay), "{delays:?}");
    }
    assert!(service.count_lines("told to fail") >= 6, "the reason is told");
    service.stop();
}

#[test]
fn delays_run_side_by_side() {
    // One after the other four delays of one to two seconds would take at least four.
    let service = start("--workers 4 --life error --backoff 2000,2000");
    for _ in 0..4 {
        service.wait_line("its place is tried again");
    }
    let (_, took) = timed(|| {
        for _ in 0..4 {
            service.wait_line("its place is tried again");
        }
    });
    assert!(took < Duration::from_millis(3500), "{took:?}");
    service.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_delay() {
    let service = start("--workers 2 --life error --backoff 100000,100000");
    service.wait_line("its place is tried again");
    service.wait_line("its place is tried again");
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn too_many_failures_in_a_while_end_a_service_that_was_told_so_with_an_error() {
    let service = start("--workers 2 --life error --backoff 1,20 --breaker-stops 6,60000");
    let status = service.wait_exit();
    assert_eq!(status.code(), Some(1));
    let line = service.wait_line("7 workers failed, too fast");
    assert!(line.contains("error") && line.contains("main"), "{line}");
    assert_eq!(service.count_lines("stopped"), 0);
}

#[test]
fn failures_are_counted_as_a_rate() {
    // Four within a window of 100 ms would end it; eight with pauses of as much do not.
    let service = start("--workers 2 --breaker-stops 3,100");
    service.wait_serving(2);
    for _ in 0..8 {
        let mut talk = service.talk();
        talk.tell("crash KILL");
        assert!(talk.is_closed());
        assert_eq!(service.ask("sleep 100"), "slept");
    }
    assert_eq!(service.pool().crashes, 8);
    service.stop();
}

#[test]
fn clean_and_wanted_ends_are_no_failures() {
    let service = start("--workers 2 --max-connections 1 --breaker-stops 3,60000");
    for _ in 0..20 {
        service.some_worker();
    }
    service.wait_pool("all have ended", |pool| pool.exits >= 20);
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

#[test]
fn an_open_breaker_leaves_the_others_serving() {
    let service = start("--workers 2 --backoff 10,100000 --breaker 2,60000");
    service.wait_serving(2);
    let (mut held, _) = service.busy_one();
    for _ in 0..3 {
        let mut talk = service.talk();
        talk.tell("crash SEGV");
        assert!(talk.is_closed());
    }
    service.wait_line("3 workers failed, too fast: replacements wait");
    assert!(held.ask("pid").parse::<u32>().is_ok());
    drop(held);
    assert!(service.some_worker() > 0);
    assert_eq!(service.count_lines("too fast"), 1, "said once");
    service.stop();
}

#[test]
fn a_stopped_worker_is_replaced_and_killed_and_nobody_waits_for_it() {
    let service = start("--workers 2 --halt-grace 1000");
    service.wait_serving(2);
    for _ in 0..3 {
        let pid = service.some_worker();
        assert!(process::signal(pid, STOP));
        let (answered, took) = timed(|| service.some_worker());
        assert_ne!(answered, pid);
        assert!(took < Duration::from_secs(1), "{took:?}");
        service.wait_line(&format!("(pid {pid}, main place"));
        wait_gone(pid);
        service.wait_serving(2);
    }
    assert_eq!(service.count_lines("was stopped by a signal: replaced"), 3);
    service.stop();
}

#[test]
fn a_stopped_worker_that_goes_on_in_time_finishes_what_it_has() {
    let service = start("--workers 2 --halt-grace 60000");
    service.wait_serving(2);
    let (mut talk, pid) = service.busy_one();
    assert!(process::signal(pid, STOP));
    service.wait_line("was stopped by a signal: replaced");
    service.wait_until("the replacement serves", || service.pool().serving == 2);
    assert!(process::signal(pid, CONT));
    assert_eq!(talk.ask("pid"), pid.to_string());
    assert!(alive(pid));
    drop(talk);
    wait_gone(pid);
    service.stop();
}

/// Single connections, one after the other, each right after the worker that would be woken for it was
/// killed or stopped: so wake-ups go to workers that cannot heed them.
fn no_wake_up_is_lost(how: i32, rounds: usize) {
    // Nor does any place wait: it is about the wake-ups.
    let service =
        start("--workers 4 --halt-grace 60000 --stop-timeout 1000 --breaker 0,1 --backoff 1,1");
    service.wait_serving(4);
    let address = service.address();
    let mut slow = Vec::new();
    for round in 0..rounds {
        let pid = service.some_worker();
        // It will be woken for the connection, and never get as far as taking it.
        assert!(process::signal(pid, how));
        let (_, took) = timed(|| Talk::to(&address).ask("pid"));
        // 200 ms are promised; a busy machine may make more of a few. A lost wake-up takes far longer:
        // nothing else would ever look.
        assert!(took < AT_ONCE, "round {round}: {took:?}");
        if took > Duration::from_millis(200) {
            slow.push(took);
        }
        process::signal(pid, KILL);
        wait_gone(pid);
    }
    assert!(slow.len() * 10 <= rounds, "{slow:?}");
    service.stop();
}

#[test]
fn no_wake_up_dies_with_a_killed_worker() {
    no_wake_up_is_lost(KILL, 60);
}

#[test]
fn no_wake_up_sleeps_with_a_stopped_worker() {
    no_wake_up_is_lost(STOP, 60);
}

#[test]
fn a_killed_supply_of_workers_costs_no_queued_connection() {
    let service = start("--workers 1");
    let pid = service.some_worker();
    let mut held = service.talk();
    assert_eq!(held.ask("pid"), pid.to_string());
    let mut queued: Vec<Talk> = (0..5).map(|_| service.talk()).collect();
    queued.iter_mut().for_each(|talk| talk.tell("pid"));
    let before = cpu_nanos(service.pid());
    held.tell("crash SEGV");
    let answers: Vec<String> = queued.into_iter().map(|mut talk| talk.answer()).collect();
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| *answer != pid.to_string()), "{answers:?}");
    assert!(cpu_nanos(service.pid()) - before < 2_000_000_000, "and the supervisor does not spin");
    service.stop();
}
