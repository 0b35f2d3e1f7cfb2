//! Streams of HTTP/2 whose clients take nothing: what they cost a worker, and that it is given back.

mod support;

use std::fs::File;
use std::iter::from_fn;

use support::{
    DATA, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field, frame, get, http2,
    read_frame, start,
};
use testkit::{Client, DEADLINE, Running, Server, TempDir, bin, client, process, wait_until};

const MIB: u64 = 1 << 20;
const END_HEADERS_AND_STREAM: u8 = 5;
/// As many streams as a connection may have.
const STREAMS: u32 = 100;
const CONNECTIONS: usize = 10;
/// What a stalled stream may cost, in this build: what is known of the request, and its answer's fields. A frame would be
/// 16 KiB.
const KIB_EACH: u64 = 6;

/// A server of large files with one worker, and what it weighs.
struct Site {
    _directory: TempDir,
    server: Running,
    address: String,
}

impl Site {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let file = File::create(directory.path().join("large")).expect("a file");
        file.set_len(64 * MIB).expect("a long one");
        let server = Server::command(bin("examples/file_fixture"))
            .args(["127.0.0.1:0", "100"])
            .arg(directory.path())
            .start();
        let address = server.address();
        Self { _directory: directory, server, address }
    }

    fn weighs(&self) -> u64 {
        process::anonymous_kib(self.server.wait_children(1)[0])
    }

    /// A connection with this window for each stream, or a wide one for all of them, that asks for many files.
    fn stalled(&self, window: u32, wide: bool, how: &str) -> Client {
        let mut client = Client::connect(&self.address);
        client.keep_window();
        client.send(PREFACE);
        let setting = [&[0, 4], &window.to_be_bytes()[..]].concat();
        client.send(&frame(SETTINGS, 0, 0, &setting));
        if wide {
            client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
        }
        let target = get(&format!("/{how}/large"));
        for stream in 0..STREAMS {
            client.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 2 * stream + 1, &target));
        }
        client
    }
}

/// Reads until all streams are answered, as far as their windows go.
fn read_answers(client: &mut Client) {
    let answers = from_fn(|| read_frame(client)).filter(|frame| frame.kind == HEADERS);
    assert_eq!(answers.take(STREAMS as usize).count(), STREAMS as usize, "all are answered");
}

#[test]
fn a_stalled_stream_costs_less_than_a_frame_and_the_memory_is_given_back() {
    for how in ["file", "framed", "wrapped"] {
        for window in [0, 1] {
            let site = Site::new();
            drop(client::get(&site.address, "/file/none"));
            let before = site.weighs();
            let mut stalled: Vec<_> =
                (0..CONNECTIONS).map(|_| site.stalled(window, false, how)).collect();
            stalled.iter_mut().for_each(read_answers);
            let held = site.weighs().saturating_sub(before);
            let most = KIB_EACH * u64::from(STREAMS) * CONNECTIONS as u64;
            assert!(held < most, "{how}, windows of {window}: {held} KiB");
            drop(stalled);
            wait_until("memory given back", DEADLINE, || {
                site.weighs().saturating_sub(before) < 4 * 1024
            });
        }
    }
}

/// Wide windows, and a client that reads nothing: what waits then waits for the socket.
#[test]
fn what_waits_for_the_socket_is_bounded_for_all_streams_of_a_connection() {
    let site = Site::new();
    let before = site.weighs();
    let stalled: Vec<_> = (0..CONNECTIONS).map(|_| site.stalled(1 << 20, true, "file")).collect();
    // The worker has read all of them: it serves another client behind them.
    for _ in 0..3 {
        assert_eq!(client::get(&site.address, "/file/none").status, 404);
    }
    let held = site.weighs().saturating_sub(before);
    let most = (KIB_EACH * u64::from(STREAMS) + 128) * CONNECTIONS as u64;
    assert!(held < most, "{held} KiB");
    drop(stalled);
    assert_eq!(client::get(&site.address, "/file/none").status, 404);
}

/// One byte after another, through a window of one.
#[test]
fn a_file_goes_through_the_smallest_of_windows() {
    let directory = TempDir::new().expect("a directory");
    let content = b"0123456789";
    std::fs::write(directory.path().join("digits"), content).expect("a file");
    let server = Server::command(bin("examples/file_fixture"))
        .args(["127.0.0.1:0", "100"])
        .arg(directory.path())
        .start();
    let mut client = Client::connect(&server.address());
    client.send(PREFACE);
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]));
    client.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/framed/digits")));
    for _ in 1..12 {
        client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    }
    let mut received = Vec::new();
    while received.len() < 12 {
        let next = read_frame(&mut client).expect("there is more");
        received.extend(next.payload.into_iter().filter(|_| next.kind == DATA));
    }
    assert_eq!(received, b"<0123456789>");
}

/// A client's fields are its own to choose: what all of a worker's streams hold is bounded, and beyond that a stream is
/// refused unseen, so that it can be sent again (RFC 9113, section 8.7).
#[test]
fn streams_that_hold_too_much_together_are_refused_and_no_connection_is_shut_out() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    const LAST: u32 = 2 * STREAMS - 1;
    // A field of 4,000 bytes that is remembered, and then asked for again by one byte.
    let value = "x".repeat(4000);
    let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], value.as_bytes()].concat();
    let remembered = vec![0xbe; 14];
    let target =
        [&[0x82, 0x86][..], &field(":path", "/slow/60000"), &field(":authority", "a")].concat();
    let (server, address) = start(&["1", "100"]);
    let worker = server.wait_children(1)[0];
    let before = process::anonymous_kib(worker);
    let mut connections: Vec<Client> = (0..20)
        .map(|_| {
            let mut connection = http2(&address);
            let first = [&target[..], &long, &remembered].concat();
            let more = [&target[..], &[0xbe], &remembered].concat();
            for stream in 0..STREAMS - 1 {
                let fields = if stream == 0 { &first } else { &more };
                connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 2 * stream + 1, fields));
            }
            connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, LAST, &get("/")));
            connection
        })
        .collect();
    let mut refused = 0;
    for connection in &mut connections {
        let frames = from_fn(|| read_frame(connection));
        let frames = frames.take_while(|it| it.stream != LAST);
        for reset in frames.filter(|it| it.kind == RST_STREAM) {
            assert_eq!(reset.payload, REFUSED_STREAM);
            assert_ne!(reset.stream, 1, "a connection without another stream is served");
            refused += 1;
        }
    }
    assert!(refused > 500, "{refused}");
    let held = process::anonymous_kib(worker).saturating_sub(before);
    assert!(held < 160 * 1024, "{held} KiB");
    assert_eq!(client::get(&address, "/").text(), "hello");
    drop(connections);
    let mut connection = http2(&address);
    wait_until("room again", DEADLINE, || {
        connection = http2(&address);
        for stream in [1, 3] {
            connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, stream, &get("/")));
        }
        let frames = from_fn(|| read_frame(&mut connection));
        frames.filter(|it| matches!(it.kind, DATA | RST_STREAM)).take(2).all(|it| it.kind == DATA)
    });
}
