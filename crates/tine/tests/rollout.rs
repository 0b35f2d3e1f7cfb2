//! A reload with a trial: some workers of the new generation first, watched, and then all, or the way back.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use support::renewable::{PATIENCE, Renewable};
use support::{KILL, Talk};
use tine::control::{Canary, Client, TrialStatus};

/// A fifth of the connections, at least twenty requests within a second.
const CANARY: Canary =
    Canary { share: 200, requests: 20, observe: Duration::from_secs(1), errors: 50, hold: false };
const HELD: Canary = Canary { hold: true, ..CANARY };

fn client(it: &Renewable) -> Client {
    Client::connect(&it.control).expect("it answers")
}

/// The end of a rollout: the generation that serves, or why not.
fn end(it: &Renewable, number: u64) -> Result<u32, String> {
    client(it).wait_reloaded(number, PATIENCE).map_err(|error| error.to_string())
}

/// The trial that is under way, once all of it serves.
fn on_trial(it: &Renewable) -> TrialStatus {
    let mut found = None;
    it.service.wait_until("a generation is on trial", || {
        let status = Client::connect(&it.control).and_then(|client| client.status());
        found = status.ok().and_then(|status| status.rollout?.trial);
        found.as_ref().is_some_and(|trial| trial.seconds > 0.0)
    });
    found.expect("it was found")
}

/// Clients, each with a connection for each question, until the work is done; how many connections each generation
/// had while it was. `answer` is what each asks for, by generation.
fn under_load<T>(
    it: &Renewable,
    answer: impl Fn(&str) -> &'static str + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let address = it.service.address();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let mut talk = Talk::to(&address);
                    let generation = talk.ask("generation");
                    talk.ask(answer(&generation));
                    drop(talk);
                    // So many clients, and not as many as the machine can bear.
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let result = work();
        over.store(true, SeqCst);
        result
    })
}

#[test]
fn a_generation_that_does_well_on_trial_replaces_all() {
    let it = Renewable::start("", "--workers 4");
    it.service.wait_serving(4);
    let number = client(&it).begin_rollout(CANARY).expect("it begins");
    under_load(
        &it,
        |_| "answered",
        || {
            let trial = on_trial(&it);
            assert_eq!((trial.workers, trial.least_requests), (1, 20));
            let status = it.service.status();
            assert_eq!((&*status.phase, status.generation), ("canary", 2));
            assert_eq!(end(&it, number), Ok(2));
        },
    );
    let status = it.service.status();
    assert!(status.workers.iter().all(|worker| worker.generation == 2), "{status:?}");
    assert_eq!(status.rollout, None);
    it.service.stop();
}

#[test]
fn it_gets_its_share_of_the_connections_however_many_places_it_has() {
    for (share, spawn) in [(200, ""), (500, ""), (20, ""), (250, "--spawn exec")] {
        let it = Renewable::start(spawn, "--workers 4");
        it.service.wait_serving(4);
        let number = client(&it).begin_rollout(Canary { share, ..HELD }).expect("it begins");
        let seen = under_load(
            &it,
            |_| "answered",
            || {
                on_trial(&it);
                let mut seen = None;
                it.service.wait_until("enough connections", || {
                    seen = it.service.status().rollout.and_then(|rollout| rollout.trial);
                    seen.as_ref().is_some_and(|it| it.connections + it.old_connections > 600)
                });
                seen.expect("a trial")
            },
        );
        let all = seen.connections + seen.old_connections;
        let part = seen.connections * 1000 / all;
        let wanted = u64::from(share);
        let near = (wanted * 6 / 10).saturating_sub(15)..=wanted * 14 / 10 + 15;
        assert!(near.contains(&part), "{share} of a thousand: {part}: {seen:?}");
        client(&it).promote().expect("it is on trial");
        assert_eq!(end(&it, number), Ok(2));
        it.service.stop();
    }
}

#[test]
fn too_many_failed_requests_bring_the_old_generation_back_with_the_numbers() {
    let it = Renewable::start("", "--workers 3");
    let before = it.service.wait_serving(3);
    let pid = it.service.pid();
    let number = client(&it)
        .begin_rollout(Canary { observe: Duration::from_secs(60), ..CANARY })
        .expect("it begins");
    let fails = |generation: &str| if generation == "2" { "failed" } else { "answered" };
    let reason = under_load(&it, fails, || end(&it, number)).expect_err("it goes back");
    assert!(reason.contains("the new generation failed"), "{reason}");
    let status = it.service.status();
    assert_eq!((status.generation, status.pid, &*status.phase), (1, pid, "running"));
    let serving = it.service.wait_serving(3);
    assert!(
        before.iter().filter(|pid| serving.contains(pid)).count() >= 2,
        "most were never touched"
    );
    assert_eq!(it.service.ask("generation"), "1");
    it.service.stop();
}

#[test]
fn too_few_requests_are_no_proof() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    let canary = Canary { observe: Duration::from_millis(300), ..CANARY };
    let number = client(&it).begin_rollout(canary).expect("it begins");
    let reason = end(&it, number).expect_err("it goes back");
    assert!(reason.contains("inconclusive") && reason.contains("20 were asked for"), "{reason}");
    assert_eq!(it.service.status().generation, 1);
    it.service.stop();
}

