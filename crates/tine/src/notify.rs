//! Telling the service manager that has started us how the service is (sd_notify(3), sd_watchdog_enabled(3)).
//!
//! A datagram a message, to the socket that `NOTIFY_SOCKET` names. Nothing here waits: a socket that is full is tried
//! again a few times, and one that is gone is nobody's loss. In the supervisor alone: what said so is taken out of the
//! environment before there is a worker, and goes to the next program by the letter.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use serde::{Deserialize, Serialize};

use crate::log::bounded;

/// Monotonic nanoseconds.
type Nanos = u64;

/// Messages that wait for room, at most; of more the oldest are lost.
const QUEUE: usize = 8;
/// The first wait before what found no room is tried again, doubled each time; and how often it is.
const RETRY: (Nanos, u32) = (100_000_000, 10);
/// Between two signs of life, at least.
const SHORTEST: Nanos = 10_000_000;
/// Between two requests for more time, at least.
const EXTEND: Nanos = 1_000_000_000;
/// Bytes of a status: a message has room for 4096 (systemd's NOTIFY_BUFFER_MAX).
const STATUS_BYTES: usize = 2048;
/// Longest time that is asked for, in microseconds: a year.
const LONGEST: u64 = 365 * 24 * 3600 * 1_000_000;

/// What the manager wants to hear, and where.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wishes {
    /// A path, or the name of an abstract socket after `@`.
    pub(crate) socket: OsString,
    /// It wants a sign of life within so many nanoseconds, always.
    pub(crate) watchdog: Option<Nanos>,
    /// It does not know yet which process the supervisor is.
    pub(crate) main_pid: bool,
}

impl fmt::Debug for Wishes {
    /// Without the socket's name, which is the value of a variable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wishes").field("watchdog", &self.watchdog).finish_non_exhaustive()
    }
}

/// The line to the manager.
pub(crate) struct Manager {
    wishes: Wishes,
    socket: UnixDatagram,
    address: SocketAddr,
    unsent: VecDeque<String>,
    /// When that is tried again, and how often it was.
    again: Option<(Nanos, u32)>,
    sign_of_life: Option<Nanos>,
    extended: Option<Nanos>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("wishes", &self.wishes).finish_non_exhaustive()
    }
}

impl Manager {
    /// # Errors
    /// `InvalidInput` if the name is of no socket that is known; else what socket(2) says.
    pub(crate) fn open(wishes: Wishes, now: Nanos) -> io::Result<Self> {
        let address = match wishes.socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(&wishes.socket)?,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "it is /PATH or @NAME")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let sign_of_life = wishes.watchdog.map(|_| now);
        let (unsent, again, extended) = (VecDeque::new(), None, None);
        Ok(Self { wishes, socket, address, unsent, again, sign_of_life, extended })
    }

    pub(crate) fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// Its descriptor, which no worker may keep.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Everybody serves; after a start, and after a reload.
    pub(crate) fn ready(&mut self, status: &str, now: Nanos) {
        let pid = match std::mem::take(&mut self.wishes.main_pid) {
            true => format!("\nMAINPID={}", std::process::id()),
            false => String::new(),
        };
        self.say(format!("READY=1\nSTATUS={}{pid}", line(status)), now);
    }

    /// A reload has begun at this moment.
    pub(crate) fn reloading(&mut self, status: &str, now: Nanos) {
        let micros = now / 1000;
        self.say(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS={}", line(status)), now);
    }

    /// The stop has begun, and may take so many nanoseconds.
    pub(crate) fn stopping(&mut self, status: &str, at_most: Nanos, now: Nanos) {
        let time = micros(at_most);
        self.say(format!("STOPPING=1\nSTATUS={}\nEXTEND_TIMEOUT_USEC={time}", line(status)), now);
    }

    /// For people.
    pub(crate) fn status(&mut self, status: &str, now: Nanos) {
        self.say(format!("STATUS={}", line(status)), now);
    }

    /// What is under way goes on, and may take so many nanoseconds more.
    pub(crate) fn extend(&mut self, more: Nanos, now: Nanos) {
        if self.extended.is_none_or(|at| now >= at.saturating_add(EXTEND)) {
            self.extended = Some(now);
            self.say(format!("EXTEND_TIMEOUT_USEC={}", micros(more)), now);
        }
    }

    /// When [`Manager::attend`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        let again = self.again.map(|(at, _)| at);
        self.sign_of_life.into_iter().chain(again).min()
    }

    /// Gives a sign of life, and sends what waits, if it is time.
    pub(crate) fn attend(&mut self, now: Nanos) {
        if let (Some(at), Some(within)) = (self.sign_of_life, self.wishes.watchdog)
            && at <= now
        {
            self.sign_of_life = Some(now.saturating_add((within / 2).max(SHORTEST)));
            // Where there is no room the next one will do.
            let _ = self.send("WATCHDOG=1");
        }
        if self.again.is_some_and(|(at, _)| at <= now) {
            self.flush(now);
        }
    }

    fn say(&mut self, message: String, now: Nanos) {
        if self.unsent.len() == QUEUE {
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        if self.again.is_none() {
            self.flush(now);
        }
    }

    fn flush(&mut self, now: Nanos) {
        while let Some(message) = self.unsent.front() {
            match self.send(message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let tries = self.again.map_or(0, |(_, tries)| tries);
                    if tries < RETRY.1 {
                        self.again = Some((now.saturating_add(RETRY.0 << tries), tries + 1));
                        return;
                    }
                    // Nobody reads there.
                    self.unsent.clear();
                }
                _ => drop(self.unsent.pop_front()),
            }
        }
        self.again = None;
    }

    fn send(&self, message: &str) -> io::Result<usize> {
        self.socket.send_to_addr(message.as_bytes(), &self.address)
    }
}

