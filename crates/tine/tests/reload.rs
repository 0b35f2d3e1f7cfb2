//! Reload is upgrade: the program that is there now takes over in place, or the old one goes on.
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::renewable::{PATIENCE, Renewable, install};
use support::{AT_ONCE, HUP, KILL, TERM, Talk, start_in};
use testkit::process::{self, open_fds};
use testkit::{TempDir, wait_gone};
use tine::control::Client;

#[test]
fn a_reload_keeps_pid_sockets_pid_file_and_counters_and_reads_the_configuration_anew() {
    let it = Renewable::start("--region counter", "--workers 2");
    let before = it.service.wait_serving(2);
    let (address, pid) = (it.service.address(), it.service.pid());
    assert_eq!(it.service.ask("count"), "1");
    let uptime = it.service.status().uptime;
    it.change("--workers 3");
    assert_eq!(it.reload(), Ok(2));
    let after = it.service.wait_serving(3);
    before.into_iter().for_each(wait_gone);
    let status = it.service.status();
    assert_eq!((status.pid, &status.listeners[0].address), (pid, &address));
    assert!(status.uptime >= uptime && status.pools[0].connections >= 1, "{status:?}");
    assert_eq!((it.service.ask("count"), it.service.ask("generation")), ("2".into(), "2".into()));
    let written = fs::read_to_string(it.service.directory().join("pid")).expect("a pid file");
    assert_eq!(written, format!("{pid}\n"));
    it.service.stop();
    after.into_iter().for_each(wait_gone);
    assert!(!it.service.directory().join("pid").exists() && !it.control.exists());
}

#[test]
fn a_region_is_tended_by_the_next_program_with_the_content_it_has() {
    let it = Renewable::start("--workers 1", "--tended 100");
    let count = || it.service.ask("count").parse::<u64>().expect("a number");
    it.service.wait_until("it was tended", || count() > 3000);
    it.change("--tended 3600000");
    assert_eq!(it.reload(), Ok(2));
    let after = count();
    assert!(after > 4000, "the content is kept, and was tended at once: {after}");
    assert_eq!(count(), after + 1, "the old program does so no more");
    it.service.stop();
}

#[test]
fn listeners_are_added_kept_and_removed() {
    let it = Renewable::start("", "--listen 127.0.0.1:0 --workers 1");
    let addresses = it.service.addresses(2);
    let socket = it.service.directory().join("socket");
    it.change(&format!("--listen unix:{} --workers 1", socket.display()));
    let mut old = Talk::to(&addresses[1]);
    old.ask("pid");
    assert_eq!(it.reload(), Ok(2));
    let told: Vec<String> =
        it.service.status().listeners.into_iter().map(|listener| listener.address).collect();
    assert_eq!(told, [addresses[0].clone(), format!("unix:{}", socket.display())]);
    assert_eq!(old.ask("generation"), "1", "a connection goes on");
    assert!(std::net::TcpStream::connect(&addresses[1]).is_err(), "nobody new comes in");
    it.change("--workers 1");
    assert_eq!(it.reload(), Ok(3));
    assert!(!socket.exists(), "its file goes with it");
    drop(old);
    it.service.stop();
}

#[test]
fn the_sockets_of_a_sharded_address_stay_and_become_more_or_fewer() {
    let it = Renewable::start("--concurrency 8", "--accept sharded --workers 2");
    it.service.wait_serving(2);
    let sockets = || it.service.status().listeners.len();
    assert_eq!(sockets(), 2);
    for (generation, workers, more) in [(2, 3, "sharded"), (3, 2, "sharded"), (4, 2, "shared")] {
        it.change(&format!("--accept {more} --workers {workers}"));
        assert_eq!(it.reload(), Ok(generation));
        it.service.wait_serving(workers);
        assert_eq!(sockets(), if more == "shared" { 1 } else { workers as usize });
        for _ in 0..20 {
            assert_eq!(it.service.ask("generation"), generation.to_string());
        }
    }
    it.service.stop();
}

