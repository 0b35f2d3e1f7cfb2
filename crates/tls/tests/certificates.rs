//! Certificates: from files and from memory, refused by name at the start, replaced without loss.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{HUP, Served, ask, fixture, pair, start};
use testkit::tls::{Connector, Identity};
use testkit::{DEADLINE, TempDir};

/// Whether a new session shows this certificate; answered by whom.
fn shows(it: &Served, identity: &Identity) -> Option<String> {
    let all: Vec<&Identity> = it.identities.iter().chain([identity]).collect();
    let connector = Connector::trusting(&all);
    let mut client = connector.connect(&it.address(), "localhost");
    let shown = client.tls().expect("TLS").shown(identity);
    let (pid, _) = ask(&mut client, "x");
    shown.then_some(pid)
}

#[test]
fn files_and_text_in_memory_are_served_by_several_workers() {
    for more in ["", "--in-memory yes", "--in-memory yes --spawn exec"] {
        let it = start(&["localhost"], |_| format!("--workers 2 --listen 127.0.0.1:0/tls {more}"));
        let mut pids = BTreeSet::new();
        // Each keeps the one it has met busy.
        let connector = Connector::trusting(&[&it.identities[0]]);
        let mut clients: Vec<_> =
            (0..2).map(|_| connector.connect(&it.address(), "localhost")).collect();
        for client in &mut clients {
            pids.insert(ask(client, "x").0);
        }
        assert_eq!(pids.len(), 2, "{more}");
        drop(clients);
        it.stop();
    }
}

#[test]
fn of_two_certificates_for_one_host_each_client_is_shown_the_first_that_it_can_use() {
    let ecdsa_and_rsa = || [Identity::new(&["localhost"]), Identity::rsa(&["localhost"])];
    let rsa_and_ecdsa = || [Identity::rsa(&["localhost"]), Identity::new(&["localhost"])];
    for (identities, of_new, of_old) in [(ecdsa_and_rsa(), 0, 1), (rsa_and_ecdsa(), 0, 0)] {
        let directory = TempDir::new().expect("a directory");
        let mut server = fixture(directory.path());
        for (number, identity) in identities.iter().enumerate() {
            let (certificate, key) = identity.write(directory.path(), &number.to_string());
            server = server.arg("--pair").arg(pair(&certificate, &key));
        }
        let running = server.args(["--workers", "1", "--listen", "127.0.0.1:0/tls"]).start();
        let all: Vec<&Identity> = identities.iter().collect();
        let shown = |connector: Connector| {
            let client = connector.connect(&running.address(), "localhost");
            let tls = client.tls().expect("TLS");
            all.iter().position(|identity| tls.shown(identity))
        };
        assert_eq!(shown(Connector::trusting(&all)), Some(of_new));
        assert_eq!(shown(Connector::of_tls12(&all)), Some(of_new));
        assert_eq!(shown(Connector::of_rsa(&all, true)), Some(of_old), "TLS 1.3");
        assert_eq!(shown(Connector::of_rsa(&all, false)), Some(of_old), "TLS 1.2");
        running.signal(support::TERM);
        assert!(running.wait_exit().success());
    }
}

#[test]
fn a_reload_shows_the_new_certificate_and_a_broken_one_leaves_the_old() {
    let it = start(&["localhost"], |_| "--workers 2 --listen 127.0.0.1:0/tls".into());
    assert!(shows(&it, &it.identities[0]).is_some());
    let next = Identity::rsa(&["localhost"]);
    let (certificate, key) = next.write(it.directory.path(), "0");
    let before = it.workers();
    it.running.signal(HUP);
    it.running.wait_until("the new one is shown", || shows(&it, &next).is_some());
    it.running.wait_until("the old ones are gone", || {
        it.running.children().iter().all(|pid| !before.contains(pid))
    });
    let serving: BTreeSet<u32> = it.running.wait_children(2).into_iter().collect();
    for (broken, reason) in [
        (Identity::new(&["localhost"]).key, "does not belong to the certificate"),
        (String::new(), "there is no key in"),
    ] {
        fs::write(&key, broken).expect("a file");
        it.running.mark();
        it.running.signal(HUP);
        let line = it.running.wait_line("reload failed");
        let line = if line.contains(reason) { line } else { it.running.wait_line(reason) };
        assert!(line.contains(&key.display().to_string()), "{line}");
        assert!(shows(&it, &next).is_some());
        let still: BTreeSet<u32> = it.running.wait_children(2).into_iter().collect();
        assert_eq!(still, serving, "nobody was replaced");
    }
    fs::remove_file(certificate).expect("it was there");
    assert!(shows(&it, &next).is_some(), "files are read at the start alone");
    it.stop();
}

