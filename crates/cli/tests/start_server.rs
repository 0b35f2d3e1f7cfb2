//! `start_server`: what Server::Starter's users have in their scripts goes on as it was, and better where that was
//! wrong.

mod superdaemon;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use superdaemon::{
    APP, Daemon, HUP, INT, KILL, Place, QUIT, TERM, TINE, USR1, USR2, has, variable,
};
use testkit::process::{self, open_fds};
use testkit::{DEADLINE, Server, alive, wait_gone, wait_until};

/// The app under a superdaemon with these options.
fn app(options: &str) -> Daemon {
    program(options, APP)
}

fn program(options: &str, text: &str) -> Daemon {
    let place = Place::new();
    place.script("app", text);
    place.start(
        "start_server",
        &format!("--pid-file %/pid --status-file %/status {options} -- %/app"),
    )
}

/// As it begins: its first worker's pid, when it is ready.
fn first(daemon: &Daemon) -> u32 {
    let pid = daemon.pid_after("starting new worker ");
    daemon.wait_status_file(&format!("1:{pid}\n"));
    pid
}

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
    first(&daemon);
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
    let pid = first(&daemon);
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
    let pid = first(&daemon);
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
    let pid = first(&daemon);
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
fn generations_count_every_attempt_and_the_old_one_serves_while_the_new_fails() {
    let daemon = app("--interval=1");
    let old = first(&daemon);
    daemon.place.script("app", "exit 3");
    let restart = daemon
        .place
        .run("start_server --restart --control=%/control --pid-file=%/pid --status-file=%/status");
    let text = String::from_utf8_lossy(&restart.stderr);
    assert_eq!(restart.status.code(), Some(255), "{text}");
    assert!(text.contains("exited with status 3") && text.contains("it is tried again"), "{text}");
    daemon.wait_line("received HUP, spawning a new worker");
    daemon.wait_line("seems to have failed to start, exit status:768");
    daemon.wait_line("seems to have failed to start, exit status:768");
    assert!(alive(old) && daemon.place.text("status") == format!("1:{old}\n"));
    daemon.place.script("app", APP);
    let line = daemon.wait_line("generation ");
    let attempts = superdaemon::last_number(&line);
    assert!(attempts >= 4, "{line}");
    wait_gone(old);
    wait_until("the new one alone", DEADLINE, || {
        let text = daemon.place.text("status");
        text.starts_with(&format!("{attempts}:")) && text.lines().count() == 1
    });
    daemon.stop();
}

#[test]
fn a_new_generation_is_given_up_after_so_many_failures_if_that_is_said() {
    let daemon = program(
        "--attempts=2 --ready=ack --boot-timeout=9",
        "echo up >&$EINHORN_SOCK_FD\nexec sleep 600",
    );
    let old = first(&daemon);
    daemon.place.script("app", "exit 4");
    let restart = daemon
        .place
        .run("start_server --restart --control=%/control --pid-file=%/pid --status-file=%/status");
    assert_eq!(restart.status.code(), Some(255));
    let text = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert!(text.contains("status 4") && !text.contains("tried again"), "{text}");
    assert_eq!(daemon.count_lines("seems to have failed to start"), 2);
    assert!(alive(old));
    daemon.stop();
}

#[test]
fn the_new_one_is_ready_before_the_old_one_is_asked_to_leave() {
    let daemon = app("--interval=1");
    let old = first(&daemon);
    daemon.signal(HUP);
    daemon.wait_line("received HUP, spawning a new worker");
    let new = daemon.pid_after("starting new worker ");
    daemon.wait_line(&format!("new worker is now running, sending TERM to old workers:{old}"));
    daemon.wait_line("killing old workers");
    daemon.wait_line(&format!("old worker {old} died, status:0"));
    daemon.wait_status_file(&format!("2:{new}\n"));
    let lines = daemon.lines();
    let at = |text: &str| lines.iter().position(|line| line == text).expect(text);
    assert!(at(&format!("heeds {new}")) < at(&format!("term {old}")), "{lines:?}");
    daemon.stop();
}

