//! Workers that serve many connections at once and have as many as they may, while somebody waits.

mod support;

use std::time::{Duration, Instant};

use support::start;
use testkit::load::{Load, LoadHandle};
use testkit::{Client, client};

/// How long a client may wait for a full worker to make room: far less than `idle_timeout`.
const SOON: Duration = Duration::from_secs(5);

fn fill(address: &str, count: usize) -> Vec<Client> {
    let answered = |_| {
        let mut client = Client::connect(address);
        assert!(!client.get("/").closes());
        client
    };
    (0..count).map(answered).collect()
}

#[test]
fn a_full_worker_ends_idle_connections_when_somebody_waits() {
    let (_server, address) = start(&["1", "4"]);
    let mut idle = fill(&address, 4);
    let asked = Instant::now();
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    // The one that has been silent for longest had to go; it was told nothing, and not reset.
    assert_eq!(idle[0].read_to_end(), b"");
    assert!(!idle[0].was_reset());
}

#[test]
fn a_full_worker_makes_room_for_as_many_as_wait() {
    let (_server, address) = start(&["1", "8"]);
    let _idle = fill(&address, 8);
    let asked = Instant::now();
    let mut waiting: Vec<_> = (0..8).map(|_| Client::connect(&address)).collect();
    waiting.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    for client in &mut waiting {
        assert_eq!(client.read_response().text(), "hello");
    }
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[test]
fn a_full_worker_refuses_headers_that_do_not_come_to_their_end_when_somebody_waits() {
    let (_server, address) = start(&["1", "8"]);
    let mut slow: Vec<_> = (0..8).map(|_| Client::connect(&address)).collect();
    slow.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n"));
    let asked = Instant::now();
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    // As many as there had to be, and they know why.
    let refused = slow.iter_mut().filter_map(|client| {
        client.set_deadline(Duration::from_millis(500));
        client.try_read_response().ok()
    });
    let statuses: Vec<_> = refused.map(|answer| answer.status).collect();
    assert!(
        (1..8).contains(&statuses.len()) && statuses.iter().all(|&it| it == 408),
        "{statuses:?}"
    );
}

#[test]
fn a_full_worker_ends_clients_that_take_nothing_of_their_answers_when_somebody_waits() {
    // An hour where nobody waits, and 5 to 10 s where somebody does.
    let (_server, address) = start(&["1", "4", "send_timeout=3600000"]);
    let mut stalled: Vec<_> = (0..4).map(|_| Client::connect(&address)).collect();
    for client in &mut stalled {
        client.send(b"GET /large/16384 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.read_until(b"\r\n\r\n");
    }
    let mut waiting = Client::connect(&address);
    waiting.set_deadline(Duration::from_secs(60));
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(waiting.read_response().text(), "hello");
}

#[test]
fn connections_that_are_never_silent_make_room_by_their_next_answer() {
    let (_server, address) = start(&["1", "2"]);
    let mut talkative = fill(&address, 2);
    let mut waiting = Client::connect(&address);
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let began = Instant::now();
    // Each has an answer on its way all the time.
    talkative
        .iter_mut()
        .for_each(|client| client.send(b"GET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\n"));
    'told: loop {
        assert!(began.elapsed() < SOON, "nobody is told to make room");
        for client in &mut talkative {
            let Ok(answer) = client.try_read_response() else { break 'told };
            assert_eq!(answer.text(), "at last");
            if answer.closes() {
                break 'told;
            }
            client.send(b"GET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\n");
        }
    }
    assert_eq!(waiting.read_response().text(), "hello");
}

#[test]
fn a_full_worker_keeps_its_connections_while_nobody_waits() {
    let (_server, address) = start(&["1", "3"]);
    let mut kept = fill(&address, 3);
    // A second, ten times as long as a silent connection has where somebody waits.
    assert_eq!(kept[2].get("/slow/1000").text(), "at last");
    assert!(kept.iter_mut().all(|client| !client.get("/").closes()));
}

/// Whoever comes while others keep all workers busy is answered soon, each time.
#[track_caller]
fn all_who_come_are_answered(address: &str, load: LoadHandle) {
    load.wait_answered(500);
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(client::get(address, "/").text(), "hello");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
}

#[test]
fn lively_connections_lock_nobody_out() {
    // About 11 requests a second on each, so that none is silent for 100 ms; then as many as can be.
    for think in [Duration::from_millis(90), Duration::ZERO] {
        let (_server, address) = start(&["1", "64", "requests=0"]);
        let load = Load::keep_alive(&address, "/").connections(64).think(think).start();
        all_who_come_are_answered(&address, load);
    }
}

#[test]
fn more_lively_connections_than_two_workers_have_room_for_all_have_their_turn() {
    let (_server, address) = start(&["2", "64", "requests=0"]);
    let load = Load::keep_alive(&address, "/").connections(192).deadline(SOON).start();
    all_who_come_are_answered(&address, load);
}

#[test]
fn connections_that_are_long_in_answering_shield_no_lively_ones() {
    let (_server, address) = start(&["1", "8", "requests=0"]);
    let mut long: Vec<_> = (0..4).map(|_| Client::connect(&address)).collect();
    long.iter_mut().for_each(|client| client.send(b"GET /forever HTTP/1.1\r\nHost: a\r\n\r\n"));
    let load = Load::keep_alive(&address, "/").connections(4).think(Duration::from_millis(5));
    let load = load.start();
    load.wait_answered(20);
    for _ in 0..5 {
        let asked = Instant::now();
        assert_eq!(client::get(&address, "/").text(), "hello");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    assert_eq!(load.stop().failed_total, 0);
}
