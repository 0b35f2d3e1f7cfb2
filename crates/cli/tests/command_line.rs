//! The promises of the command line, made to the program itself.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::{
    Client, Running, Server, TempDir, alive, client, is_root, require_peer, require_root,
};

const SIGINT: i32 = 2;
const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

/// A site with a page, and room for what a server leaves beside it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        // Workers may become somebody else.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.0.path(), open).expect("it is ours");
        std::fs::create_dir(place.path("site")).expect("a directory");
        std::fs::write(place.path("site/index.html"), "<p>hello").expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn control(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// `tine serve` of the site on a free port, with a control socket that no other test finds.
    fn serve(&self, more: &[&str]) -> Running {
        let site = self.path("site");
        let server = tine(&["serve", "--listen", "127.0.0.1:0"]).arg(site);
        let server = server.arg("--control").arg(self.control()).args(more).start();
        server.wait_line("serving");
        server
    }

    /// Another `tine`, with this place's control socket.
    fn ask(&self, args: &[&str]) -> Running {
        tine(args).arg("--control").arg(self.control()).start()
    }
}

fn tine(args: &[&str]) -> Server {
    Server::command(env!("CARGO_BIN_EXE_tine")).args(args)
}

/// What it writes until it ends well.
#[track_caller]
fn output(running: &Running) -> String {
    let status = running.wait_exit();
    let text = running.lines().join("\n");
    assert!(status.success(), "{status}\n{text}");
    text
}

/// It ends with this code, having said why, once; and what it said.
#[track_caller]
fn assert_fails(running: &Running, code: i32) -> String {
    let status = running.wait_exit();
    let text = running.lines().join("\n");
    assert_eq!(status.code(), Some(code), "{text}");
    assert_eq!(running.count_lines("tine: "), 1, "{text}");
    text
}

fn port_of(address: &str) -> &str {
    address.rsplit_once(':').expect("an address with a port").1
}

