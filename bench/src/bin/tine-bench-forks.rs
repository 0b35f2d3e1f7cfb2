//! The floor under every burst: from one process to so many forked ones, each with a runtime of tokio's, each serving one
//! client. No pool, no supervision, no limits, no scoreboard: nobody could serve with it, and nobody can be sooner.
//!
//! `tine-bench-forks WORKERS`: forks when the first client knocks.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::process::ExitCode;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use tine_os::process::{Forked, die_with_parent, exit_now, fork};
use tine_os::signal::Signal;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const BLANK_LINE: &[u8] = b"\r\n\r\n";
const BACKLOG: i32 = 4096;
const REQUEST_BYTES: usize = 4096;

fn main() -> ExitCode {
    let workers = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(workers) = workers else {
        return fail("usage: tine-bench-forks WORKERS");
    };
    let Err(error) = run(workers);
    fail(&format!("tine-bench-forks: {error}"))
}

fn fail(why: &str) -> ExitCode {
    // The exit code says it too.
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(2)
}

fn run(workers: usize) -> io::Result<Infallible> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().map_err(io::Error::other)?)?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    writeln!(io::stderr(), "listening on {}", listener.local_addr()?)?;
    tine_os::poll::readable(&listener, None)?;
    for _ in 0..workers {
        if fork()? == Forked::Child {
            exit_now(i32::from(serve(&listener).is_err()));
        }
    }
    loop {
        std::thread::park();
    }
}

/// A worker's whole life: one client, who stays.
fn serve(listener: &TcpListener) -> io::Result<()> {
    die_with_parent(Signal::KILL)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut client, _) = listener.accept()?;
    let (mut request, mut length) = ([0; REQUEST_BYTES], 0);
    while !request[..length].ends_with(BLANK_LINE) {
        match client.read(&mut request[length..])? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    client.write_all(ANSWER)?;
    while client.read(&mut request)? > 0 {}
    drop(runtime);
    Ok(())
}
