//! The supervisor dies, or is the first process of a container: no orphan is left, and no zombie.

mod support;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use support::{KILL, Service, TERM, Talk, require_root, start, start_with, timed};
use testkit::process::{self, try_status};
use testkit::{alive, wait_gone};

/// What the table of rows promises for an orphan (F11). The next slower way out is a drain, which takes 1 s or more.
const ORPHAN: Duration = Duration::from_millis(500);

/// The processes that have said that they are orphans.
fn orphans(service: &Service) -> Vec<u32> {
    let file = fs::read_to_string(service.directory().join("orphans")).unwrap_or_default();
    file.lines().map(|line| line.parse().expect("a pid")).collect()
}

fn start_telling(arguments: &str) -> Service {
    let directory = testkit::TempDir::new().expect("a directory");
    let orphans = directory.path().join("orphans");
    let arguments = format!("--listen 127.0.0.1:0 --orphaned {} {arguments}", orphans.display());
    support::start_in(directory, &arguments, |server| server)
}

#[test]
fn idle_workers_are_gone_at_once_when_the_supervisor_is_killed_and_each_tells_once() {
    for _ in 0..5 {
        let service = start_telling("--workers 16");
        let mut workers = service.wait_serving(16);
        let address = service.address();
        let (_, took) = timed(|| {
            service.signal(KILL);
            workers.iter().for_each(|&pid| wait_gone(pid));
        });
        assert!(took < ORPHAN, "{took:?}");
        TcpListener::bind(&address).expect("the port is free");
        let mut told = orphans(&service);
        told.sort_unstable();
        workers.sort_unstable();
        assert_eq!(told, workers);
    }
}

#[test]
fn a_busy_worker_finishes_its_request_when_the_supervisor_is_killed() {
    let service = start_telling("--workers 2");
    service.wait_serving(2);
    let address = service.address();
    let (mut talk, pid) = service.busy_one();
    talk.tell("sleep 700");
    service.signal(KILL);
    service.wait_exit();
    assert_eq!(talk.answer(), "slept");
    assert!(alive(pid), "until its connection ends");
    drop(talk);
    wait_gone(pid);
    TcpListener::bind(&address).expect("the port is free");
    let told = orphans(&service);
    assert_eq!((told.len(), told.contains(&pid)), (2, true), "{told:?}");
}

#[test]
fn a_busy_worker_that_does_not_end_is_gone_by_its_deadline_when_the_supervisor_is_killed() {
    let service = start_telling("--workers 1 --stop-timeout 1000");
    let (mut talk, pid) = service.busy_one();
    assert_eq!(talk.ask("hang"), "hanging");
    let (_, took) = timed(|| {
        service.signal(KILL);
        wait_gone(pid);
    });
    assert!(took >= Duration::from_millis(700), "it had its time: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(talk.is_closed());
}

#[test]
fn a_worker_that_is_still_booting_is_gone_when_the_supervisor_is_killed() {
    let service = start("--workers 2 --boot hang --stop-timeout 1000");
    let workers = service.wait_children(2);
    service.signal(KILL);
    workers.into_iter().for_each(wait_gone);
}

#[test]
fn a_successor_that_waits_for_its_place_is_gone_when_the_supervisor_is_killed() {
    let service = start_telling("--workers 1 --max-connections 2");
    service.some_worker();
    service.wait_until("a successor waits", || {
        service.status().workers.iter().any(|worker| worker.stage == "standby")
    });
    let workers = service.wait_children(2);
    service.signal(KILL);
    workers.into_iter().for_each(wait_gone);
    assert_eq!(orphans(&service).len(), 2);
}

#[test]
fn connections_that_wait_in_the_queue_are_served_by_orphans() {
    let service = start("--workers 1");
    let (held, pid) = service.busy_one();
    let mut queued: Vec<Talk> = (0..3).map(|_| service.talk()).collect();
    queued.iter_mut().for_each(|talk| talk.tell("pid"));
    service.wait_pool("they wait", |pool| pool.queued == 3);
    service.signal(KILL);
    service.wait_exit();
    drop(held);
    for mut talk in queued {
        assert_eq!(talk.answer(), pid.to_string());
    }
    wait_gone(pid);
}

#[test]
fn nobody_tells_of_being_an_orphan_who_is_none() {
    let service = start_telling("--workers 3 --max-connections 2");
    service.wait_serving(3);
    for _ in 0..12 {
        service.some_worker();
    }
    service.stop();
    assert!(orphans(&service).is_empty());
}

#[test]
fn no_zombie_is_left_while_it_serves() {
    let service = start("--workers 2 --max-connections 1");
    for _ in 0..50 {
        service.some_worker();
    }
    service.wait_serving(2);
    let zombies = || {
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = numbers.filter_map(try_status).filter(|status| status.ppid == service.pid());
        ours.filter(|status| status.state == 'Z').count()
    };
    service.wait_until("no zombie", || zombies() == 0);
    service.stop();
}

/// As the first process of a pid namespace of its own; and its number outside.
fn start_as_first(arguments: &str) -> Option<(Service, u32)> {
    if !require_root() || !testkit::require_peer("unshare") {
        return None;
    }
    let arguments = format!("--listen 127.0.0.1:0 {arguments}");
    let service = start_with(&arguments, |server| {
        server.wrap(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    });
    service.address();
    let pid = service.wait_children(1)[0];
    Some((service, pid))
}

#[test]
fn as_process_1_it_serves_recycles_and_stops() {
    let Some((service, first)) = start_as_first("--workers 2 --max-connections 3") else { return };
    service.wait_serving(2);
    assert_eq!(service.status().pid, 1);
    for _ in 0..20 {
        service.some_worker();
    }
    assert!(process::signal(first, TERM));
    service.wait_success();
    service.wait_line("stopped");
}

#[test]
fn as_process_1_it_reaps_orphans_it_does_not_know() {
    let Some((service, first)) = start_as_first("--workers 2") else { return };
    service.wait_serving(2);
    for _ in 0..3 {
        service.ask("orphan 0.1");
    }
    let others = || {
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        numbers.filter_map(try_status).filter(|status| status.ppid == first).count()
    };
    // Zombies are counted as well: so they are gone for good.
    service.wait_until("only the workers are left", || others() == 2);
    assert!(process::signal(first, TERM));
    service.wait_success();
}

#[test]
fn as_process_1_its_death_ends_all() {
    let Some((service, first)) = start_as_first("--workers 2") else { return };
    service.wait_serving(2);
    let address = service.address();
    let (mut talk, _) = service.busy_one();
    assert_eq!(talk.ask("hang"), "hanging");
    let workers = process::children(first);
    assert_eq!(workers.len(), 2);
    let (_, took) = timed(|| {
        assert!(process::signal(first, KILL));
        workers.into_iter().for_each(wait_gone);
    });
    assert!(took < ORPHAN, "{took:?}");
    service.wait_exit();
    TcpListener::bind(&address).expect("the port is free");
}
