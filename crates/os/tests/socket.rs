//! Listening sockets against the real kernel: what is inherited, what is queued, what is refused.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;
use tine_os::socket::{self, Address, Peer, TcpOptions, Traffic, UdpOptions, UnixName};

const DEADLINE: Duration = Duration::from_secs(10);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn address(socket: &OwnedFd) -> SocketAddr {
    match socket::local_address(socket).unwrap() {
        Address::Ip(address) => address,
        other => panic!("not an IP address: {other:?}"),
    }
}

/// Waits until the descriptor reports one of `what`; false if the time is up.
fn ready(fd: impl AsFd, what: PollFlags, patience: Duration) -> bool {
    let time = Timespec::try_from(patience).unwrap();
    let fd = fd.as_fd();
    poll(&mut [PollFd::new(&fd, what)], Some(&time)).unwrap() == 1
}

fn accept(listener: &OwnedFd) -> (OwnedFd, Peer) {
    assert!(ready(listener, PollFlags::IN, DEADLINE), "no connection arrived");
    socket::accept(listener, false).unwrap()
}

/// A connect that does not wait for the handshake.

#[test]
fn accepted_sockets_inherit_buffers_nodelay_and_keepalive() {
    let options = TcpOptions {
        receive_buffer: Some(20_000),
        send_buffer: Some(30_000),
        nodelay: true,
        keepalive: true,
        ..TcpOptions::default()
    };
    let listener = socket::tcp_listener(loopback(), &options).unwrap();
    let client = TcpStream::connect(address(&listener)).unwrap();
    let (connection, peer) = accept(&listener);
    assert_eq!(peer, Peer::Ip(client.local_addr().unwrap()));
    let settings = socket::settings(&connection).unwrap();
    assert_eq!((settings.receive_buffer, settings.send_buffer), (40_000, 60_000));
    assert_eq!(settings.nodelay, Some(true));
    assert!(settings.keepalive && settings.close_on_exec && !settings.nonblocking);
}

#[test]
fn listeners_are_nonblocking_and_close_on_exec() {
    let listener = socket::tcp_listener(loopback(), &TcpOptions::default()).unwrap();
    let settings = socket::settings(&listener).unwrap();
    assert!(settings.nonblocking && settings.close_on_exec);
    let nobody = socket::accept(&listener, true).unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn an_accepted_socket_is_nonblocking_on_request() {
    let listener = socket::tcp_listener(loopback(), &TcpOptions::default()).unwrap();
    let _client = TcpStream::connect(address(&listener)).unwrap();
    assert!(ready(&listener, PollFlags::IN, DEADLINE));
    let (connection, _) = socket::accept(&listener, true).unwrap();
    assert!(socket::settings(&connection).unwrap().nonblocking);
}

#[test]
fn a_dual_stack_socket_shows_ipv4_clients_mapped() {
    let options = TcpOptions { v6only: false, ..TcpOptions::default() };
    let listener = socket::tcp_listener((Ipv6Addr::UNSPECIFIED, 0).into(), &options).unwrap();
    let port = address(&listener).port();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (_, peer) = accept(&listener);
    let Peer::Ip(SocketAddr::V6(peer)) = peer else { panic!("not IPv6: {peer:?}") };
    assert_eq!(peer.ip().to_ipv4_mapped(), Some(Ipv4Addr::LOCALHOST));
}

#[test]
fn a_silent_connection_is_kept_from_accept_until_it_speaks() {
    let options =
        TcpOptions { defer_accept: Some(Duration::from_secs(30)), ..TcpOptions::default() };
    let listener = socket::tcp_listener(loopback(), &options).unwrap();
    let mut client = TcpStream::connect(address(&listener)).unwrap();
    assert!(
        !ready(&listener, PollFlags::IN, Duration::from_millis(200)),
        "a silent connection was handed out"
    );
    client.write_all(b"x").unwrap();
    accept(&listener);
}

#[test]
fn an_address_in_use_is_refused_unless_ports_are_shared() {
    let plain = socket::tcp_listener(loopback(), &TcpOptions::default()).unwrap();
    let refused = socket::tcp_listener(address(&plain), &TcpOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    let shared = TcpOptions { reuse_port: true, ..TcpOptions::default() };
    let first = socket::tcp_listener(loopback(), &shared).unwrap();
    socket::tcp_listener(address(&first), &shared).unwrap();
}

#[test]
fn an_address_that_is_not_here_is_bound_on_request() {
    let elsewhere = "192.0.2.7:0".parse().unwrap();
    let refused = socket::tcp_listener(elsewhere, &TcpOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrNotAvailable);
    let free = TcpOptions { free_bind: true, ..TcpOptions::default() };
    socket::tcp_listener(elsewhere, &free).unwrap();
    socket::tcp_listener("[2001:db8::7]:0".parse().unwrap(), &free).unwrap();
}

/// A listener with one connection in its queue, whose client is returned too.
fn with_one_queued(host: IpAddr) -> (OwnedFd, TcpStream) {
    let listener = socket::tcp_listener((host, 0).into(), &TcpOptions::default()).unwrap();
    let queued = TcpStream::connect(address(&listener)).unwrap();
    (listener, queued)
}

/// What was queued is accepted and works; nothing else is there to accept.
fn check_queued(listener: &OwnedFd, mut client: TcpStream) {
    let mut connection = TcpStream::from(accept(listener).0);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    connection.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    connection.write_all(b"world").unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"world");
    let nobody = socket::accept(listener, true).unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_refusing_listener_hands_out_its_queue_and_needs_no_privilege_for_it() {
    for host in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let (listener, queued) = with_one_queued(host);
        socket::refuse_new_connections(&listener).unwrap();
        let refused = TcpStream::connect(address(&listener)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        check_queued(&listener, queued);
    }
}

#[test]
fn a_refusing_dual_stack_listener_refuses_both_versions_of_ip() {
    let options = TcpOptions { v6only: false, ..TcpOptions::default() };
    let listener = socket::tcp_listener((Ipv6Addr::UNSPECIFIED, 0).into(), &options).unwrap();
    let port = address(&listener).port();
    let queued = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket::refuse_new_connections(&listener).unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
    check_queued(&listener, queued);
}

#[test]
fn a_handshake_under_way_is_finished_after_the_listener_stopped() {
    for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        // A deferred connection is half open for the kernel until the client sends something.
        let options =
            TcpOptions { defer_accept: Some(Duration::from_secs(30)), ..TcpOptions::default() };
        let listener = socket::tcp_listener((host, 0).into(), &options).unwrap();
        let client = TcpStream::connect(address(&listener)).unwrap();
        socket::refuse_new_connections(&listener).unwrap();
        (&client).write_all(b"x").unwrap();
        let mut heard = [0];
        TcpStream::from(accept(&listener).0).read_exact(&mut heard).unwrap();
    }
}

#[test]
fn shutdown_refuses_at_once_though_the_socket_is_open() {
    let listener = socket::tcp_listener(loopback(), &TcpOptions::default()).unwrap();
    let to = address(&listener);
    socket::shutdown(&listener).unwrap();
    assert_eq!(TcpStream::connect(to).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn datagrams_are_answered_and_long_ones_reported() {
    let server =
        socket::udp_socket(loopback(), &UdpOptions { broadcast: true, ..UdpOptions::default() })
            .unwrap();
    assert!(socket::settings(&server).unwrap().broadcast);
    let client = UdpSocket::bind(loopback()).unwrap();
    client.send_to(b"0123456789", address(&server)).unwrap();
    assert!(ready(&server, PollFlags::IN, DEADLINE));
    let mut buffer = [0; 4];
    let received = socket::receive_from(&server, &mut buffer).unwrap();
    assert_eq!((received.bytes, received.truncated, &buffer), (4, true, b"0123"));
    assert_eq!(received.sender.ip(), Some(client.local_addr().unwrap()));
    socket::send_to(&server, b"yes", &received.sender).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 3);
}

#[test]
fn unix_datagrams_are_answered_if_their_sender_has_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    let server = socket::unix_datagram(&UnixName::Path(path.clone()), false).unwrap();
    let named = UnixDatagram::bind(directory.path().join("client")).unwrap();
    named.send_to(b"a", &path).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"b", &path).unwrap();

    let mut buffer = [0; 8];
    let first = socket::receive_from(&server, &mut buffer).unwrap().sender;
    assert_eq!(first.unix(), Some(UnixName::Path(directory.path().join("client"))));
    socket::send_to(&server, b"yes", &first).unwrap();
    assert_eq!(named.recv(&mut buffer).unwrap(), 3);

    let second = socket::receive_from(&server, &mut buffer).unwrap().sender;
    assert!(!second.can_be_answered());
    assert!(socket::send_to(&server, b"yes", &second).is_err());
}

