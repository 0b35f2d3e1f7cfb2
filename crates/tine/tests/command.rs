//! Pools around a foreign program: what it finds, how it is kept, and that nothing of it is left behind.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use support::{AT_ONCE, CONT, HUP, KILL, STOP, Service, require_root, start_in, start_with, timed};
use testkit::process::{self, open_fds};
use testkit::{Client, TempDir, alive, wait_gone};

/// A pool of a shell script.
fn script(arguments: &str, text: &str) -> Service {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("command");
    write_script(&file, text);
    let arguments = format!("--listen 127.0.0.1:0 {arguments} --command {}", file.display());
    start_in(directory, &arguments, |server| server)
}

fn write_script(file: &Path, text: &str) {
    // Written beside and moved: a file that is open to write cannot be executed.
    let beside = file.with_extension("new");
    fs::write(&beside, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::rename(&beside, file).expect("it can be moved");
}

/// A pool of a small server that knows nothing of Tine.
fn server(arguments: &str) -> Service {
    start_with(&format!("--listen 127.0.0.1:0 --command self {arguments}"), |server| server)
}

/// The process that a connection to this address is answered by.
fn answered_by(address: &str) -> u32 {
    let text = String::from_utf8(Client::connect(address).read_to_end()).expect("text");
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no pid"))
}

/// The number at the end of the next line with this word.
fn number_after(service: &Service, word: &str) -> u32 {
    let line = service.wait_line(word);
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_command_serves_on_the_listeners_it_is_given_and_is_replaced() {
    let service = server("--workers 2");
    let commands = service.wait_serving(2);
    let first = answered_by(&service.address());
    assert!(commands.contains(&first), "{commands:?} {first}");
    assert!(process::signal(first, KILL));
    service.wait_line("was killed by SIGKILL (9)");
    let later = service.wait_serving(2);
    assert!(!later.contains(&first) && later.contains(&answered_by(&service.address())));
    service.stop();
    later.into_iter().for_each(wait_gone);
}

#[test]
fn a_command_has_its_descriptors_and_its_keeper_only_what_it_needs() {
    let service = server("--workers 1 --region counter");
    let command = service.wait_serving(1)[0];
    let fds = open_fds(command);
    let numbers: Vec<i32> = fds.iter().map(|fd| fd.0).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "{fds:?}");
    assert!(fds[0].1 == "/dev/null" && fds[3].1.starts_with("socket:"), "{fds:?}");
    let keeper = service.children()[0];
    // Channel, epoll, signals, and a pidfd each of the supervisor and the command.
    let kept: Vec<String> = open_fds(keeper).into_iter().skip(3).map(|fd| fd.1).collect();
    let count = |kind: &str| kept.iter().filter(|target| target.contains(kind)).count();
    let counts = ["socket", "eventpoll", "signalfd", "pidfd"].map(count);
    assert_eq!((counts, kept.len()), ([1, 1, 1, 2], 5), "{kept:?}");
    service.stop();
}

#[test]
fn a_commands_environment_says_where_its_listeners_are_and_nothing_of_the_services() {
    let arguments = "--listen 127.0.0.1:0 --listen 127.0.0.1:0 --command self --workers 1";
    let service = start_with(arguments, |server| {
        let server = server.env("NOTIFY_SOCKET", "/x").env("LISTEN_FDNAMES", "x");
        server.env("TINE_WORKER", "1,3").env("KEPT", "yes")
    });
    let command = service.wait_serving(1)[0];
    let text = fs::read(format!("/proc/{command}/environ")).expect("its environment");
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.split('\0').collect();
    for wanted in ["LISTEN_FDS=2", &format!("LISTEN_PID={command}"), "KEPT=yes"] {
        assert!(all.contains(&wanted), "{wanted} in {all:?}");
    }
    for unwanted in ["NOTIFY_SOCKET", "LISTEN_FDNAMES", "TINE_WORKER"] {
        assert!(!text.contains(unwanted), "{unwanted} in {all:?}");
    }
    service.stop();
}

#[test]
fn a_command_has_every_signal_and_a_group_without_the_supervisor() {
    let service = script("--workers 1", "exec sleep 600");
    let command = service.wait_serving(1)[0];
    let status = process::status(command);
    // Two real-time signals are the C library's, and what they were is not ours to change (signal(7)).
    let ignored = status.sig_ignored & !(0b11 << 31);
    assert_eq!((status.sig_blocked, ignored, status.sig_caught), (0, 0, 0));
    let group = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let words = stat.rsplit_once(") ").expect("a name").1.to_owned();
        words.split(' ').nth(2).and_then(|word| word.parse::<u32>().ok()).expect("a group")
    };
    assert_eq!(group(command), service.children()[0], "its keeper's");
    assert_ne!(group(command), group(service.pid()));
    service.stop();
}

