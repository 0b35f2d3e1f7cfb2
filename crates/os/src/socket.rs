//! Sockets: made with their options in the order the kernel wants them, asked what they are, accepted
//! from, and stopped without losing the connections they have already queued.
//!
//! Everything made here is close-on-exec and non-blocking. Facts are from socket(7), tcp(7), ip(7),
//! ipv6(7), unix(7) and packet-filter documentation of the kernel (`networking/filter.rst`).
#![allow(unsafe_code)]

use rustix::net::sockopt;
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use std::{io, mem};

mod datagram;
mod file;
mod peer;
mod sender;

pub use datagram::{Correspondent, Datagram, has_message, receive_from, send_to};
pub use file::{
    UNIX_PATH_MAX, UnixName, probe_unix, set_socket_file, unix_datagram, unix_listener,
};
pub use peer::{Credentials, peer_credentials, unix_connect};
pub use sender::{ask_for_senders, receive_with_sender};

/// The longest queue asked for where nobody says otherwise: connections the kernel holds until somebody
/// accepts them. It cuts this down to `net.core.somaxconn` without a word.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// What a listening TCP socket is made with. `SO_REUSEADDR` is always set: without it a restart waits for
/// the old connections' TIME_WAIT.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// Connections that may wait to be accepted. Default [`DEFAULT_BACKLOG`].
    pub backlog: u32,
    /// `SO_REUSEPORT`: several sockets on one address, each with its own queue.
    pub reuse_port: bool,
    /// `IPV6_V6ONLY`, for IPv6 addresses: false lets `::` take IPv4 connections too (as `::ffff:a.b.c.d`).
    pub v6only: bool,
    /// `SO_RCVBUF` in bytes; the kernel doubles it and caps it at `net.core.rmem_max`.
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF` in bytes; the kernel doubles it and caps it at `net.core.wmem_max`.
    pub send_buffer: Option<u32>,
    /// `TCP_DEFER_ACCEPT`: how long a connection that has sent nothing is kept away from `accept`; at least
    /// a second, rounded up to seconds here and to a number of retransmissions by the kernel.
    pub defer_accept: Option<Duration>,
    /// `TCP_NODELAY`, which accepted sockets inherit.
    pub nodelay: bool,
    /// `TCP_FASTOPEN`: connections that may be pending without a finished handshake.
    pub fast_open: Option<u32>,
    /// `SO_KEEPALIVE`, which accepted sockets inherit.
    pub keepalive: bool,
    /// `IP_FREEBIND`: bind an address this machine does not have yet.
    pub free_bind: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            reuse_port: false,
            v6only: true,
            receive_buffer: None,
            send_buffer: None,
            defer_accept: None,
            nodelay: false,
            fast_open: None,
            keepalive: false,
            free_bind: false,
        }
    }
}

/// What a UDP socket is made with. `SO_REUSEADDR` is never set: for UDP it lets another process of the
/// same user take the port over.
#[derive(Clone, Debug, Default)]
pub struct UdpOptions {
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `IPV6_V6ONLY`, for IPv6 addresses.
    pub v6only: bool,
    /// `SO_RCVBUF` in bytes.
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF` in bytes.
    pub send_buffer: Option<u32>,
    /// `SO_BROADCAST`: may send to broadcast addresses.
    pub broadcast: bool,
    /// `IP_FREEBIND`.
    pub free_bind: bool,
}

/// Makes a TCP socket that listens on `address`; port 0 lets the kernel choose (see [`local_address`]).
///
/// Buffers are set before `listen`, because the window a connection offers is fixed in its handshake, and
/// accepted sockets inherit them.
pub fn tcp_listener(address: SocketAddr, options: &TcpOptions) -> io::Result<OwnedFd> {
    let socket = new(family_of(address), SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    common(&socket, address, options.v6only, options.reuse_port, options.free_bind)?;
    buffers(&socket, options.receive_buffer, options.send_buffer)?;
    if options.keepalive {
        sockopt::set_socket_keepalive(&socket, true)?;
    }
    if options.nodelay {
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    if let Some(patience) = options.defer_accept {
        let seconds = whole(patience.as_millis().div_ceil(1000).max(1));
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)?;
    }
    if let Some(queue) = options.fast_open {
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &whole(queue.into()))?;
    }
    net::bind(&socket, &address)?;
    listen(&socket, options.backlog)?;
    Ok(socket)
}

