//! Raw requests as files, valid and invalid, each with what must come of it in its name:
//! `NAME.STATUS[.STATUS…]` in order, `.close` if the connection ends with it. After an invalid one the connection
//! ends; after a valid one it serves on. For HTTP/2:
//!
//! - `.h2`: all are answered with 200, and the connection serves on
//! - `.reset`: the stream is reset, and the connection serves on
//! - `.end`: GOAWAY with an error, and the connection ends
//! - `.calm`: a flood: GOAWAY with ENHANCE_YOUR_CALM, and the connection ends
//! - `.dropped`: answered, and what the client takes none of ends with the connection after `send_timeout`, without a word
//! - `.idle`: the same where the service has given all of its answer: GOAWAY without an error, after `idle_timeout`

mod support;

use std::fs;
use std::path::Path;

use support::{
    DATA, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, frame, frame_of, get, read_frame,
    requests, start,
};
use testkit::{Client, client};

/// Small ones, so that what is too much and too slow does not take long.
const LIMITS: [&str; 3] = ["header_timeout=500", "body_timeout=500", "body_bytes=131072"];
const SHORT: [&str; 3] = ["send_timeout=500", "idle_timeout=1000", "drain_idle=500"];

/// `:status: 200`, the eighth field of the static table.
const OK: u8 = 0x88;
const END_HEADERS_AND_STREAM: u8 = 5;

/// Sends a file's request and holds what comes of it against its name.
fn check(address: &str, path: &Path, valid: bool) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let request = fs::read(path).expect("a request");
    let mut connection = Client::connect(address);
    // A connection that is refused in the middle may be closed before all of it is sent.
    let _ = connection.try_send(&request);
    let closes = !valid || name.ends_with(".close");
    for expected in name.split('.').skip(1) {
        match expected {
            "close" => {}
            "h2" => return answered(&mut connection, name),
            "reset" => return refused(&mut connection, name),
            "end" => return ended(&mut connection, name),
            "calm" => return calmed(&mut connection, name),
            "dropped" | "idle" => return given_up(&mut connection, name),
            status => {
                let head = request.starts_with(b"HEAD ");
                let answer = match head {
                    true => connection.read_response_to_head(),
                    false => connection.read_response(),
                };
                assert_eq!(answer.status.to_string(), status, "{name}: {}", answer.text());
                let last = name.ends_with(status) || name.ends_with(&format!("{status}.close"));
                assert!(!last || answer.closes() == closes, "{name}: {answer:?}");
            }
        }
    }
    if closes {
        assert!(connection.closed() && !connection.was_reset(), "{name}: it ends in order");
        assert_eq!(connection.read_to_end(), b"", "{name}: nothing more is answered");
    } else {
        assert_eq!(connection.get("/").text(), "hello", "{name}: it serves on");
    }
}

fn answered(connection: &mut Client, name: &str) {
    let streams = if name.contains("two") { 2 } else { 1 };
    for _ in 0..streams {
        assert_eq!(frame_of(connection, HEADERS).payload[0], OK, "{name}");
    }
    serves_on(connection, name);
}

fn refused(connection: &mut Client, name: &str) {
    let frame = std::iter::from_fn(|| read_frame(connection))
        .find(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY));
    let frame = frame.unwrap_or_else(|| panic!("{name}: the connection just ended"));
    assert_eq!((frame.kind, frame.stream), (RST_STREAM, 1), "{name}: {frame:?}");
    assert_ne!(error(&frame.payload), 0, "{name}");
    serves_on(connection, name);
}

/// One more request of HTTP/2.
fn serves_on(connection: &mut Client, name: &str) {
    const STREAM: u32 = 101;
    connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, STREAM, &get("/")));
    let answer = std::iter::from_fn(|| read_frame(connection)).find(|frame| {
        assert_ne!(frame.kind, GOAWAY, "{name}: {frame:?}");
        frame.stream == STREAM && frame.kind == DATA
    });
    assert_eq!(answer.expect("an answer").payload, b"hello", "{name}: it serves on");
}

fn ended(connection: &mut Client, name: &str) {
    let last = frame_of(connection, GOAWAY);
    assert_ne!(error(&last.payload[4..]), 0, "{name}: {last:?}");
    assert!(connection.closed() && read_frame(connection).is_none(), "{name}");
}

fn calmed(connection: &mut Client, name: &str) {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let last = frame_of(connection, GOAWAY);
    assert_eq!(error(&last.payload[4..]), ENHANCE_YOUR_CALM, "{name}: {last:?}");
    assert!(connection.closed() && read_frame(connection).is_none(), "{name}");
}

/// The client sends nothing more and reads what comes.
fn given_up(connection: &mut Client, name: &str) {
    let frames: Vec<_> = std::iter::from_fn(|| read_frame(connection)).collect();
    assert!(connection.closed(), "{name}");
    let answers = frames.iter().filter(|frame| frame.kind == HEADERS && frame.payload[0] == OK);
    assert_eq!(answers.count(), if name.contains("four") { 4 } else { 1 }, "{name}: {frames:?}");
    let ends = |frame: &&Frame| frame.kind == DATA && frame.flags & END_STREAM == END_STREAM;
    assert!(!frames.iter().any(|frame| ends(&frame)), "{name}: no answer is complete");
    let said: Vec<_> = frames.iter().filter(|frame| frame.kind == GOAWAY).collect();
    assert_eq!(said.is_empty(), name.ends_with(".dropped"), "{name}: {said:?}");
    assert!(said.iter().all(|frame| error(&frame.payload[4..]) == 0), "{name}: {said:?}");
}

/// The error code at the beginning of these bytes (RFC 9113, section 7).
fn error(payload: &[u8]) -> u32 {
    u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])
}

#[test]
fn every_valid_request_is_answered_as_its_name_says() {
    let (_server, address) = start(&[&["1", "100"], &LIMITS[..]].concat());
    for path in requests("valid") {
        check(&address, &path, true);
    }
}

#[test]
fn every_invalid_request_is_refused_as_its_name_says_and_the_worker_serves_on() {
    let (server, address) = start(&[&["1", "100"], &LIMITS[..], &SHORT].concat());
    let worker = server.wait_children(1);
    for path in requests("invalid") {
        check(&address, &path, false);
        assert_eq!(client::get(&address, "/").text(), "hello", "after {}", path.display());
    }
    assert_eq!(server.children(), worker, "it is the same one");
}
