//! Who may come in, asked for every connection and every datagram.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use testkit::DEADLINE;
use tine::access::{AccessConfig, Lookups};
use tine::{Handle, Log, Prefork};

fn rules(allow: &[&str], deny: &[&str]) -> AccessConfig {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    AccessConfig { allow: texts(allow), deny: texts(deny), ..AccessConfig::default() }
}

fn server(access: AccessConfig) -> Prefork {
    Prefork::new().log(Log::default().to_function(|_, _| {})).no_control().access(access)
}

/// A worker that greets, on sockets that are bound already; the handle ends it.
fn greet(sockets: Vec<TcpListener>, access: AccessConfig) -> (Handle, thread::JoinHandle<()>) {
    let (tell, told) = std::sync::mpsc::channel();
    let worker = thread::spawn(move || {
        let server = sockets.into_iter().fold(server(access), Prefork::socket);
        tell.send(server.handle().expect("a handle")).expect("somebody waits");
        let worker = server.solo().expect("a worker");
        worker.serve(|mut conn| conn.write_all(b"hello")).expect("it serves");
    });
    (told.recv().expect("it has begun"), worker)
}

fn hears(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let mut heard = String::new();
    // A connection that is closed at once may end in a reset.
    let _ = stream.read_to_string(&mut heard);
    heard
}

/// What clients by IPv4, by IPv6, and by IPv4 to a dual-stack socket hear.
fn heard(access: AccessConfig) -> [bool; 3] {
    let bind = |address: &str| TcpListener::bind(address).expect("a port");
    let sockets = vec![bind("127.0.0.1:0"), bind("[::1]:0"), bind("[::]:0")];
    let port = |i: usize| sockets[i].local_addr().expect("an address").port();
    let addresses = [
        format!("127.0.0.1:{}", port(0)),
        format!("[::1]:{}", port(1)),
        format!("127.0.0.1:{}", port(2)),
    ];
    let (handle, worker) = greet(sockets, access);
    let heard = addresses.each_ref().map(|address| hears(address) == "hello");
    handle.stop();
    worker.join().expect("it has ended");
    heard
}

#[test]
fn without_rules_everybody_comes_in() {
    assert_eq!(heard(rules(&[], &[])), [true, true, true]);
}

#[test]
fn a_mapped_address_is_judged_as_the_ipv4_address_it_is() {
    assert_eq!(heard(rules(&["127.0.0.0/8"], &[])), [true, false, true]);
    assert_eq!(heard(rules(&["::1"], &[])), [false, true, false]);
}

#[test]
fn deny_comes_before_allow_and_both_versions_of_ip_mix() {
    assert_eq!(heard(rules(&["all"], &["::1", "10.0.0.0/8"])), [true, false, true]);
    assert_eq!(heard(rules(&["::/0", "127.0.0.1"], &["127.0.0.1"])), [false, true, false]);
}

#[test]
fn rules_that_only_deny_let_the_others_in() {
    assert_eq!(heard(rules(&[], &["127.0.0.1"])), [false, true, false]);
}

#[test]
fn an_alternation_is_anchored_as_a_whole() {
    assert_eq!(heard(rules(&[], &[r"~ 10\.0\.0\.1|27\.0\.0\.1"])), [true, true, true]);
    assert_eq!(heard(rules(&[], &[r"~ 10\.0\.0\.1|127\.0\.0\.1"])), [false, true, false]);
}

#[test]
fn a_rule_that_cannot_be_read_is_refused_before_anything_is_bound() {
    for rule in ["10.0.0.0/33", "~ (", "10.0.0.9-10.0.0.1", "www.example.org"] {
        let refused = server(rules(&[rule], &[])).listen("127.0.0.1:0").solo();
        let refused = refused.expect_err(rule);
        assert!(refused.is_config() && refused.to_string().contains(rule), "{refused}");
    }
}

#[test]
fn a_datagram_of_somebody_who_may_not_come_in_is_not_answered() {
    let socket = |address: &str| UdpSocket::bind(address).expect("a port");
    let (four, six) = (socket("127.0.0.1:0"), socket("[::1]:0"));
    let to = [four.local_addr().expect("an address"), six.local_addr().expect("an address")];
    let (tell, told) = std::sync::mpsc::channel();
    let worker = thread::spawn(move || {
        let server = server(rules(&[], &["::1"])).socket(four).socket(six);
        tell.send(server.handle().expect("a handle")).expect("somebody waits");
        let worker = server.solo().expect("a worker");
        worker.serve_datagrams(|packet| packet.reply(packet.bytes())).expect("it serves");
    });
    let handle = told.recv().expect("it has begun");
    let (denied, allowed) = (socket("[::1]:0"), socket("127.0.0.1:0"));
    allowed.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    denied.send_to(b"a", to[1]).expect("it is sent");
    allowed.send_to(b"b", to[0]).expect("it is sent");
    assert_eq!(allowed.recv(&mut [0; 8]).expect("an answer"), 1);
    handle.stop();
    worker.join().expect("it has ended");
    // The worker has ended and had the datagram before: an answer would be here.
    denied.set_nonblocking(true).expect("a flag");
    assert!(denied.recv(&mut [0; 8]).is_err());
}

#[test]
fn a_handler_is_told_the_name_that_was_looked_up_and_none_that_was_not() {
    for lookups in [Lookups::Double, Lookups::Reverse, Lookups::Off] {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address").to_string();
        let (tell, told) = std::sync::mpsc::channel();
        let worker = thread::spawn(move || {
            let server = server(AccessConfig::default()).socket(socket).reverse_lookups(lookups);
            tell.send(server.handle().expect("a handle")).expect("somebody waits");
            let greet = |mut conn: tine::Conn| {
                let name = conn.peer_name().map(|name| format!("{name:?}"));
                conn.write_all(name.unwrap_or_default().as_bytes())
            };
            server.solo().expect("a worker").serve(greet).expect("it serves");
        });
        let handle = told.recv().expect("it has begun");
        // /etc/hosts says so, everywhere.
        let expected = match lookups {
            Lookups::Double => "Verified(\"localhost\")",
            Lookups::Reverse => "Claimed(\"localhost\")",
            Lookups::Off => "",
        };
        assert_eq!(hears(&address), expected);
        handle.stop();
        worker.join().expect("it has ended");
    }
}
