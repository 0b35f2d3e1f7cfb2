//! Raw requests as files, valid and invalid, each with what must come of it in its name:
//! `NAME.STATUS[.STATUS…]` in order, `.close` if the connection ends with it; for HTTP/2 `.h2` (all
//! answered with 200), `.reset` (the stream is, or is refused with a status), `.end` (the connection
//! is). After an invalid one the connection ends; after a valid one it serves on.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{GOAWAY, HEADERS, RST_STREAM, frame_of, read_frame, start};
use testkit::process::pss_kib;
use testkit::{Client, client};

/// Small ones, so that what is too much and too slow does not take long.
const LIMITS: [&str; 3] = ["header_timeout=500", "body_timeout=500", "body_bytes=131072"];

fn files(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests").join(kind);
    let entries = fs::read_dir(directory).expect("the requests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() > 30, "they are all there");
    files
}

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
        // `:status: 200` is the eighth field of the static table.
        assert_eq!(frame_of(connection, HEADERS).payload[0], 0x88, "{name}");
    }
}

fn refused(connection: &mut Client, name: &str) {
    let frame = std::iter::from_fn(|| read_frame(connection))
        .find(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY));
    let frame = frame.unwrap_or_else(|| panic!("{name}: the connection just ended"));
    assert!(frame.kind != HEADERS || frame.payload[0] != 0x88, "{name}: {frame:?}");
}

fn ended(connection: &mut Client, name: &str) {
    assert!(connection.closed(), "{name}");
}

#[test]
fn every_valid_request_is_answered_as_its_name_says() {
    let (_server, address) = start(&[&["1", "100"], &LIMITS[..]].concat());
    for path in files("valid") {
        check(&address, &path, true);
    }
}

#[test]
fn every_invalid_request_is_refused_as_its_name_says_and_the_worker_serves_on() {
    let (server, address) = start(&[&["1", "100"], &LIMITS[..]].concat());
    let worker = server.wait_children(1);
    for path in files("invalid") {
        check(&address, &path, false);
        assert_eq!(client::get(&address, "/").text(), "hello", "after {}", path.display());
    }
    assert_eq!(server.children(), worker, "it is the same one");
}

#[test]
fn requests_that_are_refused_leave_nothing_behind() {
    let (server, address) = start(&[&["1", "100"], &LIMITS[..]].concat());
    let worker = server.wait_children(1)[0];
    // Without those that take their time, and those that end no connection.
    let ends_soon = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension != "408" && extension != "reset")
    };
    let requests: Vec<_> = files("invalid")
        .into_iter()
        .filter(ends_soon)
        .map(|path| fs::read(path).expect("a request"))
        .collect();
    let all = || {
        for request in &requests {
            let mut connection = Client::connect(&address);
            let _ = connection.try_send(request);
            assert!(connection.closed());
        }
    };
    let rounds = 1000_usize.div_ceil(requests.len());
    let growth = || {
        let before = pss_kib(worker);
        (0..rounds).for_each(|_| all());
        pss_kib(worker).saturating_sub(before)
    };
    // What is left behind adds up every time; what the allocator keeps for later does not.
    let grown: Vec<u64> = (0..4).map(|_| growth()).collect();
    assert!(grown.iter().any(|&kib| kib < 100), "{grown:?} KiB, {rounds} rounds each");
    assert_eq!(server.children(), [worker]);
}