/// Whether this process could listen on `address` for TCP, or receive datagrams there, asked with a TCP socket that is
/// bound and does not listen: it takes no connection, and lets everybody else listen there who sets `SO_REUSEADDR`
/// (`inet_csk_bind_conflict`, net/ipv4/inet_connection_sock.c). Port 0 asks about the address alone.
///
/// # Errors
/// `EACCES` of the port, `EADDRNOTAVAIL` of the address, `EADDRINUSE` if somebody listens there for TCP now.
pub fn try_address(address: SocketAddr, v6only: bool, free_bind: bool) -> io::Result<()> {
    let socket = new(family_of(address), SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    common(&socket, address, v6only, false, free_bind)?;
    Ok(net::bind(&socket, &address)?)
}

/// Makes a UDP socket bound to `address`.
pub fn udp_socket(address: SocketAddr, options: &UdpOptions) -> io::Result<OwnedFd> {
    let socket = new(family_of(address), SocketType::DGRAM)?;
    common(&socket, address, options.v6only, options.reuse_port, options.free_bind)?;
    buffers(&socket, options.receive_buffer, options.send_buffer)?;
    if options.broadcast {
        sockopt::set_socket_broadcast(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// Lets connections queue up on a bound socket; on one that listens already, changes how many may.
pub fn listen(socket: impl AsFd, backlog: u32) -> io::Result<()> {
    Ok(net::listen(socket, whole(backlog.into()))?)
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IPv4 or IPv6 client; an IPv4 one of a dual-stack socket has a mapped address.
    Ip(SocketAddr),
    /// A client of a Unix socket, which has no address worth having.
    Unix,
}

/// Takes one connection off the queue, close-on-exec, in one system call and without allocating.
///
/// Interruptions and errors that concern only the connection (`ECONNABORTED` …) are the caller's to judge.
pub fn accept(listener: impl AsFd, nonblocking: bool) -> io::Result<(OwnedFd, Peer)> {
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, nonblocking);
    let (connection, peer) = net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map_or(Peer::Unix, Peer::Ip);
    Ok((connection, peer))
}

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A Unix socket with a file or an abstract name.
    Unix(UnixName),
    /// Not bound to anything.
    Unnamed,
}

/// The address a socket is bound to, with the port the kernel chose. `EAFNOSUPPORT` for other families.
pub fn local_address(socket: impl AsFd) -> io::Result<Address> {
    let address = net::getsockname(socket)?;
    if let Ok(ip) = SocketAddr::try_from(address.clone()) {
        return Ok(if ip.port() == 0 { Address::Unnamed } else { Address::Ip(ip) });
    }
    let unix = SocketAddrUnix::try_from(address)
        .map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
    Ok(UnixName::of(&unix).map_or(Address::Unnamed, Address::Unix))
}

/// Who is at the other end of a connection.
///
/// # Errors
/// `ENOTCONN` if there is nobody, or nobody any more.
pub fn peer_address(socket: impl AsFd) -> io::Result<Peer> {
    let peer = net::getpeername(socket)?;
    Ok(peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map_or(Peer::Unix, Peer::Ip))
}

/// What sort of traffic a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// `SOCK_STREAM`: connections.
    Stream,
    /// `SOCK_DGRAM`: single messages.
    Datagram,
    /// Raw, sequenced packets and the like.
    Other,
}

/// What somebody else's socket turns out to be.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Connections or messages.
    pub traffic: Traffic,
    /// True once `listen` was called on it.
    pub listening: bool,
    /// Where it is bound.
    pub address: Address,
}

/// Asks a descriptor what it is. `ENOTSOCK` if it is no socket.
pub fn identify(socket: impl AsFd) -> io::Result<Identity> {
    let socket = socket.as_fd();
    let traffic = match sockopt::socket_type(socket)? {
        SocketType::STREAM => Traffic::Stream,
        SocketType::DGRAM => Traffic::Datagram,
        _ => Traffic::Other,
    };
    let listening = sockopt::socket_acceptconn(socket)?;
    Ok(Identity { traffic, listening, address: local_address(socket)? })
}

/// Options as the kernel holds them now, for reports and tests. What a family does not have is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `SO_RCVBUF` in bytes, doubled by the kernel.
    pub receive_buffer: usize,
    /// `SO_SNDBUF` in bytes, doubled by the kernel.
    pub send_buffer: usize,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `TCP_NODELAY`.
    pub nodelay: Option<bool>,
    /// `IPV6_V6ONLY`.
    pub v6only: Option<bool>,
    /// `O_NONBLOCK`.
    pub nonblocking: bool,
    /// `FD_CLOEXEC`.
    pub close_on_exec: bool,
}

