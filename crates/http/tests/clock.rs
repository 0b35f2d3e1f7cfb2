//! The `Date` of answers, while the clock of the machine is put forward and back.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{Server, TempDir, bin, client, require_peer, wait_until};

/// The wall clock is looked at once a second.
const SEEN: Duration = Duration::from_secs(10);

/// The library that lends a process another clock (Debian: libfaketime).
fn faketime() -> Option<PathBuf> {
    let machine = std::env::consts::ARCH;
    let path = format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1");
    // A library is no program, and its file is not executable; the program beside it comes with it.
    if fs::exists(&path).is_ok_and(|is_there| is_there) {
        return Some(path.into());
    }
    require_peer("faketime").then(|| panic!("{path} is not there"))
}

/// The date of an answer over HTTP/1: its hour.
fn hour(address: &str) -> String {
    let answer = client::get(address, "/");
    let date = answer.header("date").expect("a date").to_owned();
    date[17..19].to_owned()
}

/// The same over HTTP/2, as curl reads it.
fn http2_hour(address: &str) -> String {
    let curl = Command::new("curl")
        .args(["--silent", "--max-time", "10", "--http2-prior-knowledge", "--head"])
        .arg(format!("http://{address}/"))
        .output()
        .expect("it runs");
    let head = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(head.starts_with("HTTP/2 200"), "{curl:?}");
    let date = head.lines().find_map(|line| line.strip_prefix("date: ")).expect("a date");
    date[17..19].to_owned()
}

#[test]
fn the_date_goes_forward_and_back_with_the_clock_over_http1_and_http2() {
    let Some(library) = faketime() else { return };
    if !require_peer("curl") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let clock = directory.path().join("clock");
    let set = |time: &str| {
        // In one step, for it is read at any time.
        let new = directory.path().join("new");
        fs::write(&new, format!("@{time}")).expect("a file");
        fs::rename(&new, &clock).expect("it is replaced");
    };
    set("2026-05-01 12:30:00");
    let server = Server::command(bin("examples/http_fixture"))
        .args(["127.0.0.1:0", "1", "100"])
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC")
        .start();
    let address = server.address();
    for (time, expected) in [
        ("2026-05-01 12:30:00", "12"),
        ("2026-05-01 14:30:00", "14"),
        ("2026-05-01 11:30:00", "11"),
    ] {
        set(time);
        wait_until(&format!("the date at {time}"), SEEN, || hour(&address) == expected);
        wait_until("the same over HTTP/2", SEEN, || http2_hour(&address) == expected);
    }
}
