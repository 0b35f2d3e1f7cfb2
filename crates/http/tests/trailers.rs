//! A trailer section whose lines do not end in CRLF: its request is refused and the connection ends, so that nothing behind
//! it is taken for a part of it, or for another request (RFC 9112, section 2.2).

mod support;

use std::time::Duration;

use support::start;
use testkit::tls::{Connector, Identity};
use testkit::{Client, DEADLINE, TempDir};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const NEXT: &str = "GET /pid HTTP/1.1\r\nHost: a\r\n\r\n";

/// Ends of a chunked body, each with a line end that is none.
fn malformed() -> Vec<String> {
    let mut all: Vec<String> = [
        "\n",
        "\r\r\n",
        "\rX",
        "X: y\n\r\n",
        "X: y\n\n",
        "X: y\r\n\n",
        "X: y\r\nZ: \n\r\n",
        "X: y\n",
        "X\n\r\n",
        " \n\r\n",
        "X: y\rZ: y\r\n\r\n",
        "X: y\r\n\rX",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("\n{}", "x".repeat(16 * 1024)));
    all.push(format!("\n{}\r\n\r\n", "x: y\r\n".repeat(90)));
    all.push(format!("X: {}\n\r\n", "y".repeat(9000)));
    all
}

fn post(path: &str, end: &str) -> String {
    let fields = "Host: a\r\nTransfer-Encoding: chunked\r\n";
    format!("POST {path} HTTP/1.1\r\n{fields}\r\n3\r\nabc\r\n0\r\n{end}")
}

/// Holds what comes against this: the request was refused, and nothing behind it answered.
fn is_refused(mut client: Client, what: &str) {
    let answer = client.read_response();
    assert_eq!((answer.status, answer.closes()), (400, true), "{what:?}: {}", answer.text());
    assert_eq!(client.read_to_end(), b"", "{what:?}: nothing more is answered");
    assert!(!client.was_reset(), "{what:?}");
}

#[test]
fn a_request_with_a_line_feed_alone_in_its_trailers_is_refused_and_none_behind_it_is_lost_unseen() {
    let (_server, address) = start(&["1", "100", "body_timeout=1000"]);
    for end in malformed() {
        for before in ["", GET] {
            let mut client = Client::connect(&address);
            // It may be closed before all of it is sent.
            let _ =
                client.try_send(format!("{before}{}{NEXT}{NEXT}", post("/echo", &end)).as_bytes());
            if !before.is_empty() {
                assert_eq!(client.read_response().text(), "hello", "{end:?}");
            }
            is_refused(client, &end);
        }
    }
}

#[test]
fn so_it_is_in_whatever_pieces_it_comes() {
    let (_server, address) = start(&["1", "100"]);
    for end in ["\n", "X: y\n\r\n", "X: y\n\n", "X: y\r\n\n"] {
        let request = post("/echo", end);
        let mut client = Client::connect(&address);
        for byte in format!("{request}{NEXT}").bytes() {
            let _ = client.transmit(&[byte]);
        }
        is_refused(client, end);
        // In two, the second of which is read when the handler waits for it.
        let fault = end.replace("\r\n", "..").find('\n').expect("a line feed alone");
        let begun = request.len() - end.len();
        for cut in begun - 3..=begun + fault {
            let mut client = Client::connect(&address);
            client.send(&request.as_bytes()[..cut]);
            client.set_deadline(Duration::from_millis(20));
            assert!(client.try_read_response().is_err(), "it waits for the rest");
            client.set_deadline(DEADLINE);
            client.send(format!("{}{NEXT}", &request[cut..]).as_bytes());
            is_refused(client, end);
        }
    }
}

#[test]
fn so_it_is_where_the_handler_does_not_read_the_body() {
    let (_server, address) = start(&["1", "100"]);
    for path in ["/unread", "/ignored/50/1"] {
        for end in malformed() {
            let mut client = Client::connect(&address);
            let _ = client.try_send(format!("{}{NEXT}{NEXT}", post(path, &end)).as_bytes());
            let answer = client.read_response();
            // One that is made before the fault has come is the connection's last answer all the same.
            let is_late = end.starts_with("X: yyyy");
            assert!(answer.status == 400 || is_late, "{path} {end:?}: {}", answer.status);
            assert_eq!(client.read_to_end(), b"", "{path} {end:?}: nothing more is answered");
        }
    }
}

#[test]
fn so_it_is_over_tls_and_in_an_isolated_worker() {
    let directory = TempDir::new().expect("a directory");
    let identity = Identity::new(&["localhost"]);
    let (certificate, key) = identity.write(directory.path(), "site");
    let pair = format!("tls={},{}", certificate.display(), key.display());
    let (server, plain) = start(&["1", "1", "listen=127.0.0.1:0/tls", &pair]);
    let tls = server.addresses(2).remove(1);
    for end in ["\n", "X: y\n\r\n", "X: y\n\n"] {
        let mut client = Client::connect(&plain);
        client.send(format!("{}{NEXT}", post("/echo", end)).as_bytes());
        is_refused(client, end);
        let mut client = Connector::trusting(&[&identity]).connect(&tls, "localhost");
        client.send(format!("{}{NEXT}", post("/echo", end)).as_bytes());
        is_refused(client, end);
    }
}

#[test]
fn trailers_that_are_well_formed_are_read_and_the_next_request_is_answered() {
    let (_server, address) = start(&["1", "100"]);
    for end in ["\r\n", "X: y\r\n\r\n", "X:\r\nY: z\r\n\r\n"] {
        let mut client = Client::connect(&address);
        for _ in 0..3 {
            client.send(format!("{}{GET}", post("/echo", end)).as_bytes());
            assert_eq!(client.read_response().text(), "abc", "{end:?}");
            assert_eq!(client.read_response().text(), "hello", "{end:?}");
        }
    }
}

#[test]
fn requests_behind_one_that_asks_for_another_protocol_and_does_not_get_it_are_read_as_requests() {
    let (_server, address) = start(&["1", "100"]);
    for first in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /slow/50 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nUpgrade: h2c\r\n\r\nok",
    ] {
        let mut client = Client::connect(&address);
        client.send(format!("{first}{GET}{first}{}{NEXT}", post("/echo", "\n")).as_bytes());
        assert_eq!(client.read_response().status, 200, "{first}");
        assert_eq!(client.read_response().text(), "hello", "{first}");
        assert_eq!(client.read_response().status, 200, "{first}");
        is_refused(client, first);
    }
}
