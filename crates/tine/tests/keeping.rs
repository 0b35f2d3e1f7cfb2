//! Keepers: of a command and of whatever it has started nothing is left behind, whoever dies or is stopped first.

mod support;

use std::fs;
use std::time::Duration;

use support::commands::{number_after, script};
use support::{AT_ONCE, CONT, KILL, STOP, Service, timed};
use testkit::process;
use testkit::{alive, wait_gone};

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
