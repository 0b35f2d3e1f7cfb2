//! The end of a connection: an answer is read by a client that is still sending, and a client that goes
//! on sending for ever is not listened to for ever.

mod support;

use std::time::{Duration, Instant};
use std::{fs, thread};

use support::start;
use testkit::load::Load;
use testkit::{Client, DEADLINE, TempDir, client, wait_until};

/// More than the kernel takes of a body that nobody reads.
const LENGTH: usize = 8 << 20;

fn upload(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes()
}

#[test]
fn an_answer_to_a_request_whose_body_is_not_read_arrives() {
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency]);
        let mut client = Client::connect(&address);
        client.send(&upload("/unread"));
        // The answer is there before the body is, which is sent to its end all the same.
        for _ in 0..LENGTH / (64 * 1024) {
            client.try_send(&[b'x'; 64 * 1024]).expect("the connection is listened to");
        }
        assert_eq!(client.read_response().text(), "not read");
        assert!(client.closed() && !client.was_reset());
    }
}

#[test]
fn an_answer_before_a_body_that_comes_late_arrives() {
    let (_server, address) = start(&["1", "100"]);
    let mut client = Client::connect(&address);
    client.send(&upload("/unread"));
    assert_eq!(client::get(&address, "/slow/300").text(), "at last");
    for _ in 0..2 {
        client.try_send(&[b'x'; 64 * 1024]).expect("the connection is listened to");
        assert_eq!(client::get(&address, "/slow/100").text(), "at last");
    }
    assert_eq!(client.read_response().text(), "not read");
    assert!(client.closed() && !client.was_reset());
}

#[test]
fn a_chunked_body_that_is_not_read_does_not_cost_its_answer() {
    let (_server, address) = start(&["1", "100"]);
    let mut client = Client::connect(&address);
    client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
    for _ in 0..64 {
        client.try_send(&chunk).expect("the connection is listened to");
    }
    assert_eq!(client.read_response().text(), "not read");
}

#[test]
fn what_a_client_pipelines_behind_its_last_request_does_not_cost_its_answer() {
    let (_server, address) = start(&["1", "100"]);
    let mut client = Client::connect(&address);
    let last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let more = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    client.send(&[&last[..], &more].concat());
    assert_eq!(client::get(&address, "/slow/200").text(), "at last");
    client.try_send(&more).expect("the connection is listened to");
    assert_eq!(client.read_response().text(), "hello");
    assert!(client.closed() && !client.was_reset());
}

#[test]
fn what_a_client_that_was_to_be_kept_has_sent_behind_its_last_request_does_not_cost_its_answer() {
    // As much as a first read takes: what is behind it is still in the socket when the answer is made.
    const FIRST: usize = 2048;
    let head = "GET / HTTP/1.1\r\nHost: a\r\nPadding: ";
    let last = format!("{head}{}\r\n\r\n", "x".repeat(FIRST - head.len() - 4));
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency, "requests=1"]);
        let mut client = Client::connect(&address);
        client.send(&[last.as_bytes(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        let answer = client.read_response();
        assert!(answer.text() == "hello" && answer.closes());
        assert!(client.closed() && !client.was_reset(), "{concurrency}");
    }
}

#[test]
fn a_body_that_comes_behind_its_answer_and_is_short_costs_no_connection() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["2", concurrency, "header_timeout=300", "log=%>s %r"]);
        let mut client = Client::connect(&address);
        for (length, parts) in [
            ("Content-Length: 10", ["hello", "hello"]),
            ("Transfer-Encoding: chunked", ["5\r\nhel", "lo\r\n0\r\n\r\n"]),
        ] {
            client.send(format!("POST /unread HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n").as_bytes());
            let answer = client.read_response();
            assert!(answer.text() == "not read" && !answer.closes());
            for part in parts {
                client.send(part.as_bytes());
                // Longer than a header may take.
                assert_eq!(client::get(&address, "/slow/400").text(), "at last");
            }
            assert_eq!(client.get("/").text(), "hello", "{length}, {concurrency} at once");
        }
        assert_eq!(server.count_lines(" 408 "), 0, "no header was begun");
    }
}

