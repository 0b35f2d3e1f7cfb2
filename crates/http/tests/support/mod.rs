//! What several tests need: the fixture, and frames of HTTP/2.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::{Client, Running, Server, bin};

/// The fixture on a port of its own, and its address.
pub fn start(arguments: &[&str]) -> (Running, String) {
    let server =
        Server::command(bin("examples/http_fixture")).arg("127.0.0.1:0").args(arguments).start();
    let address = server.address();
    (server, address)
}

/// The raw requests of this kind, `valid` or `invalid`.
pub fn requests(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests").join(kind);
    let entries = fs::read_dir(directory).expect("the requests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() > 30, "they are all there");
    files
}

/// Takes a large answer so slowly that the server's socket, which has megabytes of it, asks for no more in all of a
/// time-out of 2 s, and then the rest at once: whether all of it came. It is acknowledged twice a second.
pub fn takes_slowly(client: &mut Client) -> bool {
    const LENGTH: usize = 16 << 20;
    const PIECE: usize = 10 * 1024;
    client.keep_window();
    client.send(format!("GET /large/{} HTTP/1.1\r\nHost: a\r\n\r\n", LENGTH / 1024).as_bytes());
    let head = client.read_until(b"\r\n\r\n");
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let begun = Instant::now();
    let mut taken = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        match client.try_read_exact(PIECE) {
            Ok(piece) => taken += piece.len(),
            Err(_) => return false,
        }
        // So slow is this client; nothing is waited for.
        sleep(Duration::from_millis(50));
    }
    client.try_read_exact(LENGTH - taken).is_ok()
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;

/// One frame (RFC 9113, section 4.1).
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A GET's fields: a path of fewer than 127 bytes, without Huffman's code (RFC 7541, appendix A).
pub fn get(path: &str) -> Vec<u8> {
    asks(0x82, path)
}

/// A POST's.
pub fn post(path: &str) -> Vec<u8> {
    asks(0x83, path)
}

fn asks(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    [&[method, 0x86, 0x04, length], path.as_bytes(), b"\x41\x01a"].concat()
}

/// One field by its name, in as many bytes as it has (RFC 7541, section 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("a short text");
    let (name, value) = ((length(name), name), (length(value), value));
    [&[0, name.0], name.1.as_bytes(), &[value.0], value.1.as_bytes()].concat()
}

/// A connection with HTTP/2 on it.
pub fn http2(address: &str) -> Client {
    let mut connection = Client::connect(address);
    connection.send(PREFACE);
    connection.send(&frame(SETTINGS, 0, 0, b""));
    connection
}

/// The next frame; `None` at the connection's end.
pub fn read_frame(client: &mut Client) -> Option<Frame> {
    let mut bytes = client.try_read_exact(9).ok()?;
    let rest = bytes.split_off(3);
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
    let stream = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]) & 0x7fff_ffff;
    let payload = client.try_read_exact(length).ok()?;
    Some(Frame { kind: rest[0], flags: rest[1], stream, payload })
}

/// The next frame of this kind; what comes before is skipped.
#[track_caller]
pub fn frame_of(client: &mut Client, kind: u8) -> Frame {
    std::iter::from_fn(|| read_frame(client))
        .find(|frame| frame.kind == kind)
        .unwrap_or_else(|| panic!("the connection ended without a frame of kind {kind}"))
}
