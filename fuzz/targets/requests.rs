//! See `check::requests`.
#![no_main]

#[path = "../src/check.rs"]
#[allow(dead_code, reason = "each target takes what it needs")]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::requests(bytes));
