//! `start_server`: how it is called, and what the program it runs finds. What Server::Starter's users have in their
//! scripts goes on as it was, and better where that was wrong.

mod superdaemon;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use superdaemon::{APP, Daemon, Place, TINE, app, has, program, variable};
use testkit::process::{self, open_fds};
use testkit::{DEADLINE, Server, wait_until};

#[test]
fn wrong_options_end_with_their_name_and_status_1_and_a_missing_program_with_255() {
    let place = Place::new();
    for (line, code, said) in [
        ("start_server --nonsense -- x", 1, "Unknown option: nonsense"),
        ("start_server --s -- x", 1, "Option s is ambiguous"),
        ("start_server --interval=soon -- x", 1, "number expected"),
        ("start_server --port=80", 255, "server program not specified"),
        ("start_server --daemonize -- x", 255, "--log-file option must be specified"),
        ("start_server --restart --pid-file=%/p", 255, "--restart option requires"),
        ("start_server --stop", 255, "--stop option requires --pid-file"),
        ("start_server --stop --pid-file=%/none", 255, "%/none"),
        ("start_server --port=http -- x", 255, "invalid ``port'' value:http"),
        ("start_server --port=1=7 --port=2=7 -- x", 255, "file descriptor 7"),
        ("start_server --signal-on-hup=NOPE -- x", 255, "NOPE"),
    ] {
        let output = place.run(line);
        let text = String::from_utf8_lossy(&output.stderr);
        let said = said.replace('%', place.path("").display().to_string().trim_end_matches('/'));
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(text.contains(&said), "{line}: {text}");
    }
    let version = place.run("start_server --version");
    assert_eq!((version.stdout.as_slice(), version.status.code()), (&b"0.35\n"[..], Some(0)));
    let help = place.run("start_server --hel");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--port"));
}

#[test]
fn options_have_every_form_and_a_link_of_its_name_is_start_server() {
    let place = Place::new();
    place.script("app", APP);
    std::os::unix::fs::symlink(TINE, place.path("start_server")).expect("a link");
    let line = format!(
        "-INTERVAL 0 --pid={0} --status-f {1} --control=off {2}",
        place.path("pid").display(),
        place.path("status").display(),
        place.path("app").display()
    );
    // Without `--` the program's words are what is left.
    let server = Server::command(place.path("start_server")).args(line.split(' '));
    let running = server.start();
    let daemon = Daemon { running, place };
    daemon.wait_line(&format!("start_server (pid:{}) starting now...", daemon.pid()));
    daemon.first();
    assert_eq!(daemon.place.text("pid"), format!("{}\n", daemon.pid()));
    daemon.stop();
}

#[test]
fn the_variable_has_every_socket_by_its_name_in_the_order_given_and_they_are_what_it_says() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    drop(taken);
    let ports =
        format!("--port={port} --port=[::]:{port} --port=127.0.0.1:0 --port=localhost:0 --port=u0");
    let daemon = app(&format!("--interval=0 {ports} --path=%/sock --path=%/other"));
    let pid = daemon.first();
    let (sock, other) = (daemon.place.path("sock"), daemon.place.path("other"));
    // The same port twice: the one for IPv6 is for nothing else.
    let wanted = format!(
        "{port}=3;[::]:{port}=4;127.0.0.1:0=5;localhost:0=6;0=7;{}=8;{}=9",
        sock.display(),
        other.display()
    );
    assert_eq!(variable(pid, "SERVER_STARTER_PORT"), Some(wanted));
    assert_eq!(variable(pid, "SERVER_STARTER_GENERATION").as_deref(), Some("1"));
    assert_eq!(variable(pid, "LISTEN_FDS").as_deref(), Some("7"));
    assert_eq!(variable(pid, "LISTEN_PID"), Some(pid.to_string()));
    assert_eq!(variable(pid, "EINHORN_FD_COUNT").as_deref(), Some("7"));
    assert_eq!(variable(pid, "EINHORN_FD_6").as_deref(), Some("9"));
    let parent = process::status(pid).ppid;
    assert_eq!(variable(pid, "EINHORN_MASTER_PID"), Some(parent.to_string()));
    let fds = open_fds(pid);
    let sockets = fds
        .iter()
        .filter(|(number, target)| (3..=9).contains(number) && target.starts_with("socket:"));
    assert_eq!(sockets.count(), 7, "{fds:?}");
    for number in 3..=9 {
        let flags = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).expect("it is open");
        let flags =
            flags.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
        let flags = i32::from_str_radix(flags, 8).expect("octal");
        assert_eq!(flags & 0o4000, 0, "descriptor {number} blocks, as a program expects");
    }
    let mode = fs::metadata(&sock).expect("a socket").mode();
    assert_eq!(mode & 0o777, 0o777);
    daemon.stop();
    assert!(!has(&sock) && !has(&other));
}

