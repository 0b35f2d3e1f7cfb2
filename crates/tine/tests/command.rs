//! Pools around a foreign program: what it finds, how it is kept, and that nothing of it is left behind.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use support::commands::{answered_by, number_after, script, server, write_script};
use support::{AT_ONCE, HUP, KILL, require_root, start_in, start_with, timed};
use testkit::process::{self, open_fds};
use testkit::{TempDir, alive, wait_gone};

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
        // As a shell script starts it with `&`.
        let arguments = format!(
            "--listen 127.0.0.1:0 --command self --workers 1 --produce {how} --boot-attempts 2 --backoff 1,1 \
             --boot-timeout {patience}"
        );
        let service = start_with(&arguments, |it| it.wrap(["env", "--ignore-signal=INT,QUIT"]));
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

#[test]
fn a_command_may_gain_privileges_unless_it_was_to_gain_none() {
    for (asked, expected) in [("", false), ("--no-new-privileges yes", true)] {
        let service = script(&format!("--workers 1 {asked}"), "exec sleep 1000");
        let command = service.wait_serving(1)[0];
        assert_eq!(process::status(command).no_new_privs, expected, "{asked}");
        service.stop();
    }
}
