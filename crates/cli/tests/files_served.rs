//! Files as `tine serve` sends them where the kernel does not: over HTTP/2, and over TLS. What arrives is the file or
//! the part that was asked for, an answer without a body has none, and one that breaks off does not look whole.

#[path = "../../http/tests/support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::iter::from_fn;
use std::path::PathBuf;

use support::{
    DATA, END_STREAM, Frame, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field, frame,
    frame_of, get, read_frame,
};
use testkit::tls::{Connector, Identity};
use testkit::{Client, Running, Server, TempDir};

const SIZE: usize = 16 << 20;
/// Of a file that becomes shorter while it is sent; more than lies in all buffers before is to come.
const LEFT: usize = 8 << 20;

const END_HEADERS: u8 = 4;
/// `:status` 200, 206 and 304 (RFC 7541, appendix A).
const OK: u8 = 0x88;
const PARTIAL: u8 = 0x8a;
const NOT_MODIFIED: u8 = 0x8b;

/// A directory with a file in it, served by one worker with and without TLS.
struct Site {
    directory: TempDir,
    server: Running,
    plain: String,
    tls: String,
    connector: Connector,
    content: Vec<u8>,
}

impl Site {
    fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let files = directory.path().join("site");
        fs::create_dir(&files).expect("a directory");
        let content: Vec<u8> = (0..SIZE as u32 / 4).flat_map(u32::to_le_bytes).collect();
        fs::write(files.join("file"), &content).expect("a file");
        fs::write(files.join("small"), "small").expect("a file");
        let identity = Identity::new(&["localhost"]);
        let (certificate, key) = identity.write(directory.path(), "site");
        let server = Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--workers", "1", "--listen", "127.0.0.1:0"])
            .args(["--listen", "127.0.0.1:0/tls", "--cert"])
            .arg(certificate)
            .arg("--key")
            .arg(key)
            .arg("--control")
            .arg(directory.path().join("control"))
            .arg(files)
            .start();
        let [plain, tls] = server.addresses(2).try_into().expect("two addresses");
        let connector = Connector::trusting(&[&identity]);
        Self { directory, server, plain, tls, connector, content }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("site/file")
    }

    /// A connection with TLS that is to speak this.
    fn secured(&self, protocol: &str) -> Client {
        let connector = self.connector.clone().offering(&[protocol]);
        let client = connector.connect(&self.tls, "localhost");
        assert_eq!(client.tls().and_then(testkit::tls::Tls::alpn).as_deref(), Some(protocol));
        client
    }

    fn etag(&self) -> String {
        let answer = Client::connect(&self.plain).get("/file");
        answer.header("etag").expect("files have one").to_owned()
    }

    fn shorten(&self) {
        let file = File::options().write(true).open(self.path()).expect("it is there");
        file.set_len(LEFT as u64).expect("it can be cut");
    }

    /// Not `assert_eq`: nobody wants to see them.
    #[track_caller]
    fn assert_begins(&self, received: &[u8]) {
        let differs = || received.iter().zip(&self.content).position(|(a, b)| a != b);
        assert!(self.content.starts_with(received), "{}, {:?}", received.len(), differs());
    }
}

/// A connection with HTTP/2 on it. Its windows for answers are as large as can be, or as small as at the beginning.
struct Streams(Client);

impl Streams {
    fn new(mut client: Client, windows: bool) -> Self {
        client.send(PREFACE);
        client.send(&frame(SETTINGS, 0, 0, b""));
        let mut streams = Self(client);
        if windows {
            streams.0.send(&frame(SETTINGS, 0, 0, b"\x00\x04\x7f\xff\xff\xff"));
            streams.open(0);
        }
        streams
    }

    /// Opens a window of a stream, or the connection's.
    fn open(&mut self, stream: u32) {
        self.0.send(&frame(WINDOW_UPDATE, 0, stream, &0x7fff_0000_u32.to_be_bytes()));
    }

    fn ask(&mut self, stream: u32, method: &str, fields: &[(&str, &str)]) {
        let mut block = [field(":method", method), get("/file")[1..].to_vec()].concat();
        fields.iter().for_each(|(name, value)| block.extend(field(name, value)));
        self.0.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
    }

    /// All frames of one stream, to its end.
    fn read(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let ends = |frame: &Frame| frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
        while !frames.last().is_some_and(ends) {
            let next = from_fn(|| read_frame(&mut self.0)).find(|frame| frame.stream == stream);
            frames.push(next.expect("the connection stays"));
        }
        frames
    }

