//! `--check`: whether a server could be started as it was typed, said without starting it.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use testkit::tls::Identity;
use testkit::{Running, Server, TempDir, client, is_root, require_peer};

/// A site, a certificate, and room for what a server keeps beside them.
struct Place {
    directory: TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("it is ours");
        let site = directory.path().join("site");
        std::fs::create_dir(&site).expect("a directory");
        std::fs::write(site.join("index.html"), "hello").expect("a file");
        for name in ["cert", "other"] {
            Identity::new(&["localhost"]).write(directory.path(), name);
        }
        // Free a moment ago; the server of the test that needs it says so if it is not any more.
        let found = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        Self { directory, port: found.expect("a port").port() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Words of a command line, in which `%` is this directory, and `:PORT` a port.
    fn tine(&self, line: &str) -> Server {
        let (directory, port) = (self.directory.path().display(), format!(":{}", self.port));
        let words = line.split_whitespace();
        let words = words
            .map(|it| it.replace('%', &directory.to_string()).replace(":PORT", &port))
            .collect::<Vec<_>>();
        Server::command(env!("CARGO_BIN_EXE_tine")).args(words)
    }

    /// Everything that is there, as a stranger sees it.
    fn files(&self) -> Vec<(PathBuf, u64, u64, (i64, i64))> {
        let mut all = Vec::new();
        let mut folders = vec![self.directory.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("an entry").path();
                let found = std::fs::symlink_metadata(&path).expect("it is there");
                if found.is_dir() {
                    folders.push(path.clone());
                }
                let changed = (found.ctime(), found.ctime_nsec());
                all.push((path, found.ino(), found.len(), changed));
            }
        }
        all.sort();
        all
    }
}

/// What it says, if it ends with this code.
#[track_caller]
fn ends_with(code: i32, running: &Running) -> String {
    let status = running.wait_exit();
    let text = running.lines().join("\n");
    assert_eq!(status.code(), Some(code), "{text}");
    text
}

const ALL: &str = "serve %/site --listen 127.0.0.1:PORT --listen 127.0.0.1:0/tls \
    --listen unix:%/http.sock --cert %/cert.pem --key %/cert.key --pid-file %/pid --control %/control \
    --log-file %/log --access-log %/access --workers 1..4 --max-memory 64M --trust 10.0.0.0/8";

#[test]
fn what_is_fine_is_said_so_and_nothing_is_made() {
    let place = Place::new();
    for line in [
        ALL,
        "serve --solo %/site --listen 127.0.0.1:PORT --log-file %/log",
        "serve --daemonize %/site --listen 127.0.0.1:PORT --pid-file %/pid --log-file %/log",
        "serve %/site --inherited",
        "start --listen 127.0.0.1:PORT --listen udp:127.0.0.1:PORT --listen unix:%/app.sock=5 \
            --log-file %/log --pid-file %/pid --status-file %/status --check -- cat",
    ] {
        let before = place.files();
        let line = if line.starts_with("serve") { format!("{line} --check") } else { line.into() };
        let text = ends_with(0, &place.tine(&line).start());
        assert!(text.ends_with("the configuration is fine"), "{line}: {text}");
        assert_eq!(text.contains("passed in"), line.contains("--inherited"), "{text}");
        assert_eq!(place.files(), before, "{line}");
        TcpListener::bind(("127.0.0.1", place.port)).expect("nobody has the port");
    }
}