#[test]
fn signals_are_those_that_were_named_and_int_is_always_term() {
    for (signal, told, said) in [
        (TERM, "usr2", "received TERM, sending USR2 to all workers:"),
        (INT, "term", "received INT, sending TERM to all workers:"),
    ] {
        let daemon = app("--interval=0 --signal-on-hup=sigQuit --signal-on-term=usr2");
        let old = first(&daemon);
        daemon.says(&format!("heeds {old}"));
        daemon.signal(HUP);
        daemon.wait_line(&format!("sending QUIT to old workers:{old}"));
        daemon.says(&format!("quit {old}"));
        daemon.clear_cursor();
        daemon.pid_after("starting new worker ");
        let new = daemon.pid_after("starting new worker ");
        daemon.says(&format!("heeds {new}"));
        daemon.says(&format!("old worker {old} died"));
        daemon.signal(signal);
        daemon.wait_line(&format!("{said}{new}"));
        assert!(daemon.wait_exit().success());
        assert_eq!(daemon.count_lines(&format!("{told} {new}")), 1);
        assert_eq!(daemon.count_lines(&format!("worker {new} died, status:0")), 1);
        assert_eq!(daemon.lines().last().map(String::as_str), Some("exiting"));
    }
}

#[test]
fn old_workers_serve_on_for_the_delay() {
    let daemon = app("--interval=0 --kill-old-delay=1");
    let old = first(&daemon);
    daemon.says(&format!("heeds {old}"));
    let begun = Instant::now();
    daemon.signal(HUP);
    daemon.wait_line("sleeping 1 secs before killing old workers");
    // Both are in the file meanwhile.
    wait_until("both", DEADLINE, || daemon.place.text("status").lines().count() == 2);
    assert!(alive(old));
    daemon.wait_line("killing old workers");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    wait_gone(old);
    daemon.stop();
}

#[test]
fn workers_are_replaced_by_the_clock_if_that_is_said() {
    let daemon =
        app("--interval=0 --enable-auto-restart --auto-restart-interval=1 --kill-old-delay=0");
    let old = first(&daemon);
    daemon.wait_line("autorestart triggered (interval=1)");
    let new = daemon.pid_after("starting new worker ");
    daemon.wait_line(&format!("sending TERM to old workers:{old}"));
    assert_eq!(variable(new, "ENABLE_AUTO_RESTART").as_deref(), Some("1"));
    assert_eq!(variable(new, "AUTO_RESTART_INTERVAL").as_deref(), Some("1"));
    daemon.wait_line("autorestart triggered (interval=1)");
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
    first(&daemon);
    daemon.wait_line("autorestart triggered (interval=1)");
    daemon.stop();
}

#[test]
fn the_status_file_has_its_lines_in_the_order_of_their_numbers_and_goes_with_its_maker() {
    let daemon = app("--interval=0 --workers=12");
    wait_until("twelve", DEADLINE, || daemon.place.text("status").lines().count() == 12);
    let text = daemon.place.text("status");
    let numbers: Vec<u32> = text
        .lines()
        .map(|line| line.split(':').next().and_then(|it| it.parse().ok()).expect("a number"))
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    daemon.stop();
    assert!(!has(&daemon.place.path("status")) && !has(&daemon.place.path("pid")));
}

#[test]
fn a_second_one_with_the_same_pid_file_fails_at_once_and_harms_nothing() {
    let daemon = app("--interval=0");
    let pid = first(&daemon);
    let begun = Instant::now();
    let second = daemon
        .place
        .run("start_server --pid-file=%/pid --status-file=%/status --control=off -- %/app");
    assert_eq!(second.status.code(), Some(255), "{second:?}");
    assert!(begun.elapsed() < DEADLINE);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains(&daemon.pid().to_string()), "{text}");
    assert_eq!(daemon.place.text("pid"), format!("{}\n", daemon.pid()));
    assert_eq!(daemon.place.text("status"), format!("1:{pid}\n"));
    daemon.stop();
}

