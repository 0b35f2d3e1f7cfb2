//! A thread that was started too early is named, so that somebody can find it.

mod support;

use support::start;

#[test]
fn a_thread_before_the_fork_is_refused_by_name() {
    let service = start("--workers 1 --thread telemetry");
    assert_eq!(service.wait_exit().code(), Some(2));
    let line = service.wait_line("telemetry");
    assert!(line.contains("error") && line.contains("2 threads"), "{line}");
}
