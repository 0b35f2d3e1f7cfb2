//! The sockets a server listens on: bound by [`bind_all`], or passed in already bound.
//!
//! Everything is checked before the first socket is bound, and if one cannot be had, those that were are
//! closed and their files removed: a start either has all its listeners or leaves nothing behind.
//!
//! The host `*` is one socket for IPv4 and IPv6 (an IPv4 client appears as `::ffff:a.b.c.d`), or one for
//! IPv4 where the machine has no IPv6. Asking for IPv4 and IPv6 by name makes two, which share a port if the
//! kernel was to choose it. A name is bound on every address it has. What is listed twice is bound once,
//! with a note; port 0 is a new port each time.
//!
//! A Unix socket replaces a stale file, one whose socket no process has, and nothing else. Its owner and
//! mode are set after it is bound and before it listens; until then a client is refused.

use crate::endpoint::{Endpoint, Unix};
use std::cell::OnceCell;
use std::net::{TcpListener, UdpSocket};
use std::ops::Index;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::rc::Rc;
use std::{io, slice};
use tine_os::socket::{self, Address};

mod bind;
mod check;
mod inherit;
mod left;
mod options;
mod refusal;
mod resolve;
mod unix;

pub(crate) use bind::bind_pool;
pub use bind::{bind_all, bind_sharded};
pub(crate) use check::Check;
pub(crate) use left::{Left, Leftovers};
pub use options::ListenOptions;
pub(crate) use refusal::socket_address;

/// What sort of socket a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// Connections through a Unix socket.
    Unix,
    /// Datagrams through a Unix socket.
    UnixDatagram,
}

impl Kind {
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(_) => Self::Tcp,
            Endpoint::Udp(_) => Self::Udp,
            Endpoint::Unix { .. } => Self::Unix,
            Endpoint::UnixDatagram(_) => Self::UnixDatagram,
        }
    }

    /// An address as reports have it; reading it as an [`Endpoint`] gives this kind again.
    fn describe(self, address: &Address) -> String {
        match (self, address) {
            (Self::Udp, Address::Ip(ip)) => format!("udp:{ip}"),
            (_, Address::Ip(ip)) => ip.to_string(),
            (Self::UnixDatagram, Address::Unix(name)) => format!("unixdgram:{}", Unix(name)),
            (_, Address::Unix(name)) => format!("unix:{}", Unix(name)),
            (_, Address::Unnamed) => "unbound".into(),
        }
    }
}

/// One bound socket: listening, if it is for connections; non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    endpoint: Endpoint,
    options: ListenOptions,
    kind: Kind,
    address: String,
    adopted: bool,
    shard: Option<u32>,
    name: OnceCell<String>,
    file: Option<unix::SocketFile>,
}

impl Listener {
    fn new(socket: OwnedFd, endpoint: &Endpoint, options: &ListenOptions) -> io::Result<Self> {
        let kind = Kind::of(endpoint);
        let address = kind.describe(&socket::local_address(&socket)?);
        Ok(Self {
            socket,
            endpoint: endpoint.clone(),
            options: options.clone(),
            kind,
            address,
            adopted: false,
            shard: None,
            name: OnceCell::new(),
            file: None,
        })
    }

