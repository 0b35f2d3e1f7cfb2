//! Workers that begin anew by exec: in everything but their beginning like forked ones.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{AT_ONCE, HUP, KILL, Service, require_root, start, start_in, start_with, timed};
use testkit::process::{self, open_fds};
use testkit::{Server, TempDir, holds_within, wait_gone, wait_until};

const USR1: i32 = 10;

/// The variables that the process was started with.
fn variables(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let all = text.split(|&byte| byte == 0).filter(|variable| !variable.is_empty());
    let mut all: Vec<String> = all.map(|one| String::from_utf8_lossy(one).into_owned()).collect();
    all.sort_unstable();
    all
}

/// What its descriptors are open on, without their own numbers; not those that the test itself was started with,
/// which go on to everything it starts.
fn kinds(pid: u32) -> Vec<String> {
    let kind = |(_, target): (i32, String)| {
        let named = target.trim_start_matches("anon_inode:").trim_end_matches(" (deleted)");
        named.split(":[").next().unwrap_or_default().to_owned()
    };
    let mine = open_fds(std::process::id());
    let own = open_fds(pid).into_iter().filter(|fd| fd.0 > 2 && !mine.contains(fd));
    let mut kinds: Vec<String> = own.map(kind).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn workers_by_exec_serve_and_are_replaced() {
    let service = start("--spawn exec --workers 2");
    let workers = service.wait_serving(2);
    assert_eq!((service.ask("is-worker"), service.ask("generation")), ("true".into(), "1".into()));
    assert!(process::signal(workers[0], KILL));
    service.wait_line("was killed by SIGKILL");
    let before = service.wait_serving(2);
    assert!(!before.contains(&workers[0]));
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    assert_eq!(service.ask("generation"), "2");
    let after = service.wait_serving(2);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    service.stop();
    assert_eq!(service.count_lines("main goes on"), 1, "in the supervisor alone");
}

#[test]
fn workers_by_exec_take_exactly_their_connections_and_lose_none() {
    let service = start("--spawn exec --workers 2 --max-connections 5");
    let mut taken = std::collections::BTreeMap::<u32, u32>::new();
    for _ in 0..40 {
        *taken.entry(service.some_worker()).or_default() += 1;
    }
    assert!(taken.len() >= 8 && taken.values().all(|&number| number <= 5), "{taken:?}");
    service.stop();
}

#[test]
fn arguments_and_environment_are_kept_but_for_one_marker() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("mains");
    let arguments =
        format!("--listen 127.0.0.1:0 --spawn exec --workers 1 --main {}", file.display());
    let service = start_in(directory, &arguments, |server| server.env("ANY THING", "a=b"));
    let worker = service.some_worker();
    let seen = service.ask("arguments");
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let (first, last) = (format!("{:?}", words[0]), format!("{:?}]", words[words.len() - 1]));
    assert!(seen.contains(&first) && seen.ends_with(&last), "{seen}");
    let (before, mut after) = (variables(service.pid()), variables(worker));
    after.retain(|variable| !before.contains(variable));
    assert_eq!(after, [format!("TINE_WORKER={worker},3")]);
    let seen = service.ask("variables");
    assert!(seen.contains("a=b") && !seen.contains("TINE_WORKER"), "{seen}");
    let mains = fs::read_to_string(&file).expect("they have told");
    assert_eq!(mains, format!("{} false\n{worker} true\n", service.pid()));
    service.stop();
}

#[test]
fn a_grandchild_with_an_inherited_marker_is_no_worker() {
    let service = start("--spawn exec --workers 1");
    let worker = service.some_worker();
    assert!(variables(worker).iter().any(|variable| variable.starts_with("TINE_WORKER=")));
    assert_eq!(service.ask("grandchild"), "false");
    assert_eq!(service.ask("is-worker"), "true");
    service.stop();
}

#[test]
fn a_supervisor_with_an_accidental_marker_is_none_the_wiser() {
    for marker in ["1", "1,3", "x,y", "4294967295,0"] {
        let service = start_with("--listen 127.0.0.1:0 --workers 1 --spawn exec", |server| {
            server.env("TINE_WORKER", marker)
        });
        assert_eq!(service.ask("is-worker"), "true");
        service.stop();
    }
}

