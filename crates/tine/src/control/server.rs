//! The supervisor's side of the control socket.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf, absolute};
use std::process;

use tine_os::poll::{Epoll, Interest};
use tine_os::privilege::effective_uid;
use tine_os::socket::{self, UNIX_PATH_MAX, UnixName};

use super::command::{Reply, Request};
use super::connection::{Connection, Fate, turn_away};
use super::find;
use crate::handover::ControlLeft;
use crate::{Error, Result};

/// Clients served at once; the others wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Of those, how many may wait for the end of the service; so that somebody else gets through, too.
const WAITING: usize = 12;
/// Clients the kernel holds until there is room.
const BACKLOG: u32 = 128;
/// Pause after a failure to accept, in nanoseconds: no descriptors, no memory.
const REST: u64 = 1_000_000_000;

/// Where clients are let in, and those who are. Made before the loop starts, and removed by the process
/// that made it alone.
#[derive(Debug)]
pub(crate) struct Server {
    listener: OwnedFd,
    path: PathBuf,
    /// The file's device and inode: another server may put its own in the same place.
    identity: (u64, u64),
    creator: u32,
    /// Ports whose links lead here.
    ports: Vec<u16>,
    /// Who may connect, besides root.
    uid: u32,
    /// The token of the listener.
    base: u64,
    slots: [Option<Connection>; CONNECTIONS],
    gate: Gate,
}

/// Whether the loop watches the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// There is no room.
    Shut,
    /// Until then, in monotonic nanoseconds: accepting has failed.
    Resting(u64),
}

