//! Stops that come too early, or from a worker.

mod support;

use support::{INT, TERM, start};
use testkit::alive;

#[test]
fn a_handle_stops_all_of_it_from_a_worker() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let mut talk = service.talk();
    assert_eq!(talk.ask("stop"), "stopping");
    drop(talk);
    service.wait_success();
    assert!(!workers.into_iter().any(alive));
    service.wait_line("stopped");
}

#[test]
fn a_signal_while_it_starts_is_a_stop_and_leaves_nothing_behind() {
    for round in 0..40 {
        let directory = testkit::TempDir::new().expect("a directory");
        let (pid_file, socket) = (directory.path().join("pid"), directory.path().join("socket"));
        let arguments =
            format!("--listen unix:{} --pid-file {}", socket.display(), pid_file.display());
        let service = start(&arguments);
        match round % 2 {
            0 => drop(service.address()),
            _ => service.wait_until("a pid file", || pid_file.exists()),
        }
        service.signal([TERM, INT][round % 2]);
        service.wait_success();
        assert!(!pid_file.exists() && !socket.exists(), "round {round}");
    }
}