/// Reads a socket's [`Settings`].
pub fn settings(socket: impl AsFd) -> io::Result<Settings> {
    let socket = socket.as_fd();
    Ok(Settings {
        receive_buffer: sockopt::socket_recv_buffer_size(socket)?,
        send_buffer: sockopt::socket_send_buffer_size(socket)?,
        reuse_port: sockopt::socket_reuseport(socket)?,
        keepalive: sockopt::socket_keepalive(socket)?,
        broadcast: sockopt::socket_broadcast(socket)?,
        nodelay: sockopt::tcp_nodelay(socket).ok(),
        v6only: sockopt::ipv6_v6only(socket).ok(),
        nonblocking: rustix::fs::fcntl_getfl(socket)?.contains(rustix::fs::OFlags::NONBLOCK),
        close_on_exec: rustix::io::fcntl_getfd(socket)?.contains(rustix::io::FdFlags::CLOEXEC),
    })
}

/// Makes a listening TCP socket refuse new connections at once, as if it were closed, while those already
/// queued, and those whose handshake is under way, can still be accepted. For every process that has it.
///
/// It is bound to a network interface that does not exist, so that no new segment is meant for it; a
/// connection belongs to the interface it began on. The one way that needs no privilege. What is lost is
/// handshakes by SYN cookie, which the kernel resorts to in a flood.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW` if it was bound to an interface before, or the kernel is older than 5.7.
pub fn refuse_new_connections(listener: impl AsFd) -> io::Result<()> {
    set_option(listener, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &libc::c_int::MAX)
}

/// Lets other sockets of the same user that set `SO_REUSEPORT` before they are bound have this one's
/// address too; may be set on one that listens already.
///
/// # Errors
/// `EOPNOTSUPP` for a Unix socket.
pub fn set_reuse_port(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, true)?)
}

/// Shuts a socket down in both directions, for every process that has it: waiting `accept`s end, queued
/// connections are reset.
pub fn shutdown(socket: impl AsFd) -> io::Result<()> {
    Ok(net::shutdown(socket, net::Shutdown::Both)?)
}

/// Ends what is written to a connected socket, for every process that has it: the other side reads to the end.
///
/// # Errors
/// `ENOTCONN` when the other side is gone (shutdown(2)).
pub fn end_writing(socket: impl AsFd) -> io::Result<()> {
    Ok(net::shutdown(socket, net::Shutdown::Write)?)
}

/// Has a TCP connection be reset when it is closed, with what is still to be sent of it (`SO_LINGER` of zero, socket(7)).
///
/// # Errors
/// None of a socket that is open.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// The index of a network interface by its name.
///
/// # Errors
/// `ENODEV` if there is none of this name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let socket = new(AddressFamily::INET, SocketType::DGRAM)
        .or_else(|_| new(AddressFamily::INET6, SocketType::DGRAM))?;
    Ok(net::netdevice::name_to_index(socket, name)?)
}

/// Whether this machine lets a socket be bound to an IPv6 address.
#[must_use]
pub fn ipv6_available() -> bool {
    let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    new(AddressFamily::INET6, SocketType::DGRAM)
        .is_ok_and(|socket| net::bind(&socket, &loopback).is_ok())
}

/// Whether a socket could not be made because the kernel has no such family of addresses: `EAFNOSUPPORT`
/// or `EPROTONOSUPPORT`, which the standard library has no kinds for.
#[must_use]
pub fn is_unsupported_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}

fn new(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    Ok(net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

fn family_of(address: SocketAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}

fn common(
    socket: &OwnedFd,
    address: SocketAddr,
    v6only: bool,
    reuse_port: bool,
    free: bool,
) -> io::Result<()> {
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, v6only)?;
    }
    if reuse_port {
        sockopt::set_socket_reuseport(socket, true)?;
    }
    if free {
        // Linux takes the IPv4 option for IPv6 sockets as well.
        sockopt::set_ip_freebind(socket, true)?;
    }
    Ok(())
}

fn buffers(socket: &OwnedFd, receive: Option<u32>, send: Option<u32>) -> io::Result<()> {
    if let Some(bytes) = receive {
        sockopt::set_socket_recv_buffer_size(socket, bytes as usize)?;
    }
    if let Some(bytes) = send {
        sockopt::set_socket_send_buffer_size(socket, bytes as usize)?;
    }
    Ok(())
}

/// The kernel takes an `int` where only natural numbers make sense.
fn whole(number: u128) -> libc::c_int {
    number.try_into().unwrap_or(libc::c_int::MAX)
}

/// Sets an option that rustix has no name for. `T` must be what the kernel reads for `name`.
fn set_option<T>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let (pointer, length) =
        (std::ptr::from_ref(value).cast(), mem::size_of::<T>() as libc::socklen_t);
    // SAFETY: the descriptor is open for the duration of the borrow; pointer and length describe `value`,
    // and what a `sock_fprog` points to outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, pointer, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
