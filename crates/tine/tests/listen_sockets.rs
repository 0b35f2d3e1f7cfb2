//! Internet listeners against the real kernel: which sockets an address makes, and what clients meet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tine::endpoint::Endpoint;
use tine::listen::{Kind, ListenOptions, Listener, Listeners, bind_all};
use tine_os::poll::readable;
use tine_os::socket::{self, Peer};

const DEADLINE: Duration = Duration::from_secs(10);

fn asked(texts: &[&str], options: &ListenOptions) -> Vec<(Endpoint, ListenOptions)> {
    let all = texts.iter().flat_map(|text| Endpoint::parse_all(text).unwrap());
    all.map(|endpoint| (endpoint, options.clone())).collect()
}

fn bind(texts: &[&str]) -> (Listeners, Vec<String>) {
    bind_with(texts, &ListenOptions::default())
}

fn bind_with(texts: &[&str], options: &ListenOptions) -> (Listeners, Vec<String>) {
    bind_all(&asked(texts, options), Vec::new()).unwrap()
}

fn refusal(texts: &[&str]) -> tine::Error {
    bind_all(&asked(texts, &ListenOptions::default()), Vec::new()).unwrap_err()
}

/// A fixed address that no other test uses: below the ports the kernel chooses from, on a loopback address
/// made from the process id.
fn address_of_our_own(number: u16) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 77, high, low.max(1)), 7700 + number).into()
}

fn port(listener: &Listener) -> u16 {
    let address: SocketAddr = listener.address().trim_start_matches("udp:").parse().unwrap();
    address.port()
}

fn accept(listener: &Listener) -> (TcpStream, Peer) {
    assert!(readable(listener, Some(DEADLINE)).unwrap(), "no connection arrived");
    let (connection, peer) = socket::accept(listener, false).unwrap();
    (connection.into(), peer)
}

fn connect(host: impl Into<std::net::IpAddr>, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&(host.into(), port).into(), DEADLINE)
}

#[test]
fn all_addresses_are_one_socket_that_shows_ipv4_clients_mapped() {
    let (listeners, notes) = bind(&["*:0"]);
    assert_eq!((listeners.len(), notes.len()), (1, 0));
    let listener = &listeners[0];
    let _four = connect(Ipv4Addr::LOCALHOST, port(listener)).unwrap();
    let (_, peer) = accept(listener);
    let Peer::Ip(SocketAddr::V6(peer)) = peer else { panic!("{peer:?}") };
    assert_eq!(peer.ip().to_ipv4_mapped(), Some(Ipv4Addr::LOCALHOST));
    let _six = connect(Ipv6Addr::LOCALHOST, port(listener)).unwrap();
    let (_, peer) = accept(listener);
    assert!(matches!(peer, Peer::Ip(peer) if peer.ip() == Ipv6Addr::LOCALHOST), "{peer:?}");
}

#[test]
fn ipv4_and_ipv6_by_name_are_two_sockets_on_one_port() {
    let (listeners, _) = bind(&["*:0/IPv4/IPv6"]);
    assert_eq!(listeners.len(), 2);
    assert_eq!(port(&listeners[0]), port(&listeners[1]));
    assert!(
        listeners[0].address().starts_with("[::]:")
            && listeners[1].address().starts_with("0.0.0.0:")
    );
    let _four = connect(Ipv4Addr::LOCALHOST, port(&listeners[0])).unwrap();
    let (_, peer) = accept(&listeners[1]);
    assert!(matches!(peer, Peer::Ip(SocketAddr::V4(_))), "{peer:?}");
}

