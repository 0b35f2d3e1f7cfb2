//! The letters of the scoreboard that HTTP brings: seen in the status while a worker is at just that.

mod site;

use std::process::{Child, Command};
use std::time::Duration;

use site::{PAGE, Site};
use testkit::{Client, DEADLINE, process, require_peer, require_root, wait_until};

/// The letters of all workers, in the order of the status.
fn letters(site: &Site) -> String {
    let asked = site.ask(&["status", "--json"]);
    assert!(asked.wait_exit().success());
    let status: serde_json::Value =
        serde_json::from_str(&asked.lines().join("\n")).expect("it is JSON");
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().filter_map(|worker| worker["letter"].as_str()).collect()
}

#[track_caller]
fn wait_letters(site: &Site, wanted: &str) {
    wait_until(&format!("the workers show {wanted}"), DEADLINE, || letters(site) == wanted);
}

#[test]
fn r_for_half_a_request_w_for_an_answer_that_is_not_taken_and_k_for_what_may_come() {
    let site = Site::new();
    std::fs::write(site.path("large"), vec![b'x'; 64 << 20]).expect("a file");
    let (server, address) = site.serve(&["--workers", "1", "--concurrency", "1"]);
    wait_letters(&site, "_");
    let mut client = Client::connect(&address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n");
    wait_letters(&site, "R");
    client.send(b"\r\n");
    assert_eq!(client.read_response().text(), PAGE);
    wait_letters(&site, "K");
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_letters(&site, "W");
    drop(client);
    wait_letters(&site, "_");
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn c_for_a_client_that_was_answered_and_goes_on_sending() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "1", "--concurrency", "1"]);
    let mut client = Client::connect(&address);
    client.send(b"NONSENSE\r\n\r\n");
    wait_letters(&site, "C");
    drop(client);
    wait_letters(&site, "_");
    server.signal(15);
    assert!(server.wait_exit().success());
}

/// strace, which makes writes to one file slow; it ends with this.
struct Slow(Child);

impl Drop for Slow {
    fn drop(&mut self) {
        process::signal(self.0.id(), 15);
        let _ = self.0.wait();
    }
}

#[test]
fn l_while_it_writes_its_access_log() {
    if !require_root() || !require_peer("strace") {
        return;
    }
    let (site, logs) = (Site::new(), testkit::TempDir::new().expect("a directory"));
    let log = logs.path().join("log").display().to_string();
    let (server, address) =
        site.serve(&["--workers", "1", "--concurrency", "1", "--access-log", &log]);
    let worker = server.wait_children(1)[0];
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-P", &log]);
    strace.args(["-e", "inject=write,writev,pwritev2:delay_enter=2000000", "-p"]);
    let _slow = Slow(strace.arg(worker.to_string()).spawn().expect("strace starts"));
    wait_until("strace has it", Duration::from_secs(3), || {
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    });
    let mut client = Client::connect(&address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wait_letters(&site, "L");
    assert_eq!(client.read_response().text(), PAGE);
    wait_letters(&site, "_");
    server.signal(15);
    assert!(server.wait_exit().success());
}
