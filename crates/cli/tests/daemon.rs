//! What `--daemonize` and `--log-file` promise: an exit status that tells the truth, and no lost line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use testkit::load::Load;
use testkit::{DEADLINE, TempDir, alive, client, process, wait_gone, wait_until};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGUSR1: i32 = 10;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        std::fs::write(place.path("index.html"), "hello").expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path(".log")).unwrap_or_default()
    }

    /// Starts a daemon; returns when the command that started it has ended.
    fn start(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--daemonize", "--workers", "2", "--control"])
            .arg(self.path(".control"))
            .arg("--pid-file")
            .arg(self.path(".pid"))
            .arg("--log-file")
            .arg(self.path(".log"))
            .args(more)
            .arg(self.0.path())
            .output()
            .expect("it runs")
    }

    fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.path(".pid")).expect("a pid file");
        text.trim().parse().expect("a pid")
    }

    fn address(&self) -> String {
        let log = self.log();
        let (_, after) = log.split_once("listening on ").expect("an address");
        after.split_whitespace().next().expect("a word").to_owned()
    }
}

/// Ends the daemon, also when its test fails.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        process::signal(self.0, SIGTERM);
        wait_gone(self.0);
    }
}

#[test]
fn a_daemon_serves_when_its_command_has_ended_and_leaves_nothing_when_stopped() {
    let place = Place::new();
    let output = place.start(&["--listen", "127.0.0.1:0"]);
    assert!(output.status.success(), "{output:?}");
    let daemon = Daemon(place.pid());
    assert_eq!(client::get(&place.address(), "/").text(), "hello");
    assert!(alive(daemon.0));
    drop(daemon);
    assert!(!place.path(".pid").exists() && !place.path(".control").exists());
    assert!(place.log().contains("stopped"), "{}", place.log());
}

#[test]
fn a_daemon_that_cannot_bind_says_so_by_its_exit_status() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = place.start(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&address), "{text}");
    assert!(!place.path(".pid").exists() && !place.path(".control").exists());
}

#[test]
fn a_rotated_log_is_reopened_and_loses_no_line() {
    let place = Place::new();
    let output =
        place.start(&["--listen", "127.0.0.1:0", "--log-level", "debug", "--max-requests", "20"]);
    assert!(output.status.success(), "{output:?}");
    let daemon = Daemon(place.pid());
    let address = place.address();
    let load = Load::one_per_connection(&address, "/").connections(4).start();
    let mut logs = Vec::new();
    for turn in 0..5 {
        load.wait_answered(100);
        let old = place.path(&format!(".log.{turn}"));
        std::fs::rename(place.path(".log"), &old).expect("a rotation");
        process::signal(daemon.0, SIGUSR1);
        wait_until("the new log", DEADLINE, || place.log().contains("log reopened"));
        logs.push(std::fs::read_to_string(old).expect("a log"));
    }
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    drop(daemon);
    logs.push(place.log());
    let all = logs.concat();
    // Every worker that served is also said to be gone: nothing fell between two files.
    let who = |text: &str| -> BTreeSet<String> {
        let lines = all.lines().filter(|line| line.contains(text));
        lines
            .filter_map(|line| line.split(": worker ").nth(1)?.split(' ').next().map(str::to_owned))
            .collect()
    };
    let (served, gone) = (who(" serves"), who(" is gone"));
    assert!(served.len() > 10 && served.is_subset(&gone), "{served:?} {gone:?}");
    assert!(all.lines().all(|line| line.contains("tine[")), "a split line: {all}");
}

#[test]
fn a_log_that_may_not_grow_costs_lines_and_nobody_s_life() {
    let place = Place::new();
    let output = place.start(&["--listen", "127.0.0.1:0"]);
    assert!(output.status.success(), "{output:?}");
    let daemon = Daemon(place.pid());
    // A worker's own words may come after the command's end.
    wait_until("the last line of a start", DEADLINE, || place.log().contains("serving"));
    let (address, full) = (place.address(), place.log().len());
    // A worker inherits the limit from its supervisor: the one who replaces this one writes nothing either.
    let worker = process::children(daemon.0)[0];
    for pid in [daemon.0, worker] {
        let mut prlimit = Command::new("prlimit");
        prlimit.args([format!("--pid={pid}"), format!("--fsize={full}:{full}")]);
        assert!(prlimit.status().expect("prlimit runs").success());
    }
    process::signal(worker, SIGKILL);
    wait_until("a replacement", DEADLINE, || {
        let now = process::children(daemon.0);
        now.len() == 2 && !now.contains(&worker)
    });
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert_eq!(place.log().len(), full);
    assert!(alive(daemon.0));
}

#[test]
fn a_service_manager_is_told_which_process_serves() {
    let place = Place::new();
    let manager = std::os::unix::net::UnixDatagram::bind(place.path(".notify")).expect("a socket");
    manager.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let started = Command::new(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--daemonize", "--workers", "1", "--listen", "127.0.0.1:0", "--control"])
        .arg(place.path(".control"))
        .arg("--pid-file")
        .arg(place.path(".pid"))
        .arg("--log-file")
        .arg(place.path(".log"))
        .arg(place.0.path())
        .env("NOTIFY_SOCKET", place.path(".notify"))
        .output()
        .expect("it runs");
    assert!(started.status.success(), "{started:?}");
    let daemon = Daemon(place.pid());
    let mut buffer = [0; 4096];
    let said = loop {
        let count = manager.recv(&mut buffer).expect("it says so");
        let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if said.contains("READY=1") {
            break said;
        }
    };
    assert!(said.lines().any(|line| line == format!("MAINPID={}", daemon.0)), "{said}");
}
