//! Real programs under the superdaemon, and Tine's own server under real superdaemons: Debian's.

mod superdaemon;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use superdaemon::{HUP, Place, TERM, TINE, hello};
use testkit::load::Load;
use testkit::{DEADLINE, Running, Server, require_peer, wait_until};

/// An application that says hello.
const PSGI: &str =
    "sub { [200, ['Content-Type' => 'text/plain', 'Content-Length' => 5], ['hello']] }";

/// A port nobody has at the moment.
fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("an address").port()
}

/// Two HUPs under load, at which nothing is lost but what the old program drops itself: so many requests at most, each
/// of them taken by it and not answered.
fn replaced_under_load(running: &Running, address: &str, said: &str, drops: u64) {
    let load = Load::one_per_connection(address, "/").connections(4).rate(150.0).start();
    load.wait_answered(30);
    for _ in 0..2 {
        running.signal(HUP);
        running.wait_line(said);
        load.wait_answered(30);
    }
    let report = load.stop();
    let whole = || format!("{report:?}\n{}", running.lines().join("\n"));
    assert!(report.failed_total <= drops, "{}", whole());
    assert_eq!(report.failed_total, report.reset_after_send, "{}", whole());
}

/// Whether Perl has this module; as [`require_peer`] for a program.
fn require_module(module: &str) -> bool {
    if !require_peer("perl") {
        return false;
    }
    let found = Command::new("perl")
        .arg(format!("-M{module}"))
        .args(["-e", "1"])
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    require_peer(&format!("perl's {module}"))
}

fn perl_under_start_server(program: &str, module: &str, options: &str, drops: u64) {
    if !require_module(module) {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("app.psgi"), PSGI).expect("a file");
    let line = format!("--interval=2 --port=127.0.0.1:0 {options} -- {program} %/app.psgi");
    let daemon = place.start("start_server", &line);
    let address = daemon.addresses().remove(0);
    wait_until("an answer", DEADLINE, || hello(&address));
    daemon.wait_line("starting new worker");
    replaced_under_load(&daemon, &address, "killing old workers", drops);
    daemon.stop();
}

#[test]
fn starman_is_replaced_under_load_and_loses_no_more_than_it_drops_itself() {
    // Its TERM is abrupt: its own documentation says QUIT. One of its workers that hears of it between a client and the
    // next accept forgets it, and stays for another client, or half a minute of refusals: the stop has a deadline.
    let signals = "--signal-on-hup=QUIT --signal-on-term=QUIT --stop-timeout=5";
    // At QUIT each of its workers gets HUP, and ends at once unless it has noted that it has a client: one that comes
    // between its accept and the next statement is cut off (Net::Server::PreFork 2.013, run_child).
    let drops = 2 * 4;
    perl_under_start_server("starman --workers 4 --disable-keepalive", "Starman", signals, drops);
}

#[test]
fn plackup_with_starlet_is_replaced_under_load_without_a_loss() {
    let program = "plackup -s Starlet --max-workers=4 --max-keepalive-reqs=1";
    perl_under_start_server(program, "Starlet", "", 0);
}

#[test]
fn plackup_with_twiggy_is_replaced_under_load_without_a_loss() {
    perl_under_start_server("plackup -s Twiggy", "Twiggy", "--signal-on-hup=QUIT", 0);
}

#[test]
fn h2o_is_replaced_under_load_without_a_loss() {
    if !require_peer("h2o") {
        return;
    }
    let place = Place::new();
    let port = free_port();
    // It knows its sockets by what they are called, and begins as root only if that is said.
    let user = if testkit::is_root() { "user: root\n" } else { "" };
    let site = place.path("").display().to_string();
    let text = format!(
        "{user}num-threads: 2\nlisten:\n  host: 127.0.0.1\n  port: {port}\nhosts:\n  default:\n    paths:\n      /:\n        \
         file.dir: {site}\n"
    );
    std::fs::write(place.path("h2o.conf"), text).expect("a file");
    let line = format!("--interval=2 --port=127.0.0.1:{port} -- h2o -c %/h2o.conf");
    let daemon = place.start("start_server", &line);
    let address = format!("127.0.0.1:{port}");
    wait_until("an answer", DEADLINE, || hello(&address));
    daemon.wait_line("starting new worker");
    replaced_under_load(&daemon, &address, "killing old workers", 0);
    daemon.stop();
}

#[test]
fn under_debians_start_server_a_server_of_tines_own_is_replaced_under_load_without_a_loss() {
    if !require_peer("start_server") {
        return;
    }
    let place = Place::new();
    let port = free_port();
    let running = Server::command("start_server")
        .arg(format!("--port=127.0.0.1:{port}"))
        .args(["--interval=2", "--"])
        .args([TINE, "serve", "--inherited", "--workers", "2", "--control", "off"])
        .arg(place.path(""))
        .start();
    let address = format!("127.0.0.1:{port}");
    wait_until("an answer", DEADLINE, || hello(&address));
    replaced_under_load(&running, &address, "killing old workers", 0);
    running.signal(TERM);
    assert!(running.wait_exit().success());
}

#[test]
fn under_systemds_socket_activation_a_server_of_tines_own_serves() {
    if !require_peer("systemd-socket-activate") {
        return;
    }
    let place = Place::new();
    let port = free_port();
    let running = Server::command("systemd-socket-activate")
        .arg(format!("--listen=127.0.0.1:{port}"))
        .args(["--fdname=web", TINE, "serve", "--inherited", "--workers", "2"])
        .arg("--control")
        .arg(place.path("control"))
        .arg(place.path(""))
        .start();
    running.wait_line("Listening on");
    let address = format!("127.0.0.1:{port}");
    // The first connection begins it, and waits in the queue meanwhile.
    wait_until("an answer", DEADLINE, || hello(&address));
    let load = Load::one_per_connection(&address, "/").connections(4).rate(150.0).start();
    load.wait_answered(30);
    for _ in 0..3 {
        let reload = place.run("reload --control %/control");
        assert!(reload.status.success(), "{reload:?}");
        load.wait_answered(30);
    }
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    assert!(place.run("stop --control %/control").status.success());
    assert!(running.wait_exit().success());
}