#[test]
fn without_sockets_the_variable_is_empty() {
    let daemon = app("--interval=0");
    let pid = daemon.first();
    assert_eq!(variable(pid, "SERVER_STARTER_PORT").as_deref(), Some(""));
    assert_eq!(variable(pid, "LISTEN_FDS"), None);
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_the_systems_number() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let daemon = app(&format!("--port={address}"));
    const EADDRINUSE: i32 = 98;
    assert_eq!(daemon.wait_exit().code(), Some(EADDRINUSE));
    daemon.wait_line(&address);
    assert!(!has(&daemon.place.path("pid")) && !has(&daemon.place.path("status")));
}

#[test]
fn a_socket_arrives_at_the_number_that_was_chosen_and_no_other_does() {
    // 3 is what an automatic one would have; 0 is standard input.
    let daemon = app("--interval=0 --port=127.0.0.1:0=3 --port=127.0.0.1:0 --port=localhost:0=0");
    daemon.wait_line("socket is duplicated to file descriptor 3");
    daemon.wait_line("socket is duplicated to file descriptor 0");
    let pid = daemon.first();
    let told = variable(pid, "SERVER_STARTER_PORT");
    assert_eq!(told.as_deref(), Some("127.0.0.1:0=3;127.0.0.1:0=4;localhost:0=0"));
    let fds = open_fds(pid);
    let mut sockets: Vec<&str> = Vec::new();
    for number in [0, 3, 4] {
        let (_, target) = fds.iter().find(|fd| fd.0 == number).expect("it is open");
        assert!(target.starts_with("socket:") && !sockets.contains(&target.as_str()), "{fds:?}");
        sockets.push(target);
    }
    daemon.stop();
}

#[test]
fn the_variables_do_what_the_options_do() {
    let place = Place::new();
    place.script("app", APP);
    let line = "--interval=0 --pid-file %/pid --status-file %/status -- %/app";
    let daemon = place.start_with("start_server", line, |server| {
        server
            .env("ENABLE_AUTO_RESTART", "1")
            .env("AUTO_RESTART_INTERVAL", "1")
            .env("KILL_OLD_DELAY", "0")
    });
    daemon.first();
    daemon.wait_line("autorestart triggered (interval=1)");
    daemon.stop();
}

#[test]
fn a_worker_begins_with_sigpipe_ignored_and_everything_else_as_usual() {
    let daemon = program("--interval=0", "exec sleep 600");
    let pid = daemon.first();
    wait_until("it is sleep", DEADLINE, || process::status(pid).name == "sleep");
    let status = process::status(pid);
    const PIPE: i32 = 13;
    // Two real-time signals are the C library's.
    assert_eq!(status.sig_ignored & !(0b11 << 31), 1 << (PIPE - 1));
    assert_eq!(status.sig_blocked, 0);
    daemon.stop();
}

#[test]
fn the_superdaemon_keeps_its_command_line() {
    let daemon = app("--interval=0");
    daemon.first();
    let line = fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).expect("it runs");
    assert!(line.contains("start_server\0") && line.contains("--interval=0\0"), "{line:?}");
    daemon.stop();
}
