//! What a program that a worker starts inherits: nothing of the service's.

mod support;

use support::{TTIN, TTOU, start};
use testkit::process::{open_fds, signal, status};

const USR1: i32 = 10;
const USR2: i32 = 12;
const WINCH: i32 = 28;

#[test]
fn a_program_that_a_worker_starts_has_no_descriptor_of_the_services() {
    let service = start("--workers 2 --region counter");
    service.wait_serving(2);
    let pid: u32 = service.ask("orphan 60").parse().expect("a pid");
    let mine = open_fds(std::process::id());
    // What the test itself was started with goes on to everything; what the program opens itself while it
    // starts, it closes again.
    testkit::wait_until("nothing but its own", testkit::DEADLINE, || {
        open_fds(pid).iter().all(|fd| fd.0 <= 2 || mine.contains(fd))
    });
    assert!(signal(pid, support::KILL));
    service.stop();
}

#[test]
fn a_program_that_a_worker_starts_has_every_signal() {
    let service = start("--workers 1");
    let pid: u32 = service.ask("orphan 60").parse().expect("a pid");
    let status = status(pid);
    assert_eq!(status.sig_blocked, 0);
    // A shell lets what it starts in the background ignore INT and QUIT; the others are the worker's doing.
    let ignored = [USR1, USR2, TTIN, TTOU, WINCH].map(|signal| status.ignores(signal));
    assert_eq!(ignored, [false; 5]);
    assert!(signal(pid, support::KILL));
    service.stop();
}
