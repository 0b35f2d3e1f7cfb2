//! How many workers there are: as many as asked for, more under load, fewer afterwards.

mod support;

use std::thread;
use std::time::Duration;

use support::{AT_ONCE, KILL, Service, TTIN, TTOU, Talk, start, start_with, timed};
use testkit::process::{self, cpu_nanos, status};
use testkit::{Server, wait_gone};

fn processors() -> u32 {
    let processors = thread::available_parallelism().expect("it is known").get();
    u32::try_from(processors).expect("not so many")
}

#[test]
fn a_fixed_pool_has_exactly_so_many_processes() {
    for workers in [1, 3, 7] {
        let service = start(&format!("--workers {workers}"));
        assert_eq!(service.wait_serving(workers).len(), workers as usize);
        let held = service.busy(workers as usize);
        assert_eq!(service.children().len(), workers as usize, "under load, too");
        drop(held);
        service.stop();
    }
}

#[test]
fn all_workers_of_the_start_live_right_after_it() {
    let service = start("--workers 12");
    let (children, took) = timed(|| service.wait_children(12));
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(children.len(), 12);
    let service = start("--workers 5..20,2..6");
    assert_eq!(service.wait_children(5).len(), 5);
    service.wait_line("5 to 20 workers, one connection each");
}

#[test]
fn one_worker_a_processor_is_the_default() {
    let service = start("");
    service.wait_serving(processors());
    service.wait_line(&format!("{} workers", processors()));
    service.stop();
}

#[test]
fn the_default_heeds_the_processors_it_may_use() {
    if !testkit::require_peer("taskset") {
        return;
    }
    let listen = "--listen 127.0.0.1:0";
    let service = start_with(listen, |server: Server| server.wrap(["taskset", "-c", "0"]));
    service.wait_serving(1);
    service.wait_line("pool main: 1 workers");
    service.stop();
}

#[test]
fn a_worker_is_one_thread() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let held = service.busy(3);
    assert!(workers.iter().all(|&pid| status(pid).threads == 1));
    assert_eq!(status(service.pid()).threads, 1, "the supervisor as well");
    drop(held);
    service.stop();
}

#[test]
fn spares_that_are_used_up_are_restored_at_once_and_the_maximum_holds() {
    let service = start("--workers 2..8,2..4");
    service.wait_serving(2);
    let mut held = Vec::new();
    for busy in 1..=8_u32 {
        held.extend(service.busy(1));
        let wanted = (busy + 2).min(8);
        let (_, took) = timed(|| {
            service.wait_pool(&format!("{busy} busy, {} idle", wanted - busy), |pool| {
                (pool.serving, pool.busy) == (wanted, busy)
            });
        });
        assert!(took < AT_ONCE, "{took:?}");
    }
    let mut waiting = service.talk();
    waiting.tell("pid");
    service.wait_pool("one waits", |pool| pool.queued == 1);
    assert_eq!(service.children().len(), 8, "never above the maximum");
    held.pop();
    assert!(waiting.answer().parse::<u32>().is_ok());
    drop((held, waiting));
    service.stop();
}

#[test]
fn a_burst_is_met_in_one_jump_not_by_doubling() {
    let service = start("--workers 1..40,1..40");
    let mut talks: Vec<Talk> = (0..30).map(|_| service.talk()).collect();
    let (_, took) = timed(|| {
        talks.iter_mut().for_each(|talk| talk.tell("pid"));
        talks.iter_mut().for_each(|talk| drop(talk.answer()));
    });
    // 1, 2, 4 … a second would take five seconds.
    assert!(took < AT_ONCE, "{took:?}");
    drop(talks);
    // The next burst is met as fast.
    let mut talks: Vec<Talk> = (0..38).map(|_| service.talk()).collect();
    let (_, took) = timed(|| talks.iter_mut().for_each(|talk| drop(talk.ask("pid"))));
    assert!(took < AT_ONCE, "{took:?}");
    drop(talks);
    service.stop();
}

#[test]
fn saturation_is_logged_once_an_episode() {
    let service = start("--workers 1..3,1..2 --shrink 100,100000");
    service.wait_serving(1);
    for episode in 1..=2 {
        let held = service.busy(3);
        service.wait_line("pool main: all 3 workers are busy");
        let mut more: Vec<Talk> = (0..3).map(|_| service.talk()).collect();
        more.iter_mut().for_each(|talk| talk.tell("pid"));
        service.wait_pool("three wait", |pool| pool.queued == 3);
        drop(held);
        more.iter_mut().for_each(|talk| drop(talk.answer()));
        drop(more);
        service.wait_pool("all are idle", |pool| pool.busy == 0);
        assert_eq!(service.count_lines("workers are busy"), episode, "once an episode");
        // The supervisor, which sleeps as long as it may, has to see the end of the episode.
        service.wait_pool("it has shrunk", |pool| pool.serving <= 2);
    }
    assert!(service.count_lines("consider a higher maximum") == 2);
    service.stop();
}

