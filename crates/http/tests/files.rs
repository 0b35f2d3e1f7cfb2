//! Files as answers: that what arrives is the file, whatever happens to the answer, the file or the
//! client on the way.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use testkit::{Client, Response, Running, Server, TempDir, bin, client};

const SIGTERM: i32 = 15;
const MIB: usize = 1 << 20;

/// A server of a directory of files, and one worker.
struct Site {
    directory: TempDir,
    server: Running,
    address: String,
}

impl Site {
    fn new() -> Self {
        Self::listening("127.0.0.1:0", TempDir::new().expect("a directory"))
    }

    fn listening(address: &str, directory: TempDir) -> Self {
        let server = Server::command(bin("examples/file_fixture"))
            .args([address, "100"])
            .arg(directory.path())
            .start();
        let address = server.address();
        Self { directory, server, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file in which every place looks different.
    fn file(&self, name: &str, length: usize) -> Vec<u8> {
        let mut content = Vec::with_capacity(length + 8);
        let mut word = name.len() as u64;
        while content.len() < length {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            content.extend_from_slice(&word.to_le_bytes());
        }
        content.truncate(length);
        std::fs::write(self.path(name), &content).expect("a file");
        content
    }

    fn get(&self, path: &str) -> Response {
        client::get(&self.address, path)
    }

    fn worker(&self) -> u32 {
        self.server.wait_children(1)[0]
    }
}

/// Not `assert_eq`: nobody wants to see them.
#[track_caller]
fn assert_same(received: &[u8], expected: &[u8]) {
    assert_eq!(received.len(), expected.len());
    let differs = || received.iter().zip(expected).position(|(a, b)| a != b);
    assert!(received == expected, "they differ at {:?}", differs());
}

fn ask(client: &mut Client, method: &str, path: &str) {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
}

#[test]
fn files_of_every_size_arrive_whole() {
    let site = Site::new();
    for length in [0, 1, 13, 10 * 1024, 16 * 1024, 16 * 1024 + 1, MIB, MIB + 1, 5 * MIB + 77] {
        let content = site.file("it", length);
        let mut client = Client::connect(&site.address);
        for how in ["file", "wrapped", "file"] {
            let answer = client.get(&format!("/{how}/it"));
            assert_eq!(answer.header("content-length"), Some(length.to_string().as_str()));
            assert_same(&answer.body, &content);
        }
    }
}

#[test]
fn files_come_in_order_behind_answers_that_have_waited() {
    let site = Site::new();
    let (small, large) = (site.file("small", 13), site.file("large", 3 * MIB));
    let mut client = Client::connect(&site.address);
    let names = ["small", "large", "small", "small", "large", "large", "small"];
    let get = |name: &&str| format!("GET /file/{name} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(names.iter().map(get).collect::<String>().as_bytes());
    for name in names {
        assert_same(&client.read_response().body, if name == "small" { &small } else { &large });
    }
}

#[test]
fn files_arrive_over_a_unix_socket() {
    let directory = TempDir::new().expect("a directory");
    let address = format!("unix:{}", directory.path().join("socket").display());
    let site = Site::listening(&address, directory);
    let content = site.file("it", 3 * MIB + 5);
    assert_same(&client::get(&address, "/file/it").body, &content);
}

#[test]
fn a_part_far_beyond_the_reserved_addresses_arrives() {
    let site = Site::new();
    let content = site.file("end", 3 * MIB);
    // Sparse: 40 GiB of nothing, then the content.
    let file = File::create(site.path("huge")).expect("a file");
    file.write_all_at(&content, 40 << 30).expect("it can be written");
    assert_same(&site.get("/end/huge").body, &content);
}

#[test]
fn bytes_before_and_after_a_file_stay_where_they_are() {
    let site = Site::new();
    for length in [0, 100, 2 * MIB + 1] {
        let content = site.file("it", length);
        let expected = [b"<", &content[..], b">"].concat();
        for how in ["framed", "chunked"] {
            let answer = site.get(&format!("/{how}/it"));
            assert_eq!(answer.header("transfer-encoding").is_some(), how == "chunked");
            assert_same(&answer.body, &expected);
        }
    }
}

#[test]
fn a_head_before_a_get_does_not_send_the_wrong_file() {
    let site = Site::new();
    let (a, b) = (site.file("a", 300_000), site.file("bb", 200_000));
    let mut client = Client::connect(&site.address);
    for _ in 0..20 {
        ask(&mut client, "HEAD", "/file/bb");
        ask(&mut client, "GET", "/file/a");
        ask(&mut client, "GET", "/unmodified/a");
        ask(&mut client, "GET", "/dropped/a");
        ask(&mut client, "GET", "/file/bb");
        let head = client.read_response_to_head();
        assert_eq!(head.header("content-length"), Some("200000"));
        assert_same(&client.read_response().body, &a);
        let unmodified = client.read_response();
        assert_eq!((unmodified.status, unmodified.body.len()), (304, 0));
        assert_eq!(client.read_response().text(), "instead");
        assert_same(&client.read_response().body, &b);
    }
}

#[test]
fn pipelined_files_come_in_order() {
    let site = Site::new();
    let contents: Vec<Vec<u8>> =
        (0..8).map(|number| site.file(&"x".repeat(number + 1), number * 150_000)).collect();
    let mut client = Client::connect(&site.address);
    for number in 0..8 {
        ask(&mut client, "GET", &format!("/file/{}", "x".repeat(number + 1)));
    }
    for content in contents {
        assert_same(&client.read_response().body, &content);
    }
}

#[test]
fn what_changes_a_body_on_its_way_reads_the_file() {
    let site = Site::new();
    let content = site.file("it", 2 * MIB + 3);
    let changed: Vec<u8> = content.iter().map(|byte| !byte).collect();
    let mut client = Client::connect(&site.address);
    assert_same(&client.get("/changed/it").body, &changed);
    assert_same(&client.get("/file/it").body, &content);
}

#[test]
fn clients_that_leave_early_or_break_off_hurt_nobody() {
    let site = Site::new();
    site.file("large", 30 * MIB);
    let small = site.file("s", 50_000);
    let worker = site.worker();
    for round in 0..30 {
        let mut client = Client::connect(&site.address);
        ask(&mut client, "GET", "/file/large");
        client.read_exact(1000);
        // With unread bytes either way is a reset, one while the worker writes.
        if round % 2 == 0 {
            client.abort()
        } else {
            drop(client)
        }
        assert_same(&site.get("/file/s").body, &small);
    }
    assert_eq!(site.worker(), worker, "it lives");
}

#[test]
fn a_file_that_shrinks_ends_its_connection_visibly_and_nobody_elses() {
    let site = Site::new();
    let worker = site.worker();
    for how in ["file", "wrapped"] {
        let content = site.file("it", 60 * MIB);
        let mut client = Client::connect(&site.address);
        let mut other = Client::connect(&site.address);
        ask(&mut client, "GET", &format!("/{how}/it"));
        let head = client.read_until(b"\r\n\r\n");
        assert!(String::from_utf8_lossy(&head).contains(&format!("{}", 60 * MIB)));
        client.read_exact(MIB);
        // More than the sockets' buffers is to come; it will not.
        let cut = File::options().write(true).open(site.path("it")).expect("it is there");
        cut.set_len(40 * MIB as u64).expect("it can be cut");
        let rest = client.read_to_end();
        assert_same(&rest, &content[MIB..40 * MIB]);
        assert_eq!(other.get("/dropped/it").text(), "instead");
    }
    let mut promised = Client::connect(&site.address);
    site.file("it", MIB);
    ask(&mut promised, "GET", "/short/it");
    promised.read_until(b"\r\n\r\n");
    assert_eq!(promised.read_to_end().len(), MIB);
    assert_eq!(site.worker(), worker, "it lives");
}

#[test]
fn what_a_body_gave_before_it_failed_arrives() {
    let site = Site::new();
    for left in [MIB + 5_000, 8 * MIB + 5_000] {
        let content = site.file("it", 16 * MIB);
        let mut client = Client::connect(&site.address);
        client.keep_window();
        ask(&mut client, "GET", "/wrapped/it");
        client.read_until(b"\r\n\r\n");
        let cut = File::options().write(true).open(site.path("it")).expect("it is there");
        cut.set_len(left as u64).expect("it can be cut");
        let rest = client.read_to_end();
        // Of what is short, more may have been sent by now.
        assert_same(&rest, &content[..rest.len().max(left)]);
        assert!(rest.len() < content.len());
    }
}

#[test]
fn a_file_that_grows_is_sent_as_long_as_it_was() {
    let site = Site::new();
    let content = site.file("it", 40 * MIB);
    let mut client = Client::connect(&site.address);
    ask(&mut client, "GET", "/file/it");
    let head = client.read_until(b"\r\n\r\n");
    let more = File::options().write(true).open(site.path("it")).expect("it is there");
    more.write_all_at(&[0; 10_000], content.len() as u64).expect("it can grow");
    assert!(String::from_utf8_lossy(&head).contains(&format!("{}", content.len())));
    assert_same(&client.read_exact(content.len()), &content);
    // The next answer comes right after it.
    assert_eq!(client.get("/dropped/it").text(), "instead");
}

#[test]
fn slow_readers_take_none_of_a_workers_memory() {
    let site = Site::new();
    site.file("large", 64 * MIB);
    let resident = || site.get("/resident/large").text().parse::<usize>().expect("a number");
    drop(site.get("/resident/large"));
    let before = resident();
    let slow: Vec<Client> = (0..40)
        .map(|number| {
            let mut client = Client::connect(&site.address);
            let how = if number % 2 == 0 { "file" } else { "wrapped" };
            ask(&mut client, "GET", &format!("/{how}/large"));
            client.read_exact(100);
            client
        })
        .collect();
    let grown = resident().saturating_sub(before);
    // 64 KiB of a file for each that is read, and what hyper holds.
    assert!(grown < 40 * 256, "{grown} KiB for {} slow readers", slow.len());
}

#[test]
fn a_download_is_finished_while_the_service_stops() {
    let site = Site::new();
    let content = site.file("large", 50 * 1_000_000);
    let mut client = Client::connect(&site.address);
    client.set_deadline(Duration::from_secs(30));
    ask(&mut client, "GET", "/file/large");
    client.read_until(b"\r\n\r\n");
    let first = client.read_exact(1000);
    site.server.signal(SIGTERM);
    site.server.wait_line("stopping");
    assert_same(&[first, client.read_exact(content.len() - 1000)].concat(), &content);
    assert!(site.server.wait_exit().success());
}
