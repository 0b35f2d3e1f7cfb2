//! How isolated workers share their listeners, mode by mode.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use support::{KILL, STOP, Service, TERM, TTOU, Talk, start, start_with, timed};
use testkit::{Server, TempDir, process};

/// Promised are 200 ms, and 50 ms for the lock on an idle machine. Below the next slower mechanisms, which take 1 s: the grace of a stopped
/// worker (`halt_grace`) and the longest delay of a place that had served.
const SOON: Duration = Duration::from_millis(900);
const CLIENTS: usize = 300;

/// A client that comes, asks once, and has nothing more to say.
fn come(address: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it is queued");
    client.set_read_timeout(Some(SOON)).expect("an option");
    client.write_all(b"place\n").expect("it is sent");
    client.shutdown(Shutdown::Write).expect("it is sent");
    client
}

/// Who answered it.
fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("nobody is reset or forgotten");
    assert!(answer.ends_with('\n'), "a whole answer: {answer:?}");
    answer.trim_end().to_owned()
}

/// So many clients come now; each has its answer soon, and nobody is reset. Who answered how many.
fn all_are_answered(service: &Service) -> BTreeMap<String, usize> {
    let address = service.address();
    let begun = Instant::now();
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| come(&address)).collect();
    let mut by_place = BTreeMap::new();
    for client in clients {
        *by_place.entry(answer(client)).or_insert(0) += 1;
    }
    assert!(begun.elapsed() < SOON, "{:?} {by_place:?}", begun.elapsed());
    by_place
}

#[test]
fn sharded_workers_die_stop_back_off_and_are_given_up_and_no_client_notices() {
    let directory = TempDir::new().expect("a directory");
    let needed = directory.path().join("needed");
    fs::write(&needed, "").expect("a file");
    let service =
        start(&format!("--workers 4 --accept sharded --boot unless={}", needed.display()));
    let pids = service.wait_serving(4);
    assert_eq!(service.status().listeners.len(), 4);
    assert!(all_are_answered(&service).len() > 1);
    fs::remove_file(&needed).expect("no replacement can boot");
    assert!(process::signal(pids[1], KILL) && process::signal(pids[2], STOP));
    all_are_answered(&service);
    assert!(process::signal(pids[3], KILL));
    let by_place = all_are_answered(&service);
    assert_eq!(by_place.into_iter().collect::<Vec<_>>(), [("0".to_owned(), CLIENTS)]);
    fs::write(&needed, "").expect("a file");
    service.wait_serving(4);
    for left in [3, 2, 1] {
        service.signal(TTOU);
        all_are_answered(&service);
        service.wait_serving(left);
    }
    service.stop();
}

#[test]
fn an_idle_worker_takes_what_waits_behind_a_busy_one() {
    let service = start("--workers 2 --accept sharded");
    service.wait_serving(2);
    let _busy = service.busy_one();
    let by_place = all_are_answered(&service);
    assert_eq!(by_place.len(), 1, "the other's place alone: {by_place:?}");
    drop(_busy);
    service.stop();
}

#[test]
fn a_stop_empties_the_queues_of_all_sockets() {
    let service = start("--workers 3 --accept sharded");
    service.wait_serving(3);
    let held = service.busy(3);
    let address = service.address();
    let waiting: Vec<TcpStream> = (0..60).map(|_| come(&address)).collect();
    service.wait_pool("all of them wait", |pool| pool.queued == 60);
    let queues: Vec<u32> = service.status().listeners.iter().map(|it| it.queued).collect();
    assert!(queues.iter().all(|&queued| queued > 0), "at every socket: {queues:?}");
    service.signal(TERM);
    service.wait_line("stopping");
    drop(held);
    for client in waiting {
        assert_eq!(answer(client).len(), 1);
    }
    service.wait_success();
}

#[test]
fn a_unix_socket_is_shared_in_sharded_mode_and_the_log_says_so() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let listen = format!("--listen unix:{} --workers 2 --accept sharded", path.display());
    let service = start_with(&listen, |server| server);
    let line = service.wait_line("is not sharded but shared by all workers");
    assert!(line.contains("warn") && line.contains("unix:"), "{line}");
    service.wait_serving(2);
    assert_eq!(service.status().listeners[0].shard, None);
    let _busy = service.busy_one();
    assert!(service.some_worker() > 0);
    drop(_busy);
    service.stop();
}

#[test]
fn buckets_are_so_many_sockets_and_at_least_as_many_workers() {
    let service = start("--workers 1 --accept buckets=3");
    service.wait_line("for buckets=3: one a socket; 3 is used");
    service.wait_serving(3);
    let status = service.status();
    assert_eq!((status.listeners.len(), status.pools[0].min), (3, 3));
    assert_eq!(status.pools[0].accept, "buckets=3");
    all_are_answered(&service);
    service.stop();
}

