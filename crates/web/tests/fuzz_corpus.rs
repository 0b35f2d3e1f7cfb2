//! All seeds of the fuzz targets (`fuzz/README.md`), through what the targets check.

#[path = "../../../fuzz/src/check.rs"]
mod check;

use std::fs;
use std::path::Path;

/// Every file of this folder, and its beginnings.
fn replay(folder: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = fs::read_dir(&folder).expect("the seeds");
    let mut count = 0;
    for entry in entries {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a seed");
        check(&bytes);
        check(&bytes[..bytes.len() / 2]);
        count += 1;
    }
    assert!(count >= 10, "{count} seeds in {}", folder.display());
}

#[test]
fn raw_requests_whole_and_cut_leave_the_worker_serving() {
    replay("crates/http/tests/requests/valid", check::requests);
    replay("crates/http/tests/requests/invalid", check::requests);
}

/// What the fuzzer cuts its inputs to.
fn longest_input() -> usize {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/run");
    let text = fs::read_to_string(run).expect("the script");
    let number = text.split_once("-max_len=").expect("it says so").1;
    let (number, _) = number.split_once(' ').expect("other options come after it");
    number.parse().expect("a number")
}

#[test]
fn every_refusal_is_within_the_fuzzers_reach() {
    const GOAWAY: &[u8] = b"\x07\0\0\0\0\0";
    let longest = longest_input();
    let invalid = Path::new(env!("CARGO_MANIFEST_DIR")).join("../http/tests/requests/invalid");
    for entry in fs::read_dir(invalid).expect("the seeds") {
        let path = entry.expect("an entry").path();
        let seed = fs::read(&path).expect("a seed");
        let answer = check::answer(&seed[..seed.len().min(longest)]);
        let has = |frame: &[u8]| answer.windows(frame.len()).any(|bytes| bytes == frame);
        let refused = match path.extension().and_then(|how| how.to_str()).expect("how it ends") {
            "end" => has(GOAWAY),
            // The fuzzer's client has ended its side: it is told less, and waited for no longer.
            "reset" | "calm" | "408" | "dropped" | "idle" => continue,
            status => answer.get(9..12) == Some(status.as_bytes()),
        };
        assert!(refused, "{}: {}", path.display(), answer.escape_ascii());
    }
}

#[test]
fn what_a_proxy_says_whole_and_cut_makes_lines_of_json() {
    replay("fuzz/seeds/proxied", check::proxied);
}

#[test]
fn nothing_beside_a_directory_comes_out_of_it() {
    replay("fuzz/seeds/files", check::files);
}

#[test]
fn formats_and_addresses_are_understood_or_refused_with_a_reason() {
    replay("fuzz/seeds/log_format", check::log_format);
    replay("fuzz/seeds/endpoint", check::endpoint);
}
