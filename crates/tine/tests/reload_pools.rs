//! Reloads of pools that are not a fixed number of this program's workers.

mod support;

use std::fs;

use support::Talk;
use support::renewable::Renewable;
use testkit::{Client, wait_gone};

#[test]
fn a_pool_on_demand_is_reloaded_with_workers_and_without() {
    let it = Renewable::start("", "--workers 0..3");
    it.service.wait_pool("nobody is there", |pool| pool.serving == 0);
    assert_eq!(it.reload(), Ok(2));
    assert!(it.service.children().is_empty(), "and nobody was forked for it");
    let mut old = it.service.talk();
    assert_eq!(old.ask("generation"), "2", "the listener is watched again");
    assert_eq!(it.reload(), Ok(3));
    assert_eq!(old.ask("generation"), "2", "it goes on");
    let mut new: Vec<Talk> = (0..2).map(|_| it.service.talk()).collect();
    for talk in &mut new {
        assert_eq!(talk.ask("generation"), "3");
    }
    drop((old, new));
    it.service.stop();
}

#[test]
fn a_helper_that_is_under_way_goes_on_across_a_reload_and_the_next_is_of_the_new_generation() {
    let it = Renewable::start("", "");
    let runs = it.service.directory().join("runs");
    let helper = format!("--helper {},100,1,60000,wait", runs.display());
    it.change(&format!("--workers 1 {helper}"));
    assert_eq!(it.reload(), Ok(2));
    let read = || -> Vec<u32> {
        let text = fs::read_to_string(&runs).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a pid")).collect()
    };
    it.service.wait_until("a run begins", || read().len() == 1);
    assert_eq!(it.reload(), Ok(3));
    let run = read()[0];
    assert!(testkit::alive(run), "no reload ends it");
    let queue = it.service.status().pools.into_iter().find(|pool| pool.name == "queue");
    assert_eq!(queue.expect("its pool").serving, 1);
    assert!(testkit::process::signal(run, support::KILL));
    it.service.wait_until("the next one begins", || read().len() == 2);
    let status = it.service.status();
    let next = status.workers.iter().find(|worker| worker.pool == "queue").expect("it runs");
    assert_eq!(next.generation, 3);
    it.service.stop();
    read().into_iter().for_each(wait_gone);
}

#[test]
fn a_pool_that_is_gone_from_the_configuration_leaves_and_the_others_stay() {
    let it = Renewable::start("", "");
    let runs = it.service.directory().join("runs");
    it.change(&format!("--workers 2 --helper {},50,2,60000,wait", runs.display()));
    assert_eq!(it.reload(), Ok(2));
    it.service.wait_until("two are under way", || {
        it.service.status().workers.iter().filter(|worker| worker.pool == "queue").count() == 2
    });
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(3));
    it.service.wait_until("its workers have left", || {
        it.service.status().workers.iter().all(|worker| worker.pool == "main")
    });
    let workers = it.service.wait_serving(2);
    assert_eq!(it.reload(), Ok(4));
    workers.into_iter().for_each(wait_gone);
    assert_eq!(it.service.status().pools.len(), 1);
    it.service.stop();
}

#[test]
fn commands_are_replaced_by_a_reload_and_a_command_that_does_not_live_leads_back() {
    let it = Renewable::start("--boot-attempts 1", "--workers 2 --command self");
    let answered_by = || -> u32 {
        let text = Client::connect(&it.service.address()).read_to_end();
        String::from_utf8_lossy(&text).trim().parse().expect("a pid")
    };
    let old = it.service.wait_serving(2);
    assert!(old.contains(&answered_by()));
    assert_eq!(it.reload(), Ok(2));
    let new = it.service.wait_serving(2);
    old.iter().for_each(|&pid| wait_gone(pid));
    assert!(new.contains(&answered_by()));
    it.change("--workers 2 --command /bin/false");
    let reason = it.reload().expect_err("it cannot");
    assert!(reason.contains("generation"), "{reason}");
    assert_eq!(it.service.wait_serving(2), new, "nobody was touched");
    it.change("--workers 2 --command /no/such/command");
    let reason = it.reload().expect_err("it cannot");
    assert!(reason.contains("/no/such/command"), "{reason}");
    assert_eq!(it.service.wait_serving(2), new, "nobody was touched");
    // From commands to workers of its own, and back.
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(3));
    // A command that is ended by a signal takes along whom it has just let in.
    it.service.wait_serving(2);
    assert_eq!(it.service.ask("generation"), "3");
    it.change("--workers 1 --command self");
    assert_eq!(it.reload(), Ok(4));
    assert_eq!(it.service.wait_serving(1), [answered_by()]);
    it.service.stop();
}
