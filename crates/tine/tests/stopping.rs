//! Stopping: asked nicely, in a hurry, from code; what is in flight finishes, and nobody hangs.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use support::{AT_ONCE, HUP, INT, KILL, QUIT, STOP, Service, TERM, Talk, start, timed};
use testkit::{Client, alive, process, wait_gone};

/// Whoever it has started, for later.
fn family(service: &Service) -> Vec<u32> {
    process::descendants(service.pid())
}

fn stops_by(signal: i32) {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let (_, took) = timed(|| {
        service.signal(signal);
        service.wait_success();
    });
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!workers.into_iter().any(alive), "nobody is left");
    service.wait_line("stopping: 3 workers finish what they have, within 30 s");
    assert_eq!(service.count_lines(" stopped"), 1);
    // No worker came back.
    let back = format!("main goes on in process {}", service.pid());
    assert_eq!(service.count_lines("main goes on in process"), 1);
    assert_eq!(service.count_lines(&back), 1);
}

#[test]
fn term_stops_it() {
    stops_by(TERM);
}

#[test]
fn int_stops_it() {
    stops_by(INT);
}

#[test]
fn quit_stops_it() {
    stops_by(QUIT);
}

#[test]
fn a_request_in_flight_is_finished_and_new_connections_are_refused_at_once() {
    let service = start("--workers 2");
    service.wait_serving(2);
    let address = service.address();
    let mut talk = service.talk();
    talk.tell("sleep 1000");
    service.wait_pool("it is taken", |pool| pool.busy == 1);
    service.signal(QUIT);
    service.wait_line("stopping:");
    let (_, took) = timed(|| {
        service.wait_until("connections are refused", || {
            Client::try_connect(&address)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
    });
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert!(service.try_exit().is_none(), "while a request is in flight");
    assert_eq!(talk.answer(), "slept");
    drop(talk);
    service.wait_success();
}

#[test]
fn connections_that_wait_in_the_queue_are_served_before_the_end() {
    let service = start("--workers 1");
    let mut first = service.talk();
    assert!(first.ask("pid").parse::<u32>().is_ok());
    let mut queued: Vec<Talk> = (0..3).map(|_| service.talk()).collect();
    queued.iter_mut().for_each(|talk| talk.tell("pid"));
    service.wait_pool("they wait", |pool| pool.queued == 3);
    service.signal(TERM);
    service.wait_line("stopping:");
    drop(first);
    for mut talk in queued {
        assert!(talk.answer().parse::<u32>().is_ok());
    }
    service.wait_success();
}

#[test]
fn a_worker_that_does_not_end_gets_term_and_then_kill() {
    let service = start("--workers 2 --stop-timeout 300 --term-grace 300");
    service.wait_serving(2);
    let mut talk = service.talk();
    let pid: u32 = talk.ask("pid").parse().expect("a pid");
    assert_eq!(talk.ask("hang"), "hanging");
    let (_, took) = timed(|| {
        service.signal(QUIT);
        service.wait_success();
    });
    assert!(took >= Duration::from_millis(550), "it had its time: {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!alive(pid));
    service.wait_line("did not end in time: SIGTERM");
    service.wait_line("did not end in time: SIGKILL");
    service.wait_line("was killed by SIGKILL (9) while it was leaving (the service stops)");
}

#[test]
fn a_worker_that_does_not_end_is_bounded_by_the_default_grace_too() {
    let service = start("--workers 1 --stop-timeout 200");
    let mut talk = service.talk();
    assert_eq!(talk.ask("hang"), "hanging");
    let (_, took) = timed(|| service.stop());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_worker_that_was_stopped_by_a_signal_is_ended_too() {
    let service = start("--workers 2 --stop-timeout 60000 --halt-grace 300");
    let workers = service.wait_serving(2);
    assert!(process::signal(workers[0], STOP));
    service.wait_line("was stopped by a signal");
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!workers.into_iter().any(alive));
}

#[test]
fn a_worker_that_is_stopped_while_the_service_stops_is_ended_too() {
    let service = start("--workers 1 --stop-timeout 60000 --halt-grace 300");
    let (mut talk, pid) = service.busy_one();
    service.signal(TERM);
    service.wait_line("stopping:");
    assert!(process::signal(pid, STOP));
    let (_, took) = timed(|| service.wait_success());
    assert!(took < AT_ONCE, "{took:?}");
    assert!(talk.is_closed());
}

#[test]
fn a_second_term_is_in_a_hurry() {
    let service = start("--workers 2 --stop-timeout 60000 --term-grace 200");
    service.wait_serving(2);
    let mut talk = service.talk();
    assert_eq!(talk.ask("hang"), "hanging");
    service.signal(TERM);
    service.wait_line("stopping:");
    let (_, took) = timed(|| {
        service.signal(TERM);
        service.wait_success();
    });
    assert!(took < AT_ONCE, "{took:?}");
    assert!(talk.is_closed());
}

#[test]
fn a_stop_while_workers_boot_leaves_nobody() {
    let service = start("--workers 4 --boot slow=60000 --stop-timeout 200 --term-grace 200");
    let workers = service.wait_children(4);
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!workers.into_iter().any(alive));
}

#[test]
fn a_worker_leaves_alone_when_somebody_signals_it_by_hand() {
    for signal in [TERM, INT, QUIT, HUP] {
        let service = start("--workers 2");
        service.wait_serving(2);
        let (mut talk, pid) = service.busy_one();
        assert!(process::signal(pid, signal));
        assert_eq!(talk.ask("sleep 50"), "slept", "what it has it finishes");
        drop(talk);
        wait_gone(pid);
        assert!(!service.wait_serving(2).contains(&pid));
        service.stop();
    }
}

#[test]
fn a_hundred_stops_at_any_moment_never_hang() {
    for round in 0..100 {
        let service = start("--workers 6 --max-connections 2");
        // At different moments of its life: before the first worker, between forks, and while workers
        // come and go.
        match round % 4 {
            0 => service.wait_until("the first worker", || !service.children().is_empty()),
            1 => drop(service.wait_children(6)),
            2 => drop(service.wait_serving(6)),
            _ => (0..5).for_each(|_| assert!(service.some_worker() > 0)),
        }
        let workers = family(&service);
        let (_, took) = timed(|| {
            service.signal([TERM, INT, QUIT][round % 3]);
            service.wait_success();
        });
        assert!(took < AT_ONCE, "round {round}: {took:?}");
        workers.into_iter().for_each(wait_gone);
    }
}

#[test]
fn signals_that_come_together_stop_it_once() {
    let service = start("--workers 4");
    service.wait_serving(4);
    for signal in [TERM, INT, QUIT, TERM] {
        service.signal(signal);
    }
    service.wait_success();
    assert_eq!(service.count_lines("stopping:"), 1);
}

#[test]
fn a_worker_killed_while_the_service_stops_is_not_replaced() {
    let service = start("--workers 2 --stop-timeout 60000");
    let (_talk, pid) = service.busy_one();
    service.signal(TERM);
    service.wait_line("stopping:");
    assert!(process::signal(pid, KILL));
    service.wait_success();
    assert_eq!(service.count_lines("listening on"), 1);
}

#[test]
fn after_the_end_the_address_is_free() {
    let service = start("--workers 2");
    let address = service.address();
    service.some_worker();
    service.stop();
    std::net::TcpListener::bind(&address).expect("nobody has it");
}
