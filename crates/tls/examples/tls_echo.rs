//! A protocol of one's own, plain and over TLS by one handler: what Net::Server is for.
//!
//! `cargo run -p tine-tls --example tls_echo -- cert.pem key.pem 127.0.0.1:7007 127.0.0.1:7443/tls`, then
//! `openssl s_client -connect 127.0.0.1:7443 -quiet`.
#![allow(clippy::print_stderr, reason = "it is a program")]

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use tine::{Prefork, Workers};
use tine_tls::{Session, Tls};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, addresses @ ..] = words.as_slice() else {
        eprintln!("usage: tls_echo CERTIFICATE KEY ADDRESS...");
        return ExitCode::from(2);
    };
    let tls = match Tls::from_files([(certificate, key)]) {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let server = addresses.iter().fold(Prefork::new(), Prefork::listen);
    let server = tls.share_tickets(server.workers(Workers::dynamic(2..=50)));
    server.run(move |worker| tls.serve(worker, echo))
}

fn echo(mut session: Session) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match session.read(&mut buffer)? {
            0 => return Ok(()),
            count => session.write_all(&buffer[..count])?,
        }
    }
}
