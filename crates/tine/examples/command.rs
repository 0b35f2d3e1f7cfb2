//! A pool around a program that knows nothing of Tine: anything that takes a listening socket from systemd does.
//!
//! `cargo run -p tine --example command -- 127.0.0.1:7007 ./app --its --arguments`: two processes of it serve one
//! socket, which they find at number 3, with `LISTEN_FDS=1`. One that dies is replaced; HUP replaces both, the new
//! ones first; and when this program ends, or is killed, nothing of them is left.

#![allow(clippy::print_stderr, reason = "an example is a program, and says how it is used")]

use std::process::ExitCode;

use tine::{Command, Prefork, Workers};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(program)) = (words.next(), words.next()) else {
        eprintln!("which address, and which program?");
        return ExitCode::from(2);
    };
    let command = Command::new(program).args(words);
    Prefork::new().listen(address).workers(Workers::fixed(2)).run_command(command)
}
