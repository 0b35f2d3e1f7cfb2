//! What a probe sees, and what it leaves behind; and logs that cannot be opened once the next program has taken over.

mod support;

use std::fs::{self, File};
use std::path::Path;

use support::HUP;
use support::renewable::Renewable;
use testkit::process;

const USR1: i32 = 10;

/// Processes that sleep for so many seconds.
fn sleepers(seconds: u32) -> usize {
    let wanted = format!("sleep\0{seconds}\0");
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line == wanted.as_bytes()).count()
}

#[test]
fn whatever_a_probe_has_started_ends_with_it() {
    let it = Renewable::start("--boot-timeout 1000", "--workers 1");
    let workers = it.service.wait_serving(1);
    // A number that no other process sleeps for.
    let seconds = 1_000_000 + it.service.pid();
    for end in ["panic", "exit", "crash", "hang"] {
        it.change(&format!("--workers 1 --main-does probe=litter:{seconds}:{end}"));
        it.refused(&workers);
        assert_eq!(sleepers(seconds), 0, "{end}");
    }
    // One that is well leaves nothing either.
    it.change(&format!("--workers 1 --main-does probe=litter:{seconds}:nothing"));
    assert_eq!(it.reload(), Ok(2));
    assert_eq!(sleepers(seconds), 0);
    it.service.stop();
    let children = process::children(std::process::id());
    assert!(children.iter().all(|pid| process::status(*pid).name != "sleep"), "{children:?}");
}

#[test]
fn a_probe_goes_with_a_supervisor_that_is_killed() {
    let it = Renewable::start("--boot-timeout 20000", "--workers 1");
    it.service.wait_serving(1);
    let seconds = 2_000_000 + it.service.pid();
    it.change(&format!("--workers 1 --main-does probe=litter:{seconds}:hang"));
    it.service.signal(HUP);
    it.service.wait_until("a probe", || sleepers(seconds) == 2);
    it.service.signal(support::KILL);
    it.service.wait_until("nothing is left", || sleepers(seconds) == 0);
}

#[test]
fn a_probe_and_a_worker_by_exec_have_the_log_at_a_descriptor_that_was_passed_in() {
    for spawn in ["", "--spawn exec"] {
        let directory = testkit::TempDir::new().expect("a directory");
        let passed = directory.path().join("passed");
        let file = File::create(&passed).expect("a file");
        // Number 3 is where the channel of a worker by exec is, and once was a probe's.
        let it = Renewable::start_with(
            &format!("--visits /dev/fd/3 {spawn}"),
            "--workers 1",
            |server| server.listener(file, 3),
        );
        it.service.wait_serving(1);
        it.service.ask("visit one");
        assert_eq!(it.reload(), Ok(2));
        it.service.ask("visit two");
        it.service.stop();
        let said = fs::read_to_string(&passed).expect("a file");
        assert_eq!(said, "visit one\nvisit two\n", "{spawn}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_after_the_exec_goes_on_with_the_open_file() {
    for (option, ask) in [("--visits", "visit"), ("--log-file", "log")] {
        let it = Renewable::start("", "--workers 1");
        let at = |name| it.service.directory().join(name);
        let (log, kept) = (at("a-log"), at("kept"));
        let usual = format!("--workers 1 {option} {}", log.display());
        it.change(&usual);
        assert_eq!(it.reload(), Ok(2));
        let mut old = it.service.talk();
        old.ask(&format!("{ask} before"));
        // The same file under another name, to see what is written to it.
        fs::hard_link(&log, &kept).expect("a link");
        // Before it is opened.
        it.change(&format!("--main-does take=displace:{} {usual}", log.display()));
        assert_eq!(it.reload(), Ok(3));
        old.ask(&format!("{ask} between"));
        it.service.ask(&format!("{ask} after"));
        // In vain it is opened anew, and goes on.
        it.service.signal(USR1);
        let said = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        it.service.wait_until("that is said", || {
            let all = it.service.lines().join("\n") + &said(&kept);
            all.contains("goes on with the file that is open") && all.contains("cannot reopen")
        });
        it.service.ask(&format!("{ask} at last"));
        for word in ["before", "between", "after", "at last"] {
            assert!(said(&kept).contains(word), "{option} {word}: {}", said(&kept));
        }
        drop(old);
        it.service.stop();
    }
}
