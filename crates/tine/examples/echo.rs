//! A protocol of one's own, one connection a process: what Net::Server::PreFork is for.
//!
//! `cargo run -p tine --example echo -- 127.0.0.1:7007`, then `nc 127.0.0.1 7007`.

use std::io;
use std::process::ExitCode;

use tine::{Prefork, Workers};

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    Prefork::new()
        .listen(address)
        .workers(Workers::dynamic(5..=50).spare(2..=10))
        .max_connections(1000)
        .run(|worker| {
            worker.serve(|mut conn| {
                let mut reader = conn.try_clone()?;
                io::copy(&mut reader, &mut conn).map(drop)
            })
        })
}
