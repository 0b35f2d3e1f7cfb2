//! `tine start`: programs in any language, and servers of Tine's own, replaced without closing their sockets.

mod superdaemon;

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use superdaemon::{APP, Daemon, HUP, KILL, Place, TINE, hello, variable};
use testkit::load::Load;
use testkit::process::{self, open_fds};
use testkit::{DEADLINE, Server, alive, require_peer, wait_gone, wait_until};

/// A script under `tine start` with these options.
fn script(options: &str, text: &str) -> Daemon {
    let place = Place::new();
    place.script("app", text);
    place.start("start", &format!("--pid-file %/pid --status-file %/status {options} -- %/app"))
}

/// The only worker, when it serves.
fn serving(daemon: &Daemon) -> u32 {
    let mut pid = 0;
    daemon.wait_until("one serves", || {
        let text = daemon.place.text("status");
        pid = text.trim_end().rsplit(':').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        text.lines().count() == 1
    });
    pid
}

/// Tine's own server as the program.
fn server(name: &str, options: &str) -> Daemon {
    let place = Place::new();
    let line = format!("{options} -- {TINE} serve --inherited --workers 2 --control off %");
    place.start(name, &line)
}

#[test]
fn servers_of_tines_own_adopt_tcp_unix_and_ipv6_sockets_and_load_loses_nothing_when_they_are_replaced()
 {
    for (name, ports) in [
        ("start_server", "--interval=1 --port=127.0.0.1:0 --port=[::1]:0 --path=%/sock"),
        ("start", "--listen 127.0.0.1:0 --listen [::1]:0 --listen unix:%/sock --ready http:/"),
    ] {
        let daemon = server(name, ports);
        let addresses = daemon.addresses();
        assert_eq!(addresses.len(), 3, "{addresses:?}");
        for address in &addresses {
            wait_until(&format!("an answer from {address}"), DEADLINE, || hello(address));
        }
        let loads: Vec<_> = addresses
            .iter()
            .map(|address| {
                Load::one_per_connection(address, "/").connections(4).rate(100.0).start()
            })
            .collect();
        loads.iter().for_each(|load| load.wait_answered(20));
        for generation in 2..5 {
            let reload = daemon.place.run("reload --control %/control");
            assert!(reload.status.success(), "{reload:?}");
            assert_eq!(daemon.status()["generation"], generation);
            loads.iter().for_each(|load| load.wait_answered(20));
        }
        for load in loads {
            let report = load.stop();
            assert_eq!(report.failed_total, 0, "{name}: {report:?}");
        }
        daemon.stop();
    }
}

#[test]
fn the_queue_is_as_long_as_the_superdaemon_has_made_it() {
    let daemon = server("start_server", "--interval=1 --port=127.0.0.1:0 --backlog=77");
    let address = daemon.addresses().remove(0);
    wait_until("an answer", DEADLINE, || hello(&address));
    assert_eq!(daemon.status()["listeners"][0]["backlog"], 77);
    daemon.stop();
}

#[test]
fn a_program_says_by_a_notice_that_it_is_ready() {
    if !require_peer("perl") {
        return;
    }
    let text = r#"echo "begun $$"
while [ ! -e "${0%/*}/go" ]; do sleep 0.02; done
exec perl -MSocket -e 'my $path = $ENV{NOTIFY_SOCKET}; $path =~ s/^@/\0/;
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
  send($s, "STATUS=nearly", 0, pack_sockaddr_un($path)) or die;
  send($s, "STATUS=up\nREADY=1\n", 0, pack_sockaddr_un($path)) or die; sleep 600'"#;
    let daemon = script("--ready notify", text);
    daemon.says("begun ");
    assert_eq!(daemon.place.text("status"), "", "it lives, and has not said so");
    fs::write(daemon.place.path("go"), "").expect("a file");
    let old = serving(&daemon);
    fs::remove_file(daemon.place.path("go")).expect("it is there");
    daemon.signal(HUP);
    daemon.wait_until("two have begun", || daemon.count_lines("begun ") == 2);
    assert!(alive(old), "until the new one says so");
    fs::write(daemon.place.path("go"), "").expect("a file");
    wait_gone(old);
    daemon.stop();
}

