//! Answers over HTTP/2 that come before the request's body was read, to clients as they are: curl and node.

mod support;

use std::process::Command;

use support::{
    DATA, END_STREAM, HEADERS, RST_STREAM, frame, frame_of, http2, post, read_frame, start,
};
use testkit::{Client, DEADLINE, TempDir, process, require_peer};

const END_HEADERS: u8 = 4;
const NO_ERROR: [u8; 4] = [0; 4];
/// What is read on of a body after its answer, in bytes.
const READ_ON: usize = 16 << 20;
/// What a client may send before the service reads, in bytes.
const WINDOW: usize = 1 << 20;
const PIECE: usize = 16 * 1024;

/// Bodies that fit into one frame, that need several, that need more than one window, and that are not read to their end.
const SIZES: [usize; 5] = [10, 1000, 66_000, 3_000_000, 40_000_000];

#[test]
fn curl_sees_every_answer_that_comes_before_its_body_was_read() {
    if !require_peer("curl") {
        return;
    }
    let (_server, address) = start(&["1", "100"]);
    let directory = TempDir::new().expect("a directory");
    let body = directory.path().join("body");
    for size in SIZES {
        std::fs::write(&body, vec![b'x'; size]).expect("a file");
        for (path, status) in [("/unread", "200"), ("/no-such-place", "404"), ("/large/300", "405")]
        {
            for _ in 0..3 {
                let curl = Command::new("curl")
                    .args(["--silent", "--show-error", "--max-time", "20", "--output", "/dev/null"])
                    .args([
                        "--http2-prior-knowledge",
                        "--write-out",
                        "%{http_code}",
                        "--data-binary",
                    ])
                    .arg(format!("@{}", body.display()))
                    .arg(format!("http://{address}{path}"))
                    .output()
                    .expect("it runs");
                let said = String::from_utf8_lossy(&curl.stdout).into_owned();
                assert_eq!(said, status, "{path}, {size} bytes: {curl:?}");
                // Of one that is not read to its end it sees the answer, and that it was told to stop.
                assert!(curl.status.success() || size > READ_ON, "{path}, {size} bytes: {curl:?}");
            }
        }
    }
}

const NODE: &str = "
const [address, ...sizes] = process.argv.slice(1);
const session = require('http2').connect('http://' + address);
session.on('error', error => { console.log('session', error.code); process.exit(1); });
const ask = size => new Promise(done => {
    const stream = session.request({ ':method': 'POST', ':path': '/unread' });
    let said = [size];
    stream.on('response', headers => said.push(headers[':status']));
    stream.on('error', error => said.push(error.code));
    stream.on('close', () => done(said.concat(stream.rstCode).join(' ')));
    stream.resume();
    stream.end(Buffer.alloc(Number(size), 'x'));
});
(async () => { for (const size of sizes) console.log(await ask(size)); session.close(); })();
";

#[test]
fn node_sees_every_answer_that_comes_before_its_body_was_read_and_its_streams_close() {
    if !require_peer("node") {
        return;
    }
    let (_server, address) = start(&["1", "100"]);
    // node itself gives up on more than some ten megabytes at once.
    let sizes: Vec<String> = SIZES[..4].iter().map(ToString::to_string).collect();
    let node = Command::new("timeout")
        .args(["30", "node", "-e", NODE, &address])
        .args(&sizes)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&node.stdout).into_owned();
    let expected: Vec<_> = sizes.iter().map(|size| format!("{size} 200 0")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{node:?}");
}

/// A request whose answer does not wait for its body, which has begun.
fn answered_early(address: &str) -> Client {
    let mut connection = http2(address);
    connection.send(&frame(HEADERS, END_HEADERS, 1, &post("/unread")));
    assert_eq!(frame_of(&mut connection, HEADERS).payload[0], 0x88, "a 200");
    connection
}

#[test]
fn a_body_that_ends_soon_after_its_answer_resets_no_stream() {
    let (_server, address) = start(&["1", "100"]);
    let mut connection = answered_early(&address);
    connection.send(&frame(DATA, 0, 1, b"some"));
    connection.send(&frame(DATA, END_STREAM, 1, b"more"));
    connection.send(&frame(HEADERS, 5, 3, &support::get("/")));
    let next = std::iter::from_fn(|| read_frame(&mut connection))
        .filter(|frame| matches!(frame.kind, HEADERS | DATA | RST_STREAM));
    let next: Vec<_> = next.take(3).map(|frame| (frame.kind, frame.flags, frame.stream)).collect();
    assert_eq!(next, [(DATA, END_STREAM, 1), (HEADERS, END_HEADERS, 3), (DATA, END_STREAM, 3)]);
}

/// As a client that sends all before it reads: it is given windows for so much, and then told to stop.
#[test]
fn a_body_without_an_end_is_read_on_within_bounds_and_then_its_stream_is_reset() {
    let (server, address) = start(&["1", "100"]);
    let worker = server.wait_children(1)[0];
    let before = process::anonymous_kib(worker);
    let mut connection = answered_early(&address);
    let (mut window, mut sent) = (65_535_usize.min(WINDOW), 0);
    let reset = loop {
        while window >= PIECE {
            connection.send(&frame(DATA, 0, 1, &[b'x'; PIECE]));
            (window, sent) = (window - PIECE, sent + PIECE);
        }
        let Some(next) = read_frame(&mut connection) else { panic!("the connection has ended") };
        match next.kind {
            support::WINDOW_UPDATE if next.stream == 1 => {
                let more = next.payload[..4].try_into().expect("four bytes");
                window += u32::from_be_bytes(more) as usize;
            }
            RST_STREAM => break next,
            _ => {}
        }
    };
    assert_eq!(reset.payload, NO_ERROR);
    assert!((READ_ON..READ_ON + 2 * WINDOW).contains(&sent), "{sent}");
    let held = process::anonymous_kib(worker).saturating_sub(before);
    assert!(held < 4 * 1024, "{held} KiB");
    connection.send(&frame(HEADERS, 5, 3, &support::get("/")));
    assert_eq!(frame_of(&mut connection, DATA).payload, b"hello", "the connection serves on");
}

/// A client that has its answer and says no more is not waited for.
#[test]
fn a_body_that_does_not_go_on_after_its_answer_is_waited_for_a_moment() {
    let (_server, address) = start(&["1", "100"]);
    let mut connection = answered_early(&address);
    connection.set_deadline(DEADLINE);
    let answer = frame_of(&mut connection, DATA);
    assert_eq!((&answer.payload[..], answer.flags), (&b"not read"[..], END_STREAM));
    let reset = frame_of(&mut connection, RST_STREAM);
    assert_eq!((reset.stream, &reset.payload[..]), (1, &NO_ERROR[..]));
}
