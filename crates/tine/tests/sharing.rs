//! What workers share stays exact while they die.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::{KILL, start};
use testkit::{DEADLINE, process};

/// How many workers are killed.
const KILLS: usize = 25;

/// Questions that were answered with yes, with no, and not at all.
#[derive(Default)]
struct Answers {
    yes: u64,
    no: u64,
    none: u64,
}

/// Asks over one connection after the other, as long as it may.
fn keep_asking(address: &str, question: &str, go_on: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    while go_on.load(Relaxed) {
        let Ok(stream) = TcpStream::connect(address) else { continue };
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut reader = BufReader::new(stream);
        while go_on.load(Relaxed) {
            if reader.get_mut().write_all(question.as_bytes()).is_err() {
                // Perhaps it has arrived.
                answers.none += 1;
                break;
            }
            let mut line = String::new();
            match (reader.read_line(&mut line), line.trim_end()) {
                (Ok(1..), "yes") => answers.yes += 1,
                (Ok(1..), "no") => answers.no += 1,
                (_, "") => {
                    answers.none += 1;
                    break;
                }
                (_, other) => panic!("{other:?} is no answer"),
            }
        }
    }
    answers
}

/// Eight clients ask eight workers, one of whom is killed every 100 ms.
fn under_fire(question: &str) -> (Answers, u64) {
    let service = start("--workers 8 --tally 200 --backoff 1,10 --breaker 0,1");
    service.wait_serving(8);
    let (address, go_on) = (service.address(), AtomicBool::new(true));
    let sum = thread::scope(|scope| {
        let ask = || keep_asking(&address, question, &go_on);
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for round in 0..KILLS {
            let next = Instant::now() + Duration::from_millis(100);
            let workers = service.status().workers;
            let victim = workers[round % workers.len()].pid;
            // It may have ended by now; the pid of a child that is not reaped is nobody else's.
            process::signal(victim, KILL);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        go_on.store(false, Relaxed);
        clients.into_iter().fold(Answers::default(), |sum, client| {
            let one = client.join().expect("it has asked");
            Answers { yes: sum.yes + one.yes, no: sum.no + one.no, none: sum.none + one.none }
        })
    });
    service.wait_pool("workers have died", |pool| pool.crashes >= 15);
    assert!(sum.none <= KILLS as u64 + 8, "a death costs one client one answer: {}", sum.none);
    let counted = service.ask("hits").parse().expect("a number");
    service.stop();
    (sum, counted)
}

#[test]
fn a_counter_is_exact_under_eight_workers_with_one_killed_every_100_ms() {
    let (Answers { yes, no, none }, counted) = under_fire("hit\n");
    assert!(yes > 1000 && no == 0, "{yes} {no}");
    // Who died between counting and answering has counted, and nobody knows: no more than that.
    assert!(counted >= yes && counted <= yes + none, "{yes} were told, {none} not: {counted}");
}

#[test]
fn a_limit_is_exact_under_eight_workers_with_one_killed_every_100_ms() {
    let (Answers { yes, no, none }, _) = under_fire("may\n");
    assert!(no > 1000, "{no}");
    assert!(yes <= 200 && yes + none >= 200, "{yes} of 200 were told, {none} not");
}

#[test]
fn the_supervisor_tends_a_region_before_the_first_worker_and_whenever_it_is_due() {
    let service = start("--workers 1 --tended 300");
    let count = || service.ask("count").parse::<u64>().expect("a number");
    assert!(count() > 1000);
    service.wait_until("it was tended again and again", || count() > 4000);
    service.stop();
}

#[test]
fn what_panics_while_it_tends_a_region_stops_nobody() {
    let service = start("--workers 1 --tended panics");
    service.wait_line("the region counter up to date panicked");
    assert_eq!(service.ask("count"), "1");
    service.stop();
}
