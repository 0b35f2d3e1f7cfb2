//! Workers that have served enough: exactly so much, and nobody loses anything by it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use support::{Service, Talk, start};
use testkit::process::open_fds;

/// The worker of each of so many connections, made one after the other.
fn visits(service: &Service, connections: usize) -> Vec<u32> {
    (0..connections).map(|_| service.some_worker()).collect()
}

/// How many connections each had, of those that took the last of them before the last few.
fn lives(visits: &[u32]) -> Vec<usize> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    visits.iter().for_each(|&pid| *counts.entry(pid).or_default() += 1);
    let mut seen = BTreeSet::new();
    let in_order = visits.iter().filter(|&&pid| seen.insert(pid));
    in_order.map(|pid| counts[pid]).collect()
}

#[test]
fn a_worker_takes_exactly_its_connections_one_after_the_other() {
    let service = start("--workers 2 --max-connections 5");
    service.wait_serving(2);
    let lives = lives(&visits(&service, 100));
    assert_eq!(lives.iter().sum::<usize>(), 100, "every connection was answered");
    assert!(lives.iter().all(|&life| life <= 5), "{lives:?}");
    // Those who were not yet through at the end are at most as many as serve.
    assert!(lives.iter().filter(|&&life| life < 5).count() <= 2, "{lives:?}");
    service.wait_pool("clean ends", |pool| pool.exits >= 18);
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

#[test]
fn a_worker_takes_exactly_its_connections_under_load_and_none_is_lost() {
    let service = start("--workers 4 --max-connections 7");
    service.wait_serving(4);
    let address = service.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || {
                let pids = (0..100).map(|_| Talk::to(&address).ask("pid").parse().expect("a pid"));
                pids.collect::<Vec<u32>>()
            })
        })
        .collect();
    let visits: Vec<u32> =
        clients.into_iter().flat_map(|client| client.join().expect("all are answered")).collect();
    let lives = lives(&visits);
    assert_eq!(visits.len(), 800);
    assert!(lives.iter().all(|&life| life <= 7), "{lives:?}");
    assert!(lives.iter().filter(|&&life| life < 7).count() <= 4, "{lives:?}");
    service.stop();
}

#[test]
fn a_connection_is_served_to_its_end_at_the_limit_while_a_successor_serves() {
    let service = start("--workers 1 --max-connections 2");
    let first = service.some_worker();
    let mut last = service.talk();
    assert_eq!(last.ask("pid"), first.to_string());
    assert_ne!(service.some_worker(), first, "the successor was ready");
    for _ in 0..10 {
        assert_eq!(last.ask("pid"), first.to_string(), "many requests are one connection");
    }
    drop(last);
    testkit::wait_gone(first);
    service.stop();
}

#[test]
fn a_recycled_worker_that_does_not_end_gets_term_and_then_kill() {
    let service = start("--workers 2 --max-connections 1 --drain-timeout 300 --term-grace 200");
    service.wait_serving(2);
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("hang"), "hanging");
    service.wait_line("did not end in time: SIGTERM");
    service.wait_line("did not end in time: SIGKILL");
    testkit::wait_gone(pid);
    assert!(talk.is_closed());
    assert!(!service.wait_serving(2).contains(&pid));
    service.stop();
}

#[test]
fn a_limit_of_one_gives_every_connection_a_process_of_its_own() {
    let service = start("--workers 2 --max-connections 1");
    let pids = visits(&service, 40);
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 40, "{pids:?}");
    service.stop();
}

#[test]
fn limits_are_drawn_between_the_two_for_every_generation_anew() {
    let service = start("--workers 1 --max-connections 2..8");
    service.wait_serving(1);
    let mut lives = lives(&visits(&service, 900));
    lives.pop();
    assert!(lives.iter().all(|life| (2..=8).contains(life)), "{lives:?}");
    let drawn: BTreeSet<usize> = lives.iter().copied().collect();
    assert_eq!(drawn.len(), 7, "every one of them: {drawn:?}");
    // No ratchet: late generations live as long as early ones. The mean of 80 draws of 2 to 8 is off by
    // more than 1 once in a million times.
    for half in lives.chunks_exact(lives.len() / 2) {
        let mean = half.iter().sum::<usize>() as f64 / half.len() as f64;
        assert!((4.0..=6.0).contains(&mean), "{mean} {lives:?}");
    }
    service.stop();
}

#[test]
fn no_limit_is_no_limit() {
    let service = start("--workers 1");
    let pids = visits(&service, 300);
    assert!(pids.iter().all(|pid| *pid == pids[0]));
    service.stop();
}

#[test]
fn a_worker_is_replaced_at_its_age_and_its_successor_is_ready_first() {
    let service = start("--workers 1 --max-age 300,400");
    let first = service.some_worker();
    let mut held = service.talk();
    assert_eq!(held.ask("pid"), first.to_string());
    // The old one is busy; the new one has its place.
    service.wait_pool("one serves, one drains", |pool| (pool.serving, pool.draining) == (1, 1));
    assert_ne!(service.some_worker(), first);
    assert_eq!(held.ask("pid"), first.to_string());
    drop(held);
    testkit::wait_gone(first);
    service.stop();
}

#[test]
fn a_place_is_handed_on_and_numbers_are_not() {
    let service = start("--workers 3 --max-connections 2");
    service.wait_serving(3);
    let mut workers = BTreeSet::new();
    for _ in 0..30 {
        let mut talk = service.talk();
        let place: usize = talk.ask("place").parse().expect("a place");
        assert!(place < 3, "{place}");
        workers.insert(talk.ask("worker").parse::<u64>().expect("a number"));
    }
    assert!(workers.len() >= 13, "{workers:?}");
    assert_eq!(service.ask("generation"), "1");
    service.stop();
}

#[test]
fn two_hundred_replacements_leak_no_descriptor() {
    let service = start("--workers 2 --max-connections 1");
    let first = service.wait_serving(2);
    // A listener, the control socket, and two channels: nobody asks for the status any more.
    let settle = || {
        service.wait_until("four sockets", || {
            kinds(service.pid()).iter().filter(|kind| *kind == "socket").count() == 4
        });
        kinds(service.pid())
    };
    let (supervisor, worker) = (settle(), kinds(first[1]));
    visits(&service, 200);
    let last = service.wait_serving(2);
    assert_eq!(settle(), supervisor);
    assert_eq!(kinds(last[1]), worker);
    let pidfds = open_fds(last[0]).iter().filter(|(_, target)| target.contains("pidfd")).count();
    assert_eq!(pidfds, 1, "the supervisor's, and no sibling's");
    service.stop();
}

/// What a process has open, without the numbers.
fn kinds(pid: u32) -> Vec<String> {
    let name = |target: &str| target.split_once(":[").map_or(target, |(kind, _)| kind).to_owned();
    let mut kinds: Vec<String> =
        open_fds(pid).into_iter().map(|(_, target)| name(&target)).collect();
    kinds.sort();
    kinds
}
