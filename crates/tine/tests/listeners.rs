//! What a service listens on: several at once, of every kind, and none at another's expense.

mod support;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::{AT_ONCE, KILL, Service, Talk, start, start_in, start_with, timed};
use testkit::process::{self, listeners_on};
use testkit::{Server, TempDir, wait_gone};

#[test]
fn port_0_is_chosen_and_reported() {
    let service = start("--workers 1");
    let address = service.address();
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_ne!(port, 0);
    assert_eq!(service.status().listeners[0].address, address);
    assert!(service.some_worker() > 0);
    assert_eq!(service.count_lines("listening on"), 1, "once, by the supervisor");
    service.stop();
}

#[test]
fn a_unix_socket_serves_and_is_removed_at_the_end() {
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("socket");
    let arguments = format!("--listen unix:{} --workers 2", socket.display());
    let service = start_in(directory, &arguments, |server| server);
    assert_eq!(service.address(), format!("unix:{}", socket.display()));
    assert!(service.some_worker() > 0);
    assert_eq!(service.ask("peer"), "nobody");
    service.stop();
    assert!(!socket.exists());
}

#[test]
fn a_worker_never_removes_a_unix_socket() {
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("socket");
    let arguments = format!("--listen unix:{} --workers 2 --max-connections 1", socket.display());
    let service = start_in(directory, &arguments, |server| server);
    for command in ["pid", "exit 0", "exit 9", "panic", "crash TERM"] {
        let mut talk = service.talk();
        talk.tell(command);
        if command != "pid" {
            assert!(talk.is_closed(), "{command}");
        }
    }
    for _ in 0..10 {
        assert!(service.some_worker() > 0);
    }
    assert!(socket.exists());
    service.stop();
}

/// Ends threads that look at it, however a test ends.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn no_listener_starves_beside_a_busy_one() {
    let service = start("--workers 1 --listen 127.0.0.1:0");
    let addresses = service.addresses(2);
    for (quiet, busy) in [(&addresses[0], &addresses[1]), (&addresses[1], &addresses[0])] {
        let (answers, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let _until = Until(&done);
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        Talk::to(busy).ask("pid");
                        answers.fetch_add(1, Relaxed);
                    }
                });
            }
            service.wait_until("the busy one is busy", || answers.load(Relaxed) > 10);
            for _ in 0..20 {
                let (_, took) = timed(|| Talk::to(quiet).ask("pid"));
                assert!(took < Duration::from_secs(2), "{took:?}");
            }
        });
    }
    service.stop();
}

#[test]
fn a_killed_worker_wedges_no_listener() {
    let service = start("--workers 2 --listen 127.0.0.1:0 --breaker 0,1");
    let addresses = service.addresses(2);
    for round in 0..20 {
        for address in &addresses {
            let (answer, took) = timed(|| Talk::to(address).ask("pid"));
            assert!(took < AT_ONCE, "round {round}: {took:?}");
            let pid = answer.parse().expect("a pid");
            assert!(process::signal(pid, KILL));
            wait_gone(pid);
        }
    }
    service.stop();
}

#[test]
fn without_a_word_the_backlog_is_4096_or_what_the_kernel_allows_for_unix_sockets_too() {
    let directory = testkit::TempDir::new().expect("a directory");
    let socket = directory.path().join("socket");
    let few = directory.path().join("few");
    let arguments = format!(
        "--listen 127.0.0.1:0 --listen unix:{} --backlog 5 --listen unix:{} --workers 1",
        socket.display(),
        few.display()
    );
    let service = start_with(&arguments, |server| server);
    service.wait_serving(1);
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("it says");
    let most: u32 = most.trim().parse().expect("a number");
    let found: Vec<u32> = service.status().listeners.iter().map(|it| it.backlog).collect();
    assert_eq!(found, [most.min(4096), most.min(4096), 5]);
    service.stop();
}

#[test]
fn the_backlog_is_as_configured_and_who_comes_over_it_waits() {
    let service = start_with("--backlog 3 --listen 127.0.0.1:0 --workers 1", |server| server);
    service.wait_serving(1);
    let listener = &service.status().listeners[0];
    assert_eq!((listener.queued, listener.backlog), (0, 3));
    let held = service.busy(1);
    let address = service.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || Talk::to(&address).ask("pid").parse::<u32>())
        })
        .collect();
    // One more than asked for fits (listen(2)'s own habit), and one more for every processor that decides at the
    // same moment; nobody is refused.
    service.wait_pool("the queue is full", |pool| pool.queued >= 3);
    let queued = service.pool().queued;
    assert!(queued < 8, "{queued}: nobody waits outside");
    drop(held);
    for client in clients {
        assert!(client.join().expect("it is not refused").is_ok());
    }
    service.stop();
}

#[test]
fn the_kernel_shows_the_backlog() {
    if !testkit::require_peer("ss") {
        return;
    }
    let service = start_with("--backlog 77 --listen 127.0.0.1:0 --workers 1", |server| server);
    let address = service.address();
    let output = Command::new("ss").args(["-Hltn", "src", &address]).output().expect("ss starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.split_whitespace().nth(2), Some("77"), "{text}");
    service.stop();
}

#[test]
fn silent_connections_occupy_no_worker_when_accepting_is_deferred() {
    let service =
        start_with("--defer-accept 30000 --listen 127.0.0.1:0 --workers 1", |server| server);
    let silent: Vec<Talk> = (0..10).map(|_| service.talk()).collect();
    let (_, took) = timed(|| service.some_worker());
    assert!(took < AT_ONCE, "{took:?}");
    service.wait_pool("none of the silent ones is taken", |pool| pool.busy == 0);
    let mut one = silent.into_iter().next().expect("there are ten");
    assert!(one.ask("pid").parse::<u32>().is_ok(), "who speaks at last is served");
    drop(one);
    service.stop();
}

#[test]
fn an_address_in_use_is_refused_with_its_exit_code() {
    let service = start("--workers 1");
    let address = service.address();
    let other = start_with(&format!("--listen {address} --workers 1"), |server: Server| server);
    assert_eq!(other.wait_exit().code(), Some(3));
    let line = other.wait_line("error");
    assert!(line.contains(&address), "{line}");
    assert!(other.children().is_empty());
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(listeners_on(port), 1);
    assert!(service.some_worker() > 0, "the first one is not disturbed");
    service.stop();
}

#[test]
fn all_workers_listen_on_one_socket() {
    let service = start("--workers 5");
    let workers = service.wait_serving(5);
    let sockets = |pid| -> Vec<String> {
        let fds = process::open_fds(pid).into_iter().map(|(_, target)| target);
        let listening = listening_inodes(&service);
        fds.filter(|target| listening.contains(target)).collect()
    };
    let one = sockets(service.pid());
    assert_eq!(one.len(), 1);
    assert!(
        workers.into_iter().all(|pid| sockets(pid) == one),
        "one descriptor, of the same socket"
    );
    service.stop();
}

/// Its listening sockets as `/proc/PID/fd` shows them.
fn listening_inodes(service: &Service) -> Vec<String> {
    let address = service.address();
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = fs::read_to_string("/proc/net/tcp").expect("it is there");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == "0A");
    ours.map(|row| format!("socket:[{}]", row[9])).collect()
}