#[test]
fn an_idle_pool_shrinks_to_its_spares_and_after_quiet_to_its_floor() {
    let service = start("--workers 2..10,1..4 --shrink 200,1500");
    service.wait_serving(2);
    let held = service.busy(9);
    service.wait_pool("it has grown", |pool| pool.serving == 10);
    drop(held);
    service.wait_pool("the surplus is gone", |pool| pool.serving == 4);
    service.wait_pool("after quiet the floor", |pool| pool.serving == 2);
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

#[test]
fn shrinking_ends_no_connection() {
    let service = start("--workers 2..8,1..2 --shrink 100,200");
    service.wait_serving(2);
    let mut held = service.busy(7);
    service.wait_pool("it has grown", |pool| pool.serving == 8);
    let mut kept: Vec<Talk> = held.drain(..3).collect();
    drop(held);
    service.wait_pool("it has shrunk", |pool| pool.serving <= 5 && pool.draining == 0);
    for talk in &mut kept {
        assert!(talk.ask("pid").parse::<u32>().is_ok());
    }
    drop(kept);
    service.wait_pool("down to the floor", |pool| pool.serving == 2);
    service.stop();
}

#[test]
fn no_shrinking_soon_after_growing() {
    let service = start("--workers 1..6,1..1 --shrink 60000,60000");
    service.wait_serving(1);
    let held = service.busy(5);
    service.wait_pool("it has grown", |pool| pool.serving == 6);
    drop(held);
    service.wait_pool("all are idle", |pool| pool.idle == 6);
    // Two of the supervisor's looks, which come once a second.
    assert_eq!(service.ask("sleep 2200"), "slept");
    assert_eq!(service.pool().serving, 6);
    service.stop();
}

#[test]
fn ttin_and_ttou_move_a_fixed_pool_by_one_and_never_below_one() {
    let service = start("--workers 2");
    service.wait_serving(2);
    let moved = |signal, workers| {
        let (_, took) = timed(|| {
            service.signal(signal);
            service.wait_serving(workers);
        });
        assert!(took < AT_ONCE, "{took:?}");
    };
    moved(TTIN, 3);
    moved(TTIN, 4);
    moved(TTOU, 3);
    moved(TTOU, 2);
    moved(TTOU, 1);
    for _ in 0..3 {
        service.signal(TTOU);
    }
    let pid = service.some_worker();
    assert_eq!(service.wait_serving(1), [pid], "one is the least");
    assert_eq!(service.pool().max, 1);
    moved(TTIN, 2);
    service.stop();
}

#[test]
fn ttin_and_ttou_move_the_bounds_of_a_pool_that_breathes() {
    let service = start("--workers 2..4,1..2");
    service.wait_serving(2);
    service.signal(TTIN);
    service.wait_serving(3);
    assert_eq!((service.pool().min, service.pool().max), (3, 5));
    service.signal(TTOU);
    service.wait_pool("the bounds are back", |pool| (pool.min, pool.max) == (2, 4));
    service.stop();
}

fn counted(service: &Service, connections: u64) {
    let (_, took) = timed(|| {
        service.wait_pool("all are counted", |pool| {
            pool.connections == connections && pool.busy == 0 && pool.queued == 0
        });
    });
    // 100 ms are promised; the status is asked for once in ten.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn the_counters_are_exact_after_a_burst() {
    let service = start("--workers 1..6,1..3 --max-connections 40");
    let address = service.address();
    for burst in 1..=3 {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let address = address.clone();
                thread::spawn(move || {
                    (0..50).for_each(|_| drop(Talk::to(&address).ask("pid")));
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("all are answered"));
        counted(&service, burst * 300);
    }
    let pool = service.pool();
    assert_eq!(pool.serving, pool.idle + pool.busy, "{pool:?}");
    let held = service.busy(2);
    service.wait_pool("two more are taken", |pool| pool.connections == 902);
    drop(held);
    counted(&service, 902);
    service.stop();
}

#[test]
fn an_idle_service_sleeps() {
    let service = start("--workers 2..4,1..2");
    let workers = service.wait_serving(2);
    let all = || -> u64 {
        let family = workers.iter().copied().chain([service.pid()]);
        family.map(process::voluntary_switches).sum()
    };
    // Whoever the status has woken is done with it.
    let other = start("--workers 1");
    assert_eq!(other.ask("sleep 300"), "slept");
    let (before, spent) = (all(), cpu_nanos(service.pid()));
    assert_eq!(other.ask("sleep 2500"), "slept");
    assert_eq!(all(), before, "nobody has woken in 2.5 s");
    assert_eq!(cpu_nanos(service.pid()), spent);
    service.stop();
}

#[test]
fn a_dead_worker_of_a_pool_that_breathes_is_replaced() {
    let service = start("--workers 3..6,2..3");
    let workers = service.wait_serving(3);
    assert!(process::signal(workers[1], KILL));
    wait_gone(workers[1]);
    assert!(!service.wait_serving(3).contains(&workers[1]));
    service.stop();
}
