//! How the processes of a service bear themselves: their titles, their processors, and the signals they pass on.

mod support;

use std::fs;

use support::{HUP, KILL, Service, start, start_in};
use testkit::{TempDir, process, wait_gone};

const USR1: i32 = 10;
const USR2: i32 = 12;

fn title(pid: u32) -> String {
    let title = fs::read(format!("/proc/{pid}/cmdline")).expect("it lives");
    String::from_utf8(title).expect("text")
}

fn processors(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:"));
    line.expect("a line").split_whitespace().nth(1).expect("a list").to_owned()
}

/// Pid and generation by place.
fn places(service: &Service) -> Vec<(u32, u64)> {
    let mut workers = service.status().workers;
    workers.sort_by_key(|worker| worker.place);
    workers.iter().map(|worker| (worker.pid, worker.generation)).collect()
}

#[test]
fn ps_shows_who_is_who_and_the_environment_stays() {
    for spawn in ["", "--spawn exec"] {
        let service = start(&format!("--workers 2 {spawn}"));
        service.wait_serving(2);
        let supervisor = title(service.pid());
        let command_line = format!("{} --", testkit::bin("fixture").display());
        assert!(supervisor.starts_with("tine: supervisor main: "), "{supervisor}");
        assert!(
            supervisor.contains(&command_line) && supervisor.contains("--workers 2"),
            "{supervisor}"
        );
        service.signal(HUP);
        service.wait_line("generation 2 serves");
        service.wait_serving(2);
        let own: Vec<u8> = std::env::var("PATH").expect("there is one").into_bytes();
        for (place, (pid, generation)) in places(&service).into_iter().enumerate() {
            assert_eq!(title(pid), format!("tine: worker main/{place} gen 2\0"));
            assert_eq!(generation, 2);
            let environment = fs::read(format!("/proc/{pid}/environ")).expect("it lives");
            let path = [b"PATH=", &own[..]].concat();
            assert!(environment.split(|&byte| byte == 0).any(|variable| variable == path));
        }
        service.stop();
    }
}

#[test]
fn each_place_has_its_processor_and_a_replacement_the_same() {
    let service = start("--workers 3 --affinity places");
    service.wait_serving(3);
    let allowed = tine_os::cpu::allowed().expect("some");
    let is_so = || {
        let mut places = places(&service).into_iter().enumerate();
        places
            .all(|(place, (pid, _))| processors(pid) == allowed[place % allowed.len()].to_string())
    };
    assert!(is_so());
    let (first, _) = places(&service)[1];
    assert!(process::signal(first, KILL));
    wait_gone(first);
    service.wait_serving(3);
    assert!(is_so());
    assert_eq!(processors(service.pid()), processors(std::process::id()), "the supervisor is free");
    service.stop();
    let last = allowed[allowed.len() - 1];
    let service = start(&format!("--workers 2 --affinity {last}"));
    let workers = service.wait_serving(2);
    assert!(workers.into_iter().all(|pid| processors(pid) == last.to_string()));
    service.stop();
    let service = start("--workers 2 --affinity 0,9999");
    assert_eq!(service.wait_exit().code(), Some(2));
    service.wait_line("pool main: affinity: processor 9999 is none of those");
}

/// A service whose workers write down which signals they get.
fn passing(arguments: &str) -> (Service, impl Fn() -> Vec<String> + use<>) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("hooks");
    let arguments = format!("--listen 127.0.0.1:0 --hooks {} {arguments}", file.display());
    let service = start_in(directory, &arguments, |server| server);
    let heard = move || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains(" signalled ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    (service, heard)
}

fn all_of(mut workers: Vec<u32>, signal: &str) -> Vec<String> {
    workers.sort_by_key(u32::to_string);
    workers.iter().map(|pid| format!("{pid} signalled {signal}")).collect()
}

#[test]
fn a_signal_to_the_supervisor_reaches_every_worker_and_is_handled_all_the_same() {
    for spawn in ["", "--spawn exec"] {
        let (service, heard) = passing(&format!("--workers 3 --pass USR1 {spawn}"));
        let workers = service.wait_serving(3);
        service.signal(USR1);
        service.wait_until("all have it", || heard() == all_of(workers.clone(), "SIGUSR1"));
        service.wait_line("log reopened");
        assert_eq!(service.wait_serving(3), workers, "it has ended nobody");
        service.stop();
    }
}

#[test]
fn it_is_passed_on_before_the_supervisor_does_its_own() {
    let (service, heard) = passing("--workers 2 --pass USR2");
    let old = service.wait_serving(2);
    service.signal(USR2);
    service.wait_line("generation 2 serves");
    old.iter().copied().for_each(wait_gone);
    service.wait_serving(2);
    assert_eq!(heard(), all_of(old, "SIGUSR2"), "and none of those that came after it");
    service.stop();
}

#[test]
fn without_being_asked_for_it_no_worker_gets_a_signal_and_what_cannot_be_passed_on_is_refused() {
    let (service, heard) = passing("--workers 1");
    service.wait_serving(1);
    service.signal(USR1);
    service.wait_line("log reopened");
    service.some_worker();
    service.stop();
    assert!(heard().is_empty());
    let (service, _) = passing("--workers 1 --pass USR1,KILL");
    assert_eq!(service.wait_exit().code(), Some(2));
    service.wait_line("SIGKILL cannot be passed on");
}