#[test]
fn pid_file_and_control_socket_move_with_the_configuration() {
    let it = Renewable::start("", "--workers 1");
    let at = |name| it.service.directory().join(name);
    let (pid, control) = (at("other-pid"), at("other-control"));
    it.change(&format!("--pid-file {} --control {}", pid.display(), control.display()));
    it.service.signal(HUP);
    it.service.wait_line("generation 2 serves");
    assert!(pid.exists() && control.exists() && !at("pid").exists() && !it.control.exists());
    let client = Client::connect(&control).expect("it answers");
    assert_eq!(client.reload(PATIENCE).map_err(|error| error.to_string()), Ok(3));
    it.service.stop();
    assert!(!pid.exists() && !control.exists());
}

#[test]
fn a_log_that_is_renamed_before_a_reload_is_opened_anew_and_old_workers_follow() {
    let it = Renewable::start("", "--workers 1");
    let log = it.service.directory().join("log");
    it.change(&format!("--workers 1 --log-file {}", log.display()));
    it.reload().expect("it goes well");
    let mut old = it.service.talk();
    old.ask("log before");
    fs::rename(&log, log.with_extension("1")).expect("it is there");
    it.reload().expect("it goes well");
    old.ask("log after");
    let said = |path: &std::path::Path| fs::read_to_string(path).expect("a log");
    assert!(said(&log.with_extension("1")).contains("before"));
    assert!(said(&log).contains("generation 3 serves") && said(&log).contains("after"));
    drop(old);
    it.service.stop();
}

#[test]
fn what_cannot_serve_leaves_the_old_generation_untouched_and_says_why() {
    let it = Renewable::start("--boot-timeout 3000", "--workers 2");
    let workers = it.service.wait_serving(2);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    for (more, named) in [
        ("--nonsense 1".to_owned(), "--nonsense"),
        ("--user nobody-of-this-name".to_owned(), "nobody-of-this-name"),
        (format!("--listen {taken}"), "in use"),
        ("--log-file /no/such/log".to_owned(), "/no/such/log"),
        ("--workers 0".to_owned(), "0 workers"),
        ("--main-does probe=panic".to_owned(), "told to panic in main"),
        ("--main-does probe=exit".to_owned(), "status 3"),
        ("--main-does probe=crash".to_owned(), "SIGSEGV"),
        ("--main-does probe=thread".to_owned(), "threads"),
    ] {
        it.change(&more);
        let reason = it.refused(&workers);
        assert!(reason.contains(named), "{more}: {reason}");
    }
    it.change("--workers 2 --main-does probe=hang");
    let began = Instant::now();
    let reason = it.refused(&workers);
    assert!(reason.contains("in time"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(3) + AT_ONCE, "{:?}", began.elapsed());
    it.change("--workers 2");
    fs::write(it.program.with_extension("new"), "no program").expect("a file");
    fs::rename(it.program.with_extension("new"), &it.program).expect("in its place");
    assert!(it.refused(&workers).contains("ermission"));
    fs::remove_file(&it.program).expect("it is there");
    assert!(it.refused(&workers).contains("No such file"));
    install("/bin/true".as_ref(), &it.program);
    assert!(it.refused(&workers).contains("status 0"));
    install(testkit::bin("fixture").as_ref(), &it.program);
    assert_eq!(it.reload(), Ok(2));
    it.service.stop();
}

#[test]
fn a_generation_that_does_not_boot_is_rolled_back_with_the_reason() {
    let it = Renewable::start("--boot-attempts 2 --boot-timeout 2000", "--workers 2");
    let workers = it.service.wait_serving(2);
    for (more, named) in [
        ("--workers 2 --boot error", "told to fail"),
        ("--workers 2 --boot fatal=no-database", "no-database"),
        ("--workers 2 --boot exit=9", "status 9"),
        ("--workers 2 --boot panic", "told to panic"),
        ("--workers 2 --boot hang", "SIGKILL"),
    ] {
        it.change(more);
        let reason = it.refused(&workers);
        assert!(reason.contains(named), "{more}: {reason}");
    }
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(2));
    it.service.stop();
}