#[test]
fn a_listener_arrives_at_the_number_that_was_chosen() {
    for number in [0, 4, 77] {
        let service = server(&format!("--workers 1 --command-at {number}"));
        let command = answered_by(&service.address());
        let socket = open_fds(command).into_iter().find(|fd| fd.0 == number).expect("it is open");
        assert!(socket.1.starts_with("socket:"), "{socket:?}");
        service.stop();
    }
    // Crosswise: no number is lost on the way to another.
    let words = "--listen 127.0.0.1:0 --listen 127.0.0.1:0 --command self --workers 1";
    let service = start_with(&format!("{words} --command-at 4,3"), |server| server);
    let addresses = service.addresses(2);
    answered_by(&addresses[0]);
    service.stop();
}

#[test]
fn numbers_that_collide_are_refused_by_name() {
    for (numbers, named) in [
        ("7,7", "descriptor number 7 is given to two listeners"),
        ("2", "descriptor number 2 is the command's own output"),
        ("3,4,5", "3 descriptor numbers for 2 listeners"),
    ] {
        let words = "--listen 127.0.0.1:0 --listen 127.0.0.1:0 --command self --workers 1";
        let service = start_with(&format!("{words} --command-at {numbers}"), |server| server);
        assert_eq!(service.wait_exit().code(), Some(2), "{numbers}");
        service.wait_line(named);
    }
}

#[test]
fn what_cannot_be_run_is_named_before_anything_is_bound() {
    for (command, named) in [
        ("no-such-program", "no program \"no-such-program\" on the PATH"),
        ("/no/such/program", "there is no program /no/such/program"),
        ("/etc/passwd", "/etc/passwd is not executable"),
    ] {
        let words = format!("--listen 127.0.0.1:0 --workers 1 --command {command}");
        let service = start_with(&words, |server| server);
        assert_eq!(service.wait_exit().code(), Some(5), "{command}");
        service.wait_line(&format!("pool main: {named}"));
        assert_eq!(service.count_lines("listening on"), 0);
    }
}

#[test]
fn a_pool_of_commands_is_refused_what_nobody_could_do_for_it() {
    for (arguments, named) in [
        ("--workers 1..4", "fixed number"),
        ("--workers 1 --max-connections 5", "recycle it by age"),
        ("--workers 1 --request-timeout 1000", "no timeout, and no bound on memory"),
        ("--workers 1 --boot-timeout 1000 --ready-after 1000", "boot_timeout"),
    ] {
        let service = server(arguments);
        assert_eq!(service.wait_exit().code(), Some(2), "{arguments}");
        service.wait_line(named);
    }
}

#[test]
fn a_producer_is_told_who_it_is_for_and_where_the_listeners_are() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("command");
    write_script(&file, "echo told \"$1\"; exec sleep 600");
    let words = "--listen 127.0.0.1:0 --listen 127.0.0.1:0 --workers 1 --produce tell";
    let arguments = format!("{words} --command-at 9 --command {}", file.display());
    let service = start_in(directory, &arguments, |server| server);
    let line = service.wait_line("told Spawn");
    let addresses = service.addresses(2);
    for part in [
        "worker: 1, place: 0, generation: 1",
        &format!("address: {:?}, number: 9", addresses[0]),
        &format!("address: {:?}, number: 3", addresses[1]),
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    service.stop();
}

#[test]
fn a_producer_that_fails_is_a_failure_to_boot_with_its_text() {
    // A panic may take a moment: it prints where it came from.
    for (how, patience, code, reason) in [
        ("error", 10_000, 5, "pool main: no command: told to fail"),
        ("panic", 10_000, 1, "no worker could boot: panicked"),
        ("hang", 300, 1, "pool main: no worker could boot"),
    ] {
        let service = server(&format!(
            "--workers 1 --produce {how} --boot-attempts 2 --backoff 1,1 --boot-timeout {patience}"
        ));
        assert_eq!(service.wait_exit().code(), Some(code), "{how}");
        service.wait_line(reason);
    }
}

#[test]
fn a_program_that_goes_missing_later_ends_nothing_and_comes_back() {
    let service = script("--workers 2 --backoff 10,50", "exec sleep 600");
    let commands = service.wait_serving(2);
    let file = service.directory().join("command");
    let aside = service.directory().join("aside");
    fs::rename(&file, &aside).expect("it is there");
    assert!(process::signal(commands[0], KILL));
    for _ in 0..3 {
        service.wait_line(&format!("cannot run {0}: there is no program {0}", file.display()));
    }
    assert!(alive(commands[1]));
    fs::rename(&aside, &file).expect("it is there");
    service.wait_serving(2);
    service.stop();
}

