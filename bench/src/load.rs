//! A crowd of clients that all come at the same moment, in one thread.
//!
//! Steady load is [`testkit::Load`]'s; what it has no words for is a burst whose connections stay.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// How long a crowd waits for its last answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many bytes an answer may have.
const ANSWER_BYTES: usize = 4096;
/// Events taken at once.
const BATCH: usize = 256;

/// The connections of a crowd: they stay open as long as this lives.
#[derive(Debug)]
pub(crate) struct Crowd {
    epoll: OwnedFd,
    clients: Vec<Visitor>,
    request: String,
    /// What every answer ends with.
    body: String,
}

#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    /// It has come: before that its socket only says that it has no peer.
    came: bool,
    asked: bool,
    answer: Vec<u8>,
    answered: bool,
}

impl Crowd {
    /// So many sockets, ready to connect: making them is not part of a burst.
    pub(crate) fn gather(clients: usize, path: &str, body: &str) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let clients = (0..clients).map(|_| Visitor::new()).collect::<io::Result<Vec<_>>>()?;
        // Edges: each of connected and answered is told once, with no call to ask for the other.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        for (index, client) in (0_u64..).zip(&clients) {
            epoll::add(&epoll, &client.socket, epoll::EventData::new_u64(index), edges)?;
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        Ok(Self { epoll, clients, request, body: body.to_owned() })
    }

    /// All connect, in a tight loop, ask once, and stay: how long from the first connect to the last
    /// answer.
    pub(crate) fn burst(&mut self, address: SocketAddr) -> io::Result<Duration> {
        let start = Instant::now();
        for client in &mut self.clients {
            client.come(address)?;
        }
        self.wait_answered(self.clients.len(), start)?;
        Ok(start.elapsed())
    }

    /// One after the other connects, asks once, waits for the answer, and stays: how long the slowest
    /// took.
    pub(crate) fn one_by_one(&mut self, address: SocketAddr) -> io::Result<Duration> {
        let mut slowest = Duration::ZERO;
        for index in 0..self.clients.len() {
            let start = Instant::now();
            self.clients[index].come(address)?;
            self.wait_answered(1, start)?;
            slowest = slowest.max(start.elapsed());
        }
        Ok(slowest)
    }

    /// Waits for so many answers.
    fn wait_answered(&mut self, mut left: usize, start: Instant) -> io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        while left > 0 {
            events.clear();
            let rest = DEADLINE.saturating_sub(start.elapsed());
            wait(&self.epoll, &mut events, rest, left)?;
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let Some(client) = self.clients.get_mut(index) else { continue };
                left -= usize::from(client.progress(&self.request, &self.body)?);
            }
        }
        Ok(())
    }
}

fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    rest: Duration,
    left: usize,
) -> io::Result<()> {
    if rest.is_zero() {
        let text = format!("{left} clients have no answer within {DEADLINE:?}");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    let timeout = Timespec::try_from(rest).map_err(io::Error::other)?;
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Visitor {
    fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let answer = Vec::with_capacity(ANSWER_BYTES);
        Ok(Self { socket, came: false, asked: false, answer, answered: false })
    }

    fn come(&mut self, address: SocketAddr) -> io::Result<()> {
        self.came = true;
        match net::connect(&self.socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what can be done now; whether its answer has just become complete.
    fn progress(&mut self, request: &str, body: &str) -> io::Result<bool> {
        if self.answered || !self.came {
            return Ok(false);
        }
        if !self.asked {
            match net::send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL) {
                Ok(count) if count == request.len() => self.asked = true,
                Ok(_) => return Err(io::Error::other("a fresh socket takes a whole request")),
                // Not connected yet: another edge will come.
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match net::recv(&self.socket, spare_capacity(&mut self.answer), RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.has_answer(body) => {
                    self.answered = true;
                    return Ok(true);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn has_answer(&self, body: &str) -> bool {
        self.answer.starts_with(b"HTTP/1.1 200 ")
            && self
                .answer
                .strip_suffix(body.as_bytes())
                .is_some_and(|head| head.ends_with(b"\r\n\r\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    /// Answers so many connections in two pieces each, and keeps them.
    fn serve(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten().take(connections) {
                let mut request = [0; 256];
                let count = stream.read(&mut request).expect("a request");
                assert!(request[..count].ends_with(b"\r\n\r\n"));
                stream.write_all(&ANSWER[..9]).expect("a listener");
                stream.write_all(&ANSWER[9..]).expect("a listener");
                kept.push(stream);
            }
            thread::park();
        });
        address
    }

    #[test]
    fn everybody_is_answered_over_a_connection_that_stays() {
        let mut crowd = Crowd::gather(20, "/", "hi").expect("sockets");
        let took = crowd.burst(serve(20)).expect("answers");
        assert!(took < DEADLINE);
        assert!(crowd.clients.iter().all(|client| client.answered && client.answer == ANSWER));
    }

    #[test]
    fn an_end_without_an_answer_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        thread::spawn(move || drop(listener.accept()));
        let mut crowd = Crowd::gather(1, "/", "hi").expect("a socket");
        assert!(crowd.burst(address).is_err());
    }
}