#[test]
fn a_client_that_closes_as_soon_as_it_is_told_to_holds_no_isolated_worker() {
    let (_server, address) = start(&["1", "1", "requests=3"]);
    let takes = |requests: usize| {
        let begun = Instant::now();
        for _ in 0..200 {
            let mut client = Client::connect(&address);
            client.send(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(requests));
            client.read_to_end();
        }
        begun.elapsed()
    };
    let (whole, cut) = (takes(3), takes(5));
    let most = 4 * whole + Duration::from_millis(400);
    assert!(cut < most, "{cut:?} where something stands behind the last request, and {whole:?}");
}

#[test]
fn a_body_that_is_read_behind_the_last_answer_of_its_connection_is_read_to_its_end() {
    let directory = TempDir::new().expect("a directory");
    let (_server, address) = start(&["1", "100"]);
    let half = vec![b'x'; 50_000];
    for (name, version, field) in
        [("close", "1.1", "Connection: close\r\n"), ("old", "1.0", ""), ("kept", "1.1", "")]
    {
        let file = directory.path().join(name);
        let mut client = Client::connect(&address);
        let line = format!("POST /received/100/0{} HTTP/{version}", file.display());
        client
            .send(format!("{line}\r\nHost: a\r\n{field}Content-Length: 100000\r\n\r\n").as_bytes());
        assert_eq!(client.read_response().status, 200, "{name}");
        client.send(&half);
        assert_eq!(client::get(&address, "/slow/200").text(), "at last");
        client.send(&half);
        let said = || fs::read_to_string(&file).unwrap_or_default();
        wait_until("what was received", DEADLINE, || !said().is_empty());
        assert_eq!(said(), "100000", "{name}");
        if name == "kept" {
            assert_eq!(client.get("/").text(), "hello");
        } else {
            assert!(client.closed() && !client.was_reset(), "{name}");
        }
    }
}

/// Refused, and going on with its upload until it is cut off.
fn endless(address: &str) -> thread::JoinHandle<()> {
    let mut endless = Client::connect(address);
    endless.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
    let began = Instant::now();
    thread::spawn(move || {
        while endless.try_send(&chunk).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "it is listened to for ever");
        }
    })
}

#[test]
fn a_client_that_sends_for_ever_is_not_listened_to_for_ever() {
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency, "linger_timeout=1000"]);
        endless(&address).join().expect("it is cut off");
        // The worker is free again.
        assert_eq!(client::get(&address, "/").text(), "hello");
    }
}

#[test]
fn clients_that_send_for_ever_hold_no_worker_that_others_wait_for() {
    for concurrency in [1, 3] {
        let limit = concurrency.to_string();
        let (_server, address) = start(&["1", &limit, "linger_timeout=600000"]);
        let senders: Vec<_> = (0..concurrency).map(|_| endless(&address)).collect();
        for _ in 0..=concurrency {
            let mut waiting = Client::connect(&address);
            // Far less than the ten minutes for which they are listened to where nobody waits.
            waiting.set_deadline(Duration::from_secs(60));
            assert_eq!(waiting.get("/").text(), "hello");
        }
        drop(senders);
    }
}

#[test]
fn a_large_upload_that_is_refused_is_sent_to_its_end_and_its_answer_read() {
    const LENGTH: usize = 64 << 20;
    for (path, status, limit) in [
        ("/echo", 413, "body_bytes=1048576"),
        ("/nowhere", 404, "body_bytes=0"),
        ("/pid", 405, "body_bytes=0"),
    ] {
        let (_server, address) = start(&["1", "100", limit]);
        // Others come and go, and there is room for them.
        let others = Load::one_per_connection(&address, "/").connections(4).rate(200).start();
        let mut client = Client::connect(&address);
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.send(head.as_bytes());
        for sent in 0..LENGTH / (64 * 1024) {
            client.try_send(&[b'x'; 64 * 1024]).expect("the connection is listened to");
            if sent == 8 {
                // So slow is this client: longer than most that have got lost, and nothing is waited for.
                thread::sleep(Duration::from_secs(2));
            }
        }
        assert_eq!(client.read_response().status, status, "{path}");
        assert!(client.closed() && !client.was_reset());
        assert_eq!(others.stop().failed_total, 0);
    }
}
