//! What `tine reload` and `tine rollout` end with when it does not come to pass: 1 if the server could not do it, 2 if
//! there is none, or the command line makes no sense.

mod site;

use site::{PAGE, Site};
use testkit::{Running, client};

/// It ends with this code, and says why, once; and what it said.
#[track_caller]
fn fails(running: &Running, code: i32) -> String {
    let status = running.wait_exit();
    let text = running.lines().join("\n");
    assert_eq!(status.code(), Some(code), "{text}");
    assert_eq!(running.count_lines("tine: "), 1, "{text}");
    text
}

const RELOAD: &[&str] = &["reload"];
const ROLLOUT: &[&str] = &["rollout", "start", "--observe", "0.1", "--requests", "0"];

#[test]
fn a_reload_or_rollout_that_fails_is_1_and_the_old_generation_serves() {
    let site = Site::new();
    let log = site.path(".logs");
    std::fs::create_dir(&log).expect("a directory");
    let file = log.join("log");
    let flags = ["--workers", "1", "--access-log", file.to_str().expect("text")];
    let (server, address) = site.serve(&flags);
    // Nothing that this server needs any more, and all that a new one would.
    std::fs::rename(&log, site.path(".elsewhere")).expect("it is ours");
    for words in [RELOAD, ROLLOUT] {
        let text = fails(&site.ask(words), 1);
        assert!(text.contains(".logs/log cannot be opened"), "{words:?}: {text}");
        assert_eq!(client::get(&address, "/").text(), PAGE);
    }
    for words in [["rollout", "promote"], ["rollout", "abort"]] {
        fails(&site.ask(&words), 1);
    }
    std::fs::create_dir(&log).expect("a directory");
    for words in [RELOAD, ROLLOUT] {
        let text = fails(&site.ask(&[words, &["--timeout", "0"]].concat()), 1);
        assert!(text.contains("within"), "{words:?}: {text}");
    }
    server.wait_line("generation 3 serves");
    assert!(site.ask(RELOAD).wait_exit().success());
}

#[test]
fn without_a_server_they_are_2() {
    let site = Site::new();
    let promote: &[&str] = &["rollout", "promote"];
    for words in [RELOAD, ROLLOUT, promote, &["rollout", "abort"], &["rollout", "status"]] {
        let text = fails(&site.ask(words), 2);
        assert!(text.contains(".control"), "{words:?}: {text}");
    }
    for words in [&["reload", "--timeout", "soon"][..], &["rollout", "start", "--canary", "0"]] {
        fails(&site.ask(words), 2);
    }
}
