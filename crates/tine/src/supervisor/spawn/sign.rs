//! What a keeper waits for until its command is ready, and what the command is given to show it by.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command as Process;
use std::time::Duration;

use tine_os::exec::close_all_but;
use tine_os::privilege::effective_uid;
use tine_os::process::{self, Forked, Pid};
use tine_os::signal::{self, Signal};
use tine_os::socket::{UnixName, ask_for_senders, receive_with_sender, unix_datagram};

use super::ask;
use crate::program::{Passed, Probe, Readiness};

/// Bytes of a message to the notify socket that are read; systemd's bound is the same (`NOTIFY_BUFFER_MAX`).
const NOTICE_BYTES: usize = 4096;
/// Messages read in one go: who floods waits for his next turn.
const TURN: usize = 16;
/// The first number after standard input, output and error.
const FIRST: RawFd = 3;

/// See the module.
pub(super) enum Sign {
    /// It has lived so long.
    Lived(Duration),
    /// It has said so to this socket.
    Notice { socket: OwnedFd, name: String, user: Option<u32> },
    /// It has written to the other end of this one.
    Ack { ours: UnixStream, theirs: UnixStream, number: RawFd },
    /// Something answers, as a process says that asks: its pid, while it does.
    Answer(Answer),
}

/// A command that is asked, and by which process.
pub(super) struct Answer {
    probe: Probe,
    /// Where the command's listeners are, and their inodes.
    listeners: Vec<(String, u64)>,
    /// One more, with its number at the command's. The keeper has it until somebody asks.
    own: Option<(TcpListener, RawFd)>,
    asker: Option<Pid>,
    /// What a command that has not answered in time has left undone.
    undone: String,
}

impl Sign {
    /// Gets ready to see it. `user`: whom the command becomes, if not who this is. A socket of the command's own
    /// joins its listeners.
    pub(super) fn expect(
        readiness: &Readiness,
        user: Option<u32>,
        listeners: &mut Vec<Passed>,
        sockets: &[impl AsFd],
    ) -> io::Result<Self> {
        Ok(match readiness {
            Readiness::Lived(time) => Self::Lived(*time),
            Readiness::Notify => {
                let name = format!("tine-notify-{}-{}", process::pid(), token()?);
                let socket = unix_datagram(&UnixName::Abstract(name.clone().into()), false)?;
                ask_for_senders(&socket)?;
                Self::Notice { socket, name: format!("@{name}"), user }
            }
            Readiness::Ack(number) => {
                let (ours, theirs) = UnixStream::pair()?;
                ours.set_nonblocking(true)?;
                let number = number.unwrap_or_else(|| lowest_left(listeners));
                Self::Ack { ours, theirs, number }
            }
            Readiness::Answers(probe) => {
                let addresses: Vec<_> = listeners.iter().map(|it| it.address.clone()).collect();
                let inodes = sockets.iter().map(inode).collect::<io::Result<Vec<_>>>()?;
                let own = match probe.address {
                    Some(_) => None,
                    None => Some(own_socket(listeners)?),
                };
                let undone = undone(probe, &addresses, own.as_ref().map(|own| own.1));
                Self::Answer(Answer {
                    probe: probe.clone(),
                    listeners: addresses.into_iter().zip(inodes).collect(),
                    own,
                    asker: None,
                    undone,
                })
            }
        })
    }

    /// What the command has beside its listeners, and at which numbers.
    pub(super) fn descriptors(&self) -> Option<(BorrowedFd<'_>, RawFd)> {
        match self {
            Self::Ack { theirs, number, .. } => Some((theirs.as_fd(), *number)),
            Self::Answer(Answer { own: Some((socket, number)), .. }) => {
                Some((socket.as_fd(), *number))
            }
            _ => None,
        }
    }

    /// Tells the command.
    pub(super) fn tell(&self, process: &mut Process) {
        match self {
            Self::Notice { name, .. } => drop(process.env("NOTIFY_SOCKET", name)),
            Self::Ack { number, .. } => drop(process.env("EINHORN_SOCK_FD", number.to_string())),
            Self::Lived(_) | Self::Answer(_) => {}
        }
    }

