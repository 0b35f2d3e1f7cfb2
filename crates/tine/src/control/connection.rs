//! One client of the control socket. Never waits, holds one request and one reply at most.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use tine_os::poll::Interest;

use super::command::{Answer, Reply, Request, Unread, Verb};
use super::{PATIENCE, REQUEST_MAX};

/// A connection and what has come and not yet gone through it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// Bytes of requests; one more than the longest with its newline, so that a longer one shows.
    input: Vec<u8>,
    /// The reply, of which `sent` bytes are gone.
    output: Vec<u8>,
    sent: usize,
    /// The client will send no more.
    ended: bool,
    /// This reply is the last.
    last: bool,
    /// It waits for the end of the service, and may keep silent.
    waits: bool,
    /// Monotonic nanoseconds.
    patience_ends: u64,
}

/// Whether to go on with a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Close,
}

impl Connection {
    /// A client that was just accepted; its socket does not block.
    pub(super) fn new(socket: OwnedFd, now: u64) -> Self {
        Self {
            stream: socket.into(),
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            ended: false,
            last: false,
            waits: false,
            patience_ends: later(now),
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// When it is to be dropped, in monotonic nanoseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        let may_be_silent = self.waits && self.output.is_empty();
        (!may_be_silent).then_some(self.patience_ends)
    }

    /// What it waits for. With a request at hand that is room to write, which there is: the next turn
    /// comes at once, but others come before.
    pub(super) fn interest(&self) -> Interest {
        let busy = !self.output.is_empty() || self.has_request();
        if busy { Interest::WRITE } else { Interest::READ }
    }

    /// Goes on where it stopped: one read, one request and as much of one reply as there is room for, so
    /// that nobody can keep the supervisor busy. `waits` only if it `may_wait`.
    pub(super) fn advance(
        &mut self,
        now: u64,
        may_wait: bool,
        ask: &mut dyn FnMut(Request) -> Reply,
    ) -> Fate {
        match self.turn(now, may_wait, ask) {
            Ok(()) if self.is_over() => Fate::Close,
            Ok(()) => Fate::Keep,
            Err(_) => Fate::Close,
        }
    }

    fn turn(
        &mut self,
        now: u64,
        may_wait: bool,
        ask: &mut dyn FnMut(Request) -> Reply,
    ) -> io::Result<()> {
        if self.output.is_empty() {
            if !self.has_request() {
                self.receive()?;
            }
            if let Some(line) = self.take_request() {
                let answer = self.answer(line.as_deref(), may_wait, ask);
                self.output = answer.line();
                self.patience_ends = later(now);
            }
        }
        if !self.output.is_empty() && self.send()? {
            (self.output, self.sent) = (Vec::new(), 0);
            self.patience_ends = later(now);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.output.is_empty() && (self.last || self.ended && !self.has_request())
    }

    /// Does what a line says; `None` is one that was too long.
    fn answer(
        &mut self,
        line: Option<&[u8]>,
        may_wait: bool,
        ask: &mut dyn FnMut(Request) -> Reply,
    ) -> Answer {
        let Some(line) = line else {
            self.last = true;
            return Answer::error(format!("the line is longer than {REQUEST_MAX} bytes"));
        };
        match Verb::read(line) {
            Ok(Verb::Ping) => Answer::here(),
            Ok(Verb::Wait) => {
                self.waits = may_wait;
                Answer::ok()
            }
            Ok(Verb::Ask(request)) => {
                let reply = ask(request);
                if matches!((request, &reply), (Request::Stop { .. }, Reply::Done)) {
                    self.waits = may_wait;
                }
                reply.into()
            }
            Err(Unread::Unknown(text)) => Answer::error(text),
            Err(Unread::Malformed(text)) => {
                self.last = true;
                Answer::error(text)
            }
        }
    }

    /// Whether there is something to answer: a line, too much without one, or all there will be.
    fn has_request(&self) -> bool {
        self.input.contains(&b'\n')
            || self.input.len() > REQUEST_MAX
            || self.ended && !self.input.trim_ascii().is_empty()
    }

    /// The next line; `Some(None)` if it is too long.
    fn take_request(&mut self) -> Option<Option<Vec<u8>>> {
        if !self.has_request() {
            return None;
        }
        let end = self.input.iter().position(|&byte| byte == b'\n');
        let rest = self.input.split_off(end.map_or(self.input.len(), |end| end + 1));
        let mut line = std::mem::replace(&mut self.input, rest);
        line.truncate(end.unwrap_or(line.len()));
        Some((line.len() <= REQUEST_MAX).then_some(line))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut room = [0; REQUEST_MAX + 1];
        let room = &mut room[self.input.len()..];
        match self.stream.read(room) {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.extend_from_slice(&room[..count]),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// True once all of the reply is gone.
    fn send(&mut self) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if is_transient(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// One line for somebody who is not let in; if it does not fit at once, so be it.
pub(super) fn turn_away(socket: OwnedFd, text: &str) {
    let _ = UnixStream::from(socket).write(&Answer::error(text).line());
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn later(now: u64) -> u64 {
    now.saturating_add(u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX))
}
