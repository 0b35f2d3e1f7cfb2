//! What a service promises while its processes come and go, made to `tine serve` under load.

mod site;

use std::time::{Duration, Instant};

use site::{PAGE, Site};
use testkit::load::Load;
use testkit::{Client, Running, alive, client, process, wait_gone, wait_until};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;
const SIGSTOP: i32 = 19;

/// The pids of the workers, once there are so many.
fn workers(server: &Running, count: usize) -> Vec<u32> {
    server.wait_children(count)
}

#[test]
fn term_under_load_answers_every_accepted_request_and_leaves_nothing() {
    let site = Site::new();
    for more in [&["--workers", "3"][..], &["--workers", "4", "--concurrency", "1"]] {
        let (server, address) = site.serve(more);
        let pids = server.children();
        let load = if more.len() == 2 {
            Load::keep_alive(&address, "/").connections(32)
        } else {
            Load::one_per_connection(&address, "/").connections(8)
        };
        let load = load.start();
        load.wait_answered(500);
        server.signal(SIGTERM);
        assert!(server.wait_exit().success(), "{}", server.lines().join("\n"));
        let report = load.stop();
        // Nobody listens any more: those who came after are refused, and nobody is cut.
        assert_eq!(report.reset_after_send, 0, "{report:?}");
        pids.into_iter().for_each(wait_gone);
        assert!(!site.control().exists(), "the control socket is left");
    }
}

#[test]
fn recycling_every_fifty_requests_loses_none() {
    let site = Site::new();
    for (mode, concurrency) in [("keep-alive", "64"), ("one each", "1")] {
        let (server, address) =
            site.serve(&["--workers", "4", "--max-requests", "50", "--concurrency", concurrency]);
        let load = match mode {
            "keep-alive" => Load::keep_alive(&address, "/").connections(16),
            _ => Load::one_per_connection(&address, "/").connections(16),
        };
        let report = load.run_requests(10_000);
        assert_eq!((report.failed_total, report.answered), (0, 10_000), "{mode}: {report:?}");
        server.signal(SIGTERM);
        assert!(server.wait_exit().success());
        let log = server.lines().join("\n");
        assert!(!log.contains("error"), "{log}");
    }
}

#[test]
fn a_reload_under_load_loses_no_request_and_replaces_every_worker() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "3"]);
    let before = workers(&server, 3);
    let load =
        Load::keep_alive(&address, "/").connections(16).think(Duration::from_millis(2)).start();
    load.wait_answered(200);
    for generation in 2..5 {
        server.signal(SIGHUP);
        server.wait_line(&format!("generation {generation} serves"));
        load.wait_answered(200);
    }
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    before.into_iter().for_each(wait_gone);
}

#[test]
fn twenty_reloads_in_a_row_under_load_lose_no_request_and_keep_the_supervisor() {
    let site = Site::new();
    for concurrency in ["1", "64"] {
        let (server, address) = site.serve(&["--workers", "3", "--concurrency", concurrency]);
        let kept =
            Load::keep_alive(&address, "/").connections(2).think(Duration::from_millis(5)).start();
        let fresh = Load::one_per_connection(&address, "/").connections(2).rate(300.0).start();
        for _ in 0..20 {
            let reload = site.ask(&["reload"]);
            assert!(reload.wait_exit().success(), "{}", reload.lines().join("\n"));
            fresh.wait_answered(5);
        }
        server.wait_line("generation 21 serves");
        for report in [kept.stop(), fresh.stop()] {
            assert_eq!(report.failed_total, 0, "{concurrency}: {report:?}");
        }
        server.signal(SIGTERM);
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_download_that_is_under_way_goes_on_across_reloads() {
    use std::io::{Read as _, Write as _};
    let site = Site::new();
    let bytes = 24 << 20;
    std::fs::write(site.path("large"), vec![b'x'; bytes]).expect("a file");
    let (server, address) = site.serve(&["--workers", "2"]);
    let mut download = std::net::TcpStream::connect(&address).expect("it listens");
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    download.write_all(request).expect("it is sent");
    let mut begin = vec![0; 4096];
    download.read_exact(&mut begin).expect("it begins");
    for generation in 2..4 {
        server.signal(SIGHUP);
        server.wait_line(&format!("generation {generation} serves"));
    }
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).expect("it goes on");
    let head = begin.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(begin.len() - head + rest.len(), bytes);
}

#[test]
fn a_reload_that_cannot_be_made_says_why_and_the_command_fails() {
    let site = Site::new();
    let program = site.path(".tine");
    // By another process: what a sibling test forks meanwhile would have the copy open to write.
    let install = || {
        let cp =
            std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_tine")).arg(&program).status();
        assert!(cp.is_ok_and(|status| status.success()));
    };
    install();
    let server = site.served_by(&program, &[]).start();
    let address = server.address();
    let reload = || site.ask(&["reload"]);
    std::fs::remove_file(&program).expect("it is there");
    let failed = reload();
    assert_eq!(failed.wait_exit().code(), Some(1));
    failed.wait_line("No such file");
    assert_eq!(client::get(&address, "/").text(), PAGE);
    install();
    let upgraded = reload();
    assert!(upgraded.wait_exit().success(), "{}", upgraded.lines().join("\n"));
    let runs = std::fs::read_link(format!("/proc/{}/exe", server.pid())).expect("it runs");
    assert_eq!(runs, program.canonicalize().expect("it is there"), "the new file");
}

#[test]
fn a_worker_killed_again_and_again_costs_only_what_ran_in_it() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "4", "--concurrency", "1"]);
    let load = Load::one_per_connection(&address, "/").connections(8).start();
    let mut killed = 0_u64;
    while killed < 30 {
        load.wait_answered(100);
        let pids = server.children();
        let Some(&pid) = pids.get(usize::try_from(killed).expect("small") % pids.len().max(1))
        else {
            continue;
        };
        killed += u64::from(process::signal(pid, SIGKILL));
    }
    let report = load.stop();
    // Each had one connection at most.
    assert!(report.failed_total <= killed, "{killed} killed: {report:?}");
    assert!(report.slowest < Duration::from_secs(1), "{report:?}");
    server.wait_until("the pool is whole", || server.children().len() == 4);
}