#[test]
fn ipv4_alone_and_ipv6_alone_are_exclusive() {
    let (four, _) = bind(&["*:0/IPv4"]);
    let refused = connect(Ipv6Addr::LOCALHOST, port(&four[0])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    for text in ["*:0/IPv6", "[::]:0"] {
        let (six, _) = bind(&[text]);
        assert_eq!(socket::settings(&six[0]).unwrap().v6only, Some(true));
        let refused = connect(Ipv4Addr::LOCALHOST, port(&six[0])).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{text}");
    }
}

#[test]
fn a_name_is_bound_on_every_address_it_has_with_one_port() {
    let (listeners, _) = bind(&["localhost:0"]);
    let ports: Vec<u16> = listeners.iter().map(|listener| port(listener)).collect();
    assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    assert!(listeners.iter().any(|listener| listener.address().starts_with("127.0.0.1:")));
}

#[test]
fn an_unknown_host_is_refused_by_name() {
    let error = refusal(&["no-such-host.invalid:80"]);
    assert!(error.is_bind() && error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn the_port_the_kernel_chose_is_reported() {
    let (listeners, _) = bind(&["127.0.0.1:0", "udp:127.0.0.1:0"]);
    assert_ne!(port(&listeners[0]), 0);
    assert_eq!(listeners[0].endpoint().to_string(), "127.0.0.1:0");
    assert_eq!((listeners[0].kind(), listeners[0].is_stream()), (Kind::Tcp, true));
    assert_eq!((listeners[1].kind(), listeners[1].is_stream()), (Kind::Udp, false));
    let again: Endpoint = listeners[1].address().parse().unwrap();
    assert_eq!(again.to_string(), listeners[1].address());
}

#[test]
fn several_listeners_answer_each() {
    let (listeners, _) = bind(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]);
    assert_eq!(listeners.len(), 3);
    for listener in &listeners {
        let address: SocketAddr = listener.address().parse().unwrap();
        let mut client = connect(address.ip(), address.port()).unwrap();
        accept(listener).0.write_all(b"hi").unwrap();
        let mut heard = [0; 2];
        client.read_exact(&mut heard).unwrap();
    }
}

#[test]
fn an_address_listed_twice_is_bound_once_with_a_note() {
    let address = address_of_our_own(1).to_string();
    let (listeners, notes) = bind(&[&address, &address]);
    assert_eq!(listeners.len(), 1);
    assert_eq!(notes, [format!("{address} is listed more than once: bound once")]);
}

#[test]
fn the_backlog_is_what_was_asked_for() {
    let (listeners, notes) =
        bind_with(&["127.0.0.1:0"], &ListenOptions { backlog: 37, ..ListenOptions::default() });
    assert_eq!(listeners[0].queue().unwrap(), (0, 37));
    assert!(notes.is_empty());
    let greedy = ListenOptions { backlog: u32::MAX, ..ListenOptions::default() };
    let (_, notes) = bind_with(&["127.0.0.1:0"], &greedy);
    assert!(notes[0].contains("net.core.somaxconn"), "{notes:?}");
}

#[test]
fn the_backlog_is_4096_unless_it_is_said_or_what_the_kernel_makes_of_that() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("the kernel's bound");
    let most: u32 = most.trim().parse().expect("a number");
    let (listeners, _) = bind_with(&["127.0.0.1:0"], &ListenOptions::default());
    assert_eq!(listeners[0].queue().expect("it listens"), (0, 4096.min(most)));
    assert_eq!(ListenOptions::default().backlog, 4096);
}

#[test]
fn clients_over_the_backlog_wait_and_are_not_refused() {
    let (listeners, _) =
        bind_with(&["127.0.0.1:0"], &ListenOptions { backlog: 1, ..ListenOptions::default() });
    let to = (Ipv4Addr::LOCALHOST, port(&listeners[0]));
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(move || connect(to.0, to.1))).collect();
    for _ in 0..4 {
        accept(&listeners[0]);
    }
    for client in clients {
        client.join().unwrap().unwrap();
    }
}

#[test]
fn buffers_are_those_of_accepted_sockets() {
    let options = ListenOptions {
        receive_buffer: Some(16_384),
        send_buffer: Some(8_192),
        ..ListenOptions::default()
    };
    let (listeners, _) = bind_with(&["127.0.0.1:0"], &options);
    let _client = connect(Ipv4Addr::LOCALHOST, port(&listeners[0])).unwrap();
    let settings = socket::settings(accept(&listeners[0]).0).unwrap();
    // The kernel doubles what it is given, for its own bookkeeping.
    assert_eq!((settings.receive_buffer, settings.send_buffer), (32_768, 16_384));
    assert_eq!(settings.nodelay, Some(true));
    assert!(settings.keepalive);
}

#[test]
fn a_silent_connection_reaches_nobody_with_deferred_accept() {
    let options =
        ListenOptions { defer_accept: Some(Duration::from_secs(30)), ..ListenOptions::default() };
    let (listeners, _) = bind_with(&["127.0.0.1:0"], &options);
    let mut client = connect(Ipv4Addr::LOCALHOST, port(&listeners[0])).unwrap();
    assert!(!readable(&listeners[0], Some(Duration::from_millis(200))).unwrap());
    client.write_all(b"x").unwrap();
    accept(&listeners[0]);
}

#[test]
fn a_taken_address_is_refused_with_the_process_that_has_it() {
    let (taken, _) = bind(&["127.0.0.1:0"]);
    let error = refusal(&[taken[0].address()]);
    let text = error.to_string();
    assert!(error.is_bind() && text.contains("address already in use"), "{text}");
    assert!(text.contains("by another listener of this server"), "{text}");
    let error = refusal(&[&format!("*:{}", port(&taken[0]))]);
    assert!(error.to_string().contains("by another listener of this server"), "{error}");
}

#[test]
fn a_failure_leaves_nothing_bound() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let free = address_of_our_own(2);
    let error = refusal(&[&free.to_string(), &taken.local_addr().unwrap().to_string()]);
    assert!(error.is_bind());
    TcpListener::bind(free).unwrap();
}

