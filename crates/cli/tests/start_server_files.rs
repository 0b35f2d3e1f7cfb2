//! `start_server`: its files, and whose they are: pid, status, environment, log, sockets.

mod superdaemon;

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use superdaemon::{APP, HUP, Place, USR1, app, has, variable};
use testkit::process::open_fds;
use testkit::{DEADLINE, alive, wait_gone, wait_until};

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
    let pid = daemon.first();
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
fn files_of_the_environment_directory_reach_the_next_generation() {
    let place = Place::new();
    place.script("app", APP);
    fs::create_dir(place.path("env")).expect("a directory");
    let file = place.path("env/SETTING");
    fs::write(&file, "v1\nmore\n").expect("a file");
    let line = "--interval=0 --envdir=%/env --pid-file %/pid --status-file %/status -- %/app";
    let daemon = place.start_with("start_server", line, |server| server.env("OTHER", "outer"));
    let one = daemon.first();
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
        wait_until("failures", DEADLINE, || log().matches("exit status:65280").count() >= 2);
        assert!(log().contains("missing") || log().contains("nowhere"), "{}", log());
        assert!(has(&daemon.place.path("pid")) && has(&daemon.place.path("sock")));
        daemon.place.script("missing", APP);
        fs::create_dir(daemon.place.path("nowhere")).expect("a directory");
        wait_until("it comes", DEADLINE, || has(&daemon.place.path("status")));
        daemon.stop();
    }
    // Of a program that goes missing later the old process stays, and so do the files.
    let daemon = app("--interval=0 --path=%/sock");
    let old = daemon.first();
    daemon.says(&format!("heeds {old}"));
    fs::remove_file(daemon.place.path("app")).expect("it is there");
    daemon.signal(HUP);
    daemon.wait_line("seems to have failed to start, exit status:65280");
    assert!(alive(old) && daemon.place.text("status") == format!("1:{old}\n"));
    assert!(has(&daemon.place.path("pid")) && has(&daemon.place.path("sock")));
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
fn standard_input_and_descriptors_that_it_was_given_go_on_to_the_program() {
    let place = Place::new();
    std::fs::write(place.path("input"), "of the input\n").expect("a file");
    std::fs::write(place.path("three"), "of three\n").expect("a file");
    std::fs::write(place.path("nine"), "of nine\n").expect("a file");
    place.script(
        "app",
        "read -r input; read -r three <&3; read -r nine <&9
echo \"found $input, $three, $nine, $SERVER_STARTER_PORT\"
exec sleep 600",
    );
    let at = |name: &str| place.path(name).display().to_string();
    let redirect = format!("exec \"$@\" < {} 3< {} 9< {}", at("input"), at("three"), at("nine"));
    let line = "--port=127.0.0.1:0 -- %/app";
    let daemon =
        place.start_with("start_server", line, |server| server.wrap(["sh", "-c", &redirect, "sh"]));
    // The socket keeps out of their way.
    daemon.says("found of the input, of three, of nine, 127.0.0.1:0=4");
    daemon.stop();
}
