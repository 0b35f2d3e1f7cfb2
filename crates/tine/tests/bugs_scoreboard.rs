//! A worker that writes extremes into the others' records.

mod support;

use support::start;

#[test]
fn extreme_numbers_in_the_scoreboard_end_no_sibling() {
    let service = start("--workers 3");
    let workers = service.wait_serving(3);
    let mut held = service.talk();
    assert!(held.ask("scribble 18446744073709551615").ends_with(" bytes"));
    for _ in 0..10 {
        assert!(workers.contains(&service.some_worker()));
    }
    assert_eq!(service.pool().crashes, 0);
}
