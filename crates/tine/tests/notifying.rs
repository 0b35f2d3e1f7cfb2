//! What the service manager that has started a service hears (sd_notify(3)); the manager is the test.

mod support;

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use support::renewable::Renewable;
use support::{HUP, KILL, Service, TERM, start_in};
use testkit::{DEADLINE, TempDir, process};

/// A manager, and the socket on which it is told.
struct Manager {
    socket: UnixDatagram,
    directory: Option<TempDir>,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Self { socket, directory: Some(directory) }
    }

    /// Starts a fixture that is to tell it; its files are in the same directory.
    #[track_caller]
    fn start(&mut self, arguments: &str, variables: &[(&str, &str)]) -> Service {
        let directory = self.directory.take().expect("one service a manager");
        let socket = directory.path().join("notify");
        start_in(directory, &format!("--listen 127.0.0.1:0 {arguments}"), |server| {
            let server = server.env("NOTIFY_SOCKET", socket);
            variables.iter().fold(server, |server, (name, value)| server.env(name, value))
        })
    }

    /// The next message that says `what`; those before it are passed over.
    #[track_caller]
    fn wait(&self, what: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody says {what}");
            self.socket.set_read_timeout(Some(left)).expect("a socket");
            let Ok(count) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if message.contains(what) {
                return message;
            }
        }
    }

    /// Everything that was said until a message says `what`.
    #[track_caller]
    fn until(&self, what: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|last: &String| !last.contains(what)) {
            all.push(self.wait(""));
        }
        all
    }
}

