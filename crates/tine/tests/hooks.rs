//! Hooks: which are called where, in which order, with what; and what an error of theirs does.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{HUP, KILL, Service, TERM, Talk, start, start_in};
use testkit::{TempDir, alive, process, wait_gone};

/// A service whose hooks write to this file.
fn recorded(arguments: &str) -> (Service, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("hooks");
    let arguments =
        format!("--listen 127.0.0.1:0 --hooks {} --backoff 1,10 {arguments}", file.display());
    (start_in(directory, &arguments, |server| server), file)
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn wait_for(service: &Service, file: &Path, what: &str) {
    service.wait_until(what, || lines(file).iter().any(|line| line.contains(what)));
}

/// What the hooks write, read piece by piece.
struct Book {
    service: Service,
    file: PathBuf,
    read: usize,
}

impl Book {
    /// What has been written since this was last asked.
    fn next(&mut self) -> Vec<String> {
        let all = lines(&self.file);
        let new = all[self.read..].to_vec();
        self.read = all.len();
        new
    }

    /// The same, of this process.
    fn next_of(&mut self, pid: u32) -> Vec<String> {
        let own = format!("{pid} ");
        let mine = |line: String| line.strip_prefix(&own).map(str::to_owned);
        self.next().into_iter().filter_map(mine).collect()
    }

    #[track_caller]
    fn wait(&self, what: &str) {
        wait_for(&self.service, &self.file, what);
    }
}

/// Each process's lines in its order: two that run side by side have none between them.
fn by_process(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
    lines
}

#[test]
fn hooks_are_called_in_order_each_in_its_process_with_its_arguments() {
    let (service, file) = recorded("--listen [::1]:0 --deny ::1 --workers 1");
    let supervisor = service.pid();
    let mut book = Book { service, file, read: 0 };
    book.wait(" ready ");
    let first = book.service.wait_serving(1)[0];
    let start = [
        format!("{supervisor} configured"),
        format!("{supervisor} bound 2 listeners"),
        format!("{supervisor} before_fork main/0"),
        format!("{supervisor} spawned main/0 number 1 generation 1 pid {first}"),
        format!("{first} worker_started main/0"),
        format!("{supervisor} ready {first}"),
    ];
    let seen = book.next();
    assert_eq!(seen.last(), start.last(), "it is ready after all that");
    assert_eq!(by_process(seen), by_process(start.to_vec()));
    one_comes_in_and_one_does_not(&mut book, first);
    let second = a_crash(&mut book, first);
    let third = a_reload(&mut book, second);
    book.service.stop();
    let end = [
        format!("{supervisor} stopping"),
        format!("{third} worker_ended main/0 number 3 generation 2 pid {third}"),
        format!("{supervisor} exited {third} exited with status 0 crash false"),
        format!("{supervisor} stopped well"),
    ];
    assert_eq!(book.next(), end);
}

fn one_comes_in_and_one_does_not(book: &mut Book, worker: u32) {
    let addresses: Vec<_> =
        book.service.status().listeners.into_iter().map(|it| it.address).collect();
    let mut talk = Talk::to(&addresses[0]);
    assert_eq!(talk.ask("pid"), worker.to_string());
    drop(talk);
    book.wait(" served ");
    assert_eq!(Talk::to(&addresses[1]).answer(), "you may not");
    book.wait("served ::1 false");
    let seen = [
        format!("{worker} accepted 127.0.0.1"),
        format!("{worker} admits 127.0.0.1"),
        format!("{worker} served 127.0.0.1 true"),
        format!("{worker} accepted ::1"),
        format!("{worker} refused ::1"),
        format!("{worker} served ::1 false"),
    ];
    assert_eq!(book.next(), seen);
}

fn a_crash(book: &mut Book, first: u32) -> u32 {
    let supervisor = book.service.pid();
    let mut talk = book.service.talk();
    assert_eq!(talk.ask("send hello there"), "sent");
    book.wait("hello there");
    talk.tell("crash SEGV");
    let from = book.read;
    book.service.wait_until("it is replaced", || lines(&book.file).len() >= from + 8);
    let second = book.service.wait_serving(1)[0];
    let mut crash = book.next();
    let end = crash.iter().position(|line| line.contains(" exited ")).expect("it has ended");
    let end = crash.remove(end);
    assert!(end.starts_with(&format!("{supervisor} exited {first} was killed by SIGSEGV (11)")));
    assert!(end.ends_with(" crash true"), "{end}");
    let seen = [
        format!("{first} accepted 127.0.0.1"),
        format!("{first} admits 127.0.0.1"),
        format!("{supervisor} message main/0 number 1 generation 1 pid {first} hello there"),
        format!("{supervisor} before_fork main/0"),
        format!("{supervisor} spawned main/0 number 2 generation 1 pid {second}"),
        format!("{supervisor} replaced {first} by {second}"),
        format!("{second} worker_started main/0"),
    ];
    assert_eq!(by_process(crash), by_process(seen.to_vec()));
    second
}

fn a_reload(book: &mut Book, second: u32) -> u32 {
    let supervisor = book.service.pid();
    book.service.signal(HUP);
    book.wait(&format!("exited {second} "));
    let third = book.service.wait_serving(1)[0];
    let seen = [
        // In the program that has taken over; a probe calls none.
        "configured".to_owned(),
        "bound 2 listeners".to_owned(),
        "reloading 2".to_owned(),
        "before_fork main/0".to_owned(),
        format!("spawned main/0 number 3 generation 2 pid {third}"),
        format!("replaced {second} by {third}"),
        "reloaded 2".to_owned(),
        format!("exited {second} exited with status 0 crash false"),
    ];
    assert_eq!(book.next_of(supervisor), seen);
    third
}

#[test]
fn ready_is_told_once_when_all_workers_serve_and_with_all_their_pids() {
    let (service, file) = recorded("--workers 3 --boot slow=200");
    let mut workers = service.wait_serving(3);
    wait_for(&service, &file, " ready ");
    workers.sort_unstable();
    let told: Vec<_> = lines(&file).into_iter().filter(|line| line.contains(" ready ")).collect();
    let pids: Vec<_> = workers.iter().map(u32::to_string).collect();
    assert_eq!(told, [format!("{} ready {}", service.pid(), pids.join(" "))]);
    let before =
        lines(&file).iter().position(|line| line.contains(" ready ")).expect("it is there");
    for told in [" spawned ", " worker_started "] {
        let count = lines(&file)[..before].iter().filter(|line| line.contains(told)).count();
        assert_eq!(count, 3, "{told}: all before it");
    }
    assert!(process::signal(workers[0], KILL));
    wait_gone(workers[0]);
    service.wait_serving(3);
    assert_eq!(lines(&file).iter().filter(|line| line.contains(" ready ")).count(), 1);
    service.stop();
}

#[test]
fn a_hook_that_fails_at_the_start_ends_it_and_leaves_no_process() {
    for hook in ["configured", "bound", "spawned", "ready"] {
        // A worker that hangs while it boots need not be waited for.
        let boot = if hook == "spawned" { "--boot hang" } else { "" };
        let (service, file) = recorded(&format!("--workers 3 --hook-fails {hook} {boot}"));
        assert_eq!(service.wait_exit().code(), Some(1), "{hook}");
        service.wait_line(&format!("the hook {hook}: told to fail in {hook}"));
        let family: Vec<u32> = lines(&file)
            .iter()
            .filter_map(|line| line.split_once(" spawned ")?.1.rsplit(' ').next()?.parse().ok())
            .collect();
        assert_eq!(family.is_empty(), hook == "configured" || hook == "bound", "{hook}");
        assert!(family.into_iter().all(|pid| !alive(pid)), "{hook}");
        let last = lines(&file).pop().expect("a line");
        assert!(
            last.ends_with(&format!("stopped the hook {hook}: told to fail in {hook}")),
            "{last}"
        );
        assert!(!service.directory().join("control").exists());
    }
}

#[test]
fn a_worker_whose_hook_fails_cannot_boot() {
    let (service, _) = recorded("--workers 1 --hook-fails worker_started");
    assert_eq!(service.wait_exit().code(), Some(1));
    service.wait_line("no worker could boot: the hook worker_started: told to fail");
}

#[test]
fn a_hook_that_panics_in_the_supervisor_is_logged_and_the_service_goes_on() {
    for hook in ["configured", "before_fork", "spawned", "ready", "exited", "message"] {
        let (service, _) = recorded(&format!("--workers 2 --hook-panics {hook}"));
        let workers = service.wait_serving(2);
        assert_eq!(service.ask("send something"), "sent");
        assert!(process::signal(workers[0], KILL));
        wait_gone(workers[0]);
        service.wait_serving(2);
        service.wait_line(&format!("the hook {hook} panicked; the service goes on"));
        service.stop();
    }
}

#[test]
fn a_hook_may_refuse_whom_the_rules_let_in() {
    let (service, file) = recorded("--workers 1 --hook-fails admits");
    assert_eq!(service.talk().answer(), "you may not");
    wait_for(&service, &file, "served 127.0.0.1 false");
    service.stop();
}

#[test]
fn messages_go_both_ways_and_to_all_of_a_pool() {
    let (service, file) = recorded("--workers 3");
    service.wait_serving(3);
    let mut talk = service.talk();
    assert_eq!(talk.ask("send me first"), "sent");
    assert_eq!(talk.ask("send me second"), "sent");
    assert_eq!(talk.ask("send all third"), "sent");
    drop(talk);
    wait_for(&service, &file, " broadcast 3");
    let mut heard: Vec<String> = Vec::new();
    // A worker hears between two connections: each is asked, and asked again until it has.
    service.wait_until("all have heard", || {
        let held: Vec<Talk> = (0..3).map(|_| service.talk()).collect();
        heard = held.into_iter().map(|mut talk| talk.ask("told")).collect();
        heard.sort();
        heard == ["first second third", "third", "third"]
    });
    service.stop();
}

#[test]
fn a_message_that_is_too_long_is_refused_and_one_of_full_length_arrives() {
    let (service, file) = recorded("--workers 1");
    let mut talk = service.talk();
    assert_eq!(talk.ask(&format!("send {}", "x".repeat(1025))), "invalid input parameter");
    assert_eq!(talk.ask(&format!("send {}", "y".repeat(1024))), "sent");
    wait_for(&service, &file, &format!(" {}", "y".repeat(1024)));
    drop(talk);
    service.stop();
}

#[test]
fn a_worker_that_floods_harms_nobody() {
    let (service, _) = recorded("--workers 3");
    let workers = service.wait_serving(3);
    let (mut flooding, pid) = service.busy_one();
    flooding.tell("flood 3000");
    let other = workers.into_iter().find(|&other| other != pid).expect("there are three");
    assert!(process::signal(other, KILL));
    wait_gone(other);
    service.wait_until("it is replaced meanwhile", || {
        let workers = service.status().workers;
        workers.len() == 3 && workers.iter().all(|worker| worker.stage == "serving")
    });
    let answer = flooding.answer();
    assert!(answer.parse::<u64>().expect("a number") > 100, "{answer}");
    drop(flooding);
    service.stop();
}

#[test]
fn a_worker_that_does_not_listen_is_still_told_to_leave() {
    let (service, file) = recorded("--workers 2");
    service.wait_serving(2);
    // It reads nothing while it has a connection.
    let (mut busy, pid) = service.busy_one();
    let number = busy.ask("worker");
    assert_eq!(service.ask(&format!("send drown {number}")), "sent");
    wait_for(&service, &file, " drowned ");
    let drowned = lines(&file).into_iter().find(|line| line.contains(" drowned ")).expect("it is");
    let count: u32 = drowned.rsplit(' ').next().expect("a word").parse().expect("a number");
    assert!((16..1000).contains(&count), "{drowned}");
    service.signal(HUP);
    service.wait_line("generation 2 begins");
    drop(busy);
    wait_gone(pid);
    service.wait_serving(2);
    assert_eq!(service.count_lines("did not end in time"), 0);
    service.signal(TERM);
    service.wait_success();
}

#[test]
fn no_worker_has_the_channel_of_another() {
    let service = start("--workers 4");
    service.wait_serving(4);
    // Replaced ones were forked when all the others' channels were there.
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    for pid in service.wait_serving(4) {
        let sockets = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
        let count = sockets
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count();
        assert_eq!(count, 2, "its listener and its own channel");
    }
    service.stop();
}
