//! What is spoken: uploads in any pieces, HTTP/2 by prior knowledge, upgrades, many connections.

mod support;

use std::time::Duration;

use support::{
    DATA, GOAWAY, HEADERS, PREFACE, SETTINGS, field, frame, frame_of, get, http2, read_frame, start,
};
use testkit::load::Load;
use testkit::{Client, DEADLINE, Server, TempDir, bin, client, wait_until};

const SIGTERM: i32 = 15;
const END_STREAM: u8 = 1;
const END_HEADERS_AND_STREAM: u8 = 5;

fn post(path: &str, length: usize, fields: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n")
        .into_bytes()
}

#[test]
fn an_upload_in_one_packet_or_byte_by_byte_is_the_same() {
    let (_server, address) = start(&["1", "100"]);
    let body = b"a body of some bytes";
    let request = [&post("/echo", body.len(), "")[..], body].concat();
    let mut whole = Client::connect(&address);
    whole.send(&request);
    assert_eq!(whole.read_response().body, body);
    let mut bytes = Client::connect(&address);
    for byte in &request {
        bytes.send(&[*byte]);
    }
    assert_eq!(bytes.read_response().body, body);
    let mut chunks = Client::connect(&address);
    for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;ext\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    {
        chunks.send(&[*byte]);
    }
    assert_eq!(chunks.read_response().text(), "hello!");
}

#[test]
fn uploads_of_any_size_with_a_pause_in_them_arrive_whole() {
    let (_server, address) = start(&["1", "100"]);
    for length in [100, 10_000, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
        let (first, second) = body.split_at(length / 2);
        let mut connection = Client::connect(&address);
        connection.send(&post("/echo", length, ""));
        connection.send(first);
        // The pause is as long as another client takes.
        assert_eq!(client::get(&address, "/slow/50").text(), "at last");
        connection.send(second);
        assert!(connection.read_response().body == body, "{length} bytes");
        assert_eq!(connection.get("/").text(), "hello");
    }
}

#[test]
fn a_client_is_told_to_go_on_only_when_its_body_is_wanted() {
    let (_server, address) = start(&["1", "100"]);
    let mut wanted = Client::connect(&address);
    wanted.send(&post("/echo", 5, "Expect: 100-continue\r\n"));
    assert_eq!(wanted.read_until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    wanted.send(b"hello");
    assert_eq!(wanted.read_response().text(), "hello");

    let mut unwanted = Client::connect(&address);
    unwanted.send(&post("/unread", 5, "Expect: 100-continue\r\n"));
    let answer = unwanted.read_response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "not read"));
    assert!(unwanted.closed(), "what would come next could be the body or a request");
}

#[test]
fn nobody_is_told_to_go_on_in_the_middle_of_an_answer() {
    let (_server, address) = start(&["1", "100"]);
    for (length, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let mut client = Client::connect(&address);
        let head = "POST /mirror HTTP/1.1\r\nHost: a\r\nExpect: 100-continue";
        client.send(format!("{head}\r\n{length}\r\n\r\n").as_bytes());
        // Its answer begins at once, and has what is read of the body from then on.
        assert!(client.read_until(b"\r\n\r\n").starts_with(b"HTTP/1.1 200 "), "{length}");
        client.send(body.as_bytes());
        assert_eq!(String::from_utf8_lossy(&client.read_to_end()), body, "{length}");
    }
}

#[test]
fn a_request_with_a_body_gets_no_other_protocol_and_its_body_is_none_of_it() {
    let (_server, address) = start(&["1", "100"]);
    let mut client = Client::connect(&address);
    client.send(
        b"GET /web-socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Content-Length: 5\r\n\r\nhello",
    );
    assert_eq!(client.read_response().status, 426);
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn an_answer_of_unknown_length_over_http_1_0_says_that_it_ends_with_its_connection() {
    let (_server, address) = start(&["1", "100"]);
    for request in [
        "GET /stream/64 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /stream/64 HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(&address);
        client.send(request.as_bytes());
        let answer = String::from_utf8(client.read_to_end()).expect("text").to_lowercase();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
        assert_eq!(body.len(), 64 * 1024);
        assert!(head.contains("connection: close") && !head.contains("keep-alive"), "{head}");
    }
}

#[test]
fn an_answer_over_http_1_0_that_breaks_off_does_not_look_whole() {
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency]);
        let mut client = Client::connect(&address);
        client.send(b"GET /break HTTP/1.0\r\n\r\n");
        client.read_to_end();
        assert!(client.was_reset(), "nothing else could say so");
    }
}