#[test]
fn a_forked_worker_knows_what_it_is_and_its_children_what_they_are_not() {
    let service = start("--workers 1");
    assert_eq!(service.ask("is-worker"), "true");
    assert_eq!(service.ask("grandchild"), "false");
    service.stop();
}

#[test]
fn no_descriptor_leaks_into_a_worker_or_its_supervisor() {
    let service = start("--spawn exec --workers 1 --max-connections 1 --region counter");
    service.some_worker();
    let worker = service.wait_serving(1)[0];
    let expected = [
        "/memfd:accept",
        "/memfd:counter",
        "/memfd:scoreboard",
        // To leave by, and again for the signal handler; to wake the supervisor; to poke a sibling; to stop all.
        "[eventfd]",
        "[eventfd]",
        "[eventfd]",
        "[eventfd]",
        "[eventfd]",
        // Of the acceptor and of what tells it to leave.
        "[eventpoll]",
        "[eventpoll]",
        "[pidfd]",
        // The channel and the listener.
        "socket",
        "socket",
    ];
    holds_within(testkit::DEADLINE, || kinds(worker) == expected);
    assert_eq!(kinds(worker), expected);
    for _ in 0..20 {
        service.some_worker();
    }
    service.wait_serving(1);
    let expected = [
        "/memfd:accept",
        "/memfd:counter",
        "/memfd:scoreboard",
        // To be woken by workers, to poke them, to be stopped.
        "[eventfd]",
        "[eventfd]",
        "[eventfd]",
        "[eventpoll]",
        // One worker, whatever number there has been.
        "[pidfd]",
        "[signalfd]",
        // Its channel, the listener, and the control socket.
        "socket",
        "socket",
        "socket",
    ];
    holds_within(testkit::DEADLINE, || kinds(service.pid()) == expected);
    assert_eq!(kinds(service.pid()), expected);
    service.stop();
}

#[test]
fn a_deleted_binary_still_makes_workers_of_the_image_that_runs() {
    let directory = TempDir::new().expect("a directory");
    let binary = directory.path().join("copy");
    testkit::copy_program(&testkit::bin("fixture"), &binary);
    let control = directory.path().join("control");
    let server = Server::command(&binary).arg("--control").arg(&control);
    let words = "--listen 127.0.0.1:0 --workers 1 --spawn exec --backoff 1,1";
    let server = server.args(words.split_whitespace()).start();
    let ask = || support::Talk::to(&server.address()).ask("pid").parse::<u32>().expect("a pid");
    let first = ask();
    fs::remove_file(&binary).expect("it is there");
    assert!(process::signal(first, KILL));
    wait_gone(first);
    assert_ne!(ask(), first);
    server.signal(support::TERM);
    assert!(server.wait_exit().success());
}

#[test]
fn all_listeners_regions_and_handles_are_the_supervisors() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let arguments = format!(
        "--listen 127.0.0.1:0 --listen unix:{} --listen udp:127.0.0.1:0 --listen 127.0.0.1:0 \
         --spawn exec --workers 2 --region counter",
        path.display()
    );
    let service = start_in(directory, &arguments, |server| server);
    let addresses = service.addresses(4);
    let workers = service.wait_serving(2);
    let mut counts = Vec::new();
    for address in [&addresses[0], &addresses[3], &addresses[1]] {
        let mut talk = support::Talk::to(address);
        assert!(workers.contains(&talk.ask("pid").parse().expect("a pid")));
        counts.push(talk.ask("count"));
    }
    assert_eq!(counts, ["1", "2", "3"]);
    service.ask("stop");
    service.wait_success();
    assert!(!path.exists());
}

