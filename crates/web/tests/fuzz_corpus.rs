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
