//! The same over connections: that what is framed and sent is what the service meant.

use std::fs::{self, File};
use std::io::Read as _;

use flate2::read::GzDecoder;
use testkit::{Client, Running, Server, TempDir, bin};

const LARGE: usize = 3_000_000;

/// A worker that serves a page of text, a large file and a small one.
struct Site {
    directory: TempDir,
    server: Running,
    address: String,
    text: String,
    large: Vec<u8>,
}

impl Site {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let text = "many words again and again; ".repeat(60_000);
        let large: Vec<u8> = (0..LARGE as u32 / 4).flat_map(u32::to_le_bytes).collect();
        fs::write(directory.path().join("page.txt"), &text).expect("a file");
        fs::write(directory.path().join("large.bin"), &large).expect("a file");
        fs::write(directory.path().join("small.txt"), "small").expect("a file");
        let server = Server::command(bin("examples/site_fixture"))
            .arg("127.0.0.1:0")
            .arg(directory.path())
            .start();
        let address = server.address();
        Self { directory, server, address, text, large }
    }
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str) {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
}

fn expand(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).expect("it is whole");
    text
}

#[test]
fn every_kind_of_answer_goes_over_one_connection_in_order() {
    const GZIP: &str = "Accept-Encoding: gzip\r\n";
    let site = Site::new();
    let mut client = Client::connect(&site.address);
    for _ in 0..5 {
        // All at once: none may wait for another, or be mistaken for one.
        ask(&mut client, "HEAD", "/large.bin", "");
        ask(&mut client, "GET", "/page.txt", GZIP);
        ask(&mut client, "HEAD", "/page.txt", GZIP);
        ask(&mut client, "GET", "/large.bin", "Range: bytes=1000000-1999999\r\n");
        ask(&mut client, "GET", "/large.bin", "If-Match: \"other\"\r\n");
        ask(&mut client, "GET", "/large.bin", "Range: bytes=3000000-\r\n");
        ask(&mut client, "GET", "/large.bin", "Range: bytes=0-499999,2500000-,600000-600000\r\n");
        ask(&mut client, "GET", "/small.txt", "");
        ask(&mut client, "GET", "/large.bin", "");
        let head = client.read_response_to_head();
        assert_eq!(head.header("content-length"), Some("3000000"));
        let page = client.read_response();
        assert_eq!(page.header("transfer-encoding"), Some("chunked"));
        assert!(expand(&page.body) == site.text);
        let head = client.read_response_to_head();
        assert_eq!((head.status, head.header("content-length")), (200, None));
        let part = client.read_response();
        assert_eq!(part.status, 206);
        assert!(part.body == site.large[1_000_000..2_000_000]);
        assert_eq!(client.read_response().status, 412);
        assert_eq!(client.read_response().status, 416);
        let parts = client.read_response();
        assert_eq!(parts.status, 206);
        for range in [0..500_000, 2_500_000..LARGE, 600_000..600_001] {
            let head = format!("bytes {}-{}/{LARGE}\r\n\r\n", range.start, range.end - 1);
            let at = parts.body.windows(head.len()).position(|it| it == head.as_bytes());
            let start = at.expect("it is there") + head.len();
            assert!(parts.body[start..start + range.len()] == site.large[range]);
        }
        assert_eq!(client.read_response().text(), "small");
        assert!(client.read_response().body == site.large);
    }
}

#[test]
fn a_page_that_shrinks_while_it_is_compressed_has_no_end() {
    let site = Site::new();
    let worker = site.server.wait_children(1);
    // Noise, so that what is sent is more than the sockets hold.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    })
    .take(8_000_000)
    .collect();
    fs::write(site.directory.path().join("noise.txt"), noise).expect("a file");
    let mut client = Client::connect(&site.address);
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 4096).expect("it is a socket");
    ask(&mut client, "GET", "/noise.txt", "Accept-Encoding: gzip\r\n");
    let head = client.read_until(b"\r\n\r\n");
    assert!(String::from_utf8_lossy(&head).contains("content-encoding: gzip"));
    let file = File::options().write(true).open(site.directory.path().join("noise.txt"));
    file.and_then(|file| file.set_len(0)).expect("it can be cut");
    assert!(!client.read_to_end().ends_with(b"0\r\n\r\n"), "it does not look whole");
    assert_eq!(Client::connect(&site.address).get("/small.txt").text(), "small");
    assert_eq!(site.server.wait_children(1), worker);
}