#[test]
fn a_program_that_goes_wrong_while_it_takes_over_is_replaced_by_the_one_before() {
    let it = Renewable::start("--boot-timeout 2000", "--workers 2");
    let (workers, pid) = (it.service.wait_serving(2), it.service.pid());
    for (what, named) in [
        ("panic", "ended before it had taken over"),
        ("exit", "ended before it had taken over"),
        ("abort", "SIGABRT"),
        ("crash", "SIGSEGV"),
        ("thread", "thread"),
        ("hang", "in time"),
    ] {
        it.change(&format!("--workers 2 --main-does take={what}"));
        let reason = it.refused(&workers);
        assert!(reason.contains(named), "{what}: {reason}");
        assert_eq!(it.service.status().pid, pid);
    }
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(2));
    it.service.stop();
}

#[test]
fn a_term_that_comes_while_the_next_program_takes_over_is_not_lost() {
    let it = Renewable::start("", "--workers 2 --main-does take=slow");
    it.service.wait_serving(2);
    let marker = b"TINE_HANDOVER=take";
    it.service.signal(HUP);
    it.service.wait_until("it takes over", || {
        let environment = fs::read(format!("/proc/{}/environ", it.service.pid()));
        environment.is_ok_and(|all| all.windows(marker.len()).any(|part| part == marker))
    });
    it.service.signal(TERM);
    it.service.wait_success();
    assert_eq!(it.service.count_lines("generation 2 serves"), 0);
}

/// What belongs to no file, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn nothing_grows_from_reload_to_reload() {
    let it = Renewable::start("--region counter", "--workers 2");
    let measure = || {
        it.service.wait_serving(2);
        (open_fds(it.service.pid()).len(), resident_kib(it.service.pid()))
    };
    let mut third = (0, 0);
    for generation in 2..=20 {
        assert_eq!(it.reload(), Ok(generation));
        if generation == 4 {
            third = measure();
        }
    }
    // Who asked for the status last may still be connected, now or then.
    it.service.wait_until("no more descriptors than then", || measure().0 <= third.0);
    let last = measure();
    assert!(last.1 <= third.1 + 512, "{third:?} {last:?}");
    let environment = fs::read(format!("/proc/{}/environ", it.service.pid())).expect("readable");
    assert_eq!(environment.windows(14).filter(|part| part == b"TINE_HANDOVER=").count(), 1);
    it.service.stop();
}

#[test]
fn a_burst_of_reloads_is_answered_by_few_and_two_generations_serve_at_most() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    let control = it.control.clone();
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let control = control.clone();
            std::thread::spawn(move || {
                let client = Client::connect(control).expect("it answers");
                client.reload(PATIENCE).map_err(|error| error.to_string())
            })
        })
        .collect();
    while callers.iter().any(|caller| !caller.is_finished()) {
        if let Ok(status) = Client::connect(&it.control).and_then(|client| client.status()) {
            let serving = status.workers.iter().filter(|worker| worker.stage == "serving");
            let generations: std::collections::BTreeSet<u64> =
                serving.map(|worker| worker.generation).collect();
            assert!(generations.len() <= 2, "{generations:?}");
        }
    }
    for caller in callers {
        let generation = caller.join().expect("it returns").expect("it went well");
        assert!(generation <= 20, "{generation}");
    }
    assert!(it.service.status().generation < 20, "they share");
    it.service.stop();
}

#[test]
fn workers_that_die_while_the_program_changes_are_replaced() {
    let it = Renewable::start("", "--workers 3 --main-does take=slow");
    for generation in 2..=4 {
        let workers = it.service.wait_serving(3);
        it.service.signal(HUP);
        std::thread::scope(|scope| {
            let reload = scope.spawn(|| it.reload());
            assert!(process::signal(workers[0], KILL));
            reload.join().expect("it returns").expect("it went well");
        });
        assert!(it.service.status().generation >= generation);
    }
    it.service.wait_serving(3);
    it.service.stop();
}

#[test]
fn process_1_reloads_like_any_other() {
    let probe = Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: unshare --pid is not allowed here");
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let control = directory.path().join("control");
    let words = "--listen 127.0.0.1:0 --workers 2";
    let service = start_in(directory, words, |server| {
        server.wrap(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
    });
    assert_eq!(service.ask("generation"), "1");
    let client = Client::connect(&control).expect("it answers");
    assert_eq!(client.reload(PATIENCE).map_err(|error| error.to_string()), Ok(2));
    assert_eq!((service.ask("generation"), service.status().pid), ("2".into(), 1));
    assert_eq!(service.status().pools[0].crashes, 0);
}
