//! Handshakes that do not come to an end cost their clients the connection, and nobody else anything.

mod support;

use std::time::{Duration, Instant};

use support::{ask, start};
use testkit::Client;
use testkit::tls::Connector;

/// How long a handshake may take here.
const PATIENCE: Duration = Duration::from_millis(400);

fn bad_hellos(hello: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = hello.to_vec();
    flipped[60] ^= 0xff;
    let mut long = vec![0x16, 3, 1, 0xff, 0xff];
    long.extend(vec![1; 70_000]);
    vec![
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("a record that is too long", long),
        ("a hello that is cut", hello[..hello.len() / 2].to_vec()),
        ("a wrong hello", flipped),
        ("an alert", vec![0x15, 3, 3, 0, 2, 2, 40]),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80]),
        ("application data first", vec![0x17, 3, 3, 0, 4, 1, 2, 3, 4]),
    ]
}

#[test]
fn a_bad_or_silent_handshake_neither_kills_nor_blocks_a_worker() {
    let it =
        start(&["localhost"], |_| "--workers 1 --listen 127.0.0.1:0/tls --handshake 400".into());
    let connector = Connector::trusting(&[&it.identities[0]]);
    let (address, worker) = (it.address(), it.workers()[0].to_string());
    let fine = |what: &str| {
        let mut client = connector.connect(&address, "localhost");
        assert_eq!(ask(&mut client, "x").0, worker, "after {what}");
    };
    fine("nothing");
    let hello = connector.begin("localhost").hello();
    for _ in 0..5 {
        for (what, bytes) in bad_hellos(&hello) {
            let mut client = Client::connect(&address);
            client.transmit(&bytes).expect("it is sent");
            assert!(client.closed(), "{what}");
            fine(what);
        }
    }
    let mut silent = Client::connect(&address);
    let mut half = Client::connect(&address);
    half.transmit(&hello[..20]).expect("it is sent");
    let begun = Instant::now();
    fine("two who wait");
    assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
    assert!(silent.closed() && half.closed());
    let mut gone = Client::connect(&address);
    gone.transmit(&hello).expect("it is sent");
    gone.abort();
    fine("one who went away");
    it.running.wait_line("handshake: ");
    it.stop();
}

#[test]
fn a_handshake_byte_by_byte_has_one_deadline_for_all() {
    let it =
        start(&["localhost"], |_| "--workers 1 --listen 127.0.0.1:0/tls --handshake 400".into());
    let connector = Connector::trusting(&[&it.identities[0]]);
    let hello = connector.begin("localhost").hello();
    let mut client = Client::connect(&it.address());
    let begun = Instant::now();
    // Each byte in time for the next read, and all of them too slow.
    for byte in hello {
        if client.transmit(&[byte]).is_err() || begun.elapsed() > 20 * PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(client.closed() && begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
    it.stop();
}

#[test]
fn one_who_is_silent_in_a_handshake_makes_way_for_those_who_wait() {
    let it =
        start(&["localhost"], |_| "--workers 1 --listen 127.0.0.1:0/tls --handshake 60000".into());
    let connector = Connector::trusting(&[&it.identities[0]]);
    let address = it.address();
    let mut silent = Client::connect(&address);
    let begun = Instant::now();
    let mut client = connector.connect(&address, "localhost");
    ask(&mut client, "x");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(silent.closed());
    drop(client);
    it.stop();
}