#[test]
fn a_crash_on_trial_brings_the_old_generation_back() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    // Two workers: of two connections that are held one is its.
    let mut talks: Vec<Talk> = (0..2).map(|_| it.service.talk()).collect();
    for talk in &mut talks {
        if talk.ask("generation") == "2" {
            talk.tell("crash ABRT");
        }
    }
    let reason = end(&it, number).expect_err("it goes back");
    assert!(reason.contains("was killed by SIGABRT"), "{reason}");
    drop(talks);
    assert_eq!(it.service.status().generation, 1);
    it.service.wait_serving(2);
    it.service.stop();
}

#[test]
fn what_is_fatal_to_the_new_generation_ends_the_rollout_and_not_the_service() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    it.change("--workers 2 --boot fatal=no-database");
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    let reason = end(&it, number).expect_err("it goes back");
    assert!(reason.contains("cannot go on") && reason.contains("no-database"), "{reason}");
    it.change("--workers 2");
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    let mut talks: Vec<Talk> = (0..2).map(|_| it.service.talk()).collect();
    for talk in &mut talks {
        if talk.ask("generation") == "2" {
            talk.tell("fatal the licence has run out");
        }
    }
    let reason = end(&it, number).expect_err("it goes back");
    assert!(reason.contains("the licence has run out"), "{reason}");
    drop(talks);
    it.service.wait_serving(2);
    assert_eq!(it.service.ask("generation"), "1");
    it.service.stop();
}

#[test]
fn a_generation_that_does_not_boot_touches_nobody() {
    let it = Renewable::start("--boot-attempts 2", "--workers 2");
    let before = it.service.wait_serving(2);
    it.change("--workers 2 --boot error");
    let number = client(&it).begin_rollout(CANARY).expect("it begins");
    let reason = end(&it, number).expect_err("it goes back");
    assert!(reason.contains("told to fail"), "{reason}");
    assert_eq!(it.service.wait_serving(2), before);
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(2));
    it.service.stop();
}

#[test]
fn a_rollout_can_be_aborted_on_trial_and_what_cannot_be_done_is_refused() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    for refused in [client(&it).promote(), client(&it).abort()] {
        assert!(refused.expect_err("there is none").to_string().contains("no rollout"));
    }
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    client(&it).abort().expect("it is under way");
    assert!(end(&it, number).expect_err("it goes back").contains("aborted"));
    assert_eq!(it.service.ask("generation"), "1");
    it.service.wait_serving(2);
    assert!(it.service.status().workers.iter().all(|worker| worker.generation == 1));
    it.service.stop();
}

#[test]
fn a_reload_that_is_asked_for_meanwhile_waits_and_a_stop_does_not() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    thread::scope(|scope| {
        let next = scope.spawn(|| it.reload());
        let began = Instant::now();
        it.service.wait_until("a moment passes", || began.elapsed() > Duration::from_millis(150));
        assert!(!next.is_finished());
        client(&it).promote().expect("it is on trial");
        assert_eq!(end(&it, number), Ok(2));
        assert_eq!(next.join().expect("it returns"), Ok(3));
    });
    client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    it.service.stop();
}

#[test]
fn if_the_program_before_could_not_serve_any_more_both_generations_go_on() {
    let it = Renewable::start("", "--workers 2");
    it.service.wait_serving(2);
    let number = client(&it).begin_rollout(HELD).expect("it begins");
    on_trial(&it);
    // The old program reads its configuration anew, like any other.
    it.change("--workers 2 --main-does probe=panic");
    client(&it).abort().expect("it is under way");
    let reason = end(&it, number).expect_err("it should go back");
    assert!(
        reason.contains("aborted")
            && reason.contains("cannot take over again")
            && reason.contains("panic"),
        "{reason}"
    );
    let status = it.service.status();
    let mut serving: Vec<u64> = status.workers.iter().map(|worker| worker.generation).collect();
    serving.sort_unstable();
    assert_eq!((serving, &*status.phase), (vec![1, 2], "running"));
    assert_eq!(it.service.ask("answered"), "answered");
    it.change("--workers 2");
    assert_eq!(it.reload(), Ok(3));
    it.service.stop();
}

/// Kills workers on trial, one after the other; how the rollout ends.
fn with_kills(kills: usize) -> Result<u32, String> {
    let it = Renewable::start("--workers 5", "");
    it.service.wait_serving(5);
    let observe = Duration::from_secs(2);
    let number =
        client(&it).begin_rollout(Canary { requests: 1, observe, ..CANARY }).expect("it begins");
    let trial = |killed: &[u32]| {
        let mut found = None;
        it.service.wait_until("a worker on trial serves", || {
            let workers = it.service.status().workers;
            let mut new = workers.iter().filter(|it| it.generation == 2 && it.stage == "serving");
            found = new.find(|it| !killed.contains(&it.pid)).map(|it| it.pid);
            found.is_some()
        });
        found.expect("it was found")
    };
    on_trial(&it);
    let mut killed = Vec::new();
    for _ in 0..kills {
        let pid = trial(&killed);
        testkit::process::signal(pid, KILL);
        testkit::wait_gone(pid);
        killed.push(pid);
    }
    let result = under_load(&it, |_| "pid", || end(&it, number));
    it.service.stop();
    result
}

#[test]
fn workers_on_trial_that_are_killed_repeatedly_end_it_and_one_stray_kill_does_not() {
    assert_eq!(with_kills(1), Ok(2));
    let reason = with_kills(2).expect_err("it goes back");
    assert!(reason.contains("was killed by SIGKILL (9), and 1 more before it"), "{reason}");
}