#[test]
fn beside_the_service_that_runs_it_is_fine_and_says_who_has_what() {
    let place = Place::new();
    let server = place.tine(ALL).start();
    // What it logs is in its file.
    server.wait_until("it serves", || place.at("http.sock").exists() && place.at("pid").exists());
    let address = format!("127.0.0.1:{}", place.port);
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.wait_until("its last word of a start", || {
        std::fs::read_to_string(place.at("log")).is_ok_and(|log| log.contains("serving "))
    });
    server.wait_until("its line", || !std::fs::read(place.at("access")).expect("a log").is_empty());
    let before = place.files();
    let text = ends_with(0, &place.tine(&format!("{ALL} --check")).start());
    let process = format!("process {} (tine)", server.pid());
    for note in [
        format!("note: {address} is in use now, by {process}"),
        format!("note: unix:{} is in use now, by {process}", place.at("http.sock").display()),
        format!(
            "note: the pid file {} is process {}'s now",
            place.at("pid").display(),
            server.pid()
        ),
        format!("note: the control socket {} is another process's", place.at("control").display()),
        "the configuration is fine".to_owned(),
    ] {
        assert!(text.contains(&note), "{note}: {text}");
    }
    assert_eq!(place.files(), before);
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn what_is_wrong_is_named_with_the_exit_code_of_a_start() {
    let place = Place::new();
    let before = place.files();
    for (code, line, named) in [
        (2, "serve %/none", "none"),
        (2, "serve %/site --listen 127.0.0.1:99999", "99999"),
        (2, "serve %/site --user no-such-user", "no-such-user"),
        (2, "serve %/site --group no-such-group", "no-such-group"),
        (2, "serve %/site --workers 5..2", "5..2"),
        (2, "serve %/site --log-file %/none/log", "none/log"),
        (2, "serve %/site --access-log %/none/access", "none/access"),
        (2, "serve %/site --log-file %/site", "site"),
        (2, "serve %/site --trust everybody", "everybody"),
        (2, "serve %/site --timeout 0", "request_timeout 0"),
        (2, "serve %/site --core-directory %/none", "none"),
        (2, "serve %/site --cert %/none.pem --key %/cert.key", "none.pem"),
        (2, "serve %/site --cert %/cert.pem --key %/other.key", "other.key"),
        (2, "serve %/site --listen 127.0.0.1:0/tls", "--cert"),
        (2, "serve %/site --https-redirect", "--cert"),
        (2, "serve %/site --ticket-life 60", "--cert"),
        (2, "serve %/site --inetd", "--inetd"),
        (2, "serve %/site --pid-file %/none/pid", "none/pid"),
        (2, "serve %/site --pid-file %/cert.pem", "is no pid file"),
        (2, "serve %/site --pid-file %/cert.pem/pid", "Not a directory"),
        (2, "start --status-file %/cert.pem/status -- cat", "Not a directory"),
        (3, "serve %/site --listen unix:%/none/sock", "none/sock"),
        (3, "serve %/site --listen unix:%/cert.pem", "a regular file"),
        (3, "serve %/site --listen 192.0.2.1:8080", "192.0.2.1:8080"),
        (3, "serve %/site --listen 0.0.0.0:PORT --listen 127.0.0.1:PORT", "another listener"),
        (3, "serve %/site --listen no-such-host.invalid:80", "no-such-host.invalid"),
        (3, "serve %/site --control %/cert.pem", "cert.pem"),
        (2, "start --status-file %/none/status -- cat", "none/status"),
        (2, "start --listen 127.0.0.1:PORT=3 --listen 127.0.0.1:0=3 -- cat", "3"),
        (5, "start -- no-such-program", "no-such-program"),
        (5, "start -- %/cert.pem", "cert.pem"),
    ] {
        let (command, rest) = line.split_once(' ').expect("words");
        let text = ends_with(code, &place.tine(&format!("{command} --check {rest}")).start());
        assert!(text.contains("tine: ") && text.contains(named), "{line}: {text}");
        assert!(!text.contains("is fine"), "{line}: {text}");
        assert!(text.matches("os error").count() <= 1, "the cause is said once: {text}");
        assert_eq!(place.files(), before, "{line}");
    }
}

#[test]
fn what_needs_rights_that_it_has_not_is_3_and_4() {
    let place = Place::new();
    let nobody = |line: &str| match is_root() {
        // Root in name, without the rights that these need.
        true => place.tine(line).wrap(["setpriv", "--bounding-set", "-all"]),
        false => place.tine(line),
    };
    if is_root() && !require_peer("setpriv") {
        return;
    }
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim().parse().is_ok_and(|first: u16| first > 80)) {
        let text = ends_with(3, &nobody("serve --check %/site --listen 127.0.0.1:80").start());
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
    if !is_root() {
        let text = ends_with(4, &nobody("serve --check %/site --user daemon").start());
        assert!(text.contains("not root"), "{text}");
    }
}
