//! Workers that serve one connection at a time, and do not starve those who wait.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::start;
use testkit::load::Load;
use testkit::tls::{Connector, Identity};
use testkit::{Client, Response, TempDir, client};

#[test]
fn a_silent_connection_makes_room_as_soon_as_somebody_waits() {
    for first in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (_server, address) = start(&["1", "1"]);
        let mut silent = Client::connect(&address);
        if !first.is_empty() {
            silent.send(first.as_bytes());
            assert_eq!(silent.read_response().text(), "hello");
        }
        let asked = Instant::now();
        assert_eq!(client::get(&address, "/").text(), "hello");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(silent.read_to_end(), b"", "without a word");
        assert!(!silent.was_reset());
    }
}

#[test]
fn a_connection_is_kept_while_a_worker_is_idle() {
    let (_server, address) = start(&["2", "1"]);
    let mut kept = Client::connect(&address);
    assert_eq!(kept.get("/").text(), "hello");
    let others = Load::one_per_connection(&address, "/").rate(100).start();
    // A second, ten times as long as a silent connection has where somebody waits.
    others.wait_answered(100);
    assert!(!kept.get("/").closes());
    assert_eq!(others.stop().failed_total, 0);
}

/// An answer, if the connection is still there.
fn ask(client: &mut Client) -> Option<Response> {
    client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
    client.try_read_response().ok()
}

#[test]
fn a_talkative_client_does_not_keep_an_isolated_worker_for_ever() {
    let (server, address) = start(&["1", "1"]);
    let mut talkative = Client::connect(&address);
    assert!(!talkative.get("/").closes());
    let mut waiting = Client::connect(&address);
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let began = Instant::now();
    // Told by an answer; or, if it was kept from asking for 100 ms, closed as any silent connection is.
    while ask(&mut talkative).is_some_and(|answer| !answer.closes()) {
        assert!(began.elapsed() < Duration::from_secs(5), "it is never told to make room");
    }
    assert_eq!(waiting.read_response().text(), "hello");
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn all_clients_have_their_turn_when_there_are_more_of_them_than_workers() {
    let (_server, address) = start(&["2", "1"]);
    let load = Load::keep_alive(&address, "/").connections(16).start();
    load.wait_answered(200);
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    assert!(report.slowest < Duration::from_secs(8), "{report:?}");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_holds_no_worker_that_others_wait_for() {
    // An hour where nobody waits, and 5 to 10 s where somebody does.
    let (_server, address) = start(&["1", "1", "send_timeout=3600000"]);
    let mut stalled = Client::connect(&address);
    stalled.send(b"GET /large/16384 HTTP/1.1\r\nHost: a\r\n\r\n");
    stalled.read_until(b"\r\n\r\n");
    assert_eq!(get_within(&address, Duration::from_secs(60)), "hello");
}

/// One answer on a connection of its own, in that time at most.
#[track_caller]
fn get_within(address: &str, deadline: Duration) -> String {
    let mut client = Client::connect(address);
    client.set_deadline(deadline);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.read_response().text()
}

#[test]
fn a_client_that_is_slow_to_begin_is_answered_though_others_wait() {
    let (_server, address) = start(&["1", "1"]);
    // Until one has not been slower itself than it is to be.
    for _ in 0..50 {
        let connected = Instant::now();
        let mut slow = Client::connect(&address);
        let mut waiting = Client::connect(&address);
        waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        // So slow is this client; nothing is waited for.
        thread::sleep(Duration::from_millis(200));
        let sent = slow.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if connected.elapsed() < Duration::from_millis(240) {
            sent.expect("it is connected");
            assert_eq!(slow.read_response().text(), "hello");
            assert_eq!(waiting.read_response().text(), "hello");
            return;
        }
    }
    panic!("this machine is too busy for a client that speaks within 240 ms");
}

#[test]
fn half_a_header_holds_no_worker_that_others_wait_for() {
    let (_server, address) = start(&["1", "1", "header_timeout=3600000"]);
    for first in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"] {
        let mut slow = Client::connect(&address);
        slow.send(first.as_bytes());
        assert_eq!(get_within(&address, Duration::from_secs(10)), "hello");
        if first.starts_with('G') {
            assert_eq!(slow.read_response().status, 408, "it is told why");
        }
        assert!(slow.closed() && !slow.was_reset());
    }
}

#[test]
fn half_a_header_is_waited_for_while_a_worker_is_idle() {
    let (_server, address) = start(&["2", "1"]);
    let mut slow = Client::connect(&address);
    slow.send(b"GET / HTTP/1.1\r\n");
    let others = Load::one_per_connection(&address, "/").rate(100).start();
    others.wait_answered(100);
    slow.send(b"Host: a\r\n\r\n");
    assert_eq!(slow.read_response().text(), "hello");
    assert_eq!(others.stop().failed_total, 0);
}

#[test]
fn half_a_hello_of_tls_holds_no_worker_that_others_wait_for() {
    let directory = TempDir::new().expect("a directory");
    let identity = Identity::new(&["localhost"]);
    let (certificate, key) = identity.write(directory.path(), "site");
    let pair = format!("tls={},{}", certificate.display(), key.display());
    let limits = ["handshake_timeout=3600000", "header_timeout=3600000"];
    let (server, plain) = start(&["1", "1", "listen=127.0.0.1:0/tls", &pair, limits[0], limits[1]]);
    let tls = server.addresses(2).remove(1);
    let connector = Connector::trusting(&[&identity]);
    let hello = connector.begin("localhost").hello();
    for length in [1, hello.len() / 2, hello.len()] {
        let mut half = Client::connect(&tls);
        half.send(&hello[..length]);
        assert_eq!(get_within(&plain, Duration::from_secs(10)), "hello", "{length}");
        let mut half = Client::connect(&tls);
        half.send(&hello[..length]);
        assert_eq!(connector.connect(&tls, "localhost").get("/").text(), "hello", "{length}");
    }
}

#[test]
fn half_a_header_of_a_proxy_holds_no_worker_that_others_wait_for() {
    let (_server, address) = start(&["1", "1", "trust=127.0.0.1", "proxy=yes"]);
    let begun = Instant::now();
    let mut half: Vec<_> = (0..4).map(|_| Client::connect(&address)).collect();
    half.iter_mut().for_each(|client| client.send(b"PROXY TCP4 192.0.2.1 "));
    let mut waiting = Client::connect(&address);
    waiting.set_deadline(Duration::from_secs(30));
    waiting.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(waiting.read_response().text(), "hello");
    // Where nobody waits each of them has 5 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_was_refused_and_goes_on_sending_holds_no_worker_that_others_wait_for() {
    for first in ["GET / HTTP/1.1\r\nHost: a\r\nX", "GET / HTTP/9.9\r\n\r\n"] {
        let (_server, address) = start(&["1", "1", "header_timeout=300"]);
        let mut refused = Client::connect(&address);
        refused.send(first.as_bytes());
        let asked = Instant::now();
        let mut waiting = Client::connect(&address);
        waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        // Between two of its bytes.
        waiting.set_deadline(Duration::from_millis(20));
        let answer = loop {
            if let Ok(answer) = waiting.try_read_response() {
                break answer;
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "it is served no more");
            // Until it is let go of.
            let _ = refused.try_send(b"x");
        };
        assert_eq!(answer.text(), "hello");
    }
}
