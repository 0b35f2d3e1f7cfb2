//! `tine serve` over HTTPS: what is typed, who reads the files, what a client gets, and what a reload changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::tls::{Connector, Identity};
use testkit::{Client, Running, Scribbler, Server, TempDir, client};

const SIGTERM: i32 = 15;

/// A directory with a page, a large file, and a certificate beside it.
struct Site {
    directory: TempDir,
    identity: Identity,
}

impl Site {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let files = directory.path().join("site");
        std::fs::create_dir(&files).expect("a directory");
        std::fs::write(files.join("index.html"), "Hello, World!").expect("a file");
        std::fs::write(files.join("large"), large()).expect("a file");
        // Workers of another user come in here.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("its mode");
        let identity = Identity::new(&["localhost"]);
        identity.write(directory.path(), "site");
        Self { directory, identity }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn serve(&self, more: &[&str]) -> Running {
        self.server(more).start()
    }

    fn server(&self, more: &[&str]) -> Server {
        Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--control"])
            .arg(self.at("control"))
            .args(["--cert".as_ref(), self.at("site.pem").as_path()])
            .args(["--key".as_ref(), self.at("site.key").as_path()])
            .args(more)
            .arg(self.at("site"))
    }

    fn connector(&self) -> Connector {
        Connector::trusting(&[&self.identity])
    }

    fn reload(&self) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tine"))
            .args(["reload", "--control"])
            .arg(self.at("control"))
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// More than the buffers between hold, and no two parts alike.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect()
}

