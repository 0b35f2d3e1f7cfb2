//! Workers that serve many connections at once: whose they are, and that none waits for a worker that is
//! not there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::{Running, Server, TempDir, bin, process};
use tine::control::{self, Status};

const KILL: i32 = 9;
const STOP: i32 = 19;
const TTOU: i32 = 22;
const TERM: i32 = 15;
/// Promised are 200 ms on an idle machine. Below the next slower mechanisms, which take 1 s: the grace of a stopped
/// worker (`halt_grace`) and the longest delay of a place that had served.
const SOON: Duration = Duration::from_millis(900);
const CLIENTS: usize = 300;

struct Service {
    running: Running,
    control: PathBuf,
    needed: PathBuf,
    _directory: TempDir,
}

fn start(arguments: &str) -> Service {
    let directory = TempDir::new().expect("a directory");
    let (control, needed) = (directory.path().join("control"), directory.path().join("needed"));
    fs::write(&needed, "").expect("a file");
    let server = Server::command(bin("examples/accept_fixture"))
        .args(["--listen", "127.0.0.1:0", "--control"])
        .arg(&control)
        .arg("--needs")
        .arg(&needed);
    let running = server.args(arguments.split_whitespace()).start();
    running.address();
    Service { running, control, needed, _directory: directory }
}

impl Service {
    fn status(&self) -> Option<Status> {
        control::Client::connect(&self.control).and_then(|client| client.status()).ok()
    }

    /// The workers that serve, once there are so many and nobody comes or goes.
    fn serving(&self, workers: u32) -> Vec<u32> {
        let mut pids = Vec::new();
        self.running.wait_until(&format!("{workers} workers serve and are alone"), || {
            let Some(status) = self.status() else { return false };
            pids = status.workers.iter().map(|worker| worker.pid).collect();
            let pool = &status.pools[0];
            (pool.serving, pool.booting, pool.draining) == (workers, 0, 0)
        });
        pids
    }

    /// So many clients come now; each has its answer soon, and nobody is reset. Who answered how many.
    fn all_are_answered(&self) -> BTreeMap<String, usize> {
        let address = self.running.address();
        let begun = Instant::now();
        let come = |_| {
            let mut client = TcpStream::connect(&address).expect("it is queued");
            client.set_read_timeout(Some(SOON)).expect("an option");
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            client.write_all(request).expect("it is sent");
            client
        };
        let clients: Vec<TcpStream> = (0..CLIENTS).map(come).collect();
        let mut by_place = BTreeMap::new();
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("nobody is reset or forgotten");
            let (_, place) = answer.split_once("\r\n\r\n").expect("a whole answer");
            *by_place.entry(place.to_owned()).or_insert(0) += 1;
        }
        assert!(begun.elapsed() < SOON, "{:?} {by_place:?}", begun.elapsed());
        by_place
    }

    fn stop(&self) {
        self.running.signal(TERM);
        assert!(self.running.wait_exit().success());
    }
}

#[test]
fn every_worker_has_a_socket_of_its_own() {
    let service = start("--workers 4 --accept sharded");
    service.serving(4);
    let status = service.status().expect("a status");
    let shards: Vec<_> = status.listeners.iter().map(|listener| listener.shard).collect();
    assert_eq!(shards, [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(status.pools[0].accept, "sharded");
    let by_place = service.all_are_answered();
    assert_eq!(by_place.len(), 4, "the kernel spreads them: {by_place:?}");
    service.stop();
}

#[test]
fn the_sockets_of_dead_workers_are_served_by_the_one_that_is_left_while_their_places_back_off() {
    let service = start("--workers 4 --accept sharded");
    let pids = service.serving(4);
    fs::remove_file(&service.needed).expect("no replacement can boot");
    pids[1..].iter().for_each(|&pid| assert!(process::signal(pid, KILL)));
    let by_place = service.all_are_answered();
    assert_eq!(by_place.into_iter().collect::<Vec<_>>(), [("0".to_owned(), CLIENTS)]);
    service.running.wait_line("could not boot");
    service.all_are_answered();
    fs::write(&service.needed, "").expect("a file");
    service.serving(4);
    assert_eq!(service.all_are_answered().len(), 4, "everyone has its own again");
    service.stop();
}

#[test]
fn the_sockets_of_stopped_workers_are_served_by_the_others() {
    let service = start("--workers 4 --accept sharded");
    let pids = service.serving(4);
    fs::remove_file(&service.needed).expect("no replacement can boot");
    pids[1..].iter().for_each(|&pid| assert!(process::signal(pid, STOP)));
    service.all_are_answered();
    service.all_are_answered();
    fs::write(&service.needed, "").expect("a file");
    service.serving(4);
    service.stop();
}

#[test]
fn the_sockets_of_places_that_were_given_up_are_served_by_the_rest() {
    let service = start("--workers 4 --accept sharded");
    service.serving(4);
    for left in [3, 2, 1] {
        service.running.signal(TTOU);
        let by_place = service.all_are_answered();
        assert!(by_place.len() <= 4, "{by_place:?}");
        service.serving(left);
        assert!(service.all_are_answered().len() <= left as usize);
    }
    service.stop();
}

#[test]
fn a_dynamic_pool_has_sockets_for_its_maximum_and_loses_none() {
    let service = start("--workers 1..4 --accept sharded");
    service.serving(2);
    assert_eq!(service.status().expect("a status").listeners.len(), 4);
    assert_eq!(service.all_are_answered().values().sum::<usize>(), CLIENTS);
    service.stop();
}

#[test]
fn replaced_workers_leave_no_connection_behind() {
    for mode in ["shared", "sharded", "serialized"] {
        let service = start(&format!("--workers 3 --accept {mode}"));
        service.serving(3);
        for generation in 2..5 {
            service.running.signal(1);
            service.all_are_answered();
            service.running.wait_line(&format!("generation {generation} serves"));
        }
        service.stop();
    }
}

#[test]
fn connections_that_stay_are_shared_evenly() {
    let service = start("--workers 4");
    service.serving(4);
    let address = service.running.address();
    let mut stayed = Vec::new();
    for _ in 0..800 {
        let mut client = testkit::Client::connect(&address);
        client.get("/");
        stayed.push(client);
    }
    let open: Vec<u64> =
        service.status().expect("a status").workers.iter().map(|worker| worker.open).collect();
    // A quarter each, on a machine that lets everyone run; the bench measures how even it is there.
    assert!(open.iter().all(|&open| (100..=300).contains(&open)), "{open:?}");
    drop(stayed);
    service.stop();
}

#[test]
fn nobody_waits_for_a_worker_that_is_stuck_with_fewer_connections_than_the_others() {
    let service = start("--workers 2");
    service.serving(2);
    let address = service.running.address();
    let mut stuck = testkit::Client::connect(&address);
    stuck.send(b"GET /block/8000 HTTP/1.1\r\nHost: a\r\n\r\n");
    service.running.wait_until("a worker is stuck", || {
        let status = service.status().expect("a status");
        status.workers.iter().any(|worker| worker.request.contains("/block"))
    });
    let begun = Instant::now();
    let mut stayed = Vec::new();
    while begun.elapsed() < SOON && stayed.len() < 100 {
        let mut client = testkit::Client::connect(&address);
        client.get("/");
        stayed.push(client);
    }
    assert_eq!(stayed.len(), 100, "in {:?}", begun.elapsed());
    drop((stayed, stuck));
    service.running.signal(KILL);
}
