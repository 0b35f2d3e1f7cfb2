//! Pools that have no worker until somebody comes.

mod support;

use std::time::Duration;

use support::{AT_ONCE, KILL, Service, Talk, start, timed};
use testkit::process;

fn wait_workers(service: &Service, workers: u32) {
    service.wait_pool(&format!("{workers} workers"), |pool| {
        (pool.serving, pool.booting, pool.draining) == (workers, 0, 0)
    });
}

#[test]
fn nobody_is_forked_before_somebody_comes_and_then_one_is_enough() {
    let service = start("--workers 0..4");
    wait_workers(&service, 0);
    assert!(service.children().is_empty());
    let (pid, took) = timed(|| service.some_worker());
    assert!(took < AT_ONCE, "one fork: {took:?}");
    assert_eq!(service.wait_children(1), [pid]);
    service.wait_pool("it has seen its client go", |pool| pool.idle == 1);
    assert_eq!(service.some_worker(), pid, "it is there now");
    service.stop();
}

#[test]
fn whoever_finds_all_busy_gets_a_worker_up_to_the_maximum() {
    let service = start("--workers 0..3");
    wait_workers(&service, 0);
    let (mut held, took) = timed(|| service.busy(3));
    assert!(took < AT_ONCE, "one fork each: {took:?}");
    wait_workers(&service, 3);
    let mut fourth = service.talk();
    fourth.tell("pid");
    service.wait_pool("the fourth waits", |pool| pool.queued == 1);
    let freed = held[0].ask("pid");
    held.remove(0);
    assert_eq!(fourth.answer(), freed);
    drop((held, fourth));
    service.stop();
}

#[test]
fn all_who_come_at_once_are_answered() {
    let service = start("--workers 0..8");
    wait_workers(&service, 0);
    let address = service.address();
    let mut talks: Vec<Talk> = (0..8).map(|_| Talk::to(&address)).collect();
    let (mut pids, took) = timed(|| talks.iter_mut().map(|it| it.ask("pid")).collect::<Vec<_>>());
    assert!(took < AT_ONCE, "{took:?}");
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 8, "each has a worker");
    drop(talks);
    service.stop();
}

#[test]
fn after_a_quiet_time_nobody_is_left_and_the_supervisor_sleeps() {
    let service = start("--workers 0..4 --shrink 100,300");
    drop(service.busy(2));
    wait_workers(&service, 0);
    service.wait_children(0);
    let before = process::voluntary_switches(service.pid());
    std::thread::sleep(Duration::from_millis(1500));
    let woken = process::voluntary_switches(service.pid()) - before;
    assert!(woken <= 1, "it woke {woken} times");
    assert!(service.some_worker() > 0, "the next one is served");
    service.stop();
}

#[test]
fn a_killed_worker_is_replaced_and_its_queue_is_not_lost() {
    let service = start("--workers 0..1");
    let (_talk, pid) = service.busy_one();
    let mut next = service.talk();
    next.tell("pid");
    service.wait_pool("the next waits", |pool| pool.queued == 1);
    assert!(process::signal(pid, KILL));
    assert_ne!(next.answer(), pid.to_string());
    drop(next);
    service.stop();
}

#[test]
fn sharded_and_serialized_pools_may_be_on_demand() {
    for mode in ["sharded", "serialized"] {
        let service = start(&format!("--workers 0..4 --accept {mode}"));
        wait_workers(&service, 0);
        let (held, took) = timed(|| service.busy(4));
        assert!(took < AT_ONCE, "{took:?}");
        drop(held);
        service.stop();
    }
}

#[test]
fn datagrams_wake_a_pool_too() {
    let service = support::start_with("--listen udp:127.0.0.1:0 --workers 0..2", |server| server);
    wait_workers(&service, 0);
    let address = service.address();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.set_read_timeout(Some(AT_ONCE)).expect("an option");
    let address = address.strip_prefix("udp:").expect("it is a datagram socket");
    client.send_to(b"hello", address).expect("it is sent");
    let mut answer = [0; 16];
    assert_eq!(client.recv(&mut answer).expect("an answer"), 5);
    service.stop();
}

#[test]
fn a_pool_without_a_worker_stops_at_once() {
    let service = start("--workers 0..2");
    wait_workers(&service, 0);
    let ((), took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
}
