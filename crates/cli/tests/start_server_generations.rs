//! `start_server`: one generation after the other, what asks for it, and the end of all.

mod superdaemon;

use std::time::{Duration, Instant};

use superdaemon::{
    APP, DEAF, HUP, INT, KILL, QUIT, RESTART, TERM, USR1, USR2, app, has, program, variable,
};
use testkit::{DEADLINE, alive, process, wait_gone, wait_until};

#[test]
fn generations_count_every_attempt_and_the_old_one_serves_while_the_new_fails() {
    let daemon = app("--interval=1");
    let old = daemon.first();
    daemon.place.script("app", "exit 3");
    let restart = daemon.place.run(RESTART);
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
fn a_program_that_fails_is_tried_again_each_interval_and_not_more_slowly_each_time() {
    let begun = Instant::now();
    let daemon =
        program("--interval=1", "[ $SERVER_STARTER_GENERATION = 5 ] || exit 3\nexec sleep 60");
    daemon.wait_until("the fifth is ready", || daemon.place.text("status").starts_with("5:"));
    // Each begins a second after the one before, whenever that ended, and the fifth has lived for one.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(4900) && took < Duration::from_secs(9), "{took:?}");
    daemon.stop();
    let options = "--interval=1 --retry-delay=0.01..0.02";
    let daemon = program(options, "[ $SERVER_STARTER_GENERATION = 9 ] || exit 3\nexec sleep 60");
    daemon.wait_until("the ninth is ready", || daemon.place.text("status").starts_with("9:"));
    daemon.stop();
}

#[test]
fn a_restart_before_the_first_process_is_ready_fails_at_once() {
    let daemon = program("--interval=1", "exit 3");
    daemon.wait_line("seems to have failed to start");
    let restart = daemon.place.run(RESTART);
    let text = String::from_utf8_lossy(&restart.stderr);
    // ENOENT: the original's number, too.
    assert_eq!(restart.status.code(), Some(2), "{text}");
    assert!(text.starts_with("failed to open file:") && text.contains("status"), "{text}");
    daemon.stop();
}

#[test]
fn a_new_generation_is_given_up_after_so_many_failures_if_that_is_said() {
    let daemon = program(
        "--attempts=2 --ready=ack --boot-timeout=9",
        "echo up >&$EINHORN_SOCK_FD\nexec sleep 600",
    );
    let old = daemon.first();
    daemon.place.script("app", "exit 4");
    let restart = daemon.place.run(RESTART);
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
    let old = daemon.first();
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
        let old = daemon.first();
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
    let old = daemon.first();
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
    let old = daemon.first();
    daemon.wait_line("autorestart triggered (interval=1)");
    let new = daemon.pid_after("starting new worker ");
    daemon.wait_line(&format!("sending TERM to old workers:{old}"));
    assert_eq!(variable(new, "ENABLE_AUTO_RESTART").as_deref(), Some("1"));
    assert_eq!(variable(new, "AUTO_RESTART_INTERVAL").as_deref(), Some("1"));
    daemon.wait_line("autorestart triggered (interval=1)");
    daemon.stop();
}

#[test]
fn stop_returns_when_it_has_ended_and_says_so_when_it_has_not() {
    let daemon = program("--interval=0", DEAF);
    let pid = daemon.first();
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
    let daemon = program("--interval=0 --stop-timeout=1", DEAF);
    let pid = daemon.first();
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
fn every_signal_has_a_meaning_and_none_leaves_workers_behind() {
    let daemon = app("--interval=0");
    let pid = daemon.first();
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
    let pid = daemon.first();
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
    let daemon = program("--interval=0 --old-timeout=1", DEAF);
    let old = daemon.first();
    daemon.says(&format!("deaf {old}"));
    daemon.signal(HUP);
    daemon.wait_line(&format!("old worker {old} died, status:9"));
    assert_eq!(daemon.place.text("status").lines().count(), 1);
    let line = "start_server --stop --now --timeout=9 --control=%/control --pid-file=%/pid";
    assert!(daemon.place.run(line).status.success());
}

#[test]
fn any_number_of_old_workers_may_take_their_time() {
    let daemon = program("--interval=0", DEAF);
    daemon.first();
    for count in 2..6 {
        daemon.wait_until("it is deaf", || daemon.count_lines("deaf ") == count - 1);
        daemon.signal(HUP);
        wait_until("one more", DEADLINE, || daemon.place.text("status").lines().count() == count);
    }
    let line = "start_server --stop --now --timeout=9 --control=%/control --pid-file=%/pid";
    assert!(daemon.place.run(line).status.success());
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let daemon = app("--interval=0");
    let old = daemon.first();
    assert!(process::signal(old, KILL));
    daemon.wait_line(&format!("worker {old} died unexpectedly with status:9, restarting"));
    let new = daemon.pid_after("starting new worker ");
    daemon.wait_status_file(&format!("2:{new}\n"));
    let line = RESTART;
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