#[test]
fn a_unix_socket_is_private_and_deaf_until_its_mode_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = UnixName::Path(path.clone());
    let listener = socket::unix_listener(&name, 10, true, || {
        assert_eq!(path.metadata()?.mode() & 0o7777, 0o600);
        assert_eq!(
            UnixStream::connect(&path).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(socket::probe_unix(&path)?, "bound counts as taken even before it listens");
        socket::set_socket_file(&path, Some(0o666), None, None)
    })
    .unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o666);
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(accept(&listener).1, Peer::Unix);
    let identity = socket::identify(&listener).unwrap();
    assert_eq!((identity.traffic, identity.listening), (Traffic::Stream, true));
    assert_eq!(identity.address, Address::Unix(name));
}

#[test]
fn a_probe_tells_live_from_stale_and_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    assert!(!socket::probe_unix(&path).unwrap());
    let listener =
        socket::unix_listener(&UnixName::Path(path.clone()), 10, false, || Ok(())).unwrap();
    assert!(socket::probe_unix(&path).unwrap());
    assert!(!ready(&listener, PollFlags::IN, Duration::ZERO), "the probe was queued");
    drop(listener);
    assert!(!socket::probe_unix(&path).unwrap());
}

#[test]
fn abstract_names_leave_no_file() {
    let name = UnixName::Abstract(format!("tine-os-test-{}", std::process::id()).into_bytes());
    let listener = socket::unix_listener(&name, 10, true, || Ok(())).unwrap();
    assert_eq!(socket::local_address(&listener).unwrap(), Address::Unix(name.clone()));
    let again = socket::unix_listener(&name, 10, true, || Ok(())).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn the_mode_of_what_is_not_a_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        assert!(socket::set_socket_file(path, Some(0o666), None, None).is_err());
    }
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn other_descriptors_are_told_from_sockets() {
    let file = tempfile::tempfile().unwrap();
    assert!(socket::identify(&file).is_err());
    let unbound = UnixDatagram::unbound().unwrap();
    let identity = socket::identify(&unbound).unwrap();
    assert_eq!((identity.traffic, identity.address), (Traffic::Datagram, Address::Unnamed));
}