#[test]
fn exit_statuses_arrive_as_they_were() {
    for (end, told) in [
        ("exit 3", "exited with status 3"),
        ("exit 70", "exited with status 70"),
        ("exit 101", "exited with status 101"),
        ("kill -USR1 $$", "was killed by SIGUSR1 (10)"),
    ] {
        // However long a busy machine takes for it, it has not lived for long enough.
        let service = script("--workers 1 --boot-attempts 1 --ready-after 9000", end);
        assert_eq!(service.wait_exit().code(), Some(1), "{end}");
        service.wait_line(&format!("no worker could boot: {told}"));
    }
}

#[test]
fn a_command_is_ready_when_it_has_lived_for_so_long() {
    let (service, took) = timed(|| {
        let service = script("--workers 1 --ready-after 400", "exec sleep 600");
        service.wait_serving(1);
        service
    });
    assert!(took >= Duration::from_millis(400), "{took:?}");
    service.stop();
    // One that dies before was never ready; with no time to live the exec alone counts.
    let hasty = script("--workers 1 --ready-after 5000 --boot-attempts 1", "exit 4");
    assert_eq!(hasty.wait_exit().code(), Some(1));
    let once = script("--workers 1 --ready-after 0", "sleep 600");
    once.wait_serving(1);
    once.stop();
}

#[test]
fn a_stop_is_a_term_to_the_command() {
    let text = "trap 'echo leaving $$; exit 0' TERM; echo heeds it; sleep 600 & wait";
    let service = script("--workers 2", text);
    service.wait_serving(2);
    // The time that makes them ready may be over before a shell has come so far.
    (0..2).for_each(|_| drop(service.wait_line("heeds it")));
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(service.count_lines("leaving "), 2);
    assert_eq!(service.count_lines("SIGKILL"), 0, "{:?}", service.lines());
}

#[test]
fn a_reload_has_the_new_command_ready_before_the_old_one_is_asked_to_leave() {
    let text = "echo born $$; trap 'echo leaving $$; exit 0' TERM; sleep 600 & wait";
    let service = script("--workers 1 --ready-after 200", text);
    let old = service.wait_serving(1)[0];
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    let new = service.wait_serving(1)[0];
    let lines = service.lines();
    let at = |line: String| lines.iter().position(|one| *one == line).expect("it was said");
    assert!(at(format!("born {new}")) < at(format!("leaving {old}")), "{lines:?}");
    service.stop();
}

/// Starts children, one of them in a session of its own with nobody above it; tells of all; ignores TERM.
const STUBBORN: &str = "trap '' TERM
sh -c 'echo member $$; exec sleep 600' &
setsid sh -c 'sh -c \"echo member \\$\\$; trap \\\"\\\" TERM; sleep 600; sleep 600\" & exit' &
echo member $$
while :; do sleep 600; done";

fn members(service: &Service) -> Vec<u32> {
    (0..3).map(|_| number_after(service, "member ")).collect()
}

#[test]
fn a_stubborn_command_and_all_it_has_started_are_gone_after_a_stop() {
    let service = script("--workers 1 --stop-timeout 200 --term-grace 200", STUBBORN);
    let members = members(&service);
    service.wait_serving(1);
    assert!(members.iter().all(|&pid| alive(pid)));
    service.signal(support::TERM);
    service.wait_success();
    members.into_iter().for_each(wait_gone);
}

#[test]
fn a_stubborn_command_and_all_it_has_started_are_gone_when_the_supervisor_is_killed() {
    let service = script("--workers 1 --stop-timeout 300", STUBBORN);
    let members = members(&service);
    service.wait_serving(1);
    let keeper = service.children()[0];
    let (_, took) = timed(|| {
        service.signal(KILL);
        members.iter().for_each(|&pid| wait_gone(pid));
        wait_gone(keeper);
    });
    assert!(took >= Duration::from_millis(250), "they had their time: {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_keeper_that_was_stopped_is_replaced_and_ended_with_all_below_it() {
    let service = script("--workers 1 --halt-grace 200", STUBBORN);
    let members = members(&service);
    service.wait_serving(1);
    let keeper = service.children()[0];
    assert!(process::signal(keeper, STOP));
    members.into_iter().for_each(wait_gone);
    wait_gone(keeper);
    service.wait_serving(1);
    service.signal(KILL);
}

#[test]
fn what_a_command_leaves_behind_when_it_ends_is_gone() {
    let text = "setsid sh -c 'echo member $$; exec sleep 600' &
        sh -c 'trap \"\" TERM HUP; echo member $$; sleep 600' &
        read line < \"$(dirname $0)/gate\"; exit 0";
    let service = script("--workers 1 --backoff 60000,60000", text);
    let gate = service.directory().join("gate");
    // The first try has found no gate, or waits at it.
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.is_ok_and(|status| status.success()));
    let members: Vec<u32> = (0..2).map(|_| number_after(&service, "member ")).collect();
    fs::write(&gate, "go\n").expect("somebody reads");
    members.into_iter().for_each(wait_gone);
    service.stop();
}