#[test]
fn a_killed_supervisor_takes_its_idle_workers_along_and_frees_the_port() {
    let site = Site::new();
    for concurrency in ["1", "64"] {
        let (server, address) = site.serve(&["--workers", "3", "--concurrency", concurrency]);
        let pids = workers(&server, 3);
        let port = address.rsplit(':').next().expect("a port").parse().expect("a number");
        server.signal(SIGKILL);
        let killed = Instant::now();
        pids.into_iter().for_each(wait_gone);
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        wait_until("the port is free", Duration::from_secs(1), || process::listeners_on(port) == 0);
    }
}

#[test]
fn a_stopped_worker_is_replaced_and_nobody_waits_for_it() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "4", "--concurrency", "1"]);
    let mut slowest = Duration::ZERO;
    for round in 0..8 {
        let pids = workers(&server, 4);
        let victim = pids[round % pids.len()];
        process::signal(victim, SIGSTOP);
        for _ in 0..20 {
            let sent = Instant::now();
            assert_eq!(client::get(&address, "/").status, 200);
            slowest = slowest.max(sent.elapsed());
        }
        wait_gone(victim);
        server.wait_until("its replacement", || server.children().len() == 4);
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert!(server.count_lines("was stopped by a signal") >= 8);
}

#[test]
fn a_second_stop_ends_what_the_first_one_waits_for() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "1", "--drain-timeout", "60"]);
    let mut slow = Client::connect(&address);
    slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n");
    let pid = workers(&server, 1)[0];
    server.signal(SIGTERM);
    server.wait_line("stopping");
    server.signal(SIGTERM);
    assert!(server.wait_exit_within(Duration::from_secs(8)).success());
    assert!(!alive(pid));
}

#[test]
fn a_term_to_every_process_at_once_loses_no_queued_connection() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "2", "--concurrency", "1"]);
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (half, rest) = request.split_at(8);
    let mut busy: Vec<Client> = (0..2).map(|_| Client::connect(&address)).collect();
    busy.iter_mut().for_each(|client| client.send(half));
    server.wait_until("both workers are busy", || {
        let status = site.ask(&["status", "--json"]);
        status.wait_exit();
        status.lines().join("").contains("\"busy\": 2")
    });
    let mut queued: Vec<Client> = (0..6).map(|_| Client::connect(&address)).collect();
    queued.iter_mut().for_each(|client| client.send(request));
    // What systemd does unless it is told otherwise.
    for pid in server.children().into_iter().chain([server.pid()]) {
        process::signal(pid, SIGTERM);
    }
    busy.iter_mut().for_each(|client| client.send(rest));
    for mut client in busy.into_iter().chain(queued) {
        assert_eq!(client.read_response().text(), PAGE);
    }
    assert!(server.wait_exit().success());
}

#[test]
fn an_orphan_that_is_busy_does_not_keep_the_port() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "2", "--concurrency", "1"]);
    let mut busy = Client::connect(&address);
    busy.send(b"GET / HT");
    let port = address.rsplit(':').next().expect("a port").parse().expect("a number");
    server.signal(SIGKILL);
    wait_until("the port is free", Duration::from_secs(5), || process::listeners_on(port) == 0);
}