#[test]
fn stop_returns_when_it_has_ended_and_says_so_when_it_has_not() {
    let daemon =
        program("--interval=0", "trap '' TERM\necho deaf\nwhile :; do sleep 600 & wait $!; done");
    let pid = first(&daemon);
    daemon.says("deaf");
    let late =
        daemon.place.run("start_server --stop --control=%/control --timeout=1 --pid-file=%/pid");
    assert_eq!(late.status.code(), Some(255), "{late:?}");
    let text = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(text.contains(&format!("stopping now (pid:{})", daemon.pid())), "{text}");
    assert!(text.contains("not ended within"), "{text}");
    assert!(alive(pid), "a second TERM does not hurry it");
    let now = daemon
        .place
        .run("start_server --stop --control=%/control --now --timeout=9 --pid-file=%/pid");
    assert!(now.status.success(), "{now:?}");
    assert!(daemon.wait_exit().success());
    wait_gone(pid);
}

#[test]
fn a_stop_kills_who_has_not_left_by_its_deadline() {
    let daemon = program(
        "--interval=0 --stop-timeout=1",
        "trap '' TERM\necho deaf\nwhile :; do sleep 600 & wait $!; done",
    );
    let pid = first(&daemon);
    daemon.says("deaf");
    daemon.stop();
    wait_gone(pid);
    assert_eq!(
        daemon.count_lines(&format!("worker {pid} died, status:9")),
        1,
        "{:?}",
        daemon.lines()
    );
}

#[test]
fn files_of_the_environment_directory_reach_the_next_generation() {
    let place = Place::new();
    place.script("app", APP);
    fs::create_dir(place.path("env")).expect("a directory");
    let file = place.path("env/SETTING");
    fs::write(&file, "v1\nmore\n").expect("a file");
    let line = "--interval=0 --envdir=%/env --pid-file %/pid --status-file %/status -- %/app";
    let daemon = place.start_with("start_server", line, |server| server.env("OTHER", "outer"));
    let one = first(&daemon);
    assert_eq!(variable(one, "SETTING").as_deref(), Some("v1"));
    let mut old = one;
    let mut next = || {
        daemon.signal(HUP);
        let pid = daemon.pid_after("starting new worker ");
        wait_gone(old);
        old = pid;
        pid
    };
    fs::write(&file, "v2").expect("a file");
    assert_eq!(variable(next(), "SETTING").as_deref(), Some("v2"));
    fs::write(&file, "").expect("a file");
    fs::write(daemon.place.path("env/OTHER"), "").expect("a file");
    let third = next();
    assert_eq!(
        (variable(third, "SETTING"), variable(third, "OTHER")),
        (None, None),
        "an empty file"
    );
    fs::write(&file, "v3\n").expect("a file");
    assert_eq!(variable(next(), "SETTING").as_deref(), Some("v3"));
    fs::remove_file(&file).expect("it is there");
    assert_eq!(variable(next(), "SETTING"), None, "what it was at the start does not come back");
    daemon.stop();
}

#[test]
fn all_output_goes_to_the_log_file_which_is_opened_anew() {
    let daemon = app("--interval=0 --log-file=%/log");
    let says = |name: &str, text: &str| {
        wait_until(&format!("{text:?} in {name}"), DEADLINE, || {
            daemon.place.text(name).contains(text)
        });
    };
    says("log", "heeds ");
    says("log", "starting new worker ");
    assert_eq!(daemon.count_lines("starting new worker"), 0, "only what was said before");
    assert_eq!(daemon.count_lines("starting now"), 1);
    fs::rename(daemon.place.path("log"), daemon.place.path("log.1")).expect("a rotation");
    daemon.signal(USR1);
    wait_until("a new log", DEADLINE, || has(&daemon.place.path("log")));
    daemon.signal(HUP);
    says("log", "new worker is now running");
    says("log", "born ");
    assert!(!daemon.place.text("log.1").contains("received HUP"));
    daemon.stop();
    assert!(daemon.place.text("log").ends_with("exiting\n"));
}

#[test]
fn all_output_goes_to_a_command_which_is_begun_again() {
    let place = Place::new();
    let app = place.script("app", APP);
    place.script("logger", "cat >> \"${0%/*}/log\"");
    let pipe = format!("| exec {}", place.path("logger").display());
    let daemon = place.start_with("start_server", "--interval=0", |server| {
        server.args(["--log-file", &pipe, "--", &app])
    });
    let says = |text: &str| {
        wait_until(&format!("{text:?}"), DEADLINE, || daemon.place.text("log").contains(text));
    };
    says("heeds ");
    says("starting new worker ");
    daemon.signal(USR1);
    daemon.signal(HUP);
    says("killing old workers");
    daemon.stop();
    says("exiting\n");
}

