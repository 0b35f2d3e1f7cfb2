//! What `tine serve` watches, and what `tine status` tells of it.

use testkit::{Server, TempDir, client, process, wait_gone};

const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;

fn tine() -> Server {
    Server::command(env!("CARGO_BIN_EXE_tine"))
}

#[test]
fn memory_and_casualties_are_shown_by_status() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("index.html"), "hello").expect("a file");
    let control = directory.path().join(".control");
    let server = tine()
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--timeout", "5"])
        .args(["--max-memory", "64M..96M", "--control"])
        .arg(&control)
        .arg(directory.path())
        .start();
    let address = server.address();
    assert_eq!(client::get(&address, "/?secret=1").text(), "hello");
    let pid = server.wait_children(1)[0];
    // Twice: the standard library lets the first one pass, and expects the fault to come again.
    while process::signal(pid, SIGSEGV) {}
    wait_gone(pid);
    assert_eq!(client::get(&address, "/").text(), "hello");
    let ask = |more: &[&str]| {
        let asked = tine().args(["status", "--control"]).arg(&control).args(more).start();
        assert!(asked.wait_exit().success());
        asked.lines().join("\n")
    };
    let status: serde_json::Value = serde_json::from_str(&ask(&["--json"])).expect("it is JSON");
    let report = &status["reports"][0];
    assert_eq!(report["pid"], pid);
    assert_eq!(report["cause"], "was killed by SIGSEGV (11)");
    assert_eq!(report["request"], "GET /?… HTTP/1.1");
    assert!(report["peak_memory"].as_u64().expect("a number") > 1 << 20, "{report}");
    let pss = status["workers"][0]["pss"].as_u64().expect("it is ours to look into");
    assert!((64 << 10..64 << 20).contains(&pss), "{pss}");
    let table = ask(&[]);
    assert!(table.contains("PSS") && table.contains("iB"), "{table}");
    let told = format!(
        "(pid {pid}, files place 0) was killed by SIGSEGV (11); GET /?… HTTP/1.1 127.0.0.1:"
    );
    assert!(table.contains("last reports") && table.contains(&told), "{table}");
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn a_bound_that_makes_no_sense_is_refused_with_its_reason() {
    for (flags, said) in [
        (["--max-memory", "64"], "max_memory 64: it is in bytes, at least 1048576"),
        (["--max-memory", "0"], "0 would be no bound: leave the flag out"),
        (["--max-memory", "2M..1M"], "max_memory 2097152..1048576"),
        (["--timeout", "0"], "request_timeout 0"),
    ] {
        let server = tine().args(["serve", "--listen", "127.0.0.1:0"]).args(flags).start();
        assert_eq!(server.wait_exit().code(), Some(2), "{flags:?}");
        assert!(server.lines().join("\n").contains(said), "{:?}", server.lines());
    }
}