#[test]
fn a_thousand_connections_one_after_another_and_at_once_are_answered() {
    for concurrency in ["1", "2000"] {
        let (_server, address) = start(&["2", concurrency]);
        let report = Load::one_per_connection(&address, "/").run_requests(1024);
        assert_eq!((report.answered, report.failed_total), (1024, 0), "{report:?}");
    }
    let (_server, address) = start(&["2", "2000"]);
    let mut connections: Vec<_> = (0..1100).map(|_| Client::connect(&address)).collect();
    for _ in 0..2 {
        for connection in &mut connections {
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for connection in &mut connections {
            assert_eq!(connection.read_response().text(), "hello");
        }
    }
}

#[test]
fn http2_by_prior_knowledge_is_spoken_even_if_its_preface_comes_byte_by_byte() {
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency]);
        let mut connection = Client::connect(&address);
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        for byte in opening {
            connection.send(&[byte]);
        }
        for stream in [1, 3] {
            connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, stream, &get("/")));
            assert_eq!(frame_of(&mut connection, HEADERS).payload[0], 0x88, "a 200");
            assert_eq!(frame_of(&mut connection, DATA).payload, b"hello");
        }
    }
}

#[test]
fn an_http2_client_is_told_that_the_worker_leaves_and_its_request_is_answered() {
    let (server, address) = start(&["1", "100"]);
    let mut idle = http2(&address);
    let mut busy = http2(&address);
    busy.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/slow/700")));
    // Once another is answered, the slow one is being handled.
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(SIGTERM);
    frame_of(&mut idle, GOAWAY);
    frame_of(&mut busy, GOAWAY);
    assert_eq!(frame_of(&mut busy, DATA).payload, b"at last");
    assert!(server.wait_exit().success());
}

#[test]
fn what_http2_answers_is_what_http1_does() {
    let (_server, address) = start(&["1", "100"]);
    let mut connection = http2(&address);
    connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/large/300")));
    let increment = 1_000_000_u32.to_be_bytes();
    let window_update = 8;
    connection.send(&frame(window_update, 0, 0, &increment));
    connection.send(&frame(window_update, 0, 1, &increment));
    let mut length = 0;
    while let Some(frame) = read_frame(&mut connection) {
        length += if frame.kind == DATA { frame.payload.len() } else { 0 };
        if frame.kind == DATA && frame.flags & END_STREAM == END_STREAM {
            break;
        }
    }
    assert_eq!(length, 300 * 1024);
}

const UPGRADE: &[u8] =
    b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn a_service_of_tonics_is_called_as_it_is() {
    let server = Server::command(bin("examples/tonic")).arg("127.0.0.1:0").start();
    let mut connection = http2(&server.address());
    let call = [
        &[0x83, 0x86][..],
        &field(":path", "/grpc.health.v1.Health/Check"),
        &field(":authority", "a"),
        &field("content-type", "application/grpc"),
        &field("te", "trailers"),
    ];
    connection.send(&frame(HEADERS, 4, 1, &call.concat()));
    // A message of no bytes asks for the health of all; the answer's first field is 1, SERVING.
    connection.send(&frame(DATA, END_STREAM, 1, &[0; 5]));
    assert_eq!(frame_of(&mut connection, HEADERS).payload[0], 0x88);
    assert_eq!(frame_of(&mut connection, DATA).payload, [0, 0, 0, 0, 2, 8, 1]);
    let trailers = frame_of(&mut connection, HEADERS);
    assert_eq!(trailers.flags & END_STREAM, END_STREAM);
    server.signal(SIGTERM);
    frame_of(&mut connection, GOAWAY);
    assert!(server.wait_exit().success());
}

/// A connection that is the application's own.
fn upgraded(address: &str) -> Client {
    let mut connection = Client::connect(address);
    connection.send(UPGRADE);
    let answer = connection.read_until(b"\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    connection.send(b"ping");
    assert_eq!(connection.read_exact(4), b"ping");
    connection
}

#[test]
fn an_upgraded_connection_is_told_that_the_worker_leaves() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["1", concurrency]);
        let mut connection = upgraded(&address);
        server.signal(SIGTERM);
        assert_eq!(connection.read_to_end(), b"goodbye");
        assert!(server.wait_exit().success());
    }
}

#[test]
fn an_upgraded_connection_occupies_its_isolated_worker_until_it_is_closed() {
    let (_server, address) = start(&["1", "1"]);
    let connection = upgraded(&address);
    let mut waiting = Client::connect(&address);
    waiting.set_deadline(Duration::from_millis(300));
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(waiting.try_read_response().is_err(), "one connection at a time");
    waiting.set_deadline(DEADLINE);
    drop(connection);
    assert_eq!(waiting.read_response().text(), "hello");
}

#[test]
fn all_of_it_is_spoken_over_unix_sockets_too() {
    let directory = TempDir::new().expect("a directory");
    let address = format!("unix:{}", directory.path().join("socket").display());
    let server = Server::command(bin("examples/http_fixture")).args([&address, "1", "100"]).start();
    server.wait_line("listening");
    wait_until("an answer", DEADLINE, || Client::try_connect(&address).is_ok());
    assert_eq!(client::get(&address, "/").text(), "hello");
    upgraded(&address);
    let mut connection = http2(&address);
    connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/")));
    assert_eq!(frame_of(&mut connection, DATA).payload, b"hello");
}
