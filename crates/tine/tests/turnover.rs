//! How many workers there are more, or fewer, while workers that serve are replaced.

mod support;

use std::time::{Duration, Instant};

use support::renewable::Renewable;
use support::start;
use tine::control::{Client, Status};

/// Reloads, and looks at every state that is seen meanwhile.
fn watch(it: &Renewable, mut look: impl FnMut(&Status)) {
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| it.reload());
        while !reload.is_finished() {
            if let Ok(status) = Client::connect(&it.control).and_then(|client| client.status()) {
                look(&status);
            }
        }
        reload.join().expect("it returns").expect("it goes well");
    });
}

fn alive(status: &Status) -> usize {
    status.workers.len()
}

#[test]
fn the_new_one_is_ready_first_and_no_more_are_on_their_way_than_may_be() {
    let it = Renewable::start("--max-surge 2", "--workers 4 --boot slow=60");
    it.service.wait_serving(4);
    let (mut fewest, mut most) = (9, 0);
    watch(&it, |status| {
        let pool = &status.pools[0];
        fewest = fewest.min(pool.serving);
        most = most.max(pool.booting);
    });
    assert_eq!((fewest, most), (4, 2));
    it.service.stop();
}

#[test]
fn without_surge_there_are_never_more_processes_than_the_pool_is_large() {
    let it = Renewable::start("--max-surge 0 --max-unavailable 2", "--workers 4 --boot slow=60");
    it.service.wait_serving(4);
    let (mut fewest, mut most) = (9, 0);
    watch(&it, |status| {
        fewest = fewest.min(status.pools[0].serving);
        most = most.max(alive(status));
    });
    assert_eq!(most, 4);
    assert!(fewest >= 2, "{fewest}");
    assert!(fewest < 4, "somebody leaves first");
    it.service.stop();
}

#[test]
fn a_connection_that_waits_while_the_only_worker_is_replaced_is_answered() {
    let it = Renewable::start("--max-surge 0 --max-unavailable 1", "--workers 1");
    it.service.wait_serving(1);
    it.change("--workers 1 --boot slow=300");
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| it.reload());
        let mut generation = String::new();
        while generation != "2" {
            generation = it.service.ask("generation");
        }
        assert_eq!(reload.join().expect("it returns"), Ok(2));
    });
    it.service.stop();
}

#[test]
fn at_an_interval_workers_are_replaced_one_by_one() {
    let it = Renewable::start("--replace-interval 300 --max-surge 3", "--workers 3");
    it.service.wait_serving(3);
    let began = Instant::now();
    let mut mixed = 0;
    watch(&it, |status| {
        let old = |generation| {
            let serving = status.workers.iter().filter(|worker| worker.stage == "serving");
            serving.filter(|worker| worker.generation == generation).count()
        };
        mixed = mixed.max(old(1).min(old(2)));
    });
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(mixed, 1, "one, and then two");
    it.service.stop();
}

#[test]
fn two_zeros_are_refused_since_nobody_could_be_replaced() {
    let service = start("--max-surge 0 --workers 1");
    service.wait_line("max_unavailable 0");
    assert_eq!(service.wait_exit().code(), Some(2));
}
