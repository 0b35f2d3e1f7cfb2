//! What a worker leaves behind that came to grief: a line in the log, and a report in the status.

mod support;

use std::path::Path;

use support::{KILL, Service, start, start_with};
use testkit::{Server, TempDir, process, wait_gone};
use tine::control::Report;

/// Has a worker do this to itself, in the middle of a connection; its report.
fn grief(service: &Service, how: &str) -> Report {
    // The control socket is there a moment after the process.
    service.wait_pool("somebody serves", |pool| pool.serving > 0);
    let before = service.status().reports.len();
    let (mut talk, pid) = service.busy_one();
    talk.tell(how);
    wait_gone(pid);
    let report = service.wait_reports(before + 1).pop().expect("one more");
    assert_eq!((report.pid, report.pool.as_str(), report.generation), (pid, "main", 1), "{how}");
    assert!(report.time.ends_with('Z') && report.age > 0.0 && report.ago < 10.0, "{report:?}");
    report
}

#[test]
fn a_crash_is_reported_with_what_the_worker_was_at() {
    let service = start("--workers 2");
    for (how, cause) in [
        ("crash SEGV", "was killed by SIGSEGV (11)"),
        ("crash KILL", "was killed by SIGKILL (9)"),
        ("exit 3", "exited with status 3"),
        ("exit 0", "ended by itself in the middle of 1 connections"),
    ] {
        let report = grief(&service, how);
        assert_eq!(report.cause, cause);
        assert_eq!((report.activity.as_str(), report.open), ("reading", 1), "{how}");
        assert!(report.peak_memory > 1 << 20 && report.connections > 0, "{report:?}");
        let line = service.wait_line(&format!("(pid {}, main place", report.pid));
        assert!(line.contains("error") && line.contains(cause), "{line}");
    }
    assert_eq!(service.status().reports.len(), 4);
    service.stop();
}

#[test]
fn a_panics_message_and_place_are_in_its_report() {
    let service = start("--workers 1");
    let report = grief(&service, "panic");
    assert_eq!((report.cause.as_str(), report.activity.as_str()), ("panicked", "reading"));
    let panic = &report.panic;
    assert!(
        panic.starts_with("thread main panicked at ") && panic.contains("commands.rs:"),
        "{panic}"
    );
    assert!(panic.ends_with(": told to panic"), "{panic}");
    let line = service.wait_line("panicked; thread main");
    assert!(line.contains("told to panic"), "{line}");
    service.stop();
}

#[test]
fn a_panic_that_a_worker_survived_is_not_blamed_for_its_end() {
    let service = start("--workers 1");
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("stumble"), "stumbled");
    talk.tell("crash SEGV");
    wait_gone(pid);
    let report = service.wait_reports(1).remove(0);
    assert_eq!(report.panic, "", "{report:?}");
    let line = report.lines.last().expect("a line");
    assert!(line.starts_with("panic ") && line.ends_with("stumbled"), "{line}");
    service.stop();
}

#[test]
fn the_last_log_lines_of_a_worker_survive_it() {
    let service = start("--workers 1");
    let (mut talk, pid) = service.busy_one();
    for number in 0..40 {
        assert_eq!(talk.ask(&format!("log thing {number}")), "logged");
    }
    talk.tell("crash SEGV");
    wait_gone(pid);
    let lines = service.wait_reports(1).remove(0).lines;
    assert_eq!(lines.len(), 16);
    assert_eq!((lines[0].as_str(), lines[15].as_str()), ("info thing 24", "info thing 39"));
    assert!(
        service.wait_line("was killed by SIGSEGV").contains(r#""info thing 38", "info thing 39""#)
    );
    let next = grief(&service, "crash SEGV");
    assert!(next.lines.is_empty(), "those are another's: {:?}", next.lines);
    service.stop();
}

#[test]
fn a_worker_that_hangs_is_looked_at_before_it_is_ended() {
    let service = start("--workers 1 --request-timeout 300");
    let report = grief(&service, "hang");
    assert!(report.cause.starts_with("has been at a request for "), "{}", report.cause);
    assert!(report.memory > 1 << 20, "{report:?}");
    // A futex, by number and arguments; what else there is to see depends on who may look.
    assert!(!report.syscall.is_empty() && report.syscall != "running", "{report:?}");
    service.wait_until("its end is there, too", || {
        service.status().reports[0].end == "was killed by SIGABRT (6)"
    });
    assert!(service.status().reports[0].peak_memory > 0);
    let busy = grief(&service, "loop");
    assert!(busy.cpu > 0.0, "{busy:?}");
    service.stop();
}

#[test]
fn a_worker_that_cannot_boot_is_reported_with_its_reason() {
    let service = start("--workers 1 --boot error --boot-attempts 1");
    assert_eq!(service.wait_exit().code(), Some(1));
    let line = service.wait_line(") could not boot");
    assert!(line.contains("could not boot: told to fail; it was starting"), "{line}");
}

#[test]
fn a_worker_that_hangs_while_it_boots_is_looked_at_as_well() {
    let service = start("--workers 1 --boot hang --boot-timeout 300 --boot-attempts 1");
    assert_eq!(service.wait_exit().code(), Some(1));
    let line = service.wait_line("was not ready in time: killed; it was starting");
    assert!(line.contains("system call "), "{line}");
}

#[test]
fn the_last_sixteen_reports_are_kept() {
    let service = start("--workers 1 --backoff 1,10 --breaker 0,1");
    let mut pids = Vec::new();
    for _ in 0..20 {
        let pid = service.some_worker();
        assert!(process::signal(pid, KILL));
        wait_gone(pid);
        pids.push(pid);
    }
    service.wait_until("all are counted", || service.pool().crashes == 20);
    let kept: Vec<u32> = service.status().reports.iter().map(|report| report.pid).collect();
    assert_eq!(kept, pids[4..]);
    service.stop();
}

/// Has a worker of a service with this directory dump core, if the machine lets it; its report must say where.
fn core_is_found(directory: &Path, arguments: &str, how: impl FnOnce(Server) -> Server) {
    let arguments = format!("--listen 127.0.0.1:0 --workers 1 {arguments}");
    let service = start_with(&arguments, how);
    let report = grief(&service, "crash SEGV");
    assert!(report.cause.starts_with("was killed by SIGSEGV (11)"), "{}", report.cause);
    // Whether there is one is the machine's affair: its pattern may point nowhere.
    if report.cause.contains("core dumped") {
        assert!(report.cause.ends_with(&format!("core dumped {}", report.core)), "{report:?}");
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
        if pattern.trim_end() == "core" {
            let core = Path::new(&report.core);
            assert!(core.starts_with(directory) && core.is_file(), "{report:?}");
        }
    }
    service.stop();
}

#[test]
fn it_is_said_where_the_core_is() {
    let directory = TempDir::new().expect("a directory");
    let here = directory.path();
    core_is_found(here, "--core-bytes 1000000000", |server| server.current_dir(here));
    let arguments = format!("--core-directory {}", here.display());
    core_is_found(here, &arguments, |server| server);
}