    /// What sort of socket it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// True if connections are accepted from it, false if datagrams are received.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Tcp | Kind::Unix)
    }

    /// Where it is bound, with the real port: `127.0.0.1:41234`, `udp:[::]:53`, `unix:/run/s.sock`,
    /// `unixdgram:/run/s.sock`, `unix:@name`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was asked for; of an adopted socket, where it is bound.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The options it was bound with; of an adopted socket, the defaults, which say nothing about it.
    #[must_use]
    pub fn options(&self) -> &ListenOptions {
        &self.options
    }

    /// Whether its connections are to be encrypted: what was asked for says so, or whoever passed it in
    /// calls it `tls`, `ssl` or `https`. Nothing here does it: that is `tine-tls`'s.
    #[must_use]
    pub fn tls(&self) -> bool {
        let named = self.name().filter(|_| self.adopted);
        self.endpoint.tls() || named.is_some_and(|name| matches!(name, "tls" | "ssl" | "https"))
    }

    /// True if it was passed in already bound, so that others may have it too.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The same as this one of the sockets of its address.
    pub(crate) fn sharded(self, shard: Option<u32>) -> Self {
        Self { shard, ..self }
    }

    /// Which of the sockets of its address it is, from 0; `None` if there is only this one.
    #[must_use]
    pub fn shard(&self) -> Option<u32> {
        self.shard
    }

    /// What whoever passed it in calls it (`LISTEN_FDNAMES`, sd_listen_fds(3)); see
    /// [`crate::Pool::inherited`].
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    pub(crate) fn set_name(&self, name: Option<String>) {
        if let Some(name) = name {
            // It has one at most.
            let _ = self.name.set(name);
        }
    }

    /// How many connections wait to be accepted, and how many may; `(0, 0)` for datagrams, which are not counted.
    pub fn queue(&self) -> io::Result<(u32, u32)> {
        match self.kind {
            Kind::Tcp => tine_os::diag::tcp_queue(self.as_fd()),
            Kind::Unix => tine_os::diag::unix_queue(self.as_fd()),
            Kind::Udp | Kind::UnixDatagram => Ok((0, 0)),
        }
    }

    /// See [`Listeners::stop_new`].
    pub(crate) fn refuse_new(&self) -> io::Result<()> {
        match self.kind {
            Kind::Tcp if !self.adopted => socket::refuse_new_connections(self),
            _ => Ok(()),
        }
    }

    /// See [`Listeners::close_for_good`].
    pub(crate) fn close_for_good(&self) -> io::Result<()> {
        if self.adopted {
            return Ok(());
        }
        match socket::shutdown(self) {
            // A datagram socket has no partner; the kernel wakes those who wait on it all the same.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// A second descriptor of the same socket as the standard library's type; `InvalidInput` for other kinds.
    pub fn try_clone_tcp(&self) -> io::Result<TcpListener> {
        self.clone_as(Kind::Tcp)
    }

    /// As [`Self::try_clone_tcp`], for Unix connections.
    pub fn try_clone_unix(&self) -> io::Result<UnixListener> {
        self.clone_as(Kind::Unix)
    }

    /// As [`Self::try_clone_tcp`], for UDP.
    pub fn try_clone_udp(&self) -> io::Result<UdpSocket> {
        self.clone_as(Kind::Udp)
    }

    /// As [`Self::try_clone_tcp`], for Unix datagrams.
    pub fn try_clone_unix_datagram(&self) -> io::Result<UnixDatagram> {
        self.clone_as(Kind::UnixDatagram)
    }

    fn clone_as<T: From<OwnedFd>>(&self, kind: Kind) -> io::Result<T> {
        if self.kind != kind {
            let text = format!("{} is {:?}, not {kind:?}", self.address, self.kind);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(self.socket.try_clone()?.into())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All the sockets of a server: those asked for, in that order, then those passed in.
///
/// Dropping it closes descriptors and no more: in a worker, the supervisor's sockets and files live on.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Rc<Listener>>);

impl Listeners {
    /// Goes through them in order.
    pub fn iter(&self) -> slice::Iter<'_, Rc<Listener>> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names the last ones: those that were passed in.
    pub(crate) fn name_last(&self, names: Vec<Option<String>>) {
        let from = self.len().saturating_sub(names.len());
        self.iter().skip(from).zip(names).for_each(|(listener, name)| listener.set_name(name));
    }

    /// Removes the files of Unix sockets that this very process made, where the file is still the same one.
    /// Tries all; the first failure is reported.
    pub fn unlink(&self) -> io::Result<()> {
        first_failure(
            self.iter().filter_map(|listener| listener.file.as_ref()).map(unix::SocketFile::remove),
        )
    }

    /// Refuses new connections to TCP listeners while those in the queue can still be accepted. Adopted
    /// sockets belong to others too and are left alone, and Unix sockets have no such means: their file is
    /// removed instead. Tries all; the first failure is reported.
    pub fn stop_new(&self) -> io::Result<()> {
        first_failure(self.iter().map(|listener| listener.refuse_new()))
    }

    /// Shuts our own sockets down for every process that has them: clients are refused from now on, waiting
    /// `accept`s end with an error. Not for sockets that a foreign program has, which takes that for a failure: adopted
    /// ones are left alone. Tries all; the first failure is reported.
    pub fn close_for_good(&self) -> io::Result<()> {
        first_failure(self.iter().map(|listener| listener.close_for_good()))
    }
}

/// Goes through all of them, whatever happens.
fn first_failure(results: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    results.fold(Ok(()), io::Result::and)
}

impl Index<usize> for Listeners {
    type Output = Listener;

    fn index(&self, index: usize) -> &Listener {
        &self.0[index]
    }
}

impl<'a> IntoIterator for &'a Listeners {
    type Item = &'a Rc<Listener>;
    type IntoIter = slice::Iter<'a, Rc<Listener>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