#[test]
fn a_command_dies_with_its_keeper_and_with_both_their_group() {
    let text = "sh -c 'trap \"\" TERM HUP; echo member $$; sleep 600; sleep 600' &
        echo member $$; while :; do sleep 600; done";
    let service = script("--workers 1", text);
    let members: Vec<u32> = (0..2).map(|_| number_after(&service, "member ")).collect();
    service.wait_serving(1);
    let keeper = service.children()[0];
    assert!(process::signal(keeper, KILL));
    members.into_iter().for_each(wait_gone);
    service.wait_line("was killed by SIGKILL");
    service.wait_serving(1);
    service.stop();
}

#[test]
fn a_command_that_was_stopped_is_replaced_and_ended() {
    let service = script("--workers 1 --halt-grace 200", "exec sleep 600");
    let first = service.wait_serving(1)[0];
    assert!(process::signal(first, STOP));
    service.wait_line("was stopped by a signal: replaced");
    wait_gone(first);
    let second = service.wait_serving(1)[0];
    assert_ne!(first, second);
    assert!(process::signal(second, CONT));
    assert_eq!(service.wait_serving(1), [second]);
    service.stop();
}

#[test]
fn a_term_to_a_keeper_by_hand_is_one_to_its_command() {
    let service = script("--workers 1", "trap 'echo leaving; exit 0' TERM; sleep 600 & wait");
    let first = service.wait_serving(1)[0];
    assert!(process::signal(service.children()[0], support::TERM));
    service.wait_line("leaving");
    wait_gone(first);
    service.wait_serving(1);
    service.stop();
}

#[test]
fn a_command_becomes_its_user_and_its_keeper_does_not() {
    if !require_root() {
        return;
    }
    let arguments = "--workers 1 --user 65534 --group 65534 --umask 027 --stop-timeout 200";
    let service = start_with(&format!("{arguments} --command sleep-for-ever"), |server| server);
    assert_eq!(service.wait_exit().code(), Some(5));
    let directory = TempDir::new().expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("its mode");
    let file = directory.path().join("command");
    write_script(&file, "setsid sh -c 'echo member $$; exec sleep 600' & exec sleep 600");
    let arguments = format!("--listen 127.0.0.1:0 {arguments} --command {}", file.display());
    let service = start_in(directory, &arguments, |server| server);
    let member = number_after(&service, "member ");
    let command = service.wait_serving(1)[0];
    assert_eq!(process::status(command).uid, [65534; 4]);
    assert_eq!(process::status(service.children()[0]).uid, [0; 4]);
    service.signal(support::TERM);
    service.wait_success();
    wait_gone(member);
}

#[test]
fn what_a_forked_worker_has_started_goes_with_it() {
    let service = support::start("--workers 1");
    let worker = service.some_worker();
    let orphan: u32 = service.ask("orphan 600").parse().expect("a pid");
    assert!(alive(orphan));
    assert!(process::signal(worker, KILL));
    wait_gone(orphan);
    service.stop();
}

#[test]
fn a_command_that_signals_its_own_group_keeps_its_keeper() {
    let service = script(
        "--workers 1",
        "trap '' ALRM VTALRM PROF TSTP
         for signal in ALRM VTALRM PROF TSTP; do kill -$signal 0; done
         echo survived $$; exec sleep 60",
    );
    number_after(&service, "survived");
    let keeper = service.children()[0];
    service.wait_serving(1);
    assert_eq!((service.children(), service.pool().exits), (vec![keeper], 0));
    service.stop();
}

#[test]
fn a_command_below_another_root_needs_no_devices_there() {
    if !require_root() {
        return;
    }
    let root = TempDir::new().expect("a directory");
    let copied = std::process::Command::new("sh")
        .args(["-c", "for file in /bin/sh $(ldd /bin/sh | grep -o '/[^ ]*'); do mkdir -p $1$(dirname $file) && cp -L $file $1$file || exit; done", "sh"])
        .arg(root.path())
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "a shell and what it needs");
    write_script(&root.path().join("app"), "echo begun $$; read word; echo read nothing $$");
    let arguments = format!(
        "--listen 127.0.0.1:0 --workers 1 --command /app --chroot {}",
        root.path().display()
    );
    let service = start_with(&arguments, |server| server);
    number_after(&service, "read nothing");
    service.stop();
}