#[test]
fn a_daemon_is_detached_and_keeps_its_files() {
    let place = Place::new();
    place.script("app", APP);
    let line = "start_server --daemonize --interval=0 --port=127.0.0.1:0 --path=%/sock --log-file=%/log --pid-file=%/pid --status-file=%/status -- %/app";
    let begun = place.run(line);
    assert!(begun.status.success(), "{begun:?}");
    let pid: u32 = place.text("pid").trim().parse().expect("a pid");
    wait_until("it is ready", DEADLINE, || place.text("status").starts_with("1:"));
    assert!(fs::metadata(place.path("sock")).expect("a socket").file_type().is_socket());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let words: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    assert_eq!(
        (words[3], words[4]),
        (pid.to_string().as_str(), "0"),
        "its own session, and no terminal"
    );
    assert_eq!(open_fds(pid)[0].1, "/dev/null");
    let stopped = place.run("start_server --stop --pid-file=%/pid");
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(!alive(pid) && !has(&place.path("sock")) && !has(&place.path("pid")));
    assert!(place.text("log").contains("heeds ") && place.text("log").ends_with("exiting\n"));
}

#[test]
fn what_cannot_be_run_is_said_and_takes_no_file_away() {
    for (options, app) in [("", "%/missing"), ("--dir=%/nowhere", "%/app")] {
        let place = Place::new();
        place.script("app", APP);
        let files = "--pid-file=%/pid --status-file=%/status --path=%/sock --log-file=%/log";
        let daemon =
            place.start("start_server", &format!("--interval=0 {files} {options} -- {app}"));
        let log = || daemon.place.text("log");
        for _ in 0..2 {
            wait_until("a failure", DEADLINE, || log().matches("exit status:65280").count() >= 2);
        }
        assert!(log().contains("missing") || log().contains("nowhere"), "{}", log());
        assert!(has(&daemon.place.path("pid")) && has(&daemon.place.path("sock")));
        daemon.place.script("missing", APP);
        fs::create_dir(daemon.place.path("nowhere")).expect("a directory");
        wait_until("it comes", DEADLINE, || has(&daemon.place.path("status")));
        daemon.stop();
    }
    // Of a program that goes missing later the old process stays, and so do the files.
    let daemon = app("--interval=0 --path=%/sock");
    let old = first(&daemon);
    daemon.says(&format!("heeds {old}"));
    fs::remove_file(daemon.place.path("app")).expect("it is there");
    daemon.signal(HUP);
    daemon.wait_line("seems to have failed to start, exit status:65280");
    assert!(alive(old) && daemon.place.text("status") == format!("1:{old}\n"));
    assert!(has(&daemon.place.path("pid")) && has(&daemon.place.path("sock")));
    daemon.stop();
}

#[test]
fn every_signal_has_a_meaning_and_none_leaves_workers_behind() {
    let daemon = app("--interval=0");
    let pid = first(&daemon);
    for signal in [USR1, USR2] {
        daemon.signal(signal);
    }
    // Answered after them.
    assert!(daemon.place.run("status --control %/control").status.success());
    assert!(alive(pid) && alive(daemon.pid()));
    daemon.signal(QUIT);
    assert!(daemon.wait_exit().success());
    wait_gone(pid);
    assert!(!has(&daemon.place.path("pid")));
    // Not even the one that nobody can answer.
    let daemon = app("--interval=0");
    let pid = first(&daemon);
    daemon.signal(KILL);
    wait_gone(pid);
}

#[test]
fn a_hup_during_the_start_does_not_make_an_unproven_worker_count() {
    let daemon = program("--interval=2", "echo born\nsleep 0.3\nexit 1");
    daemon.wait_line("born");
    daemon.signal(HUP);
    daemon.wait_line("seems to have failed to start");
    assert!(!has(&daemon.place.path("status")));
    daemon.place.script("app", APP);
    // The first that lives for so long counts; then comes what was asked for.
    daemon.wait_line("received HUP, spawning a new worker");
    assert_eq!(daemon.place.text("status").lines().count(), 1);
    daemon.stop();
}

