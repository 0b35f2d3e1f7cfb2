//! Memory that all share: counted in by all, and believed by nobody.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use support::{KILL, Service, TTIN, Talk, start};
use testkit::process::{self, pss_kib};
use testkit::{alive, wait_gone};

/// Somebody whom the supervisor has no business with.
struct Stranger(std::process::Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep starts"))
    }

    fn is_well(&mut self) -> bool {
        self.0.try_wait().expect("it is a child").is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().expect("it is a child");
        self.0.wait().expect("it is a child");
    }
}

/// Has everything a supervisor does done, on a board full of this.
fn survives(number: &str) {
    let mut stranger = Stranger::new();
    let number = number.replace("PID", &stranger.0.id().to_string());
    let arguments = "--workers 3..6,1..2 --shrink 100,300 --stop-timeout 500 --term-grace 200";
    let service = start(&format!("{arguments} --halt-grace 300 --backoff 1,50"));
    let mut workers = service.wait_serving(3);
    let (mut talk, pid) = service.busy_one();
    let answer = talk.ask(&format!("scribble {number}"));
    assert!(answer.ends_with(" bytes") && answer != "0 bytes", "{answer}");
    let status = service.status();
    assert_eq!(status.pid, service.pid());
    let known: BTreeSet<u32> = status.workers.iter().map(|worker| worker.pid).collect();
    assert!(known.is_superset(&workers.iter().copied().collect()), "{known:?} {workers:?}");
    assert!(known.iter().all(|&pid| process::children(service.pid()).contains(&pid)));
    workers.retain(|&other| other != pid);
    // A kill, a stop, a new place, a worker that does not end, and a stop of it all.
    assert!(process::signal(workers[0], KILL));
    wait_gone(workers[0]);
    service.signal(TTIN);
    talk.ask(&format!("scribble {number}"));
    assert!(process::signal(workers[1], support::STOP));
    wait_gone(workers[1]);
    talk.ask(&format!("scribble {number}"));
    service.status();
    let family = process::descendants(service.pid());
    drop(talk);
    service.stop();
    family.into_iter().for_each(wait_gone);
    assert!(stranger.is_well());
}

#[test]
fn random_bytes_in_it_make_the_supervisor_do_nothing_wrong() {
    for _ in 0..3 {
        survives("random");
    }
}

#[test]
fn a_strangers_pid_all_over_it_does_not_get_him_signalled() {
    survives("PID");
}

#[test]
fn extreme_numbers_in_it_make_the_supervisor_do_nothing_wrong() {
    survives("18446744073709551615");
    survives("9223372036854775808");
    survives("0");
    survives("1");
}

#[test]
fn a_board_that_was_scribbled_on_is_used_again_by_new_workers() {
    let service = start("--workers 2");
    let workers = service.wait_serving(2);
    assert!(service.ask("scribble random").ends_with(" bytes"));
    for pid in workers {
        assert!(process::signal(pid, KILL));
        wait_gone(pid);
    }
    let fresh = service.wait_serving(2);
    let status = service.status();
    assert!(status.workers.iter().all(|worker| worker.connections == 0 && worker.letter == "_"));
    assert!(fresh.contains(&service.some_worker()));
    service.stop();
}

#[test]
fn workers_count_together_in_a_region() {
    let service = start("--workers 4 --region counter --max-connections 10");
    service.wait_serving(4);
    let held: Vec<Talk> = (0..4)
        .map(|_| {
            let mut talk = service.talk();
            (0..25).for_each(|_| drop(talk.ask("count")));
            talk
        })
        .collect();
    assert_eq!(held.len(), 4);
    drop(held);
    assert_eq!(service.ask("count"), "101", "over four workers and their successors");
    service.stop();
}

#[test]
fn workers_share_their_pages_with_the_supervisor() {
    let service = start("--workers 8 --ballast 64");
    let workers = service.wait_serving(8);
    // All have read all of it; without sharing each would have 64 MiB of its own.
    let mut all: Vec<u64> = workers.iter().map(|&pid| pss_kib(pid)).collect();
    all.push(pss_kib(service.pid()));
    let total: u64 = all.iter().sum();
    assert!(total < 2 * 64 * 1024, "{total} KiB, of {all:?}");
    assert!(all.iter().all(|&pss| pss < 20 * 1024), "{all:?}");
    service.stop();
}

#[test]
fn a_worker_that_dies_in_the_middle_of_its_counting_stalls_nobody() {
    let service = start("--workers 1..4,1..2 --backoff 1,10 --breaker 0,1");
    for _ in 0..20 {
        let mut talk = service.talk();
        talk.tell("crash KILL");
        assert!(talk.is_closed());
    }
    assert!(alive(service.some_worker()));
    is_exact(&service);
    service.stop();
}

fn is_exact(service: &Service) {
    service.wait_pool("nobody is busy", |pool| pool.busy == 0 && pool.idle == pool.serving);
    service.wait_pool("all are counted", |pool| pool.connections == 21);
}

#[test]
fn a_workers_letter_and_counters_say_what_it_does() {
    let service = start("--workers 2");
    service.wait_serving(2);
    let (talk, pid) = service.busy_one();
    let of = |pid| {
        let workers = service.status().workers;
        workers.into_iter().find(|worker| worker.pid == pid).expect("it is one of them")
    };
    service.wait_until("one reads", || of(pid).letter == "R");
    assert_eq!((of(pid).open, of(pid).connections, of(pid).stage.as_str()), (1, 1, "serving"));
    drop(talk);
    service.wait_until("it is idle", || of(pid).letter == "_" && of(pid).open == 0);
    assert_eq!(of(pid).connections, 1);
    service.stop();
}

#[test]
fn extreme_numbers_in_the_scoreboard_end_no_sibling() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let mut held = service.talk();
    assert!(held.ask("scribble 18446744073709551615").ends_with(" bytes"));
    for _ in 0..10 {
        assert!(workers.contains(&service.some_worker()));
    }
    assert_eq!(service.pool().crashes, 0);
}