#[test]
fn a_second_instance_on_a_sharded_port_is_refused_by_the_name_of_the_first() {
    let first = start("--workers 2 --accept sharded");
    let address = first.address();
    let pid = first.pid();
    let arguments = ["--listen", &address, "--workers", "2", "--accept", "sharded"];
    let second = Server::command(testkit::bin("fixture")).args(arguments).start();
    let line = second.wait_line("cannot listen on");
    assert!(line.contains(&format!("by process {pid}")), "{line}");
    assert_eq!(second.wait_exit().code(), Some(3));
    assert!(first.some_worker() > 0, "the first goes on");
    first.stop();
}

#[test]
fn a_second_instance_is_let_in_where_both_say_so() {
    let first = start_with(
        "--reuse-port yes --listen 127.0.0.1:0 --workers 2 --accept sharded",
        |server| server,
    );
    let address = first.address();
    let second = start_with(
        &format!("--reuse-port yes --listen {address} --workers 2 --accept sharded"),
        |server| server,
    );
    second.wait_serving(2);
    all_are_answered(&first);
    let taken = |service: &Service| service.pool().connections;
    assert!(taken(&first) > 0 && taken(&second) > 0);
    assert_eq!(taken(&first) + taken(&second), CLIENTS as u64);
    second.stop();
    first.stop();
}

/// Of two workers, the one whose turn it is: not the one that has just served.
fn whose_turn(service: &Service, pids: &[u32]) -> u32 {
    let served = service.some_worker();
    *pids.iter().find(|&&pid| pid != served).expect("there are two")
}

#[test]
fn the_holder_of_the_accept_lock_is_killed_a_hundred_times_and_nobody_waits() {
    let service = start("--workers 2 --accept serialized --breaker 0,0");
    for _ in 0..100 {
        let pids = service.wait_serving(2);
        let holder = whose_turn(&service, &pids);
        assert!(process::signal(holder, KILL));
        let (answered, took) = timed(|| service.some_worker());
        assert_ne!(answered, holder);
        assert!(took < SOON, "{took:?}");
        testkit::wait_gone(holder);
    }
    service.stop();
}

#[test]
fn the_holder_of_the_accept_lock_is_stopped_and_nobody_waits() {
    // It stays stopped: what is shown is not its end.
    let service = start("--workers 2 --accept serialized --halt-grace 60000");
    for _ in 0..5 {
        let pids = service.wait_serving(2);
        let holder = whose_turn(&service, &pids);
        assert!(process::signal(holder, STOP));
        let (answered, took) = timed(|| service.some_worker());
        assert_ne!(answered, holder);
        assert!(took < SOON, "{took:?}");
        assert!(process::signal(holder, KILL));
        testkit::wait_gone(holder);
    }
    service.stop();
}

#[test]
fn serialized_workers_serve_several_listeners_at_once() {
    let service = start("--workers 3 --accept serialized --listen 127.0.0.1:0");
    service.wait_serving(3);
    all_are_answered(&service);
    for address in service.addresses(2) {
        let mut talks: Vec<Talk> = (0..3).map(|_| Talk::to(&address)).collect();
        let mut places: Vec<String> = talks.iter_mut().map(|talk| talk.ask("place")).collect();
        places.sort();
        assert_eq!(places, ["0", "1", "2"], "one after the other has its turn");
    }
    service.stop();
}

/// Who is woken for two sockets takes from one; whoever waits at the other must not wait for the next client.
#[test]
fn connections_that_come_to_several_sockets_at_once_find_all_workers_that_are_idle() {
    for (flags, addresses) in
        [("--accept sharded", 1), ("--listen 127.0.0.1:0", 2), ("--spawn exec --accept sharded", 1)]
    {
        let service = start(&format!("--workers 3 {flags}"));
        service.wait_serving(3);
        let addresses = service.addresses(addresses);
        for round in 0..20 {
            let to = |number| &addresses[number % addresses.len()];
            let mut talks: Vec<Talk> = (0..3).map(|number| Talk::to(to(number))).collect();
            let mut places: Vec<String> = talks.iter_mut().map(|talk| talk.ask("place")).collect();
            places.sort();
            assert_eq!(places, ["0", "1", "2"], "{flags}, round {round}");
        }
        service.stop();
    }
}

#[test]
fn workers_by_exec_accept_in_every_mode() {
    for mode in ["sharded", "serialized"] {
        let service = start(&format!("--spawn exec --workers 3 --accept {mode}"));
        let pids = service.wait_serving(3);
        // Each serves one at a time, so three that stay are three workers'.
        let address = service.address();
        let mut talks: Vec<Talk> = (0..3).map(|_| Talk::to(&address)).collect();
        let mut places: Vec<String> = talks.iter_mut().map(|talk| talk.ask("place")).collect();
        places.sort();
        assert_eq!(places, ["0", "1", "2"], "{mode}");
        drop(talks);
        assert!(process::signal(pids[0], KILL));
        all_are_answered(&service);
        testkit::wait_gone(pids[0]);
        service.wait_serving(3);
        service.stop();
    }
}
