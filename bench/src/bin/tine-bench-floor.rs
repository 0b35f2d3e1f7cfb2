//! The floor under every HTTP server: a bare epoll loop that looks for the blank line and writes a
//! constant. No parsing, no timer, no date, no limit: nobody could serve with it, and nobody can be
//! cheaper.
//!
//! `tine-bench-floor ADDRESS WORKERS`: each worker a process with a listening socket of its own on
//! the port.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, ExitCode};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, acceptfrom_with, bind, listen,
    recv, send, socket_with, sockopt,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// The most requests answered with one write.
const BATCH: usize = 64;
const READ_BYTES: usize = 16 * 1024;
const EVENTS: usize = 256;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let workers = words.get(1).and_then(|word| word.parse::<usize>().ok());
    let (Some(address), Some(workers)) = (words.first(), workers) else {
        return fail("usage: tine-bench-floor ADDRESS WORKERS");
    };
    let Err(error) = run(address, workers);
    fail(&format!("tine-bench-floor {address}: {error}"))
}

fn fail(why: &str) -> ExitCode {
    // The exit code says it too.
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(2)
}

fn run(address: &str, workers: usize) -> io::Result<Infallible> {
    let listener = listener(address.parse().map_err(io::Error::other)?)?;
    for _ in 1..workers {
        Command::new(std::env::current_exe()?).args([address, "1"]).spawn()?;
    }
    Floor::new(listener)?.run()
}

fn listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 4096)?;
    Ok(socket)
}

struct Client {
    socket: OwnedFd,
    /// What came of a request that is not whole yet.
    begun: Vec<u8>,
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By descriptor number.
    clients: Vec<Option<Client>>,
    /// As many answers as one write may carry.
    answers: Vec<u8>,
    bytes: Vec<u8>,
}

impl Floor {
    fn new(listener: OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, key(&listener), EventFlags::IN)?;
        let bytes = Vec::with_capacity(READ_BYTES);
        Ok(Self { epoll, listener, clients: Vec::new(), answers: ANSWER.repeat(BATCH), bytes })
    }

    fn run(mut self) -> io::Result<Infallible> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in &events {
                let number = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
                match self.clients.get_mut(number).and_then(Option::as_mut) {
                    Some(client) => {
                        if !answer(client, &mut self.bytes, &self.answers) {
                            self.clients[number] = None;
                        }
                    }
                    None => self.accept()?,
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match acceptfrom_with(&self.listener, flags) {
            Ok((socket, _)) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        epoll::add(&self.epoll, &socket, key(&socket), EventFlags::IN)?;
        let number = usize::try_from(socket.as_raw_fd()).map_err(io::Error::other)?;
        if self.clients.len() <= number {
            self.clients.resize_with(number + 1, || None);
        }
        self.clients[number] = Some(Client { socket, begun: Vec::new() });
        Ok(())
    }
}

fn key(fd: &OwnedFd) -> EventData {
    EventData::new_u64(u64::try_from(fd.as_raw_fd()).unwrap_or_default())
}

/// Answers what is there; whether the connection goes on.
fn answer(client: &mut Client, bytes: &mut Vec<u8>, answers: &[u8]) -> bool {
    bytes.clear();
    bytes.append(&mut client.begun);
    match recv(&client.socket, spare_capacity(bytes), RecvFlags::empty()) {
        Ok((_, 0)) => return false,
        Ok(_) => {}
        Err(error) => return error == Errno::AGAIN,
    }
    let found = bytes.windows(BLANK_LINE.len()).filter(|window| *window == BLANK_LINE).count();
    if !bytes.ends_with(BLANK_LINE) {
        let whole = bytes.windows(BLANK_LINE.len()).rposition(|window| window == BLANK_LINE);
        client.begun = bytes.split_off(whole.map_or(0, |at| at + BLANK_LINE.len()));
    }
    // A client that sends more at once than the load generator does, or takes no answers, is let go.
    let length = found * ANSWER.len();
    let Some(answers) = answers.get(..length) else { return false };
    found == 0 || send(&client.socket, answers, SendFlags::NOSIGNAL) == Ok(length)
}
