//! A worker in the test's own process: for tests, and for debuggers, without a fork.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use tine::{Log, Prefork};

fn quiet() -> Prefork {
    Prefork::new().listen("127.0.0.1:0").log(Log::default().to_function(|_, _| {}))
}

fn shout(mut conn: tine::Conn) -> io::Result<()> {
    let lines = BufReader::new(conn.try_clone()?).lines();
    for line in lines {
        writeln!(conn, "{}!", line?.to_uppercase())?;
    }
    Ok(())
}

/// One line there and one back.
fn ask(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    writeln!(stream, "{line}").expect("it is sent");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    answer.trim_end().to_owned()
}

#[test]
fn solo_refuses_what_a_service_would() {
    let refused = Prefork::new().listen("nonsense").solo().expect_err("no address");
    assert!(refused.is_config(), "{refused}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let refused = Prefork::new().listen(address).solo().expect_err("in use");
    assert!(refused.is_bind(), "{refused}");
}

#[test]
fn a_service_with_threads_around_it_is_refused_and_offered_solo() {
    let refused = quiet().try_run(|worker| worker.serve(shout)).expect_err("a test has threads");
    assert!(refused.is_config() && refused.to_string().contains("Prefork::solo"), "{refused}");
}

#[test]
fn a_panic_of_a_handler_is_the_callers_in_solo() {
    let worker = quiet().solo().expect("a worker");
    let address = worker.listeners()[0].address().to_owned();
    let client = thread::spawn(move || ask(&address, "x"));
    let served = std::panic::AssertUnwindSafe(|| worker.serve(|_| panic!("told to")));
    assert!(std::panic::catch_unwind(served).is_err());
    // Its connection is closed; whether by an end or a reset is not promised.
    let _ = client.join();
}

#[test]
fn solo_serves_in_this_very_process_until_its_handle_stops_it() {
    let prefork = quiet();
    let handle = prefork.handle().expect("a handle");
    let worker = prefork.solo().expect("a worker");
    assert_eq!((worker.id(), worker.place(), worker.generation()), (1, 0, 1));
    let address = worker.listeners()[0].address().to_owned();
    let client = thread::spawn(move || {
        let answers = ["one", "two", "three"].map(|line| ask(&address, line));
        handle.stop();
        answers
    });
    worker.serve(shout).expect("a good end");
    assert_eq!(client.join().expect("answers"), ["ONE!", "TWO!", "THREE!"]);
}

#[test]
fn solo_counts_in_a_record_and_has_regions() {
    let prefork = quiet().region("counter", 1, 4);
    let handle = prefork.handle().expect("a handle");
    let worker = prefork.solo().expect("a worker");
    assert_eq!(worker.region("counter").map(|region| region.words().len()), Some(4));
    assert!(worker.region("other").is_none());
    let address = worker.listeners()[0].address().to_owned();
    let record = worker.record().clone();
    let client = thread::spawn(move || {
        (0..5).for_each(|_| drop(ask(&address, "x")));
        handle.stop();
    });
    worker.serve(shout).expect("a good end");
    client.join().expect("answers");
    let counted = record.read();
    assert_eq!((counted.connections, counted.open), (5, 0));
}
