//! The messages between a worker and its supervisor: one byte that says what, then text or bytes.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tine_os::fd::{bytes_unsent, send_message};

use super::Seat;

/// Worker to supervisor: ready; will soon be at its limit; takes nothing more; the text of a failure; a
/// handler panicked, and the worker goes on; the reason why the service cannot go on.
pub(crate) const READY: u8 = b'R';
pub(crate) const EXPIRING: u8 = b'E';
pub(crate) const LEAVING: u8 = b'L';
pub(crate) const FAILURE: u8 = b'F';
pub(crate) const PANICKED: u8 = b'P';
pub(crate) const FATAL: u8 = b'!';
/// A keeper to the supervisor: the process of its command; that it was stopped by a signal; goes on; ended, and how.
pub(crate) const BEGUN: u8 = b'B';
pub(crate) const HALTED: u8 = b'H';
pub(crate) const CONTINUED: u8 = b'C';
pub(crate) const ENDED: u8 = b'X';
/// Supervisor to worker: the place is yours; leave, siblings go on; leave, the service ends, and the number of the
/// signal that asked for it, if one did; give back what memory is free.
pub(crate) const GO: u8 = b'G';
pub(crate) const LEAVE: u8 = b'l';
pub(crate) const FINISH: u8 = b'f';
pub(crate) const TRIM: u8 = b't';
/// Both ways: look at the sockets. Others than before may be without a worker, or a connection may wait that no worker was
/// told of. A worker sends it when it cannot look itself; the supervisor sends it to all workers of the pool.
pub(crate) const LOOK: u8 = b'S';
/// Both ways: what the program itself has to say.
pub(crate) const MESSAGE: u8 = b'M';

/// The longest message of a program's own between a worker and the supervisor, in bytes; see
/// [`crate::Sender`] and [`crate::Supervision::send`].
pub const MESSAGE_BYTES: usize = 1024;
/// Bytes a message has on the channel at most; a failure's text is cut to it.
pub(crate) const WIRE_BYTES: usize = 1 + MESSAGE_BYTES;
/// Bytes of one channel that may wait unread, as the kernel counts them, when a message of the program's own
/// is sent: so those of Tine's own always find room (a socket's buffer has 208 KiB,
/// `net.core.wmem_default`).
const UNREAD_BYTES: usize = 64 * 1024;
/// Messages taken from one channel in one go: who floods waits for his next turn, and others have theirs.
pub(crate) const TURN: usize = 16;

/// Sends a message of the program's own.
pub(crate) fn send_own(channel: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > MESSAGE_BYTES {
        let text = format!("a message of {} bytes; it may have {MESSAGE_BYTES}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if bytes_unsent(&channel)? > UNREAD_BYTES {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut message = [0; WIRE_BYTES];
    message[0] = MESSAGE;
    message[1..=bytes.len()].copy_from_slice(bytes);
    send_message(channel, &message[..=bytes.len()])
}

/// A message of Tine's own, its text cut to what it may have.
pub(crate) fn cut(kind: u8, text: &str) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&text.as_bytes()[..text.len().min(MESSAGE_BYTES)]);
    message
}

/// Speaks to the supervisor, whose [`crate::Hooks::message`] gets it with the worker's number. Cheap to
/// clone, and good on any thread of the worker.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Seat>);

impl Sender {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        Self(seat)
    }

    /// Sends up to [`MESSAGE_BYTES`] bytes, whole or not at all, in order, without waiting.
    ///
    /// # Errors
    /// `InvalidInput` if it is more; `WouldBlock` if the supervisor has not read what was sent before;
    /// `BrokenPipe` or `ConnectionReset` if it is gone; `NotConnected` in a worker without one
    /// ([`crate::Prefork::solo`]).
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.0.channel {
            Some(channel) => send_own(channel, bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
