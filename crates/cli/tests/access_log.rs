//! The access log of `tine serve`, and whom it shows: what is written, when, and that nothing is lost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use testkit::load::Load;
use testkit::{
    Client, DEADLINE, Running, Server, TempDir, client, process, require_root, wait_until,
};

const SIGUSR1: i32 = 10;
const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A site of thirteen bytes, and its log.
struct Site {
    directory: TempDir,
    logs: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            directory: TempDir::new().expect("a directory"),
            logs: TempDir::new().expect("a directory"),
        };
        std::fs::write(site.directory.path().join("index.html"), "Hello, World!").expect("a file");
        // Workers may have become somebody else.
        for directory in [&site.directory, &site.logs] {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(directory.path(), mode).expect("it is ours");
        }
        site
    }

    fn log(&self) -> PathBuf {
        self.logs.path().join("access")
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.log())
    }

    fn wait_lines(&self, count: usize) -> Vec<String> {
        wait_until("the lines", DEADLINE, || self.lines().len() >= count);
        self.lines()
    }

    /// Serves it on a free port.
    fn serve(&self, more: &[&str]) -> (Running, String) {
        let server = Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "off", "--access-log"])
            .arg(self.log())
            .args(more)
            .arg(self.directory.path())
            .start();
        let address = server.address();
        (server, address)
    }
}

/// A log's lines, each of which must be whole.
fn lines(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text:?}");
    text.lines().map(str::to_owned).collect()
}

fn stop(server: &Running) {
    server.signal(SIGTERM);
    assert!(server.wait_exit().success(), "{}", server.lines().join("\n"));
}

#[test]
fn every_request_has_a_line_in_the_combined_format() {
    let site = Site::new();
    for concurrency in ["1", "100"] {
        let (server, address) = site.serve(&["--workers", "1", "--concurrency", concurrency]);
        let before = site.lines().len();
        let mut connection = Client::connect(&address);
        let request =
            "GET /?a=b HTTP/1.1\r\nHost: a\r\nReferer: http://r/\r\nUser-Agent: t \"1\"\r\n\r\n";
        connection.send(request.as_bytes());
        assert_eq!(connection.read_response().status, 200);
        // The connection stays open: a second is enough.
        let lines = site.wait_lines(before + 1);
        let line = &lines[before];
        let (start, end) = (line.find(" [").expect(line), line.find("] ").expect(line));
        assert_eq!(&line[..start], "127.0.0.1 - -");
        assert_eq!(&line[end + 2..], "\"GET /?a=b HTTP/1.1\" 200 13 \"http://r/\" \"t \\\"1\\\"\"");
        assert_eq!(connection.get("/none").status, 404);
        drop(connection);
        assert!(site.wait_lines(before + 2)[before + 1].contains("\"GET /none HTTP/1.1\" 404 "));
        stop(&server);
    }
}

#[test]
fn lines_of_several_workers_do_not_mix_and_none_is_lost() {
    let site = Site::new();
    for concurrency in ["1", "64"] {
        let more = ["--workers", "3", "--concurrency", concurrency];
        let format = ["--access-log-format", "%L %P %X %>s %B %r ."];
        let (server, address) = site.serve(&[&more[..], &format].concat());
        let before = site.lines().len();
        let load = match concurrency {
            "1" => Load::one_per_connection(&address, "/").connections(8),
            _ => Load::keep_alive(&address, "/").connections(8),
        };
        let report = load.run_requests(5000);
        assert_eq!(report.failed_total, 0, "{report:?}");
        stop(&server);
        let lines = site.lines().split_off(before);
        assert_eq!(lines.len(), 5000);
        let ids: std::collections::HashSet<&str> =
            lines.iter().map(|line| line.split(' ').next().expect("an id")).collect();
        assert_eq!(ids.len(), 5000, "every request has an id of its own");
        let end = if concurrency == "1" {
            " - 200 13 GET / HTTP/1.1 ."
        } else {
            " 200 13 GET / HTTP/1.1 ."
        };
        for line in &lines {
            assert!(
                line.starts_with('C') && line.ends_with(end) && !line.contains(" X "),
                "{line}"
            );
        }
    }
}