#[test]
fn a_program_says_on_a_descriptor_that_it_is_ready() {
    for (options, number) in [("--ready ack", 4), ("--ready ack=9", 9)] {
        let text = "while [ ! -e \"${0%/*}/go\" ]; do sleep 0.02; done
echo up >&$EINHORN_SOCK_FD
exec sleep 600";
        let daemon = script(&format!("--listen 127.0.0.1:0 {options}"), text);
        daemon.wait_until("it boots", || daemon.status()["pools"][0]["booting"] == 1);
        assert_eq!(daemon.place.text("status"), "");
        fs::write(daemon.place.path("go"), "").expect("a file");
        let pid = serving(&daemon);
        assert_eq!(variable(pid, "EINHORN_SOCK_FD"), Some(number.to_string()));
        assert!(open_fds(pid).iter().any(|fd| fd.0 == number && fd.1.starts_with("socket:")));
        daemon.stop();
    }
}

#[test]
fn a_server_of_tines_own_says_by_a_notice_that_it_is_ready() {
    let daemon = server("start", "--listen 127.0.0.1:0 --ready notify");
    let address = daemon.addresses().remove(0);
    daemon.wait_until("it serves", || daemon.status()["pools"][0]["serving"] == 1);
    assert!(hello(&address));
    daemon.stop();
}

#[test]
fn a_program_that_never_says_that_it_is_ready_is_given_up_in_time() {
    let daemon = script(
        "--ready notify --boot-timeout 0.3 --attempts 2 --retry-delay 0.01",
        "exec sleep 600",
    );
    assert_eq!(daemon.wait_exit().code(), Some(1));
    daemon.says("no worker could boot");
}

#[test]
fn a_probe_is_answered_by_the_new_program_and_by_no_other() {
    for ready in ["tcp", "http:/"] {
        let daemon = server("start", &format!("--listen 127.0.0.1:0 --ready {ready}"));
        let address = daemon.addresses().remove(0);
        wait_until("an answer", DEADLINE, || hello(&address));
        daemon.wait_until("it serves", || daemon.status()["pools"][0]["serving"] == 1);
        let reload = daemon.place.run("reload --control %/control");
        assert!(reload.status.success(), "{reload:?}");
        daemon.stop();
    }
    // The path is not there: so the old one, which would answer on the shared socket, goes on.
    let daemon = server(
        "start",
        "--listen 127.0.0.1:0 --ready http:/index.html --boot-timeout 1 --attempts 1",
    );
    daemon.wait_until("it serves", || daemon.status()["pools"][0]["serving"] == 1);
    let page = daemon.place.path("index.html");
    fs::rename(&page, daemon.place.path("aside")).expect("it is there");
    let reload = daemon.place.run("reload --control %/control");
    assert!(!reload.status.success());
    assert_eq!(daemon.status()["pools"][0]["serving"], 1);
    daemon.stop();
}

#[test]
fn a_probe_of_an_address_waits_until_that_answers() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    drop(taken);
    let place = Place::new();
    let line = format!(
        "--ready http://{address}/ --boot-timeout 9 -- {TINE} serve --workers 1 --control off --listen {address} %"
    );
    let daemon = place.start("start", &line);
    daemon.wait_until("it serves", || daemon.status()["pools"][0]["serving"] == 1);
    assert!(hello(&address.to_string()));
    daemon.stop();
}

#[test]
fn restart_and_stop_wait_and_report() {
    let daemon = script("--interval 0.2 --attempts 2 --retry-delay 0.01", APP);
    let old = serving(&daemon);
    let ask = |what: &str| {
        daemon.place.run(&format!("start {what} --pid-file %/pid --control %/control"))
    };
    let well = ask("--restart");
    assert!(well.status.success(), "{well:?}");
    let new = serving(&daemon);
    assert_ne!(old, new);
    daemon.says(&format!("heeds {new}"));
    daemon.place.script("app", "echo broken; exit 7");
    let failed = ask("--restart");
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && text.contains("exited with status 7"), "{failed:?}");
    assert_eq!(serving(&daemon), new, "the old generation goes on");
    assert_eq!(daemon.count_lines("broken"), 2);
    let stopped = ask("--stop");
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(daemon.wait_exit().success());
    let nobody = ask("--stop");
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[test]
fn a_program_that_is_not_there_is_refused_before_anything_is_bound() {
    let place = Place::new();
    let refused = place.run("start --listen unix:%/sock --pid-file %/pid -- %/missing");
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(!superdaemon::has(&place.path("sock")) && !superdaemon::has(&place.path("pid")));
}

#[test]
fn a_start_that_fails_ends_after_so_many_failures_and_leaves_nothing() {
    let daemon = script(
        "--listen unix:%/sock --interval 5 --attempts 2 --retry-delay 0.01",
        "echo attempt; exit 1",
    );
    assert_eq!(daemon.wait_exit().code(), Some(1));
    assert_eq!(daemon.count_lines("attempt"), 2);
    let files = ["sock", "pid", "status"];
    assert!(!files.iter().any(|name| superdaemon::has(&daemon.place.path(name))));
}