    /// What is answered, of which all arrives: status and body.
    fn answer(&mut self, stream: u32, method: &str, fields: &[(&str, &str)]) -> (u8, Vec<u8>) {
        self.ask(stream, method, fields);
        let frames = self.read(stream);
        assert!(frames[0].kind == HEADERS, "{:?}", frames[0]);
        let end = frames.last().map(|frame| frame.flags & END_STREAM);
        assert_eq!(end, Some(END_STREAM), "it is whole");
        (frames[0].payload[0], body(&frames))
    }
}

fn body(frames: &[Frame]) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.flat_map(|frame| frame.payload.iter().copied()).collect()
}

#[test]
fn files_arrive_over_http2_whole_in_part_or_not_at_all() {
    let site = Site::start();
    let etag = site.etag();
    for client in [Client::connect(&site.plain), site.secured("h2")] {
        let mut streams = Streams::new(client, true);
        let (status, whole) = streams.answer(1, "GET", &[]);
        assert!((status, whole.len()) == (OK, SIZE), "{status:x}, {}", whole.len());
        site.assert_begins(&whole);
        let (status, part) = streams.answer(3, "GET", &[("range", "bytes=1000000-1999999")]);
        assert!(status == PARTIAL && part == site.content[1_000_000..2_000_000], "{status:x}");
        assert_eq!(streams.answer(5, "HEAD", &[]), (OK, Vec::new()));
        assert_eq!(
            streams.answer(7, "GET", &[("if-none-match", &etag)]),
            (NOT_MODIFIED, Vec::new())
        );
        // The answer after them is nobody else's.
        let (status, part) = streams.answer(9, "GET", &[("range", "bytes=0-6")]);
        assert_eq!((status, &part[..]), (PARTIAL, &site.content[..7]));
    }
}

#[test]
fn files_arrive_over_tls_whole_in_part_or_not_at_all() {
    let site = Site::start();
    let etag = site.etag();
    let mut client = site.secured("http/1.1");
    let ask = |client: &mut Client, method: &str, fields: &str| {
        client.send(format!("{method} /file HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    };
    ask(&mut client, "GET", "");
    let whole = client.read_response();
    assert_eq!((whole.status, whole.body.len()), (200, SIZE));
    site.assert_begins(&whole.body);
    ask(&mut client, "HEAD", "");
    let head = client.read_response_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("16777216")));
    ask(&mut client, "GET", &format!("If-None-Match: {etag}\r\n"));
    let unmodified = client.read_response();
    assert_eq!((unmodified.status, unmodified.body.len()), (304, 0));
    ask(&mut client, "GET", "Range: bytes=1000000-1999999\r\n");
    let part = client.read_response();
    assert!(part.status == 206 && part.body == site.content[1_000_000..2_000_000]);
}

#[test]
fn a_file_that_shrinks_resets_its_stream_and_no_other() {
    for secured in [false, true] {
        // What was seen of a file is remembered for a moment: each has its own.
        let site = Site::start();
        let worker = site.server.wait_children(1);
        let client = if secured { site.secured("h2") } else { Client::connect(&site.plain) };
        let mut streams = Streams::new(client, false);
        streams.ask(1, "GET", &[]);
        assert_eq!(frame_of(&mut streams.0, HEADERS).payload[0], OK);
        site.shorten();
        streams.open(0);
        streams.open(1);
        let frames = streams.read(1);
        assert_eq!(
            frames.last().map(|frame| frame.kind),
            Some(RST_STREAM),
            "it does not look whole"
        );
        let received = body(&frames);
        assert!(received.len() < SIZE, "{}", received.len());
        site.assert_begins(&received);
        let (status, part) = streams.answer(3, "GET", &[("range", "bytes=0-6")]);
        assert_eq!((status, &part[..]), (PARTIAL, &site.content[..7]));
        assert_eq!(site.server.children(), worker, "it lives");
    }
}

#[test]
fn a_file_that_shrinks_ends_its_session_visibly_and_no_other() {
    let site = Site::start();
    let worker = site.server.wait_children(1);
    let mut other = site.secured("http/1.1");
    let mut client = site.secured("http/1.1");
    client.keep_window();
    client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.read_until(b"\r\n\r\n");
    assert!(String::from_utf8_lossy(&head).contains(&format!("content-length: {SIZE}")));
    site.shorten();
    let received = client.read_to_end();
    assert!(received.len() < SIZE, "{}", received.len());
    site.assert_begins(&received);
    assert_eq!(other.get("/small").text(), "small");
    assert_eq!(site.server.children(), worker, "it lives");
}
