//! Sessions in all workers: which listeners, which certificate, resumed where.

mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use support::{HUP, Served, ask, start};
use testkit::tls::{Connector, Identity};
use testkit::{Client, DEADLINE, Server, TempDir};

#[test]
fn plain_tls_unix_and_datagrams_are_served_by_one_process_group() {
    let it = start(&["localhost"], |directory| {
        let (plain, encrypted) = (directory.join("plain"), directory.join("encrypted"));
        format!(
            "--workers 2 --listen 127.0.0.1:0 --listen 127.0.0.1:0/tls --listen unix:{} \
             --listen tls:unix:{} --listen udp:127.0.0.1:0",
            plain.display(),
            encrypted.display()
        )
    });
    let addresses = it.running.addresses(5);
    let connector = Connector::trusting(&[&it.identities[0]]);
    let pids: BTreeSet<String> = it.workers().iter().map(ToString::to_string).collect();
    for address in [&addresses[0], &addresses[2]] {
        let (pid, rest) = ask(&mut Client::connect(address), "hello");
        assert_eq!((pids.contains(&pid), &*rest), (true, "plain hello"));
    }
    for address in [&addresses[1], &addresses[3]] {
        let (pid, rest) = ask(&mut connector.connect(address, "localhost"), "hello");
        assert!(pids.contains(&pid), "{pid}");
        assert!(rest.starts_with("TLSv1.3 TLS_AES_"), "{rest}");
        assert!(rest.contains("localhost - "), "{rest}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let there = addresses[4].trim_start_matches("udp:");
    socket.send_to(b"datagram", there).expect("it is sent");
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer).expect("it is answered");
    assert_eq!(&answer[..length], b"datagram");
    it.stop();
}

#[test]
fn tls_1_2_and_a_chosen_protocol_are_agreed_upon() {
    let it = start(&["localhost"], |_| "--workers 1 --listen 127.0.0.1:0/tls --alpn b,a".into());
    let connector = Connector::of_tls12(&[&it.identities[0]]).offering(&["a", "b"]);
    let mut client = connector.connect(&it.address(), "localhost");
    let (_, rest) = ask(&mut client, "x");
    let suite = "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 localhost b full x";
    assert_eq!(rest, suite);
    assert_eq!(client.tls().and_then(|tls| tls.alpn()).as_deref(), Some("b"));
    drop(client);
    let refused = connector.clone().offering(&["c"]).try_connect(&it.address(), "localhost");
    assert!(refused.is_err(), "nothing in common");
    it.stop();
}

#[test]
fn much_is_sent_whole_and_the_end_is_said() {
    let it = start(&["localhost"], |_| "--workers 1 --listen 127.0.0.1:0/tls".into());
    let connector = Connector::trusting(&[&it.identities[0]]);
    let mut client = connector.connect(&it.address(), "localhost");
    client.send(b"much\n");
    assert!(client.read_exact(1 << 20).iter().all(|&byte| byte == b'x'));
    client.finish_sending();
    assert!(client.read_to_end().is_empty());
    assert!(client.tls().is_some_and(|tls| tls.ended()), "close_notify");
    it.stop();
}

/// Asks until so many different workers have answered; all must have resumed.
fn resumes_in(it: &Served, connector: &Connector, workers: usize) {
    let mut pids = BTreeSet::new();
    it.running.wait_until("so many workers have answered", || {
        let mut client = connector.connect(&it.address(), "localhost");
        let (pid, rest) = ask(&mut client, "x");
        assert!(rest.ends_with("resumed x"), "{rest} {pids:?}");
        pids.insert(pid);
        pids.len() >= workers
    });
}

fn resumption(connector: impl Fn(&Identity) -> Connector, more: &str) {
    let it = start(&["localhost"], |_| {
        format!("--workers 4 --listen 127.0.0.1:0/tls --max-connections 5..9 {more}")
    });
    let connector = connector(&it.identities[0]);
    let mut client = connector.connect(&it.address(), "localhost");
    assert!(ask(&mut client, "x").1.ends_with("full x"));
    drop(client);
    // More than there are places: replacements, too.
    resumes_in(&it, &connector, 9);
    let before: Vec<u32> = it.workers();
    it.running.signal(HUP);
    it.running.wait_until("the old ones are gone", || {
        it.running.children().iter().all(|pid| !before.contains(pid))
    });
    resumes_in(&it, &connector, 5);
    it.stop();
}

#[test]
fn a_session_resumes_in_every_worker_across_recycling_and_reload() {
    resumption(|identity| Connector::trusting(&[identity]), "");
}

#[test]
fn so_does_one_of_tls_1_2() {
    resumption(|identity| Connector::of_tls12(&[identity]), "");
}

#[test]
fn so_does_one_among_workers_by_exec() {
    resumption(|identity| Connector::trusting(&[identity]), "--spawn exec");
}

#[test]
fn a_session_resumes_in_every_worker_of_every_pool_of_a_service_across_a_reload() {
    let it = start(&["localhost"], |_| "--pools 127.0.0.1:0/tls,127.0.0.1:0/tls".to_owned());
    let connector = Connector::trusting(&[&it.identities[0]]);
    let addresses = it.running.addresses(2);
    let mut client = connector.connect(&addresses[0], "localhost");
    assert!(ask(&mut client, "x").1.ends_with("full x"));
    drop(client);
    let mut before = BTreeSet::new();
    for generation in [1, 2] {
        let mut pids = BTreeSet::new();
        it.running.wait_until("two new workers of each pool have answered", || {
            // Each is kept, so that it occupies the worker that it has met.
            let mut clients = Vec::new();
            for address in addresses.iter().flat_map(|address| [address, address]) {
                let mut client = connector.connect(address, "localhost");
                let (pid, rest) = ask(&mut client, "x");
                assert!(rest.ends_with("resumed x"), "generation {generation}: {rest} {pids:?}");
                pids.insert(pid);
                clients.push(client);
            }
            pids.difference(&before).count() >= 4
        });
        before = pids;
        if generation == 1 {
            it.running.signal(HUP);
        }
    }
    it.stop();
}

#[test]
fn keys_are_rotated_and_sessions_in_use_go_on() {
    let it =
        start(&["localhost"], |_| "--workers 2 --listen 127.0.0.1:0/tls --life 1000".to_owned());
    let connect = |connector: &Connector| {
        let mut client = connector.connect(&it.address(), "localhost");
        ask(&mut client, "x").1.ends_with("resumed x")
    };
    let fresh = || Connector::trusting(&[&it.identities[0]]);
    let old: Vec<Connector> = (0..200).map(|_| fresh()).collect();
    for connector in &old {
        assert!(!connect(connector));
    }
    let in_use = fresh();
    assert!(!connect(&in_use));
    let mut old = old.iter();
    let mut resumed = 0;
    it.running.wait_until("a key of the start is known no more", || {
        std::thread::sleep(Duration::from_millis(50));
        assert!(connect(&in_use), "each resumption brings a new ticket");
        let is_known = connect(old.next().expect("enough of them"));
        resumed += usize::from(is_known);
        !is_known
    });
    assert!(resumed > 0, "they were good for a while");
    it.stop();
}

#[test]
fn the_host_that_is_asked_for_decides_which_certificate_is_shown() {
    let names = ["localhost", "*.example.org", "www.example.org", "Example.NET"];
    let it = start(&names, |_| "--workers 1 --listen 127.0.0.1:0/tls".into());
    let all: Vec<&Identity> = it.identities.iter().collect();
    let connector = Connector::trusting(&all);
    let shown = |host: &str| {
        let client = connector.clone().forgetting().connect(&it.address(), host);
        let tls = client.tls().expect("TLS");
        all.iter().position(|identity| tls.shown(identity)).expect("one of them")
    };
    assert_eq!(shown("localhost"), 0);
    assert_eq!(shown("a.example.org"), 1);
    assert_eq!(shown("A.Example.ORG"), 1);
    assert_eq!(shown("www.example.org"), 2, "the whole name is better");
    assert_eq!(shown("example.net"), 3);
    for unknown in ["a.b.example.org", "example.org", "nobody.test"] {
        let error = connector.try_connect(&it.address(), unknown).expect_err(unknown);
        assert!(error.to_string().contains("not valid for name"), "{unknown}: {error}");
    }
    it.stop();
}

#[test]
fn no_two_workers_draw_the_same_random_bytes() {
    // The supervisor has drawn some before the forks, and each of these is a worker's first.
    let it = start(&["localhost"], |_| {
        "--workers 2 --listen 127.0.0.1:0/tls --max-connections 1".to_owned()
    });
    let connector = Connector::trusting(&[&it.identities[0]]);
    let mut seen = BTreeSet::new();
    for _ in 0..30 {
        let mut client = Client::connect(&it.address());
        client.transmit(&connector.begin("localhost").hello()).expect("it is sent");
        // A record's header, that of a message, the version; then the random bytes (RFC 8446, 4.1.3).
        let random = client.read_exact(43).split_off(11);
        assert!(seen.insert(random), "twice the same");
    }
    it.stop();
}

#[test]
fn the_example_echoes_with_and_without_tls() {
    let directory = TempDir::new().expect("a directory");
    let identity = Identity::new(&["localhost"]);
    let (certificate, key) = identity.write(directory.path(), "site");
    let running = Server::command(testkit::bin("examples/tls_echo"))
        .args([&certificate, &key])
        .args(["127.0.0.1:0", "127.0.0.1:0/tls"])
        .start();
    let addresses = running.addresses(2);
    let plain = Client::connect(&addresses[0]);
    let encrypted = Connector::trusting(&[&identity]).connect(&addresses[1], "localhost");
    for mut client in [plain, encrypted] {
        client.send(b"to and fro");
        assert_eq!(client.read_exact(10), b"to and fro");
        client.finish_sending();
        assert!(client.read_to_end().is_empty());
    }
    running.signal(support::TERM);
    assert!(running.wait_exit().success());
}
