//! A worker that serves its last connections is no reason for its pool to stall.

mod support;

use support::start;

#[test]
fn a_pool_whose_only_worker_serves_its_last_connection_takes_others() {
    let service = start("--workers 1 --max-connections 1");
    let (mut last, pid) = service.busy_one();
    assert_ne!(service.some_worker(), pid, "the replacement serves meanwhile");
    for _ in 0..10 {
        assert_eq!(last.ask("pid"), pid.to_string(), "many requests are one connection");
    }
    drop(last);
    testkit::wait_gone(pid);
    service.stop();
}
