//! Web sockets over HTTP/2 (RFC 8441): a stream that is the application's own, on a connection that is not.

mod support;

use support::{DATA, GOAWAY, HEADERS, SETTINGS, field, frame, frame_of, http2, read_frame, start};
use testkit::Client;

const SIGTERM: i32 = 15;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// SETTINGS_ENABLE_CONNECT_PROTOCOL = 1 (RFC 8441, section 3).
const OFFER: [u8; 6] = [0, 8, 0, 0, 0, 1];
/// An idle time of connections that is over before the tests are, in milliseconds; many at once, and one.
const WORKERS: [[&str; 3]; 2] = [["1", "100", "idle_timeout=300"], ["2", "1", "idle_timeout=300"]];

/// A connection with a web socket on its first stream.
fn web_socket(address: &str) -> Client {
    let mut connection = http2(address);
    let offered = frame_of(&mut connection, SETTINGS);
    assert!(offered.payload.chunks(6).any(|setting| setting == OFFER), "{offered:?}");
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/web-socket"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    connection.send(&frame(HEADERS, END_HEADERS, 1, &fields));
    let answer = frame_of(&mut connection, HEADERS);
    assert!(answer.payload[0] == 0x88 && answer.flags & END_STREAM == 0, "a 200: {answer:?}");
    connection
}

/// One message there and back (RFC 6455, section 5.2): the client's is masked, with nothing.
#[track_caller]
fn echoes(connection: &mut Client) {
    connection.send(&frame(DATA, 0, 1, b"\x81\x84\0\0\0\0ping"));
    assert_eq!(frame_of(connection, DATA).payload, b"\x81\x04ping");
}

/// A connection that has come and asks for nothing is closed in its time: one that came before it had that time, too.
fn let_idle_time_pass(address: &str) {
    let mut idle = http2(address);
    frame_of(&mut idle, GOAWAY);
    while read_frame(&mut idle).is_some() {}
}

#[test]
fn a_web_socket_over_http2_outlives_the_idle_time_of_its_connection() {
    for arguments in WORKERS {
        let (_server, address) = start(&arguments);
        let mut connection = web_socket(&address);
        echoes(&mut connection);
        let_idle_time_pass(&address);
        echoes(&mut connection);
        // The end of the socket is the beginning of that time.
        connection.send(&frame(DATA, END_STREAM, 1, b""));
        frame_of(&mut connection, GOAWAY);
    }
}

#[test]
fn a_web_socket_over_http2_is_waited_for_when_its_worker_leaves() {
    for arguments in WORKERS {
        let (server, address) = start(&arguments);
        let mut connection = web_socket(&address);
        let mut idle = http2(&address);
        frame_of(&mut idle, SETTINGS);
        server.signal(SIGTERM);
        frame_of(&mut connection, GOAWAY);
        while read_frame(&mut idle).is_some() {}
        echoes(&mut connection);
        connection.send(&frame(DATA, END_STREAM, 1, b""));
        assert!(server.wait_exit().success());
    }
}