impl Server {
    /// Binds the socket, with mode 0600.
    ///
    /// A file whose socket no process has is replaced; a live one, or anything else, is refused. If `path`
    /// is the default one, its directory is made, and cleared of what dead services left there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = fitting(path)?;
        if let Some(directory) = path.parent().filter(|&parent| *parent == find::own_directory()) {
            find::prepare(directory)?;
            find::sweep(directory);
        }
        make_way(&path)?;
        let mut identity = None;
        let name = UnixName::Path(path.clone());
        let note = || {
            let found = fs::symlink_metadata(&path)?;
            identity = Some((found.dev(), found.ino()));
            Ok(())
        };
        let listener = socket::unix_listener(&name, BACKLOG, true, note)
            .map_err(|error| refused(&path, &error.to_string(), error))?;
        Ok(Self {
            listener,
            path,
            identity: identity.unwrap_or_default(),
            creator: process::id(),
            ports: Vec::new(),
            uid: effective_uid(),
            base: 0,
            slots: Default::default(),
            gate: Gate::Shut,
        })
    }

    /// Whether [`Self::open`] could, asked without making or removing anything; the answer is whether another process has
    /// it now.
    pub(crate) fn check(path: &Path) -> Result<bool> {
        let path = fitting(path)?;
        // The directory of the default ones is made if there is none.
        if path.parent() != Some(&find::own_directory()) {
            tine_os::possible::make(&path)
                .map_err(|error| refused(&path, &error.to_string(), error))?;
        }
        look(&path).map(|there| there == There::Live)
    }

    /// Goes on with the socket that the program before has left: clients wait in its queue.
    pub(crate) fn take_over(left: &ControlLeft) -> io::Result<Self> {
        Ok(Self {
            listener: tine_os::fd::copy_of(left.listener)?,
            path: left.path.clone(),
            identity: left.identity,
            creator: process::id(),
            ports: left.ports.clone(),
            uid: effective_uid(),
            base: 0,
            slots: Default::default(),
            gate: Gate::Shut,
        })
    }

    /// What the next program needs for that.
    pub(crate) fn left(&self) -> ControlLeft {
        ControlLeft {
            path: self.path.clone(),
            identity: self.identity,
            ports: self.ports.clone(),
            listener: self.listener.as_raw_fd(),
        }
    }

    /// Lets the service be found by its TCP ports, if its socket is in the default place. `addresses` are
    /// as [`crate::listen::Listener::address`] has them; those without a TCP port are passed over.
    ///
    /// Of two services with one port, the one that says so last is found.
    pub(crate) fn publish(&mut self, addresses: &[String]) -> Result<()> {
        if self.path.parent() == Some(&find::own_directory()) {
            self.link(addresses)
                .map_err(|error| refused(&self.path, "it cannot be found by port", error))?;
        }
        Ok(())
    }

    pub(super) fn link(&mut self, addresses: &[String]) -> io::Result<()> {
        self.unlink_ports();
        let ports = addresses.iter().filter_map(|text| text.parse::<std::net::SocketAddr>().ok());
        for port in ports.map(|address| address.port()) {
            find::link(&self.path, port)?;
            self.ports.push(port);
        }
        Ok(())
    }

    fn unlink_ports(&mut self) {
        self.ports.drain(..).for_each(|port| find::unlink(&self.path, port));
    }

    /// Has the loop watch it: the listener's token is `base`, the clients' are the numbers after it.
    pub(crate) fn register(&mut self, epoll: &Epoll, base: u64) -> io::Result<()> {
        epoll.add(&self.listener, base, Interest::READ)?;
        self.base = base;
        self.gate = Gate::Open;
        Ok(())
    }

    /// Something happened at token `base + token_offset`. Does a bounded amount of work, and never waits.
    pub(crate) fn handle(
        &mut self,
        epoll: &Epoll,
        token_offset: u64,
        now: u64,
        answer: &mut dyn FnMut(Request) -> Reply,
    ) {
        match usize::try_from(token_offset) {
            Ok(0) => self.accept(epoll, now),
            Ok(number @ 1..=CONNECTIONS) => self.advance(epoll, number - 1, now, answer),
            _ => {}
        }
        self.set_gate(epoll, now);
    }

    /// When [`Self::expire`] has something to do, in monotonic nanoseconds.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let gate = match self.gate {
            Gate::Resting(until) => Some(until),
            Gate::Open | Gate::Shut => None,
        };
        let clients = self.slots.iter().flatten().filter_map(Connection::deadline);
        clients.chain(gate).min()
    }

    /// Drops who has been silent for too long, and accepts again after a rest.
    pub(crate) fn expire(&mut self, epoll: &Epoll, now: u64) {
        for slot in &mut self.slots {
            let deadline = slot.as_ref().and_then(Connection::deadline);
            if deadline.is_some_and(|deadline| deadline <= now) {
                close(epoll, slot);
            }
        }
        self.set_gate(epoll, now);
    }

    /// The numbers of all its descriptors, which a forked child must close: only then does a client see the
    /// end of the service.
    pub(crate) fn descriptors(&self, into: &mut Vec<i32>) {
        into.push(self.listener.as_raw_fd());
        into.extend(self.slots.iter().flatten().map(|client| client.as_fd().as_raw_fd()));
    }

    /// The socket file; absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket file and the links by port, unless another process made them, or something else is
    /// in their place by now.
    pub(super) fn remove(&self) {
        // Until it has taken over, a process removes nothing of the one before it, to which it may go back.
        if process::id() != self.creator || tine_os::comeback::is_open() {
            return;
        }
        self.ports.iter().for_each(|&port| find::unlink(&self.path, port));
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // What stays is stale, and the next one replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn accept(&mut self, epoll: &Epoll, now: u64) {
        for _ in 0..CONNECTIONS {
            let Some(number) = self.slots.iter().position(Option::is_none) else { return };
            match socket::accept(&self.listener, true) {
                Ok((client, _)) => self.admit(epoll, number, client, now),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // The client stays in the queue, and would wake the loop again at once.
                    _ => return self.rest(epoll, now),
                },
            }
        }
    }

    fn admit(&mut self, epoll: &Epoll, number: usize, client: OwnedFd, now: u64) {
        match socket::peer_credentials(&client) {
            Ok(peer) if peer.uid == 0 || peer.uid == self.uid => {}
            Ok(peer) => {
                let (uid, own) = (peer.uid, self.uid);
                let text =
                    format!("user {uid} may not control this service: users 0 and {own} may");
                return turn_away(client, &text);
            }
            Err(error) => return turn_away(client, &format!("who are you? {error}")),
        }
        let client = Connection::new(client, now);
        match epoll.add(&client, self.token(number), client.interest()) {
            Ok(()) => self.slots[number] = Some(client),
            Err(_) => self.rest(epoll, now),
        }
    }

    fn advance(
        &mut self,
        epoll: &Epoll,
        number: usize,
        now: u64,
        answer: &mut dyn FnMut(Request) -> Reply,
    ) {
        let others = self.slots.iter().enumerate().filter(|&(other, _)| other != number);
        let waiting = others.filter_map(|(_, slot)| slot.as_ref()).filter(|it| it.waits()).count();
        let token = self.token(number);
        let slot = &mut self.slots[number];
        // Of one wait's events, an earlier one may have ended this client.
        let Some(client) = slot else { return };
        let before = client.interest();
        let mut fate = client.advance(now, waiting < WAITING, answer);
        let after = client.interest();
        if fate == Fate::Keep && after != before && epoll.modify(&*client, token, after).is_err() {
            fate = Fate::Close;
        }
        if fate == Fate::Close {
            close(epoll, slot);
        }
    }

    fn token(&self, number: usize) -> u64 {
        self.base + 1 + number as u64
    }

    fn rest(&mut self, epoll: &Epoll, now: u64) {
        let _ = epoll.remove(&self.listener);
        self.gate = Gate::Resting(now.saturating_add(REST));
    }

    /// Watches the listener while there is room for another client, and no longer: it would wake the loop
    /// without end.
    fn set_gate(&mut self, epoll: &Epoll, now: u64) {
        let room = self.slots.iter().any(Option::is_none);
        match self.gate {
            Gate::Open if !room => {
                let _ = epoll.remove(&self.listener);
                self.gate = Gate::Shut;
            }
            Gate::Resting(until) if until > now => {}
            Gate::Shut | Gate::Resting(_) if room => {
                match epoll.add(&self.listener, self.base, Interest::READ) {
                    Ok(()) => self.gate = Gate::Open,
                    Err(_) => self.gate = Gate::Resting(now.saturating_add(REST)),
                }
            }
            Gate::Resting(_) => self.gate = Gate::Shut,
            Gate::Open | Gate::Shut => {}
        }
    }
}

