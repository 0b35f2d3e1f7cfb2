//! Asking a command whether it answers: a process of its own, which may wait as its keeper may not, and ends with
//! status 0 when it does. It dies with its keeper.
//!
//! Without an address the command's own listeners are asked. Other processes may have those, too, the generation before
//! above all: an answer counts if a process of the command's has accepted the connection. One more listener is the
//! command's alone, for programs that serve every listener they have; there any answer counts.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tine_os::diag::tcp_queue;
use tine_os::process::Pid;

use super::accepted::{Client, Taken, is_watched};
use crate::program::Probe;

/// Between two questions: at first, doubling, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long after the first listener the second is asked, and so on. A connection that no process ever accepts stays in
/// the queue for good: so those that the command may not serve at all are asked only when it has to be.
const NEXT: Duration = Duration::from_secs(3);
/// After so many connections that other processes have taken, it is enough that the command waits for them: one that
/// does so with `EPOLLEXCLUSIVE` gets none while an older process is idle.
const LOST: u32 = 8;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer's first line, at most.
const LINE_BYTES: usize = 256;

/// What is asked, and where.
pub(super) struct Question<'a> {
    pub(super) probe: &'a Probe,
    /// The addresses of the command's listeners, and their inodes.
    pub(super) listeners: &'a [(String, u64)],
    /// The listener that no other process has.
    pub(super) own: Option<&'a TcpListener>,
    /// All that are below this process are the command's.
    pub(super) keeper: Pid,
}

/// Asks until there is an answer; the exit status.
pub(super) fn until_it_answers(question: &Question<'_>) -> i32 {
    let mut doors: Vec<Door<'_>> = question.doors();
    let mut pause = PAUSE.0;
    loop {
        let answers = match &question.probe.address {
            Some(address) => question.elsewhere(address).unwrap_or(false),
            None => doors.iter_mut().any(|door| door.answers(question)),
        };
        if answers {
            return 0;
        }
        sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// A listener of the command's, and a connection to it that waits to be accepted.
struct Door<'a> {
    address: String,
    /// The listener's own inode.
    inode: u64,
    /// Connections that other processes have taken.
    lost: u32,
    /// Set if no other process has it.
    own: Option<&'a TcpListener>,
    waits: Option<Client>,
    /// Not to be asked before: it is not its turn yet, another process has taken the last connection, or the answer was no.
    not_before: Instant,
    pause: Duration,
}

impl<'a> Question<'a> {
    fn doors(&self) -> Vec<Door<'a>> {
        let now = Instant::now();
        let door = |(address, inode), own, not_before| {
            let (waits, pause, lost) = (None, PAUSE.0, 0);
            Door { address, inode, lost, own, waits, not_before, pause }
        };
        let own = self.own.and_then(|own| {
            let address = own.local_addr().ok()?.to_string();
            Some(door((address, 0), Some(own), now))
        });
        let shared = self.listeners.iter().zip(0..);
        let shared = shared.map(|(it, index)| door(it.clone(), None, now + NEXT * index));
        own.into_iter().chain(shared).collect()
    }

    /// Whether it is answered at this address.
    fn elsewhere(&self, address: &str) -> io::Result<bool> {
        for address in address.to_socket_addrs()? {
            let Ok(conn) = TcpStream::connect_timeout(&address, PATIENCE) else { continue };
            if self.is_answered(Client::Tcp(conn), &address.to_string())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it is answered over a connection that was accepted.
    fn is_answered(&self, conn: Client, host: &str) -> io::Result<bool> {
        match &self.probe.path {
            Some(path) => is_well(conn, path, host),
            None => Ok(true),
        }
    }
}

impl Door<'_> {
    fn answers(&mut self, question: &Question<'_>) -> bool {
        if Instant::now() < self.not_before {
            return false;
        }
        if self.waits.is_none() {
            self.waits = Client::connect(&self.address, PATIENCE).ok().flatten();
        }
        let Some(client) = &self.waits else { return false };
        let taken = match self.own {
            // The kernel completes a connection that no process has taken yet.
            Some(own) if tcp_queue(own).is_ok_and(|(waiting, _)| waiting == 0) => Taken::ByFamily,
            Some(_) => Taken::No,
            None => client.is_taken(question.keeper).unwrap_or(Taken::ByOthers),
        };
        if taken == Taken::No {
            return false;
        }
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE.1);
        let client = self.waits.take();
        let is_ours = taken == Taken::ByFamily;
        if !is_ours {
            self.lost += 1;
        }
        if self.lost >= LOST && question.probe.path.is_none() {
            // It would take connections, if others let it.
            return is_watched(question.keeper, self.inode);
        }
        let ours = client.filter(|_| is_ours);
        // A Unix socket has no name that a Host field could have.
        let host = self.address.split_once("unix:").map_or(&*self.address, |_| "localhost");
        ours.is_some_and(|it| question.is_answered(it, host).unwrap_or(false))
    }
}

/// Whether a request is answered with a status from 200 to 399.
fn is_well(mut conn: Client, path: &str, host: &str) -> io::Result<bool> {
    conn.set_timeout(PATIENCE)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tine\r\nConnection: close\r\n\r\n"
    );
    conn.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut bytes = [0; LINE_BYTES];
    while !line.contains(&b'\n') && line.len() < LINE_BYTES {
        match conn.read(&mut bytes)? {
            0 => break,
            length => line.extend_from_slice(&bytes[..length]),
        }
    }
    Ok(status(&line).is_some_and(|status| (200..400).contains(&status)))
}

fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|&byte| byte == b'\r').next()?).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_a_status_line_alone() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nServer: x\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503 \xff"), None);
        for nonsense in [&b""[..], b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 abc\r\n", b"HTTP/2 200\r\n"]
        {
            assert_eq!(status(nonsense), None);
        }
    }
}
