//! One connection of a client to a control socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use tine_os::poll;
use tine_os::socket::{Credentials, peer_credentials, unix_connect};

use super::REPLY_MAX;
use super::client::AGAIN;
use super::command::{Answer, Verb};
use crate::error::unread;

/// See the module.
pub(super) struct Call {
    pub(super) stream: UnixStream,
    /// The process that listens there, and its user.
    pub(super) peer: Credentials,
    pub(super) until: Instant,
}

impl Call {
    /// Tries again while the service's queue is full, and while it has no socket but is `expected` to have
    /// one soon: it executes itself anew.
    pub(super) fn dial(
        path: &Path,
        until: Instant,
        expected: impl Fn() -> bool,
    ) -> io::Result<Self> {
        loop {
            let error = match unix_connect(path) {
                Ok(socket) => {
                    let peer = peer_credentials(&socket)?;
                    return Ok(Self { stream: socket.into(), peer, until });
                }
                Err(error) => error,
            };
            let may_come = match error.kind() {
                ErrorKind::WouldBlock => true,
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => expected(),
                _ => false,
            };
            if !may_come || Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// [`ErrorKind::ConnectionReset`] if the line was not read, [`ErrorKind::UnexpectedEof`] if its answer was lost:
    /// a Unix socket tells the two apart (unix(7); closing one with something unread resets the other side).
    pub(super) fn ask(&mut self, verb: Verb) -> io::Result<Answer> {
        // A new connection has room for a line. A client that is turned away is told so before it asks.
        let unheard = match self.stream.write_all(verb.line().as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => true,
            written => written.map(|()| false)?,
        };
        let mut line = Vec::new();
        let mut part = [0; 16 << 10];
        while line.last() != Some(&b'\n') {
            let left = self.until.saturating_duration_since(Instant::now());
            if !poll::readable(&self.stream, Some(left))? {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.read(&mut part) {
                Ok(0) if unheard => return Err(ErrorKind::ConnectionReset.into()),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) if line.len() + count <= REPLY_MAX => {
                    line.extend_from_slice(&part[..count])
                }
                Ok(_) => return Err(ErrorKind::FileTooLarge.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        serde_json::from_slice(&line).map_err(|error| unread(&error))
    }
}