    /// What is readable when there is something to see.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Notice { socket, .. } => Some(socket.as_fd()),
            Self::Ack { ours, .. } => Some(ours.as_fd()),
            Self::Lived(_) | Self::Answer(_) => None,
        }
    }

    /// Looks there: whether it is ready; `None` if there is nothing more to come. What comes later is read, and means
    /// nothing: who sends it shall not wait.
    pub(super) fn look(&mut self) -> Option<bool> {
        match self {
            Self::Notice { socket, user, .. } => {
                let mut ready = false;
                let mut bytes = [0; NOTICE_BYTES];
                for _ in 0..TURN {
                    let Ok(Some((length, sender))) = receive_with_sender(&*socket, &mut bytes)
                    else {
                        break;
                    };
                    let known = [Some(0), Some(effective_uid()), *user].contains(&Some(sender.uid));
                    ready |= known && says_ready(&bytes[..length]);
                }
                Some(ready)
            }
            Self::Ack { ours, .. } => match ours.read(&mut [0; 256]) {
                Ok(1..) => Some(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(false),
                Ok(0) | Err(_) => None,
            },
            Self::Lived(_) | Self::Answer(_) => None,
        }
    }

    /// The command has begun: somebody asks it, if it is to answer. From then on the socket of its own is the command's
    /// and the asker's alone.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let Self::Answer(Answer { probe, listeners, own, asker, .. }) = self else { return Ok(()) };
        let own = own.take().map(|(socket, _)| socket);
        let keep: Vec<RawFd> = own.iter().map(|socket| socket.as_raw_fd()).collect();
        let keeper = process::pid();
        let life = || {
            let begun = process::die_with_parent(Signal::KILL)
                .and_then(|()| signal::unblock_all())
                .and_then(|()| close_all_but(&keep));
            match begun {
                Ok(()) if process::parent() == Some(keeper) => {
                    let own = own.as_ref();
                    ask::until_it_answers(&ask::Question { probe, listeners, own, keeper })
                }
                _ => 1,
            }
        };
        match process::fork()? {
            Forked::Parent(pid) => *asker = Some(pid),
            Forked::Child => super::end(life),
        }
        Ok(())
    }

    /// Whether the child that has ended was the one that asks, and with an answer.
    pub(super) fn is_answer(&mut self, pid: Pid, change: Option<process::Change>) -> bool {
        match self {
            Self::Answer(Answer { asker, .. }) if *asker == Some(pid) => {
                *asker = None;
                change == Some(process::Change::Exited(0))
            }
            _ => false,
        }
    }

    /// The number of the keeper's own part of it.
    pub(super) fn own_descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Answer(answer) => answer.own.as_ref().map(|(socket, _)| socket.as_raw_fd()),
            _ => self.descriptor().map(|fd| fd.as_raw_fd()),
        }
    }

    /// Why a command is not ready that goes on, for people.
    pub(super) fn undone(&self) -> &str {
        match self {
            Self::Lived(_) => "",
            Self::Notice { .. } => "the command has not said READY=1 to NOTIFY_SOCKET",
            Self::Ack { .. } => {
                "the command has written nothing to the descriptor in EINHORN_SOCK_FD"
            }
            Self::Answer(answer) => &answer.undone,
        }
    }
}

/// What a command has left undone that is asked.
fn undone(probe: &Probe, listeners: &[String], own: Option<RawFd>) -> String {
    let what = match (&probe.path, own) {
        (Some(path), _) => format!("no answer to GET {path} with a status from 200 to 399"),
        (None, Some(_)) => "the command has taken no connection".to_owned(),
        (None, None) => "nothing takes connections".to_owned(),
    };
    match (own, &probe.address) {
        (Some(number), _) => {
            let own = format!("a listener of its own (descriptor {number})");
            format!("{what} on any of: {}", [listeners, &[own]].concat().join(", "))
        }
        (None, address) => format!("{what} at {}", address.as_deref().unwrap_or_default()),
    }
}

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    let copy = socket.as_fd().try_clone_to_owned()?;
    Ok(File::from(copy).metadata()?.ino())
}

/// A socket that nobody but the command has.
fn own_socket(listeners: &mut Vec<Passed>) -> io::Result<(TcpListener, RawFd)> {
    let socket = TcpListener::bind(("127.0.0.1", 0))?;
    let address = socket.local_addr()?.to_string();
    let number = lowest_left(listeners);
    listeners.push(Passed { name: address.clone(), address, label: None, number });
    Ok((socket, number))
}

fn lowest_left(listeners: &[Passed]) -> RawFd {
    let taken = |number: &RawFd| listeners.iter().any(|one| one.number == *number);
    (FIRST..).find(|number| !taken(number)).unwrap_or(FIRST)
}

/// 128 bits that nobody can guess. The names of such sockets can be read in `/proc/net/unix`: what counts is who sends.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A message is lines; see sd_notify(3).
fn says_ready(message: &[u8]) -> bool {
    message.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_lines() {
        for yes in ["READY=1", "STATUS=up\nREADY=1\n", "READY=1\nMAINPID=4"] {
            assert!(says_ready(yes.as_bytes()), "{yes}");
        }
        for no in ["", "READY=0", "READY=10", "NOTREADY=1", "STATUS=READY=1"] {
            assert!(!says_ready(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn the_lowest_number_that_is_left_is_chosen() {
        let at =
            |number| Passed { address: String::new(), name: String::new(), label: None, number };
        assert_eq!(lowest_left(&[]), 3);
        assert_eq!(lowest_left(&[at(0), at(4), at(3)]), 5);
    }
}
