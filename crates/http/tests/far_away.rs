//! Clients far away from a full isolated worker: they are answered, though others wait.
//!
//! The round trip is real: the test runs itself once more in a network namespace with a delaying device in it
//! (`far/relay.py`). That needs root, python3 and iproute2.

mod support;

use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use testkit::tls::{Connector, Identity};
use testkit::{Client, Server, TempDir, bin, is_root, require_peer};

/// Clients at once, and a bound for all of them: a TLS 1.2 client needs the worker for three round trips of 160 ms.
const CLIENTS: usize = 8;
const BOUND: Duration = Duration::from_secs(25);

/// Runs the test of this name, which is ignored otherwise, at a distance of so many milliseconds (one way).
#[track_caller]
fn at_a_distance(milliseconds: &str, test: &str) {
    let all_are_here = ["unshare", "python3", "ip"].into_iter().all(require_peer);
    if !all_are_here || !may_make_a_namespace() {
        return;
    }
    let relay = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/far/relay.py");
    let itself = std::env::current_exe().expect("this test");
    let status = Command::new("unshare")
        .args(["--net", "python3", relay, milliseconds])
        .arg(itself)
        .args(["--ignored", "--exact", test, "--nocapture"])
        .status();
    assert!(status.expect("unshare").success());
}

/// Whether this test runs as root; with `TINE_REQUIRE_PEERS=1` it must.
#[track_caller]
fn may_make_a_namespace() -> bool {
    let required = std::env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(is_root() || !required, "it needs root, and TINE_REQUIRE_PEERS=1 demands it");
    if !is_root() {
        let _ = writeln!(std::io::stderr(), "skipped: it needs root");
    }
    is_root()
}

#[test]
fn clients_far_away_are_all_answered_by_one_isolated_worker() {
    at_a_distance("80", "far_away_over_both");
}

#[test]
#[ignore = "it is run by the test above, at a distance"]
fn far_away_over_both() {
    let directory = TempDir::new().expect("a directory");
    let identity = Identity::new(&["localhost"]);
    let (certificate, key) = identity.write(directory.path(), "site");
    let pair = format!("tls={},{}", certificate.display(), key.display());
    let server = Server::command(bin("examples/http_fixture"))
        .args(["10.9.0.1:0", "1", "1", "listen=10.9.0.1:0/tls", &pair])
        .start();
    let addresses = server.addresses(2);
    let [plain, tls] = [0, 1].map(|index: usize| addresses[index].replace("10.9.0.1", "10.9.0.2"));
    let began = Instant::now();
    let plainly = all(move || Client::try_connect(&plain));
    assert_eq!(plainly, CLIENTS, "without TLS, after {:?}", began.elapsed());
    for connector in [Connector::of_tls12(&[&identity]), Connector::trusting(&[&identity])] {
        let tls = tls.clone();
        let answered = all(move || connector.clone().forgetting().try_connect(&tls, "localhost"));
        assert_eq!(answered, CLIENTS, "with TLS, after {:?}", began.elapsed());
    }
}

/// How many clients are answered that connect at once.
fn all(connect: impl Fn() -> std::io::Result<Client> + Clone + Send + 'static) -> usize {
    let client = |_| {
        let connect = connect.clone();
        thread::spawn(move || {
            let mut client = connect().ok()?;
            client.set_deadline(BOUND);
            client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            client.try_read_response().ok().filter(|answer| answer.text() == "hello")
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    clients.into_iter().filter_map(|client| client.join().expect("a client")).count()
}
