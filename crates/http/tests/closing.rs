//! The end of a connection: an answer is read by a client that is still sending, and a client that goes
//! on sending for ever is not listened to for ever.

mod support;

use std::time::{Duration, Instant};

use support::start;
use testkit::{Client, client};

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
fn a_client_that_sends_for_ever_is_not_listened_to_for_ever() {
    let (_server, address) = start(&["1", "1"]);
    let mut endless = Client::connect(&address);
    endless.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
    let (began, mut sent) = (Instant::now(), 0);
    while endless.try_send(&chunk).is_ok() {
        sent += chunk.len();
        assert!(began.elapsed() < Duration::from_secs(20), "it is listened to for ever");
    }
    // What the sockets themselves hold counts, too.
    assert!(sent < 64 << 20, "{sent} bytes in {:?}", began.elapsed());
    // The worker is isolated: it is free again.
    assert_eq!(client::get(&address, "/").text(), "hello");
}
