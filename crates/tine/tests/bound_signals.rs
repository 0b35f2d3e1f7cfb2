//! Root that may not signal other users' processes: everything is ended all the same, or it is told of.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use support::commands::write_script;
use support::{AT_ONCE, HUP, STOP, Service, require_root, start_in, timed};
use testkit::process::{self, status};
use testkit::{Server, TempDir, wait_gone};

/// The capability to signal every process, as a bit (capabilities(7)).
const CAP_KILL: u64 = 1 << 5;
/// Not only signalled, and not after the longest of all times either.
const SOON: Duration = Duration::from_secs(6);

/// As in a container without that capability.
fn bound(server: Server) -> Server {
    server.wrap(["setpriv", "--bounding-set", "-kill", "--inh-caps", "-all"])
}

/// A directory that any user may write to.
fn open_directory() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    directory
}

#[track_caller]
fn start(arguments: &str) -> Option<Service> {
    if !require_root() || !testkit::require_peer("setpriv") {
        return None;
    }
    let service = start_in(open_directory(), arguments, bound);
    // It is the server from here on, and not setpriv.
    service.address();
    assert_eq!(status(service.pid()).cap_effective & CAP_KILL, 0, "it may signal no other user");
    Some(service)
}

#[test]
fn workers_of_another_user_that_hang_are_ended_and_the_stop_ends() {
    let arguments = "--listen 127.0.0.1:0 --workers 2 --user nobody --request-timeout 300 \
                     --term-grace 200 --stop-timeout 300 --halt-grace 300";
    let Some(service) = start(arguments) else { return };
    let workers = service.wait_serving(2);
    let mut talk = service.talk();
    let hung: u32 = talk.ask("pid").parse().expect("a pid");
    talk.tell("hang");
    wait_gone(hung);
    service.wait_line("has been at a request for");
    let stopped = *workers.iter().find(|&&pid| pid != hung).expect("another one");
    process::signal(stopped, STOP);
    service.wait_line("was stopped by a signal: replaced");
    wait_gone(stopped);
    let last = service.wait_serving(2);
    process::signal(last[0], STOP);
    let (_, took) = timed(|| service.stop());
    assert!(took < SOON, "{took:?}");
    last.into_iter().for_each(wait_gone);
    assert_eq!(service.count_lines("cannot be sent"), 0, "{:?}", service.lines());
}

#[test]
fn what_a_worker_of_another_user_has_started_ends_with_it() {
    let Some(service) = start("--listen 127.0.0.1:0 --workers 1 --user nobody") else { return };
    let mut talk = service.talk();
    let worker: u32 = talk.ask("pid").parse().expect("a pid");
    let child: u32 = talk.ask("orphan 1000").parse().expect("a pid");
    assert_eq!(status(child).uid, [65534; 4]);
    process::signal(worker, support::KILL);
    wait_gone(child);
    service.stop();
}

/// Takes no notice of what asks it to leave, and has a child in a session of its own.
const STUBBORN: &str = "trap '' TERM HUP INT
setsid sleep 1000 &
echo $$ $! >> pids
while :; do sleep 1000; done";

#[test]
fn programs_of_another_user_leave_nothing_after_a_reload_and_after_a_stop() {
    if !require_root() || !testkit::require_peer("setpriv") {
        return;
    }
    let directory = open_directory();
    let (command, list) = (directory.path().join("command"), directory.path().join("pids"));
    write_script(&command, &format!("cd {}\n{STUBBORN}", directory.path().display()));
    let arguments = format!(
        "--listen 127.0.0.1:0 --workers 1 --user nobody --drain-timeout 300 --stop-timeout 300 \
         --term-grace 300 --command {}",
        command.display()
    );
    let service = start_in(directory, &arguments, bound);
    let pids = || -> Vec<u32> {
        let text = fs::read_to_string(&list).unwrap_or_default();
        text.split_whitespace().map(|word| word.parse().expect("a pid")).collect()
    };
    service.wait_until("the first generation runs", || pids().len() == 2);
    service.wait_serving(1);
    let first = pids();
    assert_eq!(status(first[0]).uid, [65534; 4]);
    service.signal(HUP);
    service.wait_until("the second generation runs", || pids().len() == 4);
    first.into_iter().for_each(wait_gone);
    service.wait_serving(1);
    let (_, took) = timed(|| service.stop());
    assert!(took < SOON, "{took:?}");
    pids().into_iter().for_each(wait_gone);
    assert_eq!(service.count_lines("cannot be sent"), 0, "{:?}", service.lines());
}

#[test]
fn a_program_of_another_user_is_asked_to_leave() {
    if !require_root() || !testkit::require_peer("setpriv") {
        return;
    }
    let directory = open_directory();
    let (command, said) = (directory.path().join("command"), directory.path().join("said"));
    write_script(
        &command,
        &format!(
            "trap 'echo asked > {}; exit 0' TERM\nwhile :; do sleep 0.05; done",
            said.display()
        ),
    );
    let arguments =
        format!("--listen 127.0.0.1:0 --workers 1 --user nobody --command {}", command.display());
    let service = start_in(directory, &arguments, bound);
    service.wait_serving(1);
    let (_, took) = timed(|| service.stop());
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(fs::read_to_string(&said).expect("it was asked"), "asked\n");
}