#[test]
fn a_rotation_under_load_loses_and_splits_no_line() {
    let site = Site::new();
    let old: Vec<PathBuf> =
        (0..3).map(|number| site.logs.path().join(format!("old{number}"))).collect();
    let (server, address) = site.serve(&["--workers", "3", "--access-log-format", "%r %>s"]);
    let load = Load::keep_alive(&address, "/").connections(16).start();
    for path in &old {
        load.wait_answered(500);
        server.mark();
        std::fs::rename(site.log(), path).expect("renamed");
        server.signal(SIGUSR1);
        server.wait_line("log reopened");
    }
    load.wait_answered(500);
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    stop(&server);
    let all: Vec<String> = old.iter().chain([&site.log()]).flat_map(|path| lines(path)).collect();
    assert!(all.iter().all(|line| line == "GET / HTTP/1.1 200" || line.ends_with(" -")), "{all:?}");
    let answered = all.iter().filter(|line| line.ends_with(" 200")).count() as u64;
    // Those whose answer nobody has read any more are lines, too.
    assert!((report.answered..=report.answered + 16).contains(&answered), "{answered} {report:?}");
}

#[test]
fn workers_without_rights_write_to_the_reopened_log() {
    if !require_root() {
        return;
    }
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "1", "--user", "nobody"]);
    assert_eq!(client::get(&address, "/").status, 200);
    site.wait_lines(1);
    std::fs::rename(site.log(), site.logs.path().join("old")).expect("renamed");
    server.signal(SIGUSR1);
    server.wait_line("log reopened");
    assert_eq!(client::get(&address, "/").status, 200);
    assert_eq!(site.wait_lines(1).len(), 1);
    stop(&server);
}

#[test]
fn workers_come_and_go_and_no_line_is_lost() {
    let site = Site::new();
    let more = ["--workers", "2", "--max-requests", "100", "--access-log-format", "%L %>s"];
    let (server, address) = site.serve(&more);
    let load = Load::keep_alive(&address, "/").connections(8).start();
    load.wait_answered(1000);
    server.signal(SIGHUP);
    server.wait_line("generation 2 serves");
    load.wait_answered(500);
    let report = load.stop();
    stop(&server);
    let answered = site.lines().iter().filter(|line| line.ends_with(" 200")).count() as u64;
    assert!((report.answered..=report.answered + 8).contains(&answered), "{answered} {report:?}");
}

#[test]
fn an_isolated_worker_that_is_killed_takes_no_other_connections_line_along() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "1", "--concurrency", "1"]);
    for _ in 0..3 {
        assert_eq!(client::get(&address, "/").status, 200);
    }
    // The next one is taken after the last line is written.
    let mut victim = Client::connect(&address);
    victim.send(b"GET / HT");
    let pid = server.wait_children(1)[0];
    wait_until("three lines", DEADLINE, || site.lines().len() == 3);
    process::signal(pid, SIGKILL);
    assert_eq!(client::get(&address, "/").status, 200);
    site.wait_lines(4);
    stop(&server);
}

#[test]
fn what_hyper_refuses_by_itself_has_a_line() {
    let site = Site::new();
    let (server, address) =
        site.serve(&["--workers", "1", "--access-log-format", "%h \"%r\" %>s %X"]);
    let mut connection = Client::connect(&address);
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n");
    assert_eq!(connection.read_response().status, 400);
    drop(connection);
    assert_eq!(site.wait_lines(1), ["127.0.0.1 \"GET / HTTP/1.1\" 400 -"]);
    stop(&server);
}

#[test]
fn bytes_sent_are_those_on_the_wire() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "1", "--access-log-format", "%O"]);
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ] {
        let before = site.lines().len();
        let mut connection = Client::connect(&address);
        connection.send(request.as_bytes());
        let answer = connection.read_to_end();
        let line = site.wait_lines(before + 1).remove(before);
        assert_eq!(line, answer.len().to_string(), "{request}");
    }
    stop(&server);
}

#[test]
fn a_log_that_cannot_be_opened_ends_the_start() {
    let site = Site::new();
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--access-log", "/no/such/directory/log"])
        .arg(site.directory.path())
        .start();
    assert_eq!(server.wait_exit().code(), Some(2));
    server.wait_line("/no/such/directory/log");
}
