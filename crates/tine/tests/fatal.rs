//! A worker that says that the service cannot go on.

mod support;

use support::{HUP, start};
use testkit::process::descendants;
use testkit::wait_gone;

#[test]
fn a_fatal_worker_stops_the_service_in_good_order_with_its_reason_and_leaves_nobody() {
    let service = start("--workers 3");
    service.wait_serving(3);
    let family = descendants(service.pid());
    let mut bystander = service.talk();
    bystander.ask("pid");
    bystander.tell("sleep 500");
    service.talk().tell("fatal the licence has run out");
    service.wait_line("error");
    assert_eq!(bystander.answer(), "slept", "what is in flight is finished");
    drop(bystander);
    assert_eq!(service.wait_exit().code(), Some(1));
    service.clear_cursor();
    service.wait_line("the service cannot go on: the licence has run out");
    let last = service.wait_line("cannot go on: the licence has run out");
    assert!(last.contains("error") && last.contains("pool main: worker "), "{last}");
    assert_eq!(service.count_lines("stopped"), 0);
    assert_eq!(family.len(), 3);
    family.into_iter().for_each(wait_gone);
}

#[test]
fn a_worker_that_says_so_while_it_boots_is_believed_at_once() {
    let service = start("--workers 2 --boot fatal=no-schema --boot-attempts 100");
    assert_eq!(service.wait_exit().code(), Some(1));
    service.wait_line("cannot go on: no-schema");
}

#[test]
fn by_policy_it_is_replaced_and_reported() {
    let service = start("--workers 2 --fatal replace");
    let (mut talk, pid) = service.busy_one();
    talk.tell("fatal my own trouble");
    wait_gone(pid);
    let report = service.wait_reports(1).remove(0);
    assert_eq!(report.cause, "said that the service cannot go on: my own trouble");
    assert!(!service.wait_serving(2).contains(&pid));
    assert_eq!(service.pool().crashes, 1);
    service.stop();
}

#[test]
fn a_worker_of_an_older_generation_speaks_for_itself_only() {
    let service = start("--workers 2");
    service.wait_serving(2);
    let (mut old, pid) = service.busy_one();
    service.signal(HUP);
    service.wait_line("generation 2 serves");
    old.tell("fatal I am old");
    wait_gone(pid);
    service.wait_line("the service cannot go on: I am old");
    assert_eq!(service.ask("generation"), "2");
    service.stop();
}
