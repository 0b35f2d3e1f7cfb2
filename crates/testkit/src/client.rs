//! A raw client with deadlines: sends the bytes it is told to, shows the bytes that come.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::http::{self, Context, Response};
use crate::net::{self, Target};
use crate::tls::Tls;
use crate::wait::{DEADLINE, holds_within, ready_within};

/// As much of what came is shown by a panic.
const SHOWN: usize = 2000;

/// One connection. It retries nothing.
///
/// Each call has the deadline anew: [`DEADLINE`] unless set. What came and was not
/// asked for yet is kept for the next call. Calls that do not begin with `try_` panic with what
/// came so far when they fail.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    host: String,
    received: Vec<u8>,
    tls: Option<Box<Tls>>,
    end: Option<End>,
    deadline: Duration,
}

/// How the other side ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// One GET on a connection of its own that both sides are to close.
///
/// # Panics
/// When it is not answered.
#[track_caller]
pub fn get(addr: &str, path: &str) -> Response {
    let mut client = Client::connect(addr);
    client.send(request("GET", path, &client.host, "Connection: close\r\n").as_bytes());
    client.read_response()
}

pub(crate) fn request(method: &str, path: &str, host: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

impl Client {
    /// Connects to `addr`: `127.0.0.1:80`, `[::1]:80`, `unix:/path` or `unix:@abstract`.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn connect(addr: &str) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"))
    }

    /// [`connect`](Self::connect), its failure as an error.
    pub fn try_connect(addr: &str) -> io::Result<Self> {
        let target = Target::parse(addr)?;
        let mut socket = Err(Errno::AGAIN);
        // A Unix socket whose queue is full has to be asked again.
        holds_within(DEADLINE, || {
            socket = target.connect();
            !matches!(socket, Err(Errno::AGAIN))
        });
        let socket = socket?;
        if !ready_within(&socket, PollFlags::OUT, DEADLINE) {
            return Err(ErrorKind::TimedOut.into());
        }
        net::connected(&socket)?;
        Ok(Self {
            socket,
            host: target.host(),
            received: Vec::new(),
            tls: None,
            end: None,
            deadline: DEADLINE,
        })
    }

    /// How long each call from now on may take.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends `bytes`, all of them.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| self.fail("sending", &error));
    }

    /// [`send`](Self::send), its failure as an error.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let encrypted = tls.seal(bytes)?;
            return self.transmit(&encrypted);
        }
        self.transmit(bytes)
    }

    /// Speaks TLS from now on.
    pub(crate) fn encrypt(&mut self, tls: Tls) {
        self.tls = Some(Box::new(tls));
    }

    /// What was agreed upon in the handshake, if the client speaks TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Does its part of the handshake, to the end.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        let until = Instant::now() + self.deadline;
        while let Some(tls) = &mut self.tls
            && let Some(encrypted) = tls.handshake()
        {
            self.transmit(&encrypted)?;
            if self.tls.as_mut().is_some_and(|tls| tls.is_handshaking()) {
                self.more(until)?;
            }
        }
        Ok(())
    }

    /// Sends these very bytes.
    pub fn transmit(&mut self, bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.deadline;
        let mut rest = bytes;
        while !rest.is_empty() {
            match net::transmit(&self.socket, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::AGAIN) => self.ready(PollFlags::OUT, until)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Tells the server that no more will be sent (shutdown(2), `SHUT_WR`; over TLS, close_notify).
    #[track_caller]
    pub fn finish_sending(&mut self) {
        if let Some(tls) = &mut self.tls {
            let farewell = tls.farewell();
            let sent = self.transmit(&farewell);
            return sent.unwrap_or_else(|error| self.fail("close_notify", &error));
        }
        rustix::net::shutdown(&self.socket, Shutdown::Write)
            .unwrap_or_else(|error| self.fail("shutdown", &error.into()));
    }

    /// Has the kernel hold as much of what comes as at the beginning, about 64 KiB, however fast it is read (tcp(7),
    /// `tcp_rmem`, and socket(7), `SO_RCVBUF`).
    #[track_caller]
    pub fn keep_window(&self) {
        const BYTES: usize = 64 * 1024;
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, BYTES)
            .unwrap_or_else(|error| self.fail("SO_RCVBUF", &error.into()));
    }

    /// Breaks the connection off with a reset instead of closing it (socket(7), `SO_LINGER` of 0).
    #[track_caller]
    pub fn abort(self) {
        let linger = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        linger.unwrap_or_else(|error| self.fail("SO_LINGER", &error.into()));
    }

    /// Reads up to the end of the first `needle`, and returns it all.
    #[track_caller]
    pub fn read_until(&mut self, needle: &[u8]) -> Vec<u8> {
        let found = self
            .read_while(|received| Ok(http::find(received, needle).map(|at| at + needle.len())));
        found
            .map(|length| self.take(length))
            .unwrap_or_else(|error| self.fail(&format!("reading until {needle:?}"), &error))
    }

    /// Reads `n` bytes.
    #[track_caller]
    pub fn read_exact(&mut self, n: usize) -> Vec<u8> {
        self.try_read_exact(n)
            .unwrap_or_else(|error| self.fail(&format!("reading {n} bytes"), &error))
    }

    /// [`read_exact`](Self::read_exact), its failure as an error.
    pub fn try_read_exact(&mut self, n: usize) -> io::Result<Vec<u8>> {
        self.read_while(|received| Ok((received.len() >= n).then_some(n)))
            .map(|length| self.take(length))
    }

    /// Reads to the end of the connection. A reset is an end, too: see
    /// [`was_reset`](Self::was_reset).
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let until = Instant::now() + self.deadline;
        while self.end.is_none() {
            self.receive(until).unwrap_or_else(|error| self.fail("reading to the end", &error));
        }
        std::mem::take(&mut self.received)
    }

    /// Whether the server ends the connection within the deadline, by closing or by a reset. What
    /// comes before that is kept.
    pub fn closed(&mut self) -> bool {
        let until = Instant::now() + self.deadline;
        while self.end.is_none() {
            if self.receive(until).is_err() {
                return false;
            }
        }
        true
    }

    /// Whether the end that a read met was a reset (ECONNRESET).
    pub fn was_reset(&self) -> bool {
        self.end == Some(End::Reset)
    }

    /// Reads one response. What comes after it is kept, as pipelining needs it.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        self.try_read_response().unwrap_or_else(|error| self.fail("reading a response", &error))
    }

    /// [`read_response`](Self::read_response), its failure as an error: `TimedOut`,
    /// `UnexpectedEof`, `ConnectionReset`, or `InvalidData` for what is no response.
    pub fn try_read_response(&mut self) -> io::Result<Response> {
        self.response(false)
    }

    /// Reads the response to a HEAD: one without a body, whatever its fields say.
    #[track_caller]
    pub fn read_response_to_head(&mut self) -> Response {
        self.response(true).unwrap_or_else(|error| self.fail("reading a response to HEAD", &error))
    }

    /// One GET on this connection, which stays open.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(request("GET", path, &self.host, "").as_bytes());
        self.read_response()
    }

    fn response(&mut self, head: bool) -> io::Result<Response> {
        let until = Instant::now() + self.deadline;
        loop {
            // A reset is no end of a body.
            let context =
                Context { ended: self.end == Some(End::Closed) && !self.received.is_empty(), head };
            match http::parse(&self.received, context) {
                Ok(Some((response, length))) => {
                    self.take(length);
                    return Ok(response);
                }
                Ok(None) => self.more(until)?,
                Err(why) => return Err(io::Error::new(ErrorKind::InvalidData, why)),
            }
        }
    }

    /// Receives until `find` finds something in what came.
    fn read_while<T>(&mut self, find: impl Fn(&[u8]) -> io::Result<Option<T>>) -> io::Result<T> {
        let until = Instant::now() + self.deadline;
        loop {
            if let Some(found) = find(&self.received)? {
                return Ok(found);
            }
            self.more(until)?;
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.received.drain(..length).collect()
    }

    /// Receives, where there must be something to come.
    fn more(&mut self, until: Instant) -> io::Result<()> {
        match self.end {
            None => self.receive(until),
            Some(End::Closed) => Err(ErrorKind::UnexpectedEof.into()),
            Some(End::Reset) => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// Receives something, or notes the end.
    fn receive(&mut self, until: Instant) -> io::Result<()> {
        self.ready(PollFlags::IN, until)?;
        if let Some(tls) = &mut self.tls {
            let mut encrypted = Vec::new();
            let result = net::receive(&self.socket, &mut encrypted);
            tls.open(&encrypted, &mut self.received)?;
            return self.note(result);
        }
        let result = net::receive(&self.socket, &mut self.received);
        self.note(result)
    }

    /// What a receive says of the connection.
    fn note(&mut self, result: Result<usize, Errno>) -> io::Result<()> {
        match result {
            Ok(0) => self.end = Some(End::Closed),
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(Errno::CONNRESET | Errno::PIPE) => self.end = Some(End::Reset),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn ready(&self, events: PollFlags, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if ready_within(&self.socket, events, left) {
            Ok(())
        } else {
            Err(ErrorKind::TimedOut.into())
        }
    }

    #[track_caller]
    fn fail(&self, doing: &str, error: &io::Error) -> ! {
        let shown = String::from_utf8_lossy(&self.received[..self.received.len().min(SHOWN)]);
        panic!("{doing}: {error}; unread so far, {} bytes: {shown:?}", self.received.len());
    }
}

/// For socket options and addresses the kit has no words for. The socket is non-blocking.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
