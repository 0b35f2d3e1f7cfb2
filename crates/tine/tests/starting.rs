//! The start: what is said, what is refused, and workers that do not get ready.

mod support;

use std::fs;
use std::time::Duration;

use support::{AT_ONCE, KILL, TTOU, start, start_in, start_with, timed};
use testkit::process;
use testkit::{TempDir, wait_gone};

#[test]
fn a_start_is_told_by_the_supervisor_once() {
    let service = start("--workers 4 --log function");
    service.wait_serving(4);
    let me = service.pid();
    assert_eq!(service.count_lines("listening on"), 1);
    assert_eq!(service.count_lines("4 workers, one connection each"), 1);
    assert_eq!(service.count_lines(&format!("<info> {me} ")), 3, "{:?}", service.lines());
    service.stop();
    assert_eq!(service.count_lines(&format!("<info> {me} stopping")), 1);
    assert_eq!(service.count_lines(&format!("<info> {me} stopped")), 1);
    assert_eq!(service.count_lines("tine["), 0, "nothing goes past the program's own log");
}

#[test]
fn a_workers_line_says_whose_it_is() {
    let service = start("--workers 2 --log function");
    let (mut talk, pid) = service.busy_one();
    talk.tell("fail");
    let line = service.wait_line("told to fail");
    assert!(line.starts_with(&format!("<error> {pid} worker ")), "{line}");
    service.stop();
}

#[test]
fn a_debug_log_tells_of_every_worker() {
    let service = start("--workers 2 --log debug");
    for _ in 0..2 {
        service.wait_line(" serves");
    }
    service.stop();
    let quiet = start("--workers 2 --log error");
    quiet.wait_children(2);
    quiet.signal(support::TERM);
    quiet.wait_success();
    assert_eq!(quiet.lines().len(), 1, "but for main's own: {:?}", quiet.lines());
}

#[test]
fn workers_that_never_boot_end_the_start_with_their_reason() {
    for (boot, reason) in [
        ("error", "no worker could boot: told to fail"),
        ("exit=5", "no worker could boot: exited with status 5"),
        ("panic", "no worker could boot: panicked"),
    ] {
        let service = start(&format!("--workers 2 --backoff 1,10 --boot {boot}"));
        assert_eq!(service.wait_exit().code(), Some(1), "{boot}");
        let line = service.wait_line("pool main: no worker could boot");
        assert!(line.contains("error") && line.contains(reason), "{line}");
        assert!(!service.directory().join("control").exists());
    }
}

#[test]
fn it_is_tried_as_often_as_was_asked_for() {
    let service = start("--workers 1 --backoff 1,1 --boot-attempts 7 --boot error");
    assert_eq!(service.wait_exit().code(), Some(1));
    assert_eq!(service.count_lines(") could not boot"), 7, "{:?}", service.lines());
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    let arguments = "--workers 1 --boot-timeout 200 --boot-attempts 2 --backoff 1,1 --boot hang";
    let (service, took) = timed(|| {
        let service = start(arguments);
        assert_eq!(service.wait_exit().code(), Some(1));
        service
    });
    assert_eq!(service.count_lines("was not ready in time: killed"), 2);
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_slow_start_is_no_failure_and_clients_wait_for_it() {
    let service = start("--workers 2 --boot slow=500");
    service.wait_pool("they boot", |pool| (pool.booting, pool.serving) == (2, 0));
    let (pid, took) = timed(|| service.some_worker());
    assert!(pid > 0 && took >= Duration::from_millis(200), "{took:?}");
    service.stop();
}

#[test]
fn once_one_was_ready_failures_to_boot_end_nothing() {
    let directory = TempDir::new().expect("a directory");
    let gate = directory.path().join("gate");
    fs::write(&gate, "").expect("it can be written");
    let arguments = format!(
        "--listen 127.0.0.1:0 --workers 2 --backoff 10,50 --boot unless={}",
        gate.display()
    );
    let service = start_in(directory, &arguments, |server| server);
    let workers = service.wait_serving(2);
    fs::remove_file(&gate).expect("it is there");
    assert!(process::signal(workers[0], KILL));
    wait_gone(workers[0]);
    for _ in 0..6 {
        service.wait_line(") could not boot");
        assert_eq!(service.some_worker(), workers[1]);
    }
    fs::write(&gate, "").expect("it can be written");
    service.wait_serving(2);
    service.stop();
}

#[test]
fn nonsense_is_refused_before_anything_is_bound() {
    for (arguments, named) in [
        ("--workers 0", "0 workers"),
        ("--workers 4..2", "4..2"),
        ("--workers 1..4,5..6", "spare"),
        ("--concurrency 0", "concurrency 0"),
        ("--max-connections 9..3", "max_connections"),
    ] {
        let service = start(arguments);
        assert_eq!(service.wait_exit().code(), Some(2), "{arguments}");
        let line = service.wait_line("error");
        assert!(line.contains("pool main") && line.contains(named), "{line}");
        assert_eq!(service.count_lines("listening"), 0);
    }
    let service = start_with("--listen nonsense", |server| server);
    assert_eq!(service.wait_exit().code(), Some(2));
    service.wait_line("nonsense");
}

#[test]
fn a_process_with_threads_is_refused() {
    let service = start("--workers 1 --thread telemetry");
    assert_eq!(service.wait_exit().code(), Some(2));
    let line = service.wait_line("threads");
    assert!(line.contains("error") && line.contains("before any thread is started"), "{line}");
    assert_eq!(service.count_lines("listening"), 0);
}

#[test]
fn a_correction_is_told_with_value_bound_and_what_is_used() {
    let service = start("--workers 1..4,1..50 --boot-attempts 0");
    let line = service.wait_line("50 spare workers of 4: there are never so many; 4 is used");
    assert!(line.contains("warn") && line.contains("pool main"), "{line}");
    service.wait_line("boot_attempts 0: a worker is tried at least once; 1 is used");
    service.stop();
}

#[test]
fn a_bound_that_was_fixed_at_the_start_is_named_when_it_is_met() {
    let service = start("--workers 1");
    service.wait_serving(1);
    service.signal(TTOU);
    let line = service.wait_line("1 is its bound from the start: it stays so");
    assert!(line.contains("warn") && line.contains("pool main"), "{line}");
    service.stop();
}
