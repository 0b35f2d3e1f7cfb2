//! Binds everything that was asked for, or nothing.

use super::left::Leftovers;
use super::refusal::Refused;
use super::resolve::{Place, Want, Without6, distinct, wants};
use super::{Kind, ListenOptions, Listener, Listeners, inherit, refusal, unix};
use crate::counted::rc;
use crate::endpoint::Endpoint;
use crate::{Error, Result};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use tine_os::socket::{self, Address};

/// How often a port the kernel chose for one socket may turn out to be taken for the next.
const PORT_ATTEMPTS: u32 = 16;

/// Makes an Internet socket; tests put the kernel's refusals here.
type Open<'a> = &'a dyn Fn(Kind, SocketAddr, bool, &ListenOptions) -> io::Result<OwnedFd>;

/// Binds all `endpoints` and takes over the `adopted` sockets, which must be bound, and listening if they
/// are for connections. The notes are for the log: what was skipped, replaced or made do with.
///
/// On failure all sockets are closed, the adopted ones too, and every file that was made is removed.
pub fn bind_all(
    endpoints: &[(Endpoint, ListenOptions)],
    adopted: Vec<OwnedFd>,
) -> Result<(Listeners, Vec<String>)> {
    bind_all_with(endpoints, adopted, (1, &Leftovers::default(), ""), &open)
}

/// The same with so many sockets for each TCP address, on which the kernel spreads the connections; they
/// follow one another in the list, see [`Listener::shard`]. What else there is has one socket, with a
/// note.
///
/// The first socket of an address is bound alone: if another process has the address, this very service
/// started twice included, that is refused and not joined, unless [`ListenOptions::reuse_port`] allows it.
pub fn bind_sharded(
    endpoints: &[(Endpoint, ListenOptions)],
    adopted: Vec<OwnedFd>,
    sockets: u32,
) -> Result<(Listeners, Vec<String>)> {
    bind_all_with(endpoints, adopted, (sockets, &Leftovers::default(), ""), &open)
}

/// The same for a pool, which keeps what the program before has left.
pub(crate) fn bind_pool(
    endpoints: &[(Endpoint, ListenOptions)],
    adopted: Vec<OwnedFd>,
    sockets: u32,
    (left, pool): (&Leftovers, &str),
) -> Result<(Listeners, Vec<String>)> {
    bind_all_with(endpoints, adopted, (sockets, left, pool), &open)
}

fn bind_all_with(
    endpoints: &[(Endpoint, ListenOptions)],
    adopted: Vec<OwnedFd>,
    (sockets, left, pool): (u32, &Leftovers, &str),
    open: Open<'_>,
) -> Result<(Listeners, Vec<String>)> {
    validate(endpoints)?;
    let adopted = adopted.into_iter().map(inherit::adopt).collect::<Result<Vec<_>>>()?;
    let there: Vec<String> = adopted.iter().map(|listener| listener.address.clone()).collect();
    let (wants, notes) = distinct(wants(endpoints)?, &there)?;

    let mut binder = Binder { open, sockets, made: Listeners::default(), notes };
    for group in wants.chunk_by(|_, next| next.follows) {
        if let Err(error) = binder.keep(group, left).and_then(|rest| binder.group(&rest)) {
            // The reason is what counts; a file that cannot be removed either is stale and will be replaced.
            let _ = binder.made.unlink();
            return Err(error);
        }
    }
    let Binder { made: Listeners(mut all), mut notes, .. } = binder;
    notes.extend(all.iter().filter_map(|listener| short_backlog(listener)));
    all.extend(adopted.into_iter().map(rc));
    all.extend(left.passed_in(pool, &there)?.into_iter().map(rc));
    if sockets > 1 {
        notes.extend(all.iter().filter_map(|listener| unsharded(listener)));
    }
    Ok((Listeners(all), notes))
}

/// Refuses what could not be bound anywhere.
pub(super) fn validate(endpoints: &[(Endpoint, ListenOptions)]) -> Result<()> {
    endpoints.iter().try_for_each(|(endpoint, options)| {
        options
            .validate()
            .map_err(|error| Error::config(format!("cannot listen on {endpoint}: {error}")))?;
        unix::validate(endpoint)
    })
}

fn open(
    kind: Kind,
    address: SocketAddr,
    v6only: bool,
    options: &ListenOptions,
) -> io::Result<OwnedFd> {
    match kind {
        Kind::Udp => socket::udp_socket(address, &options.udp(v6only)),
        _ => socket::tcp_listener(address, &options.tcp(v6only)),
    }
}