/// What may stand in one assignment. The reason of a failure is in it, and that is a program's own text.
fn line(text: &str) -> String {
    bounded(format_args!("{text}"), STATUS_BYTES)
}

fn micros(nanos: Nanos) -> u64 {
    (nanos / 1000).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn wishes(socket: &std::path::Path, watchdog: Option<Nanos>) -> Wishes {
        Wishes { socket: socket.into(), watchdog, main_pid: false }
    }

    fn read(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    #[test]
    fn a_full_socket_holds_nobody_up_and_hears_it_later_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let there = UnixDatagram::bind(&path).expect("a socket");
        there.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let mut manager = Manager::open(wishes(&path, None), 0).expect("a line");
        let filler = UnixDatagram::unbound().expect("a socket");
        filler.set_nonblocking(true).expect("a socket");
        while filler.send_to(b"x", &path).is_ok() {}
        manager.reloading("a\nb", 7_000);
        manager.ready("it serves", 8_000);
        let at = manager.deadline().expect("it is tried again");
        while read(&there).as_deref() == Some("x") {
            there.set_nonblocking(true).expect("a socket");
        }
        assert_eq!(read(&there), None);
        manager.attend(at);
        assert_eq!(read(&there).as_deref(), Some("RELOADING=1\nMONOTONIC_USEC=7\nSTATUS=a\\nb"));
        assert_eq!(read(&there).as_deref(), Some("READY=1\nSTATUS=it serves"));
        assert_eq!(manager.deadline(), None);
    }

    #[test]
    fn one_that_stays_full_or_is_gone_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let there = UnixDatagram::bind(&path).expect("a socket");
        let mut manager = Manager::open(wishes(&path, None), 0).expect("a line");
        let filler = UnixDatagram::unbound().expect("a socket");
        filler.set_nonblocking(true).expect("a socket");
        while filler.send_to(b"x", &path).is_ok() {}
        (0..20).for_each(|_| manager.status("again", 0));
        assert_eq!(manager.unsent.len(), QUEUE);
        let mut tries = 0;
        while let Some(at) = manager.deadline() {
            manager.attend(at);
            tries += 1;
        }
        assert_eq!((tries, manager.unsent.len()), (RETRY.1, 0));
        drop(there);
        std::fs::remove_file(&path).expect("it is there");
        manager.ready("nobody hears it", 0);
        assert_eq!(manager.deadline(), None);
    }

    #[test]
    fn a_sign_of_life_is_given_at_half_the_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let there = UnixDatagram::bind(&path).expect("a socket");
        there.set_nonblocking(true).expect("a socket");
        let mut manager = Manager::open(wishes(&path, Some(4 * SECOND)), SECOND).expect("a line");
        assert_eq!(manager.deadline(), Some(SECOND));
        manager.attend(SECOND);
        assert_eq!(
            (read(&there).as_deref(), manager.deadline()),
            (Some("WATCHDOG=1"), Some(3 * SECOND))
        );
        manager.attend(2 * SECOND);
        assert_eq!(read(&there), None);
    }

    #[test]
    fn a_name_of_no_socket_is_refused() {
        for name in ["vsock:2:3", "relative", ""] {
            let wishes = Wishes { socket: name.into(), watchdog: None, main_pid: false };
            assert_eq!(Manager::open(wishes, 0).expect_err(name).kind(), ErrorKind::InvalidInput);
        }
    }
}
