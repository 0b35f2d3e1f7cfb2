//! The messages between a worker and its supervisor: one byte that says what, then text.

/// Worker to supervisor: ready; will soon be at its limit; takes nothing more; the text of a failure; a
/// handler panicked, and the worker goes on.
pub(crate) const READY: u8 = b'R';
pub(crate) const EXPIRING: u8 = b'E';
pub(crate) const LEAVING: u8 = b'L';
pub(crate) const FAILURE: u8 = b'F';
pub(crate) const PANICKED: u8 = b'P';
/// A keeper to the supervisor: its command was stopped by a signal; goes on; ended, and how.
pub(crate) const HALTED: u8 = b'H';
pub(crate) const CONTINUED: u8 = b'C';
pub(crate) const ENDED: u8 = b'X';
/// Supervisor to worker: the place is yours; leave, siblings go on; leave, the service ends.
pub(crate) const GO: u8 = b'G';
pub(crate) const LEAVE: u8 = b'l';
pub(crate) const FINISH: u8 = b'f';

/// Bytes a message has at most; a failure's text is cut to it.
pub(crate) const MESSAGE_BYTES: usize = 1024;

/// A message, its text cut to what it may have.
pub(crate) fn cut(kind: u8, text: &str) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&text.as_bytes()[..text.len().min(MESSAGE_BYTES - 1)]);
    message
}
