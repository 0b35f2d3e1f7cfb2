//! Datagrams: answered to their sender, counted, and no reason to stay.

mod support;

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use support::{KILL, Talk, start_in, start_with};
use testkit::TempDir;

fn udp(address: &str) -> UdpSocket {
    let here = if address.contains('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(here).expect("a port");
    socket.set_read_timeout(Some(testkit::DEADLINE)).expect("a deadline");
    socket.connect(address.trim_start_matches("udp:")).expect("an address");
    socket
}

fn echoed(socket: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    socket.send(bytes).expect("it is sent");
    let length = socket.recv(&mut buffer).expect("an answer");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_datagram_is_answered_to_its_sender() {
    let service = start_with("--listen udp:127.0.0.1:0 --workers 2", |server| server);
    let address = service.address();
    assert!(address.starts_with("udp:127.0.0.1:"), "{address}");
    let (one, two) = (udp(&address), udp(&address));
    for round in 0..20_u8 {
        assert_eq!(echoed(&one, &[1, round]), [1, round]);
        assert_eq!(echoed(&two, &[2, round]), [2, round]);
    }
    assert_eq!(echoed(&one, b""), b"", "an empty one, too");
    let longest = vec![7; 65_507];
    assert_eq!(echoed(&one, &longest), longest);
    service.wait_pool("all are counted", |pool| pool.connections == 42 && pool.busy == 0);
    service.stop();
}

#[test]
fn a_datagram_is_cut_to_what_was_configured() {
    let arguments = "--datagram-bytes 512 --listen udp:127.0.0.1:0 --workers 1";
    let service = start_with(arguments, |server| server);
    let socket = udp(&service.address());
    assert_eq!(echoed(&socket, &[9; 512]).len(), 512);
    assert_eq!(echoed(&socket, &[9; 2000]).len(), 512);
    service.stop();
}

#[test]
fn datagrams_recycle_workers_exactly_as_connections_do() {
    let arguments = "--listen udp:127.0.0.1:0 --workers 1 --max-connections 5";
    let service = start_with(arguments, |server| server);
    let socket = udp(&service.address());
    for round in 0..50_u8 {
        assert_eq!(echoed(&socket, &[round]), [round]);
    }
    service.wait_pool("ten lives", |pool| pool.exits == 10 && pool.connections == 50);
    assert_eq!(service.pool().crashes, 0);
    service.stop();
}

/// Nanoseconds these processes have run (proc_pid_schedstat(5), the first number).
fn run_time(pids: &[u32]) -> Vec<String> {
    let of = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/schedstat"));
    pids.iter()
        .map(|pid| of(pid).expect("it lives").split(' ').next().unwrap_or("").into())
        .collect()
}

/// A poke says that somebody may wait and not where; a datagram socket that is empty is no reason to pass it on.
#[test]
fn workers_come_to_rest_after_one_was_killed() {
    const LOOKS: u32 = 20;
    for listen in [
        "--listen udp:127.0.0.1:0",
        "--listen udp:127.0.0.1:0 --listen udp:127.0.0.1:0",
        "--listen udp:127.0.0.1:0 --listen 127.0.0.1:0",
    ] {
        let service = start_with(&format!("--workers 2 {listen}"), |server| server);
        let killed = service.wait_serving(2)[0];
        assert!(testkit::process::signal(killed, KILL));
        testkit::wait_gone(killed);
        let pids = service.wait_serving(2);
        assert_eq!(echoed(&udp(&service.address()), b"still"), b"still");
        let (mut before, mut at_rest) = (Vec::new(), 0);
        testkit::wait_until(&format!("rest, {listen}"), testkit::DEADLINE, || {
            let now = run_time(&pids);
            at_rest = if now == before { at_rest + 1 } else { 0 };
            before = now;
            at_rest == LOOKS
        });
        service.stop();
    }
}

#[test]
fn ipv4_ipv6_both_at_once_unix_and_datagrams_are_served_together() {
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("socket");
    let datagrams = directory.path().join("datagrams");
    let arguments = format!(
        "--workers 3 --listen 127.0.0.1:0 --listen [::1]:0 --listen *:0 --listen unix:{} \
         --listen udp:[::1]:0 --listen unixdgram:{}",
        socket.display(),
        datagrams.display()
    );
    let own = directory.path().join("own");
    let service = start_in(directory, &arguments, |server| server);
    let addresses = service.addresses(6);
    assert_eq!(Talk::to(&addresses[0]).ask("peer"), "127.0.0.1");
    assert_eq!(Talk::to(&addresses[1]).ask("peer"), "::1");
    let port = addresses[2].rsplit(':').next().expect("a port");
    assert_eq!(Talk::to(&format!("127.0.0.1:{port}")).ask("peer"), "127.0.0.1", "of both");
    assert_eq!(Talk::to(&format!("[::1]:{port}")).ask("peer"), "::1");
    assert_eq!(Talk::to(&addresses[3]).ask("peer"), "nobody");
    assert_eq!(echoed(&udp(&addresses[4]), b"six"), b"six");
    let client = UnixDatagram::bind(own).expect("a name");
    client.set_read_timeout(Some(testkit::DEADLINE)).expect("a deadline");
    client.connect(&datagrams).expect("somebody is there");
    client.send(b"local").expect("it is sent");
    let mut buffer = [0; 16];
    assert_eq!(client.recv(&mut buffer).expect("an answer"), 5);
    service.stop();
    assert!(!socket.exists() && !datagrams.exists());
}
