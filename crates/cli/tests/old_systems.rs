//! Systems that lack something: an old kernel, a sandbox that refuses a call, no `/proc`; and an address that is in use for a
//! moment.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use testkit::{DEADLINE, Running, Server, TempDir, client, is_root, require_peer};

const HUP: i32 = 1;
const TERM: i32 = 15;

/// Serves a page, under this program.
fn serve(directory: &TempDir, wrap: &[&str], more: &[&str]) -> Running {
    fs::write(directory.path().join("index.html"), "hello").expect("a file");
    let server = Server::command(env!("CARGO_BIN_EXE_tine")).arg("serve").args(more);
    server.arg(directory.path()).wrap(wrap).start()
}

/// Under strace, which has these calls fail.
fn injected(calls: &str, how: &str) -> [String; 8] {
    let inject = format!("inject={calls}:{how}");
    [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={calls}"),
        &format!("-e{inject}"),
    ]
    .map(str::to_owned)
}

fn under(wrap: &[String]) -> Vec<&str> {
    wrap.iter().map(String::as_str).collect()
}

const USUAL: [&str; 6] = ["--listen", "127.0.0.1:0", "--control", "off", "--workers", "1"];

#[test]
fn a_call_that_an_old_kernel_or_a_sandbox_lacks_is_named_with_the_way_out() {
    if !require_peer("strace") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    for (call, error, reason) in [
        ("pidfd_open", "ENOSYS", "Linux 5.4"),
        ("pidfd_open", "EPERM", "a sandbox refuses it"),
        ("pidfd_send_signal", "ENOSYS", "Linux 5.4"),
        ("waitid", "EINVAL", "Linux 5.4"),
    ] {
        let wrap = injected(call, &format!("error={error}"));
        for more in [&[][..], &["--check"]] {
            let server = serve(&directory, &under(&wrap), &[&USUAL[..], more].concat());
            assert_eq!(server.wait_exit().code(), Some(1), "{call}: {error}");
            let said = server.lines().join("\n");
            assert!(said.contains(call) && said.contains(reason), "{call}: {error}: {said}");
            assert!(said.contains("--solo"), "{said}");
        }
        // Which is a way out.
        let server = serve(&directory, &under(&wrap), &["--listen", "127.0.0.1:0", "--solo"]);
        assert_eq!(client::get(&server.address(), "/").text(), "hello");
    }
}

#[test]
fn a_limit_that_may_not_be_asked_for_is_no_reason_to_end() {
    if !require_peer("strace") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let wrap = injected("prlimit64", "error=EPERM");
    let server = serve(&directory, &under(&wrap), &USUAL);
    server.wait_line("the limit of open files stays as it is");
    assert_eq!(client::get(&server.address(), "/").text(), "hello");
}

#[test]
fn without_proc_it_serves_and_says_what_it_cannot_do() {
    let required = std::env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(is_root() || !required, "this test takes root");
    if !is_root() {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let script = "umount -l /proc && exec \"$@\"";
    let wrap = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let server = serve(&directory, &wrap, &USUAL);
    server.wait_line("/proc is not mounted");
    assert_eq!(client::get(&server.address(), "/").text(), "hello");
    server.signal(HUP);
    let refused = server.wait_line("reload failed");
    assert!(refused.contains("/proc/self/exe"), "{refused}");
    assert_eq!(client::get(&server.address(), "/").text(), "hello");
    server.signal(TERM);
    assert!(server.wait_exit().success());
}

#[test]
fn a_start_waits_a_moment_for_an_address_that_orphans_still_have() {
    if !require_peer("strace") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let wrap = injected("bind", "error=EADDRINUSE:when=1..4");
    let server = serve(&directory, &under(&wrap), &USUAL);
    assert_eq!(client::get(&server.address(), "/").text(), "hello");
    drop(server);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let begun = Instant::now();
    let server = serve(&directory, &[], &["--listen", &address, "--control", "off"]);
    assert_eq!(server.wait_exit().code(), Some(3), "it is another server's");
    assert!(begun.elapsed() < DEADLINE);
    assert!(server.lines().join("\n").contains(&address));
}
