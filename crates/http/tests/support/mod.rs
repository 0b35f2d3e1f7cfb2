//! What several tests need: the fixture, and frames of HTTP/2.
#![allow(dead_code, reason = "each test takes what it needs")]

use testkit::{Client, Running, Server, bin};

/// The fixture on a port of its own, and its address.
pub fn start(arguments: &[&str]) -> (Running, String) {
    let server =
        Server::command(bin("examples/http_fixture")).arg("127.0.0.1:0").args(arguments).start();
    let address = server.address();
    (server, address)
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

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
    let length = u8::try_from(path.len()).expect("a short path");
    [&[0x82, 0x86, 0x04, length], path.as_bytes(), b"\x41\x01a"].concat()
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
