//! The kit of the end-to-end tests: start, signal, talk to and inspect real processes.
//!
//! It knows processes, sockets and files, and none of the crates it tests. Nothing here sleeps "to
//! be safe": every wait is on an event, has a deadline ([`DEADLINE`] unless told), and fails with
//! what was seen until then.
//!
//! ```no_run
//! let server = testkit::Server::command(testkit::bin("tine")).args(["serve", "site"]).start();
//! let answer = testkit::client::get(&server.address(), "/");
//! assert_eq!(answer.status, 200);
//! server.signal(15);
//! assert!(server.wait_exit().success());
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub mod base64;
pub mod client;
mod family;
mod fds;
mod http;
pub mod load;
mod load_loop;
mod log;
mod net;
pub mod process;
mod report;
mod running;
mod scribble;
pub mod secret;
mod server;
pub mod tls;
mod wait;

pub use client::Client;
pub use http::Response;
pub use load::{Load, LoadHandle};
pub use report::Report;
pub use running::Running;
pub use scribble::Scribbler;
pub use server::Server;
pub use tempfile::TempDir;
pub use wait::{DEADLINE, alive, holds_within, wait_gone, wait_until};

/// The program `name` of this workspace, built for the profile the running test was built for:
/// `target/<profile>/<name>`, or `target/<profile>/examples/<name>`. Builds nothing.
///
/// # Panics
/// When there is no such file: with where it was looked for and how to build it.
#[track_caller]
pub fn bin(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own executable");
    let directory = test.parent().unwrap_or(Path::new("/"));
    let inside = directory.ends_with("deps") || directory.ends_with("examples");
    let profile = if inside { directory.parent().unwrap_or(directory) } else { directory };
    let places = [profile.join(name), profile.join("examples").join(name)];
    match places.iter().find(|place| place.is_file()) {
        Some(place) => place.clone(),
        None => panic!(
            "`{name}` is neither {} nor {}: build it first, for the same profile \
             (`cargo build --bin {name}` or `cargo build --example {name}`)",
            places[0].display(),
            places[1].display()
        ),
    }
}

/// Whether `program` is an executable file on `PATH` (or, with a `/` in it, is one itself). If not,
/// says so in a line on standard error, past the test runner's capture, so that a skipped test does
/// not look like a passed one.
///
/// # Panics
/// When it is missing and the environment has `TINE_REQUIRE_PEERS=1`: where all peers were
/// installed, none may be skipped.
#[track_caller]
pub fn require_peer(program: &str) -> bool {
    if is_on_path(program) {
        return true;
    }
    skip(&format!("{program} is not installed"));
    false
}

/// Whether the test runs as root. If not, says so in a line on standard error, past the test runner's capture.
///
/// # Panics
/// When it does not and the environment has `TINE_REQUIRE_PEERS=1`: there, no test may be skipped.
#[track_caller]
pub fn require_root() -> bool {
    require_root_of(is_root())
}

#[track_caller]
fn require_root_of(is_root: bool) -> bool {
    if !is_root {
        skip("it takes root");
    }
    is_root
}

/// Says that a test is skipped, and why; a failure where none may be.
#[track_caller]
fn skip(why: &str) {
    assert!(
        env::var_os("TINE_REQUIRE_PEERS").is_none_or(|value| value != "1"),
        "{why}, and TINE_REQUIRE_PEERS=1 demands it"
    );
    // Not worth failing a test for: a closed standard error only loses the note.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

fn is_on_path(program: &str) -> bool {
    let runs = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return runs(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| runs(&directory.join(program)))
}

/// Whether the test runs as root (effective user id 0). A test that cannot do without asks [`require_root`].
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Copies a program, to be run from `to`. Another process writes it: if a thread of this one forked while the copy was
/// open here, the child would have it open for writing, and to run it would fail with `ETXTBSY`.
///
/// # Panics
/// When it cannot be copied.
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("--").args([from, to]).status();
    assert!(
        status.is_ok_and(|it| it.success()),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_named_with_the_way_to_build_it() {
        let panic = std::panic::catch_unwind(|| bin("no-such-program")).expect_err("there is none");
        let text = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(text.contains("cargo build --bin no-such-program"), "{text}");
    }

    #[test]
    fn what_is_missing_is_a_failure_only_where_nothing_may_be_skipped() {
        // The environment is the process's: the question is asked in a process that has it.
        const NAME: &str = "tests::what_is_missing_is_a_failure_only_where_nothing_may_be_skipped";
        if env::var_os("TINE_TEST_ASK").is_some() {
            assert!(require_root_of(true));
            assert!(!require_root_of(false));
            assert!(!require_peer("no-such-program"));
            return;
        }
        for (demanded, passes) in [("0", true), ("1", false)] {
            let test = env::current_exe().expect("a test knows its own executable");
            let output = std::process::Command::new(test)
                .args(["--exact", NAME])
                .env("TINE_TEST_ASK", "1")
                .env("TINE_REQUIRE_PEERS", demanded)
                .output()
                .expect("it runs");
            assert_eq!(output.status.success(), passes, "{output:?}");
        }
    }

    #[test]
    fn peers_are_looked_for_on_the_path() {
        assert!(require_peer("sh"));
        assert!(require_peer("/bin/sh"));
        assert!(!is_on_path("no-such-program"));
        assert!(!is_on_path("/etc/passwd"));
    }
}
