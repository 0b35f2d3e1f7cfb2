//! Workers that are killed, for want of memory above all: which processes go first, and how soon others follow.

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::commands::script;
use support::{KILL, Service, start, start_with, timed};
use testkit::process;

/// How readily the kernel ends a process.
fn score(pid: u32) -> i32 {
    let path = format!("/proc/{pid}/oom_score_adj");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().parse().expect("a number")
}

#[test]
fn workers_go_before_the_supervisor_when_memory_is_wanting() {
    // The value is 1000 at most, and the test itself may have been given one.
    for (how, own) in [("", score(std::process::id())), ("--spawn exec", 300), ("", 950)] {
        let raise = format!("echo {own} > /proc/self/oom_score_adj; exec \"$0\" \"$@\"");
        let arguments = format!("--listen 127.0.0.1:0 --workers 2 {how}");
        let service = start_with(&arguments, |server| server.wrap(["sh", "-c", &raise]));
        let workers = service.wait_serving(2);
        assert_eq!(score(service.pid()), own);
        workers.iter().for_each(|&worker| assert_eq!(score(worker), (own + 100).min(1000)));
        service.stop();
    }
}

#[test]
fn a_foreign_program_goes_before_the_supervisor_too() {
    let service = script("--workers 1 --user nobody", "exec sleep 1000");
    let own = score(service.pid());
    let command = service.wait_serving(1)[0];
    assert_eq!(score(command), (own + 100).min(1000));
    service.stop();
}

/// Kills every worker that serves as soon as it does, for so long: whether the service ever said that it is not ready.
fn hunt(service: &Service, time: Duration) -> bool {
    let (end, mut unready) = (Instant::now() + time, false);
    while Instant::now() < end {
        let status = service.status();
        let serves = |worker: &&tine::control::WorkerStatus| worker.stage == "serving";
        let serving: Vec<_> = status.workers.iter().filter(serves).collect();
        assert_eq!(status.ready, !serving.is_empty(), "{status:?}");
        unready |= !status.ready;
        for worker in serving {
            process::signal(worker.pid, KILL);
        }
    }
    unready
}

#[test]
fn workers_that_are_killed_as_soon_as_they_serve_are_replaced_more_and_more_slowly() {
    let service = start("--workers 2");
    service.wait_serving(2);
    assert!(hunt(&service, Duration::from_secs(3)), "it is not ready while no worker serves");
    // At once, then after 100, 200, 400, 800 and 1000 ms, half of it drawn, in either place.
    let exits = service.pool().exits;
    assert!((4..=18).contains(&exits), "{exits} workers in 3 s");
    service.wait_line("its place is tried again in");
    service.wait_until("it is ready again", || service.status().ready);
    service.stop();
}

#[test]
fn a_worker_that_is_killed_once_is_replaced_at_once() {
    let service = start("--workers 1");
    let first = service.wait_serving(1)[0];
    let (second, took) = timed(|| {
        process::signal(first, KILL);
        // The connection waits in the queue meanwhile.
        service.some_worker()
    });
    assert_ne!(first, second);
    // A delay would be 50 ms at least; the fastest of three is not the machine's doing.
    let mut fastest = took;
    for _ in 0..2 {
        let settled = Duration::from_millis(1100);
        assert_eq!(service.ask(&format!("sleep {}", settled.as_millis())), "slept");
        let worker = service.some_worker();
        let (_, took) = timed(|| {
            process::signal(worker, KILL);
            assert_ne!(service.some_worker(), worker);
        });
        fastest = fastest.min(took);
    }
    assert!(fastest < Duration::from_millis(40), "{fastest:?}");
    assert_eq!(service.count_lines("its place is tried again"), 0);
    service.stop();
}

#[test]
fn every_worker_of_a_large_pool_killed_again_and_again_leaves_a_service_that_answers() {
    const WORKERS: u32 = 64;
    let service = start(&format!("--workers {WORKERS} --breaker 100,60000"));
    for round in 1..=3_u32 {
        let workers = service.wait_serving(WORKERS);
        workers.iter().for_each(|&worker| assert!(process::signal(worker, KILL)));
        let all = u64::from(WORKERS * round);
        service.wait_pool("all have ended", |pool| pool.exits >= all);
        let (_, took) = timed(|| service.some_worker());
        assert!(took < Duration::from_secs(3), "{took:?}");
        // Workers that have lived for a second: their end says nothing of the next.
        assert_eq!(service.ask("sleep 1100"), "slept");
    }
    assert_eq!(service.count_lines("too fast"), 0);
    service.stop();
}

/// A cgroup with little memory, for a service to start in; `None` where none can be made.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("tine-test-{}", std::process::id());
        let (second, first) = (Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/memory"));
        for (root, limit) in [(second, "memory.max"), (first, "memory.limit_in_bytes")] {
            let group = Self(root.join(&name));
            // The kernel makes the file with the directory, where this is such a file system.
            let file = fs::create_dir(&group.0)
                .and_then(|()| fs::OpenOptions::new().write(true).open(group.0.join(limit)));
            if file.is_ok_and(|mut file| file.write_all(bytes.to_string().as_bytes()).is_ok()) {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_kernel_ends_workers_for_want_of_memory_and_the_service_goes_on() {
    if !support::require_root() {
        return;
    }
    let Some(group) = Cgroup::new(64 << 20) else {
        let _ = writeln!(std::io::stderr(), "skipped: no cgroup can be made to limit memory");
        return;
    };
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.0.display());
    let service =
        start_with("--listen 127.0.0.1:0 --workers 2", |server| server.wrap(["sh", "-c", &enter]));
    service.wait_serving(2);
    for _ in 0..3 {
        let mut talk = service.talk();
        // More than the whole group may have: the worker does not live to answer.
        talk.tell("leak 128");
        assert!(talk.is_closed());
        let line = service.wait_line("the kernel has killed for want of memory");
        assert!(line.contains("its place is tried again in"), "{line}");
        service.wait_serving(2);
    }
    assert_eq!(service.try_exit(), None);
    service.stop();
    drop(service);
}
