//! Workers that begin anew instead of being forked: for a library that does not survive a fork.
//!
//! `cargo run -p tine --example exec -- 127.0.0.1:7007`, then `nc 127.0.0.1 7007`. Main runs once in the supervisor
//! and once in each worker; what only one of them should do is asked with [`tine::is_worker`].

#![allow(clippy::print_stdout, reason = "an example is a program, and shows what it does")]

use std::io::Write;
use std::process::ExitCode;

use tine::{Prefork, Workers};

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let role = if tine::is_worker() { "a worker" } else { "the supervisor" };
    println!("main runs in {role}, process {}", std::process::id());
    Prefork::new().listen(address).workers(Workers::fixed(2)).exec().run(|worker| {
        let place = worker.place();
        worker.serve(|mut conn| writeln!(conn, "hello from place {place}"))
    })
}