#[test]
fn workers_by_exec_are_gone_when_the_supervisor_is_killed() {
    let directory = TempDir::new().expect("a directory");
    let told = directory.path().join("orphans");
    let arguments =
        format!("--listen 127.0.0.1:0 --spawn exec --workers 2 --orphaned {}", told.display());
    let service = start_in(directory, &arguments, |server| server);
    let mut workers = service.wait_serving(2);
    let (_, took) = timed(|| {
        service.signal(KILL);
        workers.iter().for_each(|&pid| wait_gone(pid));
    });
    assert!(took < AT_ONCE, "{took:?}");
    let told = fs::read_to_string(told).expect("they have told");
    let mut told: Vec<u32> = told.lines().map(|line| line.parse().expect("a pid")).collect();
    told.sort_unstable();
    workers.sort_unstable();
    assert_eq!(told, workers);
}

#[test]
fn a_main_that_hangs_before_it_runs_ends_in_time_or_with_its_supervisor() {
    let slow = start("--spawn exec --workers 1 --main hang --boot-timeout 200 --boot-attempts 1");
    assert_eq!(slow.wait_exit().code(), Some(1));
    slow.wait_line("was not ready in time: killed");
    let service = start("--spawn exec --workers 2 --main hang");
    let workers = service.wait_children(2);
    service.signal(KILL);
    workers.into_iter().for_each(wait_gone);
}

#[test]
fn a_worker_by_exec_that_cannot_boot_says_why() {
    let service = start("--spawn exec --workers 1 --boot-attempts 2 --backoff 1,1 --boot error");
    assert_eq!(service.wait_exit().code(), Some(1));
    service.wait_line("no worker could boot: told to fail");
    assert_eq!(service.count_lines("main goes on"), 1);
}

#[test]
fn a_main_that_builds_something_else_the_second_time_is_told_so() {
    let arguments = "--spawn exec --workers 1 --boot-attempts 1 --name-in-worker other";
    let service = start(arguments);
    assert_eq!(service.wait_exit().code(), Some(1));
    service.wait_line("main has built no pool main this time");
}

#[test]
fn workers_by_exec_follow_every_log_to_its_new_file() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (log, visits, socket) = (path("log"), path("visits"), path("socket"));
    let (old, old_visits) = (path("old"), path("old-visits"));
    let arguments = format!(
        "--listen unix:{} --spawn exec --workers 1 --log-file {} --visits {}",
        socket.display(),
        log.display(),
        visits.display()
    );
    let service = start_in(directory, &arguments, |server| server);
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let wait = |path: &Path, line: &str| {
        wait_until(line, testkit::DEADLINE, || text(path).contains(line));
    };
    let visit = |name: &str| {
        let mut talk = support::Talk::to(&format!("unix:{}", socket.display()));
        talk.ask(&format!("visit {name}"));
        let worker = talk.ask("pid");
        talk.tell("fail");
        wait(&log, &format!("tine[{worker}]: worker "));
    };
    wait(&log, "listening on");
    visit("one");
    fs::rename(&log, &old).expect("it is there");
    fs::rename(&visits, &old_visits).expect("it is there");
    service.signal(USR1);
    wait(&log, "log reopened");
    visit("two");
    assert_eq!((text(&old_visits), text(&visits)), ("visit one\n".into(), "visit two\n".into()));
    // One that begins between the renaming and the reopening has its supervisor's file, not the name's.
    fs::rename(&visits, &old_visits).expect("it is there");
    let before = service.children();
    assert!(process::signal(before[0], KILL));
    wait_gone(before[0]);
    visit("three");
    assert_eq!(text(&old_visits), "visit two\nvisit three\n");
    service.signal(support::TERM);
    service.wait_success();
}

#[test]
fn privileges_are_dropped_after_main_and_prepare() {
    if !require_root() {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let secret = directory.path().join("secret");
    fs::write(&secret, "sesame").expect("it can be written");
    let arguments = format!(
        "--listen 127.0.0.1:0 --spawn exec --workers 1 --user 65534 --group 65534 --prepare {}",
        secret.display()
    );
    let service: Service = start_in(directory, &arguments, |server| server);
    assert_eq!(service.ask("secret"), "sesame");
    assert_eq!(process::status(service.some_worker()).uid, [65534; 4]);
    let stopped = timed(|| service.stop()).1;
    assert!(stopped < Duration::from_secs(5), "{stopped:?}");
}