#[test]
fn an_old_worker_that_hangs_is_killed_after_its_grace() {
    let daemon = program(
        "--interval=0 --old-timeout=1",
        "trap '' TERM\necho deaf $$\nwhile :; do sleep 600 & wait $!; done",
    );
    let old = first(&daemon);
    daemon.says(&format!("deaf {old}"));
    daemon.signal(HUP);
    daemon.wait_line(&format!("old worker {old} died, status:9"));
    assert_eq!(daemon.place.text("status").lines().count(), 1);
    let line = "start_server --stop --now --timeout=9 --control=%/control --pid-file=%/pid";
    assert!(daemon.place.run(line).status.success());
}

#[test]
fn any_number_of_old_workers_may_take_their_time() {
    let daemon = program(
        "--interval=0",
        "trap '' TERM\necho deaf $$\nwhile :; do sleep 600 & wait $!; done",
    );
    first(&daemon);
    for count in 2..6 {
        daemon.wait_until("it is deaf", || daemon.count_lines("deaf ") == count - 1);
        daemon.signal(HUP);
        wait_until("one more", DEADLINE, || daemon.place.text("status").lines().count() == count);
    }
    let line = "start_server --stop --now --timeout=9 --control=%/control --pid-file=%/pid";
    assert!(daemon.place.run(line).status.success());
}

#[test]
fn a_worker_begins_with_sigpipe_ignored_and_everything_else_as_usual() {
    let daemon = program("--interval=0", "exec sleep 600");
    let pid = first(&daemon);
    wait_until("it is sleep", DEADLINE, || process::status(pid).name == "sleep");
    let status = process::status(pid);
    const PIPE: i32 = 13;
    // Two real-time signals are the C library's.
    assert_eq!(status.sig_ignored & !(0b11 << 31), 1 << (PIPE - 1));
    assert_eq!(status.sig_blocked, 0);
    daemon.stop();
}

#[test]
fn a_file_that_is_no_socket_is_not_removed_and_a_stale_socket_is() {
    let place = Place::new();
    fs::write(place.path("sock"), "precious").expect("a file");
    let refused = place.run("start_server --path=%/sock --control=off -- true");
    assert!(!refused.status.success());
    assert_eq!(place.text("sock"), "precious");
    drop(UnixListener::bind(place.path("stale")).expect("a socket"));
    place.script("app", APP);
    let daemon = place.start("start_server", "--interval=0 --path=%/stale -- %/app");
    let pid = daemon.pid_after("starting new worker ");
    daemon.says(&format!("heeds {pid}"));
    daemon.stop();
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let daemon = app("--interval=0");
    let old = first(&daemon);
    assert!(process::signal(old, KILL));
    daemon.wait_line(&format!("worker {old} died unexpectedly with status:9, restarting"));
    let new = daemon.pid_after("starting new worker ");
    daemon.wait_status_file(&format!("2:{new}\n"));
    let line = "start_server --restart --control=%/control --pid-file=%/pid --status-file=%/status";
    let restarted = daemon.place.run(line);
    assert!(restarted.status.success(), "{restarted:?}");
    let text = daemon.place.text("status");
    assert!(text.starts_with("3:") && text.lines().count() == 1, "{text}");
    daemon.stop();
}

#[test]
fn a_program_that_signals_its_parent_is_started_anew_as_by_a_hup() {
    let text = "mkdir \"${0%/*}/once\" 2> /dev/null && { sleep 0.2; kill -HUP $PPID; }";
    let daemon = program("--interval=0", &format!("{text}\n{APP}"));
    daemon.says("received HUP, spawning a new worker");
    daemon.says("old worker ");
    assert_eq!(daemon.count_lines("unexpectedly"), 0, "{:?}", daemon.lines());
    daemon.stop();
}

#[test]
fn the_superdaemon_keeps_its_command_line() {
    let daemon = app("--interval=0");
    first(&daemon);
    let line = fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).expect("it runs");
    assert!(line.contains("start_server\0") && line.contains("--interval=0\0"), "{line:?}");
    daemon.stop();
}