/// The number behind `name=` in a message.
fn number(message: &str, name: &str) -> u64 {
    let found = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn monotonic_micros() -> u64 {
    tine_os::clock::monotonic() / 1000
}

#[test]
fn it_is_ready_when_all_serve_and_says_when_it_stops() {
    let mut manager = Manager::new();
    let service = manager.start("--workers 2 --boot slow=150 --stop-timeout 7000", &[]);
    let ready = manager.wait("READY=1");
    assert_eq!(service.pool().serving, 2);
    assert!(ready.contains("STATUS=generation 1: 2 workers serve"), "{ready}");
    service.signal(TERM);
    let stopping = manager.wait("STOPPING=1");
    assert!(number(&stopping, "EXTEND_TIMEOUT_USEC") >= 7_000_000, "{stopping}");
    service.wait_success();
}

#[test]
fn people_see_in_its_status_when_no_worker_serves_and_when_one_serves_again() {
    let mut manager = Manager::new();
    let service = manager.start("--workers 1 --backoff 300,300", &[]);
    manager.wait("READY=1");
    // The second has lived too short a time to be replaced at once.
    for _ in 0..2 {
        let pid = service.some_worker();
        process::signal(pid, KILL);
        manager.wait("STATUS=generation 1: no worker serves");
        manager.wait("STATUS=generation 1: 1 workers serve");
    }
    service.stop();
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end_across_the_step_into_the_next_program() {
    let mut manager = Manager::new();
    let service = manager.start("--workers 2", &[]);
    manager.wait("READY=1");
    for generation in 2..4 {
        let before = monotonic_micros();
        service.signal(HUP);
        let reloading = manager.wait("RELOADING=1");
        let at = number(&reloading, "MONOTONIC_USEC");
        assert!((before..=monotonic_micros()).contains(&at), "{at}");
        let ready = manager.wait("READY=1");
        assert!(ready.contains(&format!("STATUS=generation {generation}: ")), "{ready}");
        assert_eq!(service.status().generation, generation);
    }
    service.stop();
}

#[test]
fn a_reload_that_fails_is_over_too_and_the_status_says_why() {
    let manager = Manager::new();
    let socket = manager.directory.as_ref().expect("a directory").path().join("notify");
    let it = Renewable::start_with("--boot-attempts 1", "--workers 1", |server| {
        server.env("NOTIFY_SOCKET", socket)
    });
    manager.wait("READY=1");
    for (more, reason) in [("--workers 0", "0 workers"), ("--boot error", "told to fail")] {
        it.change(more);
        it.reload().expect_err("it cannot");
        manager.wait("RELOADING=1");
        let ready = manager.wait("READY=1");
        assert!(ready.contains("generation 1: ") && ready.contains(reason), "{ready}");
    }
    it.change("--workers 1");
    it.service.stop();
}

#[test]
fn an_abstract_socket_is_one_too() {
    let name = format!("tine-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    let manager = Manager { socket, directory: None };
    let directory = TempDir::new().expect("a directory");
    let service = start_in(directory, "--listen 127.0.0.1:0 --workers 1", |server| {
        server.env("NOTIFY_SOCKET", format!("@{name}"))
    });
    manager.wait("READY=1");
    service.stop();
}

#[test]
fn a_watchdog_gets_signs_of_life_and_across_a_reload_too() {
    let mut manager = Manager::new();
    let service = manager.start("--workers 1", &[("WATCHDOG_USEC", "200000")]);
    manager.wait("READY=1");
    let began = Instant::now();
    (0..4).for_each(|_| drop(manager.wait("WATCHDOG=1")));
    assert!(began.elapsed() >= Duration::from_millis(250), "at half the time, not at once");
    service.signal(HUP);
    manager.wait("READY=1");
    (0..3).for_each(|_| drop(manager.wait("WATCHDOG=1")));
    service.stop();
}

#[test]
fn a_watchdog_of_another_process_gets_none() {
    let mut manager = Manager::new();
    let variables = [("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")];
    let service = manager.start("--workers 1", &variables);
    manager.wait("READY=1");
    service.ask("sleep 200");
    service.signal(TERM);
    let all = manager.until("STOPPING=1");
    assert!(!all.iter().any(|message| message.contains("WATCHDOG")), "{all:?}");
    service.wait_success();
}

#[test]
fn no_worker_finds_what_is_meant_for_the_supervisor() {
    for spawn in ["", "--spawn exec"] {
        let mut manager = Manager::new();
        let service =
            manager.start(&format!("--workers 1 {spawn}"), &[("WATCHDOG_USEC", "9000000")]);
        manager.wait("READY=1");
        for _ in 0..2 {
            for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
                assert_eq!(service.ask(&format!("variable {name}")), "none", "{spawn}");
            }
            service.signal(HUP);
            manager.wait("READY=1");
        }
        service.stop();
    }
}

#[test]
fn a_socket_that_is_full_or_gone_holds_nobody_up() {
    let mut manager = Manager::new();
    let path = manager.directory.as_ref().expect("a directory").path().join("notify");
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("a socket");
    while filler.send_to(b"full", &path).is_ok() {}
    let service = manager.start("--workers 2", &[("WATCHDOG_USEC", "100000")]);
    service.wait_serving(2);
    std::fs::remove_file(&path).expect("it is there");
    drop(manager);
    assert_eq!(service.ask("generation"), "1");
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    service.stop();
}

#[test]
fn what_found_no_room_is_said_when_there_is_some() {
    let mut manager = Manager::new();
    let path = manager.directory.as_ref().expect("a directory").path().join("notify");
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("a socket");
    while filler.send_to(b"full", &path).is_ok() {}
    let service = manager.start("--workers 2", &[]);
    service.wait_serving(2);
    manager.wait("READY=1");
    service.stop();
}

#[test]
fn a_name_of_no_socket_is_told_of_and_the_service_serves() {
    let directory = TempDir::new().expect("a directory");
    let service = start_in(directory, "--listen 127.0.0.1:0 --workers 1", |server| {
        server.env("NOTIFY_SOCKET", "vsock:2:1234")
    });
    service.wait_line("NOTIFY_SOCKET");
    assert_eq!(service.ask("generation"), "1");
    service.stop();
}
