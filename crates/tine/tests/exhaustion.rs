//! The machine has nothing left: forks fail, descriptors run out. Nobody spins, and it passes.

mod support;

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use support::{
    AT_ONCE, HUP, KILL, STOP, Service, TERM, Talk, require_root, start, start_with, timed,
};
use testkit::process::{self, cpu_nanos, open_fds};
use testkit::{Server, wait_gone};

/// As much processor time as somebody uses who looks now and then.
const LITTLE: u64 = 100_000_000;

/// strace at work on one process; ends with it.
struct Strace(Child);

impl Strace {
    /// Lets system calls of the supervisor fail, and those of nobody else.
    fn attach(pid: u32, inject: &str) -> Option<Self> {
        if !require_root() || !testkit::require_peer("strace") {
            return None;
        }
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={inject}"), "-p"]);
        let strace = Self(command.arg(pid.to_string()).spawn().expect("strace starts"));
        testkit::wait_until("strace has it", AT_ONCE, || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains(&format!("TracerPid:\t{}\n", strace.0.id()))
        });
        Some(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It lets go of whom it traces.
        process::signal(self.0.id(), TERM);
        self.0.wait().expect("it is a child");
    }
}

const FORKS: &str = "clone,clone3,fork,vfork";

#[test]
fn failing_forks_are_told_once_and_the_pool_is_back_when_they_work_again() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let Some(_strace) = Strace::attach(service.pid(), &format!("{FORKS}:error=EAGAIN:when=1..3"))
    else {
        return;
    };
    let before = cpu_nanos(service.pid());
    let (_, took) = timed(|| {
        assert!(process::signal(workers[0], KILL));
        service.wait_line(
            "cannot fork: Resource temporarily unavailable (os error 11); 2 workers are left",
        );
        assert!(service.some_worker() > 0, "the others serve");
        service.status();
        service.wait_line("forks work again");
        service.wait_serving(3);
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(service.count_lines("cannot fork"), 1, "said once");
    assert!(cpu_nanos(service.pid()) - before < LITTLE);
    service.stop();
}

#[test]
fn a_service_whose_forks_fail_for_long_sleeps_between_its_tries_and_can_be_stopped() {
    let service = start("--workers 4");
    let workers = service.wait_serving(4);
    let Some(strace) = Strace::attach(service.pid(), &format!("{FORKS}:error=ENOMEM")) else {
        return;
    };
    let before = cpu_nanos(service.pid());
    for &pid in &workers[..3] {
        assert!(process::signal(pid, KILL));
        wait_gone(pid);
    }
    service.wait_line("cannot fork: Cannot allocate memory");
    assert_eq!(service.ask("sleep 2000"), "slept");
    assert!(cpu_nanos(service.pid()) - before < LITTLE);
    assert_eq!(service.count_lines("cannot fork"), 1);
    drop(strace);
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn forks_that_fail_at_the_start_delay_it() {
    if !require_root() || !testkit::require_peer("strace") {
        return;
    }
    let inject = format!("inject={FORKS}:error=EAGAIN:when=1..2");
    let service = start_with("--listen 127.0.0.1:0 --workers 2", |server: Server| {
        server.wrap(["strace", "-qq", "-o", "/dev/null", "-e", &inject])
    });
    service.wait_line("cannot fork");
    service.wait_line("forks work again");
    service.wait_serving(2);
    assert!(process::signal(service.status().pid, TERM));
    service.wait_success();
}

/// Lets a process have so many descriptors.
fn limit_descriptors(pid: u32, soft: usize) -> bool {
    if !testkit::require_peer("prlimit") {
        return false;
    }
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")]);
    assert!(command.status().expect("prlimit starts").success());
    true
}

/// Number of the next descriptor it would get.
fn next_descriptor(pid: u32) -> usize {
    let numbers: Vec<i32> = open_fds(pid).into_iter().map(|(number, _)| number).collect();
    (0..).find(|number| !numbers.contains(&i32::try_from(*number).unwrap_or(i32::MAX))).unwrap_or(0)
}

#[test]
fn a_worker_without_descriptors_rests_and_goes_on_when_it_has_some() {
    let service = start("--workers 1");
    let pid = service.wait_serving(1)[0];
    if !limit_descriptors(pid, next_descriptor(pid)) {
        return;
    }
    let before = cpu_nanos(pid);
    let mut talk = service.talk();
    talk.tell("pid");
    let other = start("--workers 1");
    assert_eq!(other.ask("sleep 1500"), "slept");
    assert!(cpu_nanos(pid) - before < LITTLE, "it does not spin");
    limit_descriptors(pid, 1000);
    let (answer, took) = timed(|| talk.answer());
    assert_eq!(answer, pid.to_string());
    assert!(took < AT_ONCE, "{took:?}");
    drop(talk);
    service.stop();
}

#[test]
fn a_worker_without_descriptors_leaves_connections_to_the_others() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    for &pid in &workers[..2] {
        if !limit_descriptors(pid, next_descriptor(pid)) {
            return;
        }
    }
    for _ in 0..30 {
        let (pid, took) = timed(|| service.some_worker());
        assert_eq!(pid, workers[2]);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    service.stop();
}

#[test]
fn a_worker_without_descriptors_can_be_stopped() {
    let service = start("--workers 1");
    let pid = service.wait_serving(1)[0];
    if !limit_descriptors(pid, next_descriptor(pid)) {
        return;
    }
    let _waits = service.talk();
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_supervisor_without_descriptors_says_so_once_goes_on_and_recovers() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let next = next_descriptor(service.pid());
    // The dead one's two are free again: not enough, since a new one needs three for a moment.
    if !limit_descriptors(service.pid(), next.min(10)) {
        return;
    }
    let before = cpu_nanos(service.pid());
    assert!(process::signal(workers[0], KILL));
    service.wait_line("cannot fork: Too many open files (os error 24); 2 workers are left");
    assert!(service.some_worker() > 0, "the others serve");
    assert_eq!(service.ask("sleep 1500"), "slept");
    assert!(cpu_nanos(service.pid()) - before < LITTLE);
    assert_eq!(service.count_lines("cannot fork"), 1);
    assert_eq!(service.children().len(), 2);
    limit_descriptors(service.pid(), 1000);
    service.wait_serving(3);
    service.stop();
}

#[test]
fn a_supervisor_that_cannot_hand_all_its_descriptors_over_goes_on_and_says_so() {
    if !require_root() || !testkit::require_peer("prlimit") {
        return;
    }
    // Enough to serve and to try the new program, and not for copies of all that it would be left.
    let service = start_with("--listen 127.0.0.1:0 --workers 4", |server: Server| {
        server.wrap(["prlimit", "--nofile=40:40"])
    });
    let workers = service.wait_serving(4);
    service.signal(HUP);
    service.wait_line("open files while it takes over and the limit is 40");
    assert_eq!(service.wait_serving(4), workers, "nothing has changed");
    assert!(service.some_worker() > 0);
    service.stop();
}

#[test]
fn a_supervisor_without_descriptors_can_be_stopped() {
    let service = start("--workers 2");
    let workers = service.wait_serving(2);
    if !limit_descriptors(service.pid(), 3) {
        return;
    }
    assert!(process::signal(workers[0], KILL));
    service.wait_line("cannot fork");
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn too_few_descriptors_for_the_workers_are_warned_of() {
    if !testkit::require_peer("prlimit") {
        return;
    }
    let service = start_with("--listen 127.0.0.1:0 --workers 20", |server: Server| {
        server.wrap(["prlimit", "--nofile=80:80"])
    });
    service.wait_line("20 workers need");
    let talk = Talk::to(&service.address()).ask("pid");
    assert!(talk.parse::<u32>().is_ok());
    stop_wrapped(&service);
}

fn stop_wrapped(service: &Service) {
    assert!(process::signal(service.status().pid, TERM));
    service.wait_success();
}

#[test]
fn a_signal_that_the_kernel_refuses_is_told_of_and_tried_again() {
    let service = start("--workers 1 --term-grace 300 --halt-grace 300");
    let worker = service.wait_serving(1)[0];
    // As a security module refuses it (kill(2)).
    let Some(strace) = Strace::attach(service.pid(), "pidfd_send_signal:error=EPERM") else {
        return;
    };
    process::signal(worker, STOP);
    let line = service.wait_line("cannot be sent: Operation not permitted");
    assert!(line.contains("error") && line.contains("SIGKILL"), "{line}");
    assert!(line.contains(&format!("(pid {worker})")), "{line}");
    drop(strace);
    wait_gone(worker);
    service.wait_serving(1);
    service.stop();
}

#[test]
fn accepts_that_go_on_failing_are_tried_with_pauses_and_serve_when_they_work_again() {
    for error in ["EPERM", "ECONNABORTED", "EACCES"] {
        let service = start("--workers 1");
        let worker = service.wait_serving(1)[0];
        let inject = format!("accept,accept4:error={error}:when=1..450");
        let Some(_strace) = Strace::attach(worker, &inject) else { return };
        let (answer, took) = timed(|| service.ask("pid"));
        assert_eq!(answer, worker.to_string(), "{error}");
        // Seven times 64 failures, with pauses of 10, 20, 40 ms and so on behind each.
        assert!(took >= Duration::from_millis(1270), "{error}: {took:?}");
        assert_eq!(service.count_lines("cannot accept: "), 1, "{error}");
        service.stop();
    }
}
