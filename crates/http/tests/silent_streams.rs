//! Streams of HTTP/2 that say nothing: as long as they like, until somebody else waits for their worker.

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use support::{DATA, END_STREAM, HEADERS, frame, frame_of, get, http2, post, read_frame, start};
use testkit::{Client, client};

/// How long somebody waits at most: far less than anything but `body_timeout` ends a silent connection after.
const SOON: Duration = Duration::from_secs(5);

/// A client whose POST is read by the application, and does not go on.
fn silent(address: &str) -> Client {
    let mut silent = http2(address);
    // END_HEADERS, and no END_STREAM.
    silent.send(&frame(HEADERS, 4, 1, &post("/echo")));
    silent.send(&frame(DATA, 0, 1, b"so far"));
    // Settings, theirs and ours acknowledged: the request is behind them.
    frame_of(&mut silent, support::WINDOW_UPDATE);
    silent
}

fn all_are_served_behind_silent_streams(concurrency: usize) {
    let concurrency_text = concurrency.to_string();
    let (server, address) =
        start(&["1", &concurrency_text, "body_timeout=400", "log=%r %>s", "idle_timeout=60000"]);
    let mut silent: Vec<_> = (0..concurrency).map(|_| silent(&address)).collect();
    let asked = Instant::now();
    let mut waiting: Vec<_> = (0..concurrency).map(|_| Client::connect(&address)).collect();
    waiting.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    for client in &mut waiting {
        assert_eq!(client.read_response().text(), "hello");
    }
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    for client in &mut silent {
        let answer = frame_of(client, HEADERS);
        assert_ne!(answer.payload[0], 0x88, "no 200: {answer:?}");
        assert!(client.closed());
    }
    for _ in 0..concurrency {
        server.wait_line("POST /echo HTTP/2.0 408");
    }
}

#[test]
fn a_silent_stream_does_not_keep_an_isolated_worker_from_who_waits() {
    all_are_served_behind_silent_streams(1);
}

#[test]
fn silent_streams_do_not_keep_a_full_worker_from_those_who_wait() {
    all_are_served_behind_silent_streams(8);
}

#[test]
fn a_connection_that_had_its_requests_makes_room_as_well() {
    for concurrency in ["1", "2"] {
        let (_server, address) =
            start(&["1", concurrency, "body_timeout=400", "requests=1", "idle_timeout=60000"]);
        let count = concurrency.parse().expect("a number");
        let _silent: Vec<_> = (0..count).map(|_| silent(&address)).collect();
        let asked = Instant::now();
        assert_eq!(client::get(&address, "/").text(), "hello");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
}

/// Without its answer to the ping behind GOAWAY a connection takes requests on (RFC 9113, section 6.8).
#[test]
fn a_client_that_does_not_hear_goaway_keeps_nobody_waiting_for_ever() {
    let (_server, address) = start(&["1", "1"]);
    let mut deaf = http2(&address);
    let mut waiting = Client::connect(&address);
    waiting.set_deadline(Duration::from_secs(25));
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let asked = Instant::now();
    for stream in (1..).step_by(2) {
        if deaf.try_send(&frame(HEADERS, 5, stream, &get("/slow/20"))).is_err() {
            break;
        }
        let mut frames = std::iter::from_fn(|| read_frame(&mut deaf));
        if !frames.any(|frame| frame.kind == DATA) {
            break;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "it may go on");
    }
    assert_eq!(waiting.read_response().text(), "hello");
}

#[test]
fn a_stream_nobody_waits_behind_may_be_silent_for_long() {
    for (concurrency, timeout) in
        [("1", "body_timeout=100"), ("8", "body_timeout=100"), ("8", "body_timeout=0")]
    {
        let (_server, address) = start(&["1", concurrency, timeout]);
        let mut silent = silent(&address);
        silent.set_deadline(Duration::from_millis(1500));
        let nothing = silent.try_read_exact(1).expect_err("nothing is said");
        assert!(matches!(nothing.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{nothing}");
        silent.set_deadline(SOON);
        silent.send(&frame(DATA, END_STREAM, 1, b", and the rest"));
        assert_eq!(frame_of(&mut silent, HEADERS).payload[0], 0x88);
        assert_eq!(read_frame(&mut silent).expect("a body").payload, b"so far, and the rest");
    }
}