#[test]
fn failures_are_tried_again_after_growing_delays() {
    let daemon =
        script("--interval 9 --boot-timeout 99 --attempts 0 --retry-delay 0.1..0.4", "exit 1");
    let begun = Instant::now();
    daemon.wait_until("five failures", || daemon.count_lines("is tried again in") >= 5);
    // At least half of 100, 200, 400 and 400 ms.
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    daemon.stop();
}

#[test]
fn several_processes_are_replaced_one_an_interval() {
    let daemon = script("--interval 0 --workers 3 --replace-interval 0.4", APP);
    daemon.wait_until("three", || daemon.status()["pools"][0]["serving"] == 3);
    let begun = Instant::now();
    let reload = daemon.place.run("reload --control %/control");
    assert!(reload.status.success(), "{reload:?}");
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    let lines = daemon.lines();
    let new = |line: &&String| line.starts_with("born ");
    assert_eq!(lines.iter().filter(new).count(), 6, "{lines:?}");
    daemon.stop();
}

#[test]
fn sockets_that_were_passed_in_go_on_to_the_program_with_their_names() {
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address").to_string();
    let unix = UnixListener::bind(place.path("sock")).expect("a socket");
    place.script("app", APP);
    let line = "--inherited --interval 0 --status-file %/status -- %/app";
    let daemon = place.start_with("start", line, |server| {
        let server = server.listener(tcp, 3).listener(unix, 4);
        server.env_own_pid("LISTEN_PID").env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:admin")
    });
    let pid = serving(&daemon);
    assert_eq!(variable(pid, "LISTEN_FDS").as_deref(), Some("2"));
    assert_eq!(variable(pid, "LISTEN_FDNAMES").as_deref(), Some("web:admin"));
    let named = format!("{address}=3;{}=4", daemon.place.path("sock").display());
    assert_eq!(variable(pid, "SERVER_STARTER_PORT"), Some(named));
    daemon.stop();
    assert!(superdaemon::has(&daemon.place.path("sock")), "it is somebody else's");
}

#[test]
fn names_and_numbers_of_sockets_are_as_they_are_asked_for() {
    let daemon = script(
        "--interval 0 --listen 127.0.0.1:0 --listen unix:%/sock --fd-names web:local --listen udp:127.0.0.1:0",
        APP,
    );
    let pid = serving(&daemon);
    assert_eq!(variable(pid, "LISTEN_FDNAMES").as_deref(), Some("web:local:unknown"));
    daemon.stop();
    let daemon = script("--interval 0 --listen 127.0.0.1:0=0 --listen 127.0.0.1:0=7", APP);
    let pid = serving(&daemon);
    let fds = open_fds(pid);
    assert!(
        [0, 7]
            .iter()
            .all(|number| fds.iter().any(|fd| fd.0 == *number && fd.1.starts_with("socket:")))
    );
    daemon.stop();
}

#[test]
fn a_killed_process_is_replaced_and_a_killed_superdaemon_leaves_nobody() {
    let daemon = script("--interval 0 --drain-timeout 1", APP);
    let first = serving(&daemon);
    assert!(process::signal(first, KILL));
    daemon.wait_until("another", || serving(&daemon) != first);
    let second = serving(&daemon);
    daemon.signal(KILL);
    wait_gone(second);
}

#[test]
fn under_einhorns_environment_a_server_serves_its_sockets() {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    // The parent of what is started here is the test.
    let server = Server::command(TINE)
        .args(["serve", "--inherited", "--workers", "1", "--control", "off"])
        .arg(place.path(""))
        .listener(socket, 5)
        .env("EINHORN_FD_COUNT", "1")
        .env("EINHORN_FD_0", "5")
        .env("EINHORN_MASTER_PID", std::process::id().to_string())
        .start();
    wait_until("an answer", DEADLINE, || hello(&address));
    drop(server);
    let stranger = Server::command(TINE)
        .args(["serve", "--inherited", "--workers", "1", "--control", "off"])
        .arg(place.path(""))
        .env("EINHORN_FD_COUNT", "1")
        .env("EINHORN_FD_0", "5")
        .env("EINHORN_MASTER_PID", "1")
        .start();
    assert_eq!(stranger.wait_exit().code(), Some(2));
    stranger.wait_line("child of process 1");
}
