//! A Unix socket for the programs of this machine: one line in, one line out.
//!
//! `cargo run -p tine --example unix_socket -- /tmp/shout.sock`, then `nc -U /tmp/shout.sock`. The file is
//! made with the mode below, replaces one that a dead server has left, and is removed at the end.

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;

use tine::listen::ListenOptions;
use tine::{Prefork, Workers};

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/shout.sock".to_owned());
    let options = ListenOptions { unix_mode: Some(0o660), ..ListenOptions::default() };
    Prefork::new().listen_with(format!("unix:{path}"), options).workers(Workers::fixed(2)).run(
        |worker| {
            worker.serve(|mut conn| {
                let lines = BufReader::new(conn.try_clone()?).lines();
                for line in lines {
                    writeln!(conn, "{}!", line?.to_uppercase())?;
                }
                Ok(())
            })
        },
    )
}