fn close(epoll: &Epoll, slot: &mut Option<Connection>) {
    if let Some(client) = slot.take() {
        // A child that is being forked off may hold it a little longer.
        let _ = epoll.remove(&client);
    }
}

/// What is at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// A socket that no process has.
    Stale,
    /// A process has it.
    Live,
}

/// Looks, and refuses what cannot be replaced.
fn look(path: &Path) -> Result<There> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(refused(path, &error.to_string(), error)),
    };
    if !found.file_type().is_socket() {
        let text = "there is a file that is no socket: move it away, or choose another path";
        return Err(refused(path, text, ErrorKind::AddrInUse.into()));
    }
    match socket::probe_unix(path) {
        Ok(live) => Ok(if live { There::Live } else { There::Stale }),
        Err(error) => {
            let text = format!("whether a process listens there cannot be told: {error}");
            Err(refused(path, &text, error))
        }
    }
}

/// Removes a socket file that no process has, and refuses what else there is.
fn make_way(path: &Path) -> Result<()> {
    match look(path)? {
        There::Nothing => Ok(()),
        There::Live => {
            let text = "another process listens there: stop it, or choose another path";
            Err(refused(path, text, ErrorKind::AddrInUse.into()))
        }
        There::Stale => {
            fs::remove_file(path).map_err(|error| refused(path, &error.to_string(), error))
        }
    }
}

/// The whole path, if it can be a socket's.
fn fitting(path: &Path) -> Result<PathBuf> {
    let path = absolute(path).map_err(|error| refused(path, &error.to_string(), error))?;
    if path.as_os_str().len() > UNIX_PATH_MAX {
        let text = format!("its path is longer than {UNIX_PATH_MAX} bytes: choose a shorter one");
        return Err(refused(&path, &text, ErrorKind::InvalidFilename.into()));
    }
    Ok(path)
}

fn refused(path: &Path, reason: &str, error: io::Error) -> Error {
    Error::bind(format!("cannot open the control socket {}: {reason}", path.display()), error)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remove();
    }
}
