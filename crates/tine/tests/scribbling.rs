//! Shared memory that a worker has written over: the service goes on, and so does the next program.

mod support;

use support::renewable::Renewable;
use support::{KILL, Service, start};
use testkit::{Scribbler, wait_gone};

/// Words in front of every region, and words of a pool's line in the scoreboard.
const HEADER: usize = 8;
const LINE: usize = 16;
/// Words of a worker's record, and of its last lines.
const RECORD: usize = 64;
const TAIL: usize = 256;

/// Regions of every kind, and a pool that breathes and is watched, so that the supervisor reads what it can.
const ALL: &str = "--concurrency 2 --request-timeout 60000 --region counter --tally 100000";

fn service() -> Renewable {
    let it = Renewable::start(&format!("--workers 1..3,1..2 {ALL}"), "");
    it.service.wait_serving(1);
    it
}

/// The regions of a worker that the next program takes over, and one that it makes anew.
fn regions(service: &Service) -> Vec<(String, Scribbler)> {
    let pid = service.some_worker();
    let regions = Scribbler::all(pid);
    let has = |name: &str| regions.iter().any(|(found, _)| found == name);
    assert!(["scoreboard", "accept", "counter", "hits", "limit"].iter().all(|name| has(name)));
    regions
}

/// It answers clients, and says how it is.
#[track_caller]
fn serves(service: &Service) {
    assert!(service.ask("pid").parse::<u32>().is_ok());
    assert!(service.ask("hit") == "yes" && service.ask("hits").parse::<u64>().is_ok());
    let status = service.status();
    assert!(status.ready && !status.pools.is_empty() && !status.workers.is_empty(), "{status:?}");
}

#[track_caller]
fn reloads(it: &Renewable) {
    let generation = it.service.status().generation;
    assert_eq!(it.reload().map(u64::from), Ok(generation + 1));
    serves(&it.service);
}

#[test]
fn no_word_of_a_header_keeps_the_next_program_from_taking_over() {
    let it = service();
    for word in 0..HEADER {
        for (_, region) in regions(&it.service) {
            region.write(word, 0xdead_beef_0000_0001);
        }
        reloads(&it);
    }
    for name in ["scoreboard", "region \"counter\"", "region \"hits\"", "region \"limit\""] {
        it.service.clear_cursor();
        it.service.wait_line(&format!("{name} was written over"));
    }
    it.service.stop();
}

#[test]
fn an_intact_region_is_kept_beside_one_that_was_written_over() {
    let it = service();
    assert_eq!((it.service.ask("count"), it.service.ask("hit")), ("1".into(), "yes".into()));
    Scribbler::of(it.service.some_worker(), "hits").write(1, 9);
    reloads(&it);
    assert_eq!((it.service.ask("count"), it.service.ask("hits")), ("2".into(), "1".into()));
    it.service.stop();
}

#[test]
fn no_word_of_a_pools_line_outlives_a_reload() {
    let it = service();
    for word in HEADER..HEADER + LINE {
        for value in [1, u64::MAX] {
            Scribbler::of(it.service.some_worker(), "scoreboard").write(word, value);
            serves(&it.service);
        }
        reloads(&it);
    }
    // The lame duck's word among them: the program that takes the board over writes it anew.
    let board = Scribbler::of(it.service.some_worker(), "scoreboard");
    (2..7).for_each(|word| assert_eq!(board.write(HEADER + word, 0), 0, "word {word}"));
    it.service.stop();
}

#[test]
fn no_word_of_a_record_keeps_a_worker_from_serving_or_the_supervisor_from_telling() {
    let it = service();
    let board = Scribbler::of(it.service.some_worker(), "scoreboard");
    let records = HEADER + LINE..board.words();
    assert!(records.len() >= RECORD + TAIL, "{records:?}");
    for (index, word) in records.enumerate() {
        board.write(word, [u64::MAX, 0x0a1b_5b32_4aff_0a01][index % 2]);
        if index % 4 == 0 {
            serves(&it.service);
        }
    }
    serves(&it.service);
    reloads(&it);
    it.service.stop();
}

#[test]
fn garbage_in_all_shared_memory_is_survived_by_service_and_reload() {
    let it = service();
    for seed in 1..=6 {
        for (_, region) in regions(&it.service) {
            region.garbage(seed).expect("it can be written over");
        }
        // The limiter may say no to any key now, and the counters are any number.
        assert!(it.service.ask("pid").parse::<u32>().is_ok());
        assert!(it.service.ask("hits").parse::<u64>().is_ok());
        it.service.status();
        reloads(&it);
    }
    it.service.stop();
}

#[test]
fn a_worker_by_exec_boots_from_memory_that_was_written_over() {
    let service = start("--workers 1 --spawn exec --region counter");
    let old = service.wait_serving(1)[0];
    for (name, region) in Scribbler::all(old) {
        if ["scoreboard", "accept", "counter"].contains(&&*name) {
            region.garbage(7).expect("it can be written over");
        }
    }
    testkit::process::signal(old, KILL);
    wait_gone(old);
    service.wait_until("another worker serves", || service.some_worker() != old);
    service.stop();
}

#[test]
fn the_old_program_comes_back_to_memory_that_was_written_over() {
    for wrong in
        ["--boot error --boot-attempts 1", "--main-does take=panic", "--main-does take=abort"]
    {
        // A pool that breathes would believe the garbage, and grow.
        let it = Renewable::start(&format!("--workers 1 {ALL}"), "");
        let workers = it.service.wait_serving(1);
        for seed in 1..=2 {
            for (_, region) in regions(&it.service) {
                region.garbage(seed).expect("it can be written over");
            }
            it.change(wrong);
            it.refused(&workers);
            assert!(it.service.ask("hits").parse::<u64>().is_ok());
        }
        it.change("");
        reloads(&it);
        it.service.stop();
    }
}