#[test]
fn udp_takes_both_versions_of_ip_and_answers_the_sender() {
    let (listeners, _) =
        bind_with(&["udp:*:0"], &ListenOptions { broadcast: true, ..ListenOptions::default() });
    assert!(socket::settings(&listeners[0]).unwrap().broadcast);
    assert_eq!(listeners[0].queue().unwrap(), (0, 0));
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.send_to(b"ping", (Ipv4Addr::LOCALHOST, port(&listeners[0]))).unwrap();
    assert!(readable(&listeners[0], Some(DEADLINE)).unwrap());
    let mut buffer = vec![0; listeners[0].options().datagram_bytes];
    let datagram = socket::receive_from(&listeners[0], &mut buffer).unwrap();
    assert_eq!((&buffer[..datagram.bytes], datagram.truncated), (&b"ping"[..], false));
    socket::send_to(&listeners[0], b"pong", &datagram.sender).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn sockets_passed_in_are_told_apart_and_made_ours() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let address = tcp.local_addr().unwrap();
    let list = asked(&["127.0.0.1:0"], &ListenOptions::default());
    let (listeners, _) = bind_all(&list, vec![tcp.into(), udp.into()]).unwrap();
    assert_eq!(
        listeners.iter().map(|listener| listener.adopted()).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_eq!(
        listeners.iter().map(|listener| listener.kind()).collect::<Vec<_>>(),
        [Kind::Tcp, Kind::Tcp, Kind::Udp]
    );
    assert_eq!(listeners[1].address(), address.to_string());
    for listener in &listeners {
        let settings = socket::settings(listener).unwrap();
        assert!(settings.nonblocking && settings.close_on_exec);
    }
}

#[test]
fn an_address_that_was_passed_in_is_not_bound_again() {
    let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let list = asked(&[&passed.local_addr().unwrap().to_string()], &ListenOptions::default());
    let (listeners, notes) = bind_all(&list, vec![passed.into()]).unwrap();
    assert_eq!(listeners.len(), 1);
    assert!(listeners[0].adopted() && notes[0].contains("passed in"), "{notes:?}");
}

#[test]
fn what_cannot_be_listened_on_is_refused_when_passed_in() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connection = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let unbound = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let file = tempfile::tempfile().unwrap();
    let refused: [(OwnedFd, &str); 3] = [
        (connection.into(), "does not listen"),
        (unbound.into(), "bound to no address"),
        (file.into(), "socket"),
    ];
    for (descriptor, reason) in refused {
        let error = bind_all(&[], vec![descriptor]).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} does not say {reason:?}");
    }
}

#[test]
fn stopped_listeners_hand_out_their_queue_and_adopted_ones_go_on() {
    let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let list = asked(&["127.0.0.1:0"], &ListenOptions::default());
    let (listeners, _) = bind_all(&list, vec![passed.into()]).unwrap();
    let queued = connect(Ipv4Addr::LOCALHOST, port(&listeners[0])).unwrap();
    listeners.stop_new().unwrap();
    let late: SocketAddr = (Ipv4Addr::LOCALHOST, port(&listeners[0])).into();
    let turned_away = TcpStream::connect_timeout(&late, Duration::from_millis(200)).unwrap_err();
    // Unanswered where the kernel lets us, refused where it wants a privilege for that.
    assert!(matches!(turned_away.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionRefused));
    let (connection, peer) = accept(&listeners[0]);
    assert_eq!(peer, Peer::Ip(queued.local_addr().unwrap()));
    drop(connection);
    connect(Ipv4Addr::LOCALHOST, port(&listeners[1])).unwrap();
}

#[test]
fn closing_for_good_refuses_clients_but_not_those_of_adopted_sockets() {
    let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let list = asked(&["127.0.0.1:0", "udp:127.0.0.1:0"], &ListenOptions::default());
    let (listeners, _) = bind_all(&list, vec![passed.into()]).unwrap();
    let held_elsewhere = listeners[0].try_clone_tcp().unwrap();
    listeners.close_for_good().unwrap();
    let refused = connect(Ipv4Addr::LOCALHOST, port(&listeners[0])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(held_elsewhere.accept().is_err());
    connect(Ipv4Addr::LOCALHOST, port(&listeners[2])).unwrap();
}

#[test]
fn a_listener_is_cloned_only_as_what_it_is() {
    let (listeners, _) = bind(&["udp:127.0.0.1:0"]);
    assert_eq!(
        listeners[0].try_clone_udp().unwrap().local_addr().unwrap().port(),
        port(&listeners[0])
    );
    assert_eq!(listeners[0].try_clone_tcp().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(
        listeners[0].try_clone_unix().is_err() && listeners[0].try_clone_unix_datagram().is_err()
    );
}