fn stop(server: &Running) {
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn files_are_served_over_https_whole_in_ranges_and_beside_http() {
    let site = Site::new();
    let server = site.serve(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0/tls"]);
    let addresses = server.addresses(2);
    assert_eq!(client::get(&addresses[0], "/").text(), "Hello, World!");
    let mut connection = site.connector().connect(&addresses[1], "localhost");
    assert_eq!(connection.get("/").text(), "Hello, World!");
    let all = large();
    assert!(connection.get("/large").body == all, "the file is not read whole");
    connection.send(b"GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes=1000000-2999999\r\n\r\n");
    let part = connection.read_response();
    assert_eq!(part.status, 206);
    assert!(part.body == all[1_000_000..3_000_000]);
    stop(&server);
}

#[test]
fn workers_of_another_user_need_no_right_to_read_the_key() {
    if !testkit::require_root() {
        return;
    }
    let site = Site::new();
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(site.at("site.key"), closed).expect("its mode");
    let server =
        site.serve(&["--listen", "127.0.0.1:0/tls", "--user", "nobody", "--max-requests", "3"]);
    let connector = site.connector();
    for _ in 0..20 {
        let mut connection = connector.connect(&server.address(), "localhost");
        assert_eq!(connection.get("/").text(), "Hello, World!", "in replacements, too");
    }
    assert!(site.reload().0);
    connector.connect(&server.address(), "localhost").get("/");
    stop(&server);
}

#[test]
fn a_reload_brings_the_new_certificate_or_says_why_not() {
    let site = Site::new();
    let server = site.serve(&["--listen", "127.0.0.1:0/tls"]);
    let address = server.address();
    let shows = |identity: &Identity| {
        let connector = Connector::trusting(&[identity, &site.identity]);
        let connection = connector.connect(&address, "localhost");
        connection.tls().is_some_and(|tls| tls.shown(identity))
    };
    assert!(shows(&site.identity));
    let next = Identity::new(&["localhost"]);
    next.write(site.directory.path(), "site");
    assert_eq!(site.reload(), (true, String::new()));
    assert!(shows(&next));
    std::fs::write(site.at("site.key"), &site.identity.key).expect("a file");
    let (done, why) = site.reload();
    assert!(!done && why.contains("site.key does not belong to the certificate"), "{why}");
    assert!(shows(&next));
    stop(&server);
}

#[test]
fn clients_without_tls_are_sent_to_https() {
    let site = Site::new();
    let listen = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0/tls"];
    let more = [&listen[..], &["--https-redirect=8443", "--health", "/up", "--trust", "127.0.0.1"]];
    let server = site.serve(&more.concat());
    let addresses = server.addresses(2);
    let mut plain = Client::connect(&addresses[0]);
    let answer = plain.get("/a?b=c");
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some("https://127.0.0.1:8443/a?b=c"));
    plain.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(plain.read_response().status, 308, "it stays a POST");
    assert_eq!(plain.get("/up").status, 200, "whoever asks for that is not sent away");
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(plain.read_response().text(), "Hello, World!", "a proxy has done it");
    let mut secure = site.connector().connect(&addresses[1], "localhost");
    assert_eq!(secure.get("/").text(), "Hello, World!");
    stop(&server);
}

#[test]
fn clients_without_tls_are_sent_to_the_port_that_was_chosen() {
    let site = Site::new();
    let listen = ["--listen", "127.0.0.1:0", "--listen", "localhost:0/tls", "--https-redirect"];
    let server = site.serve(&listen);
    let addresses = server.addresses(2);
    let tls = &addresses[1];
    let answer = client::get(&addresses[0], "/a?b=c");
    let port = tls.rsplit_once(':').expect("a port").1;
    let location = format!("https://127.0.0.1:{port}/a?b=c");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(site.connector().connect(tls, "localhost").get("/").text(), "Hello, World!");
    stop(&server);
}

#[test]
fn one_plain_process_serves_https_too() {
    let site = Site::new();
    let solo = ["serve", "--solo", "--listen", "127.0.0.1:0/tls", "--cert"];
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(solo)
        .arg(site.at("site.pem"))
        .arg("--key")
        .arg(site.at("site.key"))
        .arg(site.at("site"))
        .start();
    let connector = site.connector();
    for resumed in [false, true] {
        let mut connection = connector.connect(&server.address(), "localhost");
        assert_eq!(connection.get("/").text(), "Hello, World!");
        assert_eq!(connection.tls().map(testkit::tls::Tls::resumed), Some(resumed));
    }
    stop(&server);
}

#[test]
fn a_worker_that_writes_over_all_shared_memory_ends_neither_the_service_nor_its_tickets() {
    let site = Site::new();
    let listen = ["--listen", "127.0.0.1:0/tls", "--workers", "2", "--concurrency", "4"];
    let server = site.serve(&listen);
    let connector = site.connector();
    let serves = || {
        let mut connection = connector.connect(&server.address(), "localhost");
        assert_eq!(connection.get("/").text(), "Hello, World!");
        connection.tls().map(testkit::tls::Tls::resumed)
    };
    serves();
    for seed in 1..4 {
        let regions = Scribbler::all(server.wait_children(2)[0]);
        assert!(regions.iter().any(|(name, _)| name == "tine-tls tickets"));
        for (_, region) in regions {
            region.garbage(seed).expect("it can be written over");
        }
        serves();
        let (done, text) = site.reload();
        assert!(done, "{text}");
        server.wait_line("\"tine-tls tickets\" was written over");
        serves();
        assert_eq!(serves(), Some(true), "the new keys make tickets that are taken");
    }
    stop(&server);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_bound() {
    let site = Site::new();
    let other = Identity::new(&["localhost"]).write(site.directory.path(), "other");
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--control", "off"])
            .args(words)
            .arg(site.at("site"))
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let path = |path: &Path| path.display().to_string();
    let (certificate, key) = (path(&site.at("site.pem")), path(&site.at("site.key")));
    let both = ["--cert", &certificate, "--key", &key];
    let with = |more: &[&str]| run(&[&both[..], more].concat());
    assert!(run(&["--listen", "127.0.0.1:0/tls"]).contains("--listen 127.0.0.1:0/tls: TLS needs"));
    assert!(with(&["--listen", "127.0.0.1:0"]).contains("no --listen is for TLS"));
    assert!(with(&["--cert", &path(&other.0)]).contains("2 --cert and 1 --key"));
    assert!(with(&["--https-redirect"]).contains("every --listen is for TLS"));
    assert!(with(&["--https-redirect=0"]).contains("0 is not in 1..=65535"));
    assert!(with(&["--ticket-life", "0.1"]).contains("--ticket-life: tickets for 100ms"));
    let mixed = run(&["--cert", &certificate, "--key", &path(&other.1)]);
    assert!(mixed.contains("other.key does not belong to the certificate"), "{mixed}");
    let missing = run(&["--cert", "/no/such.pem", "--key", &key]);
    assert!(
        missing.contains("cannot read the certificate /no/such.pem: No such file"),
        "{missing}"
    );
}
