//! Who asks, when a proxy is in front: what it says is believed of those who are trusted, and of nobody else.

use testkit::{Client, DEADLINE, Running, Server, TempDir, wait_until};

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

/// A service behind a proxy, and what its log says of clients.
struct Behind {
    directory: TempDir,
    server: Running,
    address: String,
}

impl Behind {
    fn start(more: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let site = directory.path().join("site");
        std::fs::create_dir(&site).expect("a directory");
        let server = Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "off", "--workers", "1"])
            .args(["--access-log-format", "%h %{c}a %p", "--access-log"])
            .arg(directory.path().join("access"))
            .args(more)
            .arg(site)
            .start();
        let address = server.address();
        Self { directory, server, address }
    }

    /// Sends this; the line about it, if it is answered.
    fn shown(&self, bytes: &[u8]) -> Option<String> {
        let lines = || {
            let text = std::fs::read_to_string(self.directory.path().join("access"));
            text.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let before = lines().len();
        let mut client = Client::connect(&self.address);
        client.send(bytes);
        if client.read_to_end().is_empty() {
            return None;
        }
        wait_until("the line", DEADLINE, || lines().len() > before);
        lines().pop()
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("a port")
    }

    fn stop(self) {
        self.server.signal(SIGTERM);
        assert!(self.server.wait_exit().success());
    }
}

fn request(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n").into_bytes()
}

#[test]
fn forwarded_headers_are_believed_of_trusted_peers_alone() {
    for (trust, fields, shown) in [
        (&[][..], "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1"),
        (&["--trust", "10.0.0.0/8"], "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1"),
        (&["--trust", "127.0.0.0/8"], "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", "192.0.2.1"),
        (&["--trust", "127.0.0.1"], "Forwarded: for=192.0.2.1\r\n", "127.0.0.1"),
        (
            &["--trust", "127.0.0.1", "--forwarded", "forwarded"],
            "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 6.6.6.6\r\n",
            "192.0.2.1",
        ),
    ] {
        let behind = Behind::start(trust);
        let line = format!("{shown} 127.0.0.1 {}", behind.port());
        assert_eq!(behind.shown(&request(fields)), Some(line), "{trust:?} {fields}");
        behind.stop();
    }
}

#[test]
fn a_proxy_header_of_either_version_says_whose_a_connection_is() {
    let behind = Behind::start(&["--trust", "127.0.0.1", "--proxy-protocol"]);
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    second.extend([192, 0, 2, 9, 10, 0, 0, 1, 0x30, 0x39, 1, 0xbb, 4, 0, 1, 0]);
    for (header, shown) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(), "192.0.2.1 127.0.0.1 443"),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n".to_vec(), "2001:db8::1 127.0.0.1 80"),
        (second, "192.0.2.9 127.0.0.1 443"),
    ] {
        let sent = [header, request("X-Forwarded-For: 6.6.6.6\r\n")].concat();
        assert_eq!(behind.shown(&sent).as_deref(), Some(shown));
    }
    behind.stop();
}

#[test]
fn a_trusted_peer_without_a_proxy_header_is_closed_and_logged() {
    let behind = Behind::start(&["--trust", "127.0.0.1", "--proxy-protocol"]);
    assert_eq!(behind.shown(&request("")), None);
    let line = behind.server.wait_line("PROXY header");
    assert!(line.contains(": 127.0.0.1 is refused: its PROXY header: there is none"), "{line}");
    assert_eq!(behind.shown(b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n\r\n"), None);
    behind.server.wait_line("it ends too early");
    behind.stop();
}

#[test]
fn somebody_who_only_looks_whether_the_port_is_open_is_no_matter_for_the_log() {
    let behind = Behind::start(&["--trust", "127.0.0.1", "--proxy-protocol"]);
    drop(Client::connect(&behind.address));
    Client::connect(&behind.address).abort();
    // Who comes later is logged later.
    assert_eq!(behind.shown(&request("")), None);
    behind.server.wait_line("its PROXY header: there is none");
    assert_eq!(behind.server.count_lines("PROXY header"), 1);
    behind.stop();
}

#[test]
fn a_peer_that_is_not_trusted_cannot_say_whose_its_connection_is() {
    let behind = Behind::start(&["--trust", "10.0.0.1", "--proxy-protocol"]);
    let line = format!("127.0.0.1 127.0.0.1 {}", behind.port());
    assert_eq!(behind.shown(&request("")).as_ref(), Some(&line));
    let forged = [b"PROXY TCP4 6.6.6.6 2.2.2.2 1 2\r\n".to_vec(), request("")].concat();
    // It is no request, and answered as what it is.
    assert_eq!(behind.shown(&forged).as_ref(), Some(&line));
    behind.stop();
}

#[test]
fn the_health_path_turns_false_when_the_service_is_to_stop_and_not_when_it_reloads() {
    let behind = Behind::start(&["--health", "/health"]);
    let mut connection = Client::connect(&behind.address);
    assert_eq!(connection.get("/health").status, 200);
    behind.server.signal(SIGHUP);
    behind.server.wait_line("generation 2 serves");
    // The old worker drains, and goes on to say that the service is well.
    let last = connection.get("/health");
    assert_eq!((last.status, last.closes()), (200, true));
    let mut connection = Client::connect(&behind.address);
    assert_eq!(connection.get("/health").status, 200);
    behind.server.signal(SIGTERM);
    behind.server.wait_line("stopping");
    // The worker hears of it a moment after the log.
    let mut answer = connection.get("/health");
    while !answer.closes() {
        answer = connection.get("/health");
    }
    assert_eq!(answer.status, 503);
    assert!(behind.server.wait_exit().success());
}

#[test]
fn whom_to_trust_is_an_address_and_what_is_none_ends_the_start() {
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--trust", "proxy.example.org"])
        .start();
    assert_eq!(server.wait_exit().code(), Some(2));
    server.wait_line("trust \"proxy.example.org\": write an address or a network");
}
