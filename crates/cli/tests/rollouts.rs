//! `tine rollout` of a site under load.

mod site;

use std::time::Duration;

use site::Site;
use testkit::load::Load;

/// What it says in JSON about the trial.
fn trial(site: &Site) -> serde_json::Value {
    let said = site.ask(&["rollout", "status", "--json"]);
    assert!(said.wait_exit().success(), "{}", said.lines().join("\n"));
    let all: serde_json::Value =
        serde_json::from_str(&said.lines().join("\n")).expect("it is JSON");
    all["rollout"]["trial"].clone()
}

#[test]
fn under_load_a_rollout_keeps_its_share_and_loses_nobody_in_every_way_to_accept() {
    for (concurrency, accept, share) in [
        ("64", "shared", 100.0),
        ("1", "shared", 100.0),
        ("1", "sharded", 100.0),
        ("64", "sharded", 0.0),
    ] {
        let site = Site::new();
        let (server, address) =
            site.serve(&["--workers", "4", "--concurrency", concurrency, "--accept", accept]);
        let fresh = Load::one_per_connection(&address, "/").connections(2).rate(400.0).start();
        // A worker that serves one connection at a time has no share of others while it keeps one.
        let kept = usize::from(concurrency != "1");
        let kept = (kept > 0).then(|| {
            let load = Load::keep_alive(&address, "/").connections(kept);
            load.think(Duration::from_millis(5)).start()
        });
        let rollout = site.ask(&[
            "rollout",
            "start",
            "--canary",
            "10",
            "--observe",
            "1",
            "--requests",
            "20",
            "--hold",
        ]);
        let mut seen = serde_json::Value::Null;
        server.wait_until("enough connections", || {
            seen = trial(&site);
            let count = |name: &str| seen[name].as_u64().unwrap_or(0);
            count("connections") + count("old_connections") > 500
        });
        let count = |name: &str| seen[name].as_u64().unwrap_or(0) as f64;
        let part =
            count("connections") * 1000.0 / (count("connections") + count("old_connections"));
        // In sockets of their own the kernel spreads them over the places: one of four.
        let wanted = if share > 0.0 { 70.0..140.0 } else { 120.0..400.0 };
        assert!(wanted.contains(&part), "{concurrency} {accept}: {part} of a thousand: {seen}");
        let promoted = site.ask(&["rollout", "promote"]);
        assert!(promoted.wait_exit().success(), "{}", promoted.lines().join("\n"));
        assert!(rollout.wait_exit().success(), "{}", rollout.lines().join("\n"));
        fresh.wait_answered(50);
        for report in [Some(fresh), kept].into_iter().flatten().map(testkit::load::LoadHandle::stop)
        {
            assert_eq!(report.failed_total, 0, "{concurrency} {accept}: {report:?}");
            assert!(report.slowest < Duration::from_millis(500), "{report:?}");
        }
        let last = site.ask(&["rollout", "status"]);
        last.wait_line("rollout 1: went well");
        server.signal(15);
        assert!(server.wait_exit().success());
    }
}

#[test]
fn without_clients_nothing_is_proved_and_the_command_fails_with_the_reason() {
    let site = Site::new();
    let (server, _) = site.serve(&["--workers", "2"]);
    let rollout = site.ask(&["rollout", "start", "--observe", "0.3", "--requests", "5"]);
    assert_eq!(rollout.wait_exit().code(), Some(1));
    rollout.wait_line("inconclusive");
    site.ask(&["rollout", "status"]).wait_line("inconclusive");
    let detached = site.ask(&["rollout", "start", "--detach", "--hold"]);
    assert!(detached.wait_exit().success());
    assert_eq!(detached.lines(), ["2"]);
    server.wait_line("generation 2 is on trial");
    site.ask(&["rollout", "abort"]).wait_exit();
    server.wait_line("reload failed");
    assert!(
        !site.ask(&["rollout", "abort"]).wait_exit().success(),
        "there is nothing more to abort"
    );
}
