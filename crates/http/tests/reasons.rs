//! Why requests are refused stands in the log of the service, whatever the protocol.

mod support;

use support::{DATA, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, get, http2, post, start};
use testkit::{Client, Running};

const END_HEADERS: u8 = 4;
const END_HEADERS_AND_STREAM: u8 = 5;

/// Waits for the line that says so of the next request of this connection.
#[track_caller]
fn told(server: &Running, id: &str, refused: &str, reason: &str) {
    let is_told = |line: &String| {
        let rest = line.split_once(&format!("{id}: a request of 127.0.0.1:"));
        rest.is_some_and(|(_, rest)| rest.contains(&format!(" {refused}: {reason}")))
    };
    server.wait_until(&format!("{id} {refused}: {reason}"), || server.lines().iter().any(is_told));
}

#[test]
fn a_request_that_is_understood_and_refused_has_its_reason_in_the_log() {
    let limits = ["1", "100", "body_bytes=10", "body_timeout=300"];
    let (server, address) = start(&limits);
    let long = format!("/{}", "x".repeat(9000));
    for (number, (line, fields, status, reason)) in [
        ("POST /echo?key=secret", "Content-Length: 11\r\n\r\n", 413, "the body is longer"),
        (&format!("GET {long}"), "\r\n", 414, "the target is longer"),
        ("GET /a", "Expect: much\r\n\r\n", 417, "an expectation"),
        ("POST /b", "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "a Transfer-Encoding below"),
        (
            "POST /echo",
            "Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
            413,
            "the",
        ),
        ("POST /echo", "Content-Length: 5\r\n\r\nhel", 408, "the request's body comes too slowly"),
        ("POST /echo", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel\r\n0\r\n\r\n", 400, "a chunk"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(&address);
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}").as_bytes());
        assert_eq!(client.read_response().status, status, "{line}");
        told(&server, &format!("C1.{}-1", number + 1), &format!("is refused ({status})"), reason);
    }
    let lines = server.lines();
    let begins = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(
        begins("longer than allowed; it begins with \"POST /echo HTTP/1.1\"") && !begins("secret")
    );
}

#[test]
fn what_is_refused_over_http2_has_its_reason_in_the_log() {
    let (server, address) = start(&["1", "100", "body_bytes=10"]);
    let mut connection = http2(&address);
    let length = |length| support::field("content-length", length);
    for (stream, (kind, fields, status, reason)) in (1_u32..).step_by(2).zip([
        (END_HEADERS_AND_STREAM, support::field("a", " "), 400, "blanks around"),
        (
            END_HEADERS_AND_STREAM,
            support::field("host", "b"),
            400,
            "the host is not the :authority",
        ),
        (END_HEADERS_AND_STREAM, support::field("expect", "much"), 417, "an expectation"),
        (END_HEADERS, length("11"), 413, "the body is longer"),
    ]) {
        let request = if kind == END_HEADERS { post("/echo") } else { get("/a") };
        connection.send(&frame(HEADERS, kind, stream, &[request, fields].concat()));
        let id = format!("C1.1-{}", stream.div_ceil(2));
        told(&server, &id, &format!("is refused ({status})"), reason);
    }
    connection.send(&frame(HEADERS, END_HEADERS, 9, &post("/echo")));
    connection.send(&frame(DATA, END_STREAM, 9, b"hello world"));
    told(&server, "C1.1-5", "is refused (413)", "the request's body is longer");
}

#[test]
fn a_connection_of_http2_that_is_ended_has_its_reason_in_the_log() {
    let (server, address) = start(&["1", "100"]);
    // Of a client's last words only their number is told.
    let goodbye = [&[0; 7][..], &[2], &b"marker".repeat(1000)].concat();
    for (number, (frames, reason)) in [
        (frame(SETTINGS, 0, 1, b""), "HTTP/2: "),
        (frame(DATA, 0, 1, b"x"), "HTTP/2: "),
        (frame(support::GOAWAY, 0, 0, &goodbye), "the client ends its HTTP/2 connection"),
        (frame(0x77, 0, 0, b"").repeat(50_000), "a flood over HTTP/2"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = Client::connect(&address);
        connection.send(PREFACE);
        let _ = connection.try_send(&[frame(SETTINGS, 0, 0, b""), frames].concat());
        told(&server, &format!("C1.{}", number + 1), "cannot be read (400)", reason);
    }
    assert!(!server.lines().iter().any(|line| line.contains("marker")));
}