/// The kernel cuts a backlog down without saying so.
fn short_backlog(listener: &Listener) -> Option<String> {
    let (_, limit) = listener.queue().ok()?;
    let asked = listener.options.backlog;
    let first = listener.shard.is_none_or(|shard| shard == 0);
    (listener.is_stream() && first && limit < asked).then(|| {
        format!(
            "{}: backlog {asked} is cut down to {limit} by the kernel (sysctl net.core.somaxconn)",
            listener.address
        )
    })
}

/// Why a listener has one socket where the others have several.
fn unsharded(listener: &Listener) -> Option<String> {
    let reason = match listener.kind {
        _ if listener.shard.is_some() => return None,
        Kind::Tcp => "it was passed in already bound",
        Kind::Udp => "datagrams have no queue of connections",
        Kind::Unix | Kind::UnixDatagram => "Unix sockets have no SO_REUSEPORT",
    };
    Some(format!("{} is not sharded but shared by all workers: {reason}", listener.address))
}

struct Binder<'a> {
    open: Open<'a>,
    /// For each TCP address.
    sockets: u32,
    made: Listeners,
    notes: Vec<String>,
}

/// Why an attempt at a group failed.
struct Failure {
    error: Error,
    /// The port the kernel chose for the first socket was taken for another: it may choose a better one.
    unlucky: bool,
}

