//! Datagrams: every one is answered by whichever process is free.
//!
//! `cargo run -p tine --example udp -- udp:127.0.0.1:7007`, then `nc -u 127.0.0.1 7007`.

use std::process::ExitCode;

use tine::{Prefork, Workers};

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "udp:127.0.0.1:7007".to_owned());
    Prefork::new()
        .listen(address)
        .workers(Workers::fixed(4))
        .run(|worker| worker.serve_datagrams(|packet| packet.reply(packet.bytes())))
}
