//! Several requests at once: their answers come together, in order, and wait for nobody.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::start;
use testkit::{Client, DEADLINE, client};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "\r\n\r\nhello";

/// What comes until `whole` says that it is all, and in how many pieces.
fn read(stream: &mut TcpStream, whole: impl Fn(&str) -> bool) -> (String, usize) {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let (mut text, mut pieces) = (String::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    while !whole(&text) {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the connection ended after {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        pieces += 1;
    }
    (text, pieces)
}

#[test]
fn answers_to_requests_that_came_together_go_out_together() {
    let (_server, address) = start(&["1", "100"]);
    // 200 and a hundred of hyper's turns; what may wait at once is less than a piece of loopback.
    for count in [2, 16, 40, 200] {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        stream.write_all(GET.repeat(count).as_bytes()).expect("it is sent");
        let whole = |text: &str| text.matches(HELLO).count() == count;
        let (text, pieces) = read(&mut stream, whole);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), count);
        assert!(pieces <= 2 + count / 50, "{count} answers in {pieces} pieces");
    }
}

#[test]
fn an_answer_does_not_wait_for_the_next_ones_handler() {
    for concurrency in ["1", "100"] {
        for before in [1, 15, 16, 17, 40] {
            // The handler keeps an isolated worker, and so each has one of its own.
            let (_server, address) = start(&["1", concurrency]);
            let mut client = Client::connect(&address);
            client.send(
                format!("{}GET /forever HTTP/1.1\r\nHost: a\r\n\r\n", GET.repeat(before))
                    .as_bytes(),
            );
            for _ in 0..before {
                assert_eq!(client.read_response().text(), "hello");
            }
        }
    }
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let (_server, address) = start(&["1", "100"]);
    for rest in [
        "G",
        "GET / HTTP/1.1\r\nHost",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut client = Client::connect(&address);
        client.send(format!("{GET}{GET}{rest}").as_bytes());
        assert_eq!(client.read_response().text(), "hello");
        assert_eq!(client.read_response().text(), "hello");
    }
}

#[test]
fn answers_of_all_kinds_come_in_order() {
    let (_server, address) = start(&["1", "100"]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = [
        get("/"),
        get("/large/100"),
        get("/"),
        get("/stream/100"),
        get("/slow/30"),
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthere".to_owned(),
        get("/not-modified"),
        get("/large/3"),
        get("/"),
        // Refused, and the last.
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
    ];
    let mut client = Client::connect(&address);
    client.send(all.concat().as_bytes());
    for length in [5, 102_400, 5, 102_400, 7, 5, 0, 3072, 5] {
        assert_eq!(client.read_response().body.len(), length);
    }
    assert_eq!(client.read_response().status, 400);
    assert!(client.closed() && !client.was_reset());
}

#[test]
fn an_answer_before_one_that_breaks_off_or_panics_arrives() {
    let (_server, address) = start(&["1", "100"]);
    for path in ["/break", "/panic"] {
        let mut client = Client::connect(&address);
        client.send(format!("{GET}GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(client.read_response().text(), "hello");
        assert!(client.closed());
    }
}

#[test]
fn what_is_upgraded_waits_for_nothing() {
    let (_server, address) = start(&["1", "100"]);
    let mut client = Client::connect(&address);
    let upgrade =
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(format!("{GET}{upgrade}").as_bytes());
    assert_eq!(client.read_response().text(), "hello");
    assert!(client.read_until(b"\r\n\r\n").starts_with(b"HTTP/1.1 101"));
    for word in [&b"a"[..], b"bc"] {
        client.send(word);
        assert_eq!(client.read_exact(word.len()), word);
    }
}

#[test]
fn a_client_that_takes_no_answers_is_read_from_no_further() {
    let (_server, address) = start(&["1", "100"]);
    let mut greedy = Client::connect(&address);
    greedy.set_deadline(Duration::from_millis(300));
    let request = GET.repeat(1000);
    let mut sent = 0;
    while greedy.try_send(request.as_bytes()).is_ok() {
        sent += 1000;
        assert!(sent < 2_000_000, "it is read for ever");
    }
    assert_eq!(client::get(&address, "/").text(), "hello");
}