impl Binder<'_> {
    /// Takes what is there already; the rest is to be bound.
    fn keep<'w>(&mut self, group: &[Want<'w>], left: &Leftovers) -> Result<Vec<Want<'w>>> {
        let mut rest = Vec::new();
        for want in group {
            let sockets = if want.kind == Kind::Tcp { self.sockets } else { 1 };
            let found = left.take(want, sockets, &mut self.notes);
            let found = found
                .map_err(|error| Error::os(format!("cannot keep {}", want.describe()), error))?;
            let Some(mut kept) = found else {
                rest.push(want.clone());
                continue;
            };
            if sockets > 1 && !kept.is_empty() && !kept[0].adopted {
                self.more(want, &mut kept)?;
            }
            self.made.0.extend(kept.into_iter().map(rc));
        }
        Ok(rest)
    }

    /// Binds sockets that share a port, if the kernel is to choose it.
    fn group(&mut self, group: &[Want<'_>]) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.attempt(group) {
                Ok((listeners, notes)) => {
                    self.made.0.extend(listeners.into_iter().map(rc));
                    self.notes.extend(notes);
                    return Ok(());
                }
                Err(failure) if failure.unlucky && attempt < PORT_ATTEMPTS => attempt += 1,
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn attempt(
        &self,
        group: &[Want<'_>],
    ) -> std::result::Result<(Vec<Listener>, Vec<String>), Failure> {
        let (mut made, mut notes) = (Vec::new(), Vec::new());
        let mut port = None;
        let mut reason = None;
        for want in group {
            match self.one(want, port, &mut notes) {
                Ok(listener) => {
                    port = port.or_else(|| chosen_port(want, &listener));
                    self.shard(want, listener, &mut made)?;
                }
                Err(refused) if is_skipped(want, &refused.error) => {
                    notes.push(skipped(want, &refused.error));
                    reason = Some(refused);
                }
                Err(refused) => {
                    let unlucky =
                        port.is_some() && refused.error.kind() == io::ErrorKind::AddrInUse;
                    return Err(Failure { error: refused.into(), unlucky });
                }
            }
        }
        match reason {
            Some(refused) if made.is_empty() => {
                Err(Failure { error: refused.into(), unlucky: false })
            }
            _ => Ok((made, notes)),
        }
    }

    /// Adds the listener, and those that share its address.
    ///
    /// It was bound alone. `SO_REUSEPORT` set on it now lets those in that set it before they are bound and
    /// have the same user (`reuseport_add_sock`, net/core/sock_reuseport.c); so there is no moment at which
    /// another start of this service could have come in between.
    fn shard(
        &self,
        want: &Want<'_>,
        mut first: Listener,
        made: &mut Vec<Listener>,
    ) -> std::result::Result<(), Refused> {
        if self.sockets <= 1 || first.kind != Kind::Tcp {
            made.push(first);
            return Ok(());
        }
        let Place::Inet { address, .. } = want.place else { return Ok(()) };
        let refused = |error| refusal::inet(want, address, error);
        let bound = match socket::local_address(&first) {
            Ok(Address::Ip(bound)) => bound,
            Ok(_) => address,
            Err(error) => return Err(refused(error)),
        };
        first.shard = Some(0);
        let mut shards = vec![first];
        self.siblings(want, bound, &mut shards).map_err(refused)?;
        made.extend(shards);
        Ok(())
    }

    /// Adds to the sockets of an address, of which there is one at least, those that are missing.
    fn siblings(
        &self,
        want: &Want<'_>,
        bound: SocketAddr,
        shards: &mut Vec<Listener>,
    ) -> io::Result<()> {
        let v6only = socket::settings(&shards[0])?.v6only.unwrap_or(true);
        socket::set_reuse_port(&shards[0])?;
        let options = ListenOptions { reuse_port: true, ..want.options.clone() };
        let there = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        for shard in there..self.sockets {
            let socket = (self.open)(want.kind, bound, v6only, &options)?;
            let next = Listener::new(socket, want.endpoint, want.options)?;
            shards.push(Listener { shard: Some(shard), ..next });
        }
        Ok(())
    }

    /// The same for those that the program before has left.
    fn more(&self, want: &Want<'_>, kept: &mut Vec<Listener>) -> Result<()> {
        let mut more = || match socket::local_address(&kept[0])? {
            Address::Ip(bound) => self.siblings(want, bound, kept),
            _ => Ok(()),
        };
        let text = || format!("cannot add sockets to {}", want.describe());
        more().map_err(|error| Error::os(text(), error))
    }

    /// Binds one socket.
    fn one(
        &self,
        want: &Want<'_>,
        port: Option<u16>,
        notes: &mut Vec<String>,
    ) -> std::result::Result<Listener, Refused> {
        let (mut address, v6only) = match &want.place {
            Place::Inet { address, v6only } => (*address, *v6only),
            Place::Unix(name) => return unix::bind(want, name, notes),
        };
        if let Some(port) = port.filter(|_| address.port() == 0) {
            address.set_port(port);
        }
        let mut opened = (self.open)(want.kind, address, v6only, want.options);
        if let Err(error) = &opened
            && uses_ipv4(want, error)
        {
            address.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            notes.push(ipv4_alone(want, error));
            opened = (self.open)(want.kind, address, true, want.options);
        }
        opened
            .and_then(|socket| Listener::new(socket, want.endpoint, want.options))
            .map_err(|error| refusal::inet(want, address, error))
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { error: refused.into(), unlucky: false }
    }
}

/// The port, if it was the kernel's choice.
fn chosen_port(want: &Want<'_>, listener: &Listener) -> Option<u16> {
    match (&want.place, socket::local_address(listener)) {
        (Place::Inet { address, .. }, Ok(Address::Ip(bound))) if address.port() == 0 => {
            Some(bound.port())
        }
        _ => None,
    }
}

/// Whether this address is left out for that reason: another one of the same endpoint does.
pub(super) fn is_skipped(want: &Want<'_>, error: &io::Error) -> bool {
    want.without6 == Without6::Skip && no_ipv6(want, error)
}

pub(super) fn skipped(want: &Want<'_>, error: &io::Error) -> String {
    format!("{} is skipped: no IPv6 here ({error})", want.describe())
}

/// Whether all addresses are those of IPv4 for that reason.
pub(super) fn uses_ipv4(want: &Want<'_>, error: &io::Error) -> bool {
    want.without6 == Without6::UseV4 && no_ipv6(want, error)
}

pub(super) fn ipv4_alone(want: &Want<'_>, error: &io::Error) -> String {
    format!("{} listens on IPv4 alone: no IPv6 here ({error})", want.endpoint)
}

/// Whether an IPv6 address was refused because the machine has no IPv6: not compiled in, switched off at
/// boot, or without a single address, as in many containers. `EINVAL` is what some of those answer for `::`.
fn no_ipv6(want: &Want<'_>, error: &io::Error) -> bool {
    let Place::Inet { address, .. } = &want.place else { return false };
    let always_there = address.ip().is_unspecified() || address.ip().is_loopback();
    let absent = match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput => {
            always_there || !socket::ipv6_available()
        }
        _ => socket::is_unsupported_family(error),
    };
    address.is_ipv6() && absent
}

#[cfg(test)]
mod tests;