#[test]
fn no_session_is_lost_while_certificates_are_replaced() {
    let it = start(&["localhost"], |_| "--workers 2 --listen 127.0.0.1:0/tls".into());
    // Before it serves, a HUP would end it.
    it.running.address();
    let next = Identity::new(&["localhost"]);
    next.write(it.directory.path(), "0");
    let (mut sessions, begun) = (0, Instant::now());
    it.running.signal(HUP);
    while shows(&it, &next).is_none() || sessions < 50 {
        sessions += 1;
        assert!(begun.elapsed() < DEADLINE, "the new one never came");
    }
    it.stop();
}

#[test]
fn what_cannot_be_used_is_refused_by_name_before_anything_is_bound() {
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let (certificate, key) = Identity::new(&["localhost"]).write(directory.path(), "good");
    let (_, other_key) = Identity::new(&["localhost"]).write(directory.path(), "other");
    let nameless = Identity::new(&[]).write(directory.path(), "nameless");
    fs::write(at("empty"), "").expect("a file");
    fs::write(at("cut"), &fs::read(&certificate).expect("a file")[..200]).expect("a file");
    fs::write(at("binary"), [0x30, 0x82, 1, 2]).expect("a file");
    fs::write(at("large"), vec![b'x'; (1 << 20) + 1]).expect("a file");
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(at("locked"), locked).expect("a file");
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    fs::write(at("nonsense"), nonsense).expect("a file");
    for (one, two, culprit, reason) in [
        (&at("missing"), &key, "missing", "cannot read the certificate"),
        (&certificate, &at("missing"), "missing", "cannot read the key"),
        (&certificate, &directory.path().to_owned(), "/", "cannot read the key"),
        (&at("empty"), &key, "empty", "there is no certificate in"),
        (&at("binary"), &key, "binary", "BEGIN CERTIFICATE"),
        (&at("large"), &key, "large", "more than a MiB"),
        (&at("cut"), &key, "cut", "certificate"),
        (&key, &certificate, "good.key", "there is no certificate in"),
        (&certificate, &certificate, "good.pem", "there is no key in"),
        (&certificate, &at("locked"), "locked", "is encrypted"),
        (&certificate, &at("nonsense"), "nonsense", "cannot be used"),
        (&certificate, &other_key, "other.key", "does not belong to the certificate"),
    ] {
        let mut server = fixture(directory.path()).arg("--listen").arg("127.0.0.1:0/tls");
        server = server.arg("--pair").arg(pair(one, two));
        let running = server.start();
        assert_eq!(running.wait_exit().code(), Some(2));
        let said = running.lines().join("\n");
        assert!(said.contains(reason) && said.contains(culprit), "{said}");
        assert!(!said.contains("listening"), "{said}");
    }
    let server = fixture(directory.path()).arg("--pair").arg(pair(&certificate, &key));
    let running = server.arg("--pair").arg(pair(&nameless.0, &nameless.1)).start();
    assert_eq!(running.wait_exit().code(), Some(2));
    running.wait_line("nameless.pem names no host");
}

#[test]
fn a_certificate_of_version_1_is_refused_with_the_way_out() {
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let make = format!(
        "openssl req -newkey rsa:2048 -nodes -keyout {0} -subj /CN=x -out {1} && \
         openssl x509 -req -in {1} -signkey {0} -out {2}",
        at("key"),
        at("request"),
        at("certificate")
    );
    let made = Command::new("sh").args(["-c", &make]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skip("openssl");
    }
    let server = fixture(directory.path()).arg("--pair");
    let running = server.arg(format!("{},{}", at("certificate"), at("key"))).start();
    assert_eq!(running.wait_exit_within(Duration::from_secs(10)).code(), Some(2));
    running.wait_line("version 1");
}

#[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
fn skip(program: &str) {
    assert!(std::env::var_os("TINE_REQUIRE_PEERS").is_none(), "{program} is not there");
    eprintln!("skipped: there is no {program}");
}