#[test]
fn help_tells_the_exit_codes() {
    for command in [&[][..], &["serve"], &["status"], &["stop"], &["reload"]] {
        let text = output(&tine(&[command, &["--help"]].concat()).start());
        assert!(text.contains("Exit codes:"), "{text}");
        for line in ["0  ", "1  ", "2  ", "3  cannot listen", "4  cannot drop privileges"] {
            let told = text.lines().any(|told| told.trim_start().starts_with(line));
            assert!(told, "{command:?}, {line:?}: {text}");
        }
    }
    assert!(output(&tine(&["serve", "--help"]).start()).contains("isolated"));
    assert!(output(&tine(&["--version"]).start()).starts_with("tine "));
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tine"));
    let child = command.arg("--help").stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("it starts").wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn usage_errors_are_2() {
    for (args, named) in [
        (&["serve", "--no-such-flag"][..], "--no-such-flag"),
        (&["nonsense"], "nonsense"),
        (&["serve", "--log-level", "nonsense"], "nonsense"),
        (&["serve", "--workers", "some"], "MIN..MAX"),
        (&["serve", "--solo", "--pid-file", "x"], "--pid-file"),
        (&["status", "--pid", "1", "--port", "1"], "--port"),
    ] {
        let text = assert_fails(&tine(args).start(), 2);
        assert!(text.starts_with("tine: ") && text.contains(named), "{text}");
    }
    let nothing = tine(&[]).start();
    assert_eq!(nothing.wait_exit().code(), Some(2));
    assert!(nothing.count_lines("Usage:") == 1, "the help is shown");
}

#[test]
fn configuration_errors_are_2_and_name_what_is_wrong() {
    let place = Place::new();
    let page = place.path("site/index.html");
    for (args, named) in [
        (&["serve", "/no/such/directory"][..], "/no/such/directory"),
        (&["serve", page.to_str().expect("text")], "index.html"),
        (&["serve", "--user", "no-such-user"], "no-such-user"),
        (&["serve", "--group", "no-such-group"], "no-such-group"),
        (&["serve", "--listen", "127.0.0.1:99999"], "99999"),
        (&["serve", "--workers", "5..2"], "5"),
    ] {
        let text = assert_fails(&tine(args).args(["--control", "off"]).start(), 2);
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn a_busy_port_is_3() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    for solo in [&["--control", "off"][..], &["--solo"]] {
        let server = tine(&["serve", "--listen", &address]).arg(place.path("site")).args(solo);
        let server = server.start();
        let text = assert_fails(&server, 3);
        assert!(text.contains(&address), "{text}");
        assert_eq!(text.to_lowercase().matches("in use").count(), 1, "{text}");
        assert_eq!(server.count_lines("serving"), 0, "{text}");
    }
}

#[test]
fn privileges_that_cannot_be_dropped_are_4() {
    let place = Place::new();
    let mut server = tine(&["serve", "--control", "off", "--listen", "127.0.0.1:0"])
        .args(["--user", "daemon"])
        .arg(place.path("site"));
    if is_root() {
        if !require_peer("setpriv") {
            return;
        }
        // Root in name, without the right to become anybody else.
        server = server.wrap(["setpriv", "--bounding-set", "-setuid,-setgid"]);
    }
    assert_fails(&server.start(), 4);
}

#[test]
fn a_server_that_does_not_run_is_said_so() {
    let place = Place::new();
    for command in ["status", "stop", "reload"] {
        let text = assert_fails(&place.ask(&[command]), 2);
        assert!(text.contains("control.sock"), "{text}");
    }
    let text = assert_fails(&tine(&["status", "--pid", "4194303"]).start(), 2);
    assert!(text.contains("4194303"), "{text}");
}

#[test]
fn serve_status_and_stop_work_together() {
    let place = Place::new();
    let pid_file = place.path("tine.pid");
    let server = place.serve(&["--workers", "2", "--pid-file", pid_file.to_str().expect("text")]);
    assert_eq!(client::get(&server.address(), "/").text(), "<p>hello");
    assert_eq!(std::fs::read_to_string(&pid_file).expect("it is there").trim(), pid(&server));
    let workers = server.wait_children(2);

    let json = output(&place.ask(&["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["phase"], "running");
    assert_eq!(status["listeners"][0]["address"], server.address());
    assert_eq!(status["pools"][0]["name"], "files");
    assert_eq!(status["pools"][0]["requests"], 1);
    let shown = status["workers"].as_array().expect("a list").iter();
    let shown = shown.map(|worker| worker["pid"].as_u64().expect("a number"));
    let mut shown: Vec<_> = shown.collect();
    shown.sort_unstable();
    assert!(shown.into_iter().eq(workers.iter().map(|&pid| u64::from(pid))), "{json}");

    let table = output(&place.ask(&["status"]));
    assert!(table.contains(&server.address()) && table.contains("WORKER"), "{table}");
    for worker in &workers {
        assert!(table.lines().any(|line| line.contains(&format!(" {worker} "))), "{table}");
    }

    output(&place.ask(&["stop"]));
    assert!(server.wait_exit().success());
    assert!(!workers.into_iter().any(alive));
    assert!(!pid_file.exists() && !place.control().exists());
}

fn pid(server: &Running) -> String {
    server.pid().to_string()
}

#[test]
fn a_server_is_found_by_its_pid_and_by_its_port() {
    let place = Place::new();
    let directory = place.path("run");
    std::fs::create_dir(&directory).expect("a directory");
    let tine = |args: &[&str]| tine(args).env("XDG_RUNTIME_DIR", &directory);
    let server = tine(&["serve", "--listen", "127.0.0.1:0"]).arg(place.path("site")).start();
    let hello = server.wait_line("serving");
    assert!(hello.ends_with(&format!("stop with tine stop --pid {}", server.pid())), "{hello}");
    let address = server.address();
    let by_port = output(&tine(&["status", "--port", port_of(&address)]).start());
    assert!(by_port.contains(&format!("pid {}", server.pid())), "{by_port}");
    output(&tine(&["stop", "--pid", &pid(&server)]).start());
    assert!(server.wait_exit().success());
}

#[test]
fn what_is_said_of_how_to_stop_it_works() {
    let place = Place::new();
    let shell = |line: &str| {
        let tine = std::path::Path::new(env!("CARGO_BIN_EXE_tine"));
        let path = std::env::var("PATH").expect("there is one");
        let path = format!("{}:{path}", tine.parent().expect("a directory").display());
        let status = std::process::Command::new("sh").args(["-c", line]).env("PATH", path).status();
        assert!(status.expect("it runs").success(), "{line}");
    };
    for (control, way) in [
        (None, "tine stop --pid "),
        (Some("off".into()), "kill "),
        (Some(place.control()), "tine stop --control "),
    ] {
        let server = tine(&["serve", "--listen", "127.0.0.1:0"]);
        let server = match control {
            Some(path) => server.arg("--control").arg(path),
            None => server,
        };
        let server = server.arg(place.path("site")).start();
        let hello = server.wait_line("serving");
        let (_, command) = hello.split_once("stop with ").expect("a way");
        assert!(command.starts_with(way), "{hello}");
        shell(command);
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_server_is_found_by_its_command_line() {
    let place = Place::new();
    let server = place.serve(&["--workers", "2"]);
    server.wait_children(2);
    let line = format!("tine serve --listen 127.0.0.1:0 {}", place.path("site").display());
    let found =
        std::process::Command::new("pgrep").args(["-f", &line]).output().expect("pgrep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), server.pid().to_string());
    let title = std::fs::read_to_string(format!("/proc/{}/cmdline", server.pid()));
    assert!(title.expect("it runs").starts_with("tine: supervisor files: "));
}

#[test]
fn stop_now_does_not_wait_for_what_is_in_flight() {
    let place = Place::new();
    let server = place.serve(&["--workers", "1"]);
    let mut half = Client::connect(&server.address());
    half.send(b"GET / HTTP/1.1\r\nHost: a\r\n");
    output(&place.ask(&["stop", "--now"]));
    assert!(server.wait_exit().success());
    assert!(half.closed());
}

#[test]
fn reload_replaces_the_workers() {
    let place = Place::new();
    let server = place.serve(&["--workers", "2"]);
    let before = server.wait_children(2);
    output(&place.ask(&["reload"]));
    server.wait_until("other workers", || {
        let now = server.children();
        now.len() == 2 && !now.iter().any(|pid| before.contains(pid))
    });
    assert_eq!(client::get(&server.address(), "/").status, 200);
}

#[test]
fn control_c_ends_it_and_leaves_nothing() {
    let place = Place::new();
    let pid_file = place.path("tine.pid");
    let server = place.serve(&["--pid-file", pid_file.to_str().expect("text")]);
    assert!(pid_file.exists() && place.control().exists());
    server.signal(SIGINT);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!pid_file.exists() && !place.control().exists());
}

#[test]
fn solo_is_one_process_that_answers_and_ends_by_a_signal() {
    let place = Place::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let server =
            tine(&["serve", "--solo", "--listen", "127.0.0.1:0"]).arg(place.path("site")).start();
        let hello = server.wait_line("serving");
        assert!(hello.ends_with("stop with Ctrl-C"), "{hello}");
        assert_eq!(client::get(&server.address(), "/").text(), "<p>hello");
        assert!(server.children().is_empty());
        server.signal(signal);
        assert_eq!(server.wait_exit().code(), Some(0), "signal {signal}");
    }
}

#[test]
fn files_are_served_over_every_address_and_connection() {
    let place = Place::new();
    let large: Vec<u8> = (0..=255).cycle().take(3_000_001).collect();
    std::fs::write(place.path("site/large.bin"), &large).expect("a file");
    let socket = format!("unix:{}", place.path("http.sock").display());
    let server = place.serve(&["--listen", &socket, "--workers", "1"]);
    for address in server.addresses(2) {
        let mut client = Client::connect(&address);
        assert!(client.get("/large.bin").body == large, "{address}");
        client.send(b"HEAD /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.read_response_to_head();
        assert_eq!(head.header("content-length"), Some("3000001"));
        let page = client.get("/");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let tag = page.header("etag").expect("it has one");
        client
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n").as_bytes());
        let again = client.read_response();
        assert_eq!((again.status, again.body.len()), (304, 0));
        for path in ["/../Cargo.toml", "/%2e%2e/tine.pid", "//etc/passwd"] {
            assert_eq!(client.get(path).status, 404, "{path}");
        }
        assert_eq!(client.get("/index.html").text(), "<p>hello");
    }
}

#[test]
fn a_file_that_shrinks_on_the_way_breaks_the_connection_off() {
    let place = Place::new();
    let path = place.path("site/large.bin");
    // More than the sockets between the two hold.
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(64 << 20).expect("it can grow");
    let server = place.serve(&["--workers", "1"]);
    let mut client = Client::connect(&server.address());
    client.send(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_until(b"\r\n\r\n");
    file.set_len(1 << 20).expect("it can be cut");
    assert!(client.read_to_end().len() < 64 << 20);
    assert_eq!(client::get(&server.address(), "/").status, 200);
}

#[test]
fn workers_become_the_user_and_may_not_read_what_he_may_not() {
    if !require_root() {
        return;
    }
    let place = Place::new();
    let closed = place.path("site/closed.txt");
    std::fs::write(&closed, "secret").expect("a file");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let server = place.serve(&["--user", "nobody", "--workers", "1"]);
    assert_eq!(client::get(&server.address(), "/closed.txt").status, 403);
    assert_eq!(client::get(&server.address(), "/").status, 200);
    let worker = server.wait_children(1)[0];
    let status = testkit::process::status(worker);
    assert!(status.uid.iter().all(|&uid| uid != 0));
    assert!(status.no_new_privs, "and can gain no other user again");
    assert!(!testkit::process::status(server.pid()).no_new_privs, "the next program may need more");
}

#[test]
fn the_example_site_is_served_and_its_links_lead_somewhere() {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/site");
    let server = tine(&["serve", "--solo", "--listen", "127.0.0.1:0"]).arg(site).start();
    for page in ["/", "/pool/"] {
        let text = client::get(&server.address(), page).text();
        let ends = text.split("href=\"").skip(1).chain(text.split("src=\"").skip(1));
        let links: Vec<_> = ends.filter_map(|end| end.split('"').next()).collect();
        assert!(links.len() > 2, "{text}");
        for link in links {
            let path = match link.strip_prefix("../") {
                Some(up) => format!("/{up}"),
                None => format!("{page}{}", link.trim_start_matches("./")),
            };
            let status = client::get(&server.address(), &path).status;
            assert!(matches!(status, 200 | 301), "{page} to {link}: {status}");
        }
    }
}
