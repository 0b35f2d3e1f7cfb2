//! A new log file, for all processes of a service at once.
//!
//! The supervisor leaves the file's descriptor in a socket whose other end every worker has inherited, and a
//! worker looks there before it writes a line. To look takes nothing away, so one message serves any number
//! of workers, whatever they are busy with; and who has no line to write need not look. A worker could take
//! the message away and keep its siblings on the old file until the next reopening; it could as well empty
//! the log, which it has open to write.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use tine_os::fd::{copy_of, message_pair, receive_message};
use tine_os::pass::{peek_message, peek_message_with_fd, send_message_with_fd};

/// Bytes of a message: a serial number.
const MESSAGE_BYTES: usize = 8;

/// See the module.
pub(super) struct Mailbox {
    /// The supervisor's: workers close it after the fork.
    sender: Option<OwnedFd>,
    receiver: OwnedFd,
    /// The number of the file this process has.
    seen: Cell<u64>,
    owner: u32,
}

impl Mailbox {
    /// A mailbox of this process, with nothing in it.
    pub(super) fn new() -> io::Result<Self> {
        let (sender, receiver) = message_pair()?;
        let sender = Some(sender);
        Ok(Self { sender, receiver, seen: Cell::default(), owner: std::process::id() })
    }

    /// The supervisor's mailbox, in a worker that was not forked.
    pub(super) fn of_another(receiver: OwnedFd) -> Self {
        Self { sender: None, receiver, seen: Cell::default(), owner: 0 }
    }

    /// What the next program needs to go on with it: both ends, and the number of the last file.
    pub(super) fn left(&self) -> Option<(i32, i32, u64)> {
        let sender = self.sender.as_ref()?;
        Some((sender.as_raw_fd(), self.receiver.as_raw_fd(), self.seen.get()))
    }

    /// The one that the program before has left.
    pub(super) fn taken_over((sender, receiver, seen): (i32, i32, u64)) -> io::Result<Self> {
        let sender = Some(copy_of(sender)?);
        let (receiver, seen) = (copy_of(receiver)?, Cell::new(seen));
        Ok(Self { sender, receiver, seen, owner: std::process::id() })
    }

    /// The end that workers look into.
    pub(super) fn receiver(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    /// Whether this process may put something in.
    pub(super) fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    /// The number of the descriptor that a forked process must close.
    pub(super) fn private_descriptor(&self) -> Option<i32> {
        self.sender.as_ref().map(|sender| sender.as_raw_fd())
    }

    /// Puts a file in the place of the one before. At every moment there is one or the other.
    pub(super) fn put(&self, file: &OwnedFd) -> io::Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        let serial = self.seen.get() + 1;
        send_message_with_fd(sender, &serial.to_ne_bytes(), file)?;
        self.seen.set(serial);
        while self.head().is_some_and(|head| head != serial) {
            receive_message(&self.receiver, &mut [0; MESSAGE_BYTES])?;
        }
        Ok(())
    }

    /// The file that is there, if this process has not got it yet.
    pub(super) fn news(&self) -> Option<OwnedFd> {
        if self.head()? == self.seen.get() {
            return None;
        }
        let mut bytes = [0; MESSAGE_BYTES];
        let message = peek_message_with_fd(&self.receiver, &mut bytes).ok()??;
        // Without one there are no descriptors left here; the next line may find one.
        let file = message.fd?;
        let serial = u64::from_ne_bytes(message.bytes.try_into().ok()?);
        self.seen.set(serial);
        Some(file)
    }

    fn head(&self) -> Option<u64> {
        let mut bytes = [0; MESSAGE_BYTES];
        let head = peek_message(&self.receiver, &mut bytes).ok()??;
        Some(u64::from_ne_bytes(head.try_into().ok()?))
    }
}
