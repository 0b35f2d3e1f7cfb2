//! What a worker that begins anew must be told: in one message, with every descriptor it is to have.
//!
//! The child that is about to be executed writes it into its own channel, where the new image finds it. So of all
//! descriptors the channel alone has to survive the exec, and nothing else that the image starts before it has
//! read its letter can get hold of one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tine_os::pass::{MOST, receive_message_with_fds, send_message_with_fds};

use super::super::action::Assignment;
use super::super::run::Supervisor;
use crate::error::unread;
use crate::log::LogFile;

/// Layout of the letter. The image that reads it is the one that wrote it, unless `/proc/self/exe` lies.
const VERSION: u32 = 1;
/// Bytes of a letter, at most: some hundred listeners. A socket's buffer holds more.
const LETTER_BYTES: usize = 64 << 10;
/// What a message says that has only descriptors in it.
const MORE: &[u8] = b"+";

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    version: u32,
    pub(crate) supervisor: u32,
    /// The pool's name: main must have built the same one.
    pub(crate) pool: String,
    pub(crate) assignment: Assignment,
    pub(crate) record: usize,
    /// Pools and records of the scoreboard.
    pub(crate) board: (usize, usize),
    pub(crate) listeners: Vec<Told>,
    /// Places of the pool, sockets of an address, and how many descriptors the siblings share beside them.
    pub(crate) share: (usize, usize, usize),
    /// Names and versions of the shared regions.
    pub(crate) regions: Vec<(String, u32)>,
    /// Of the service's log and those of the program's own: whether it is a file, and standard error with it.
    pub(crate) logs: Vec<Option<bool>>,
    descriptors: usize,
}

/// A listener, as its maker knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) endpoint: String,
    pub(crate) address: String,
    pub(crate) adopted: bool,
    pub(crate) shard: Option<u32>,
    pub(crate) name: Option<String>,
}

/// The descriptors, in the order they are sent.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) board: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) poke: OwnedFd,
    pub(crate) stop: OwnedFd,
    /// How its siblings accept: the memory they share, and the lock if there is one.
    pub(crate) share: Vec<OwnedFd>,
    /// Of each log that is a file: the file, and where the next one will be found.
    pub(crate) logs: Vec<Option<(OwnedFd, OwnedFd)>>,
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) regions: Vec<OwnedFd>,
}

/// Sends the letter of a worker, without waiting.
pub(super) fn send(
    supervisor: &Supervisor,
    assignment: &Assignment,
    record: usize,
    over: &OwnedFd,
) -> io::Result<()> {
    let pool = &supervisor.pools[assignment.pool];
    let mut logs = vec![supervisor.log.shared()];
    logs.extend(supervisor.log_files.iter().map(LogFile::shared));
    let mut passed: Vec<BorrowedFd<'_>> = vec![
        supervisor.board.as_fd(),
        supervisor.wake.as_fd(),
        pool.poke.as_fd(),
        supervisor.stop.as_fd(),
    ];
    let share = pool.share.descriptors();
    let shared = (pool.share.places(), pool.share.sockets(), share.len());
    passed.extend(share);
    for shared in logs.iter().flatten() {
        passed.extend([shared.file.as_fd(), shared.mailbox]);
    }
    passed.extend(pool.listeners.iter().map(|listener| listener.as_fd()));
    passed.extend(supervisor.regions.iter().map(AsFd::as_fd));
    let told = |listener: &Rc<crate::listen::Listener>| Told {
        endpoint: listener.endpoint().to_string(),
        address: listener.address().to_owned(),
        adopted: listener.adopted(),
        shard: listener.shard(),
        name: listener.name().map(str::to_owned),
    };
    let regions = supervisor.regions.iter();
    let letter = Letter {
        version: VERSION,
        supervisor: supervisor.pid.get(),
        pool: pool.plan.name.clone(),
        assignment: *assignment,
        record,
        board: (supervisor.board.pools(), supervisor.board.records()),
        listeners: pool.listeners.iter().map(told).collect(),
        share: shared,
        regions: regions.map(|region| (region.name(), region.version())).collect(),
        logs: logs.iter().map(|log| log.as_ref().map(|shared| shared.has_stderr)).collect(),
        descriptors: passed.len(),
    };
    let text = serde_json::to_vec(&letter).map_err(io::Error::other)?;
    if text.len() > LETTER_BYTES {
        let listeners = letter.listeners.len();
        return Err(io::Error::other(format!("{listeners} listeners are too many for an exec")));
    }
    let mut message = text.as_slice();
    for chunk in passed.chunks(MOST) {
        send_message_with_fds(over, message, chunk)?;
        message = MORE;
    }
    Ok(())
}

/// Reads the letter that waits in a channel.
pub(super) fn receive(channel: &OwnedFd) -> io::Result<(Letter, Descriptors)> {
    let nonsense = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut buffer = vec![0; LETTER_BYTES];
    let Some((text, mut found)) = receive_message_with_fds(channel, &mut buffer)? else {
        return Err(nonsense("nothing was left in the channel"));
    };
    let letter: Letter = serde_json::from_slice(text).map_err(|error| unread(&error))?;
    if letter.version != VERSION {
        return Err(nonsense("it was started by another version of this program"));
    }
    while found.len() < letter.descriptors {
        match receive_message_with_fds(channel, &mut buffer)? {
            Some((MORE, more)) if !more.is_empty() => found.extend(more),
            _ => {
                return Err(nonsense(
                    "descriptors are missing; is the limit of open files too low?",
                ));
            }
        }
    }
    let mut all = found.into_iter();
    let mut next = || all.next().ok_or_else(|| nonsense("a descriptor is missing"));
    let (board, wake, poke, stop) = (next()?, next()?, next()?, next()?);
    let share = (0..letter.share.2).map(|_| next()).collect::<io::Result<_>>()?;
    let mut pair = |_| Ok::<_, io::Error>((next()?, next()?));
    let logs = letter.logs.iter().map(|log| log.map(&mut pair).transpose());
    let logs = logs.collect::<io::Result<_>>()?;
    let listeners = letter.listeners.iter().map(|_| next()).collect::<io::Result<_>>()?;
    let regions = letter.regions.iter().map(|_| next()).collect::<io::Result<_>>()?;
    Ok((letter, Descriptors { board, wake, poke, stop, share, logs, listeners, regions }))
}
