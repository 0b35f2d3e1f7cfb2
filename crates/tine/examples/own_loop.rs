//! A server that brings an accept loop of its own: an event loop, a C library, another framework.
//!
//! Tine asks four things of it: to say that it is ready, to hold a guard while it serves somebody, to look
//! whether it is to leave, and then to return.
//!
//! `cargo run -p tine --example own_loop -- 127.0.0.1:7007`, then `nc 127.0.0.1 7007`.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tine::{BoxError, Prefork, Worker, Workers};

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    Prefork::new().listen(address).workers(Workers::fixed(4)).max_connections(1000).run(serve)
}

fn serve(worker: Worker) -> Result<(), BoxError> {
    let listener = worker.listeners()[0].try_clone_tcp()?;
    let shutdown = worker.shutdown();
    worker.ready()?;
    while !shutdown.is_requested() {
        let mut both =
            [PollFd::new(&listener, PollFlags::IN), PollFd::new(&shutdown, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match listener.accept() {
            Ok((mut client, address)) => {
                let _busy = worker.busy();
                let place = worker.place();
                // A client that has gone again is his own affair.
                let _ = writeln!(client, "hello {address}, this is place {place}");
            }
            // The socket does not block, and a sibling was quicker.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
