//! A stop that is announced: `--lame-duck`, as load balancers and people see it.

mod site;

use std::time::{Duration, Instant};

use site::{PAGE, Site};
use testkit::load::Load;
use testkit::{Client, Running, client};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Serves it with a path for health checks, once they say yes.
fn serve(site: &Site, more: &[&str]) -> (Running, String) {
    let (server, address) = site.serve(&[&["--health", "/health"], more].concat());
    server.wait_until("it is ready", || is_ready(site));
    (server, address)
}

/// What a health check by command says.
fn is_ready(site: &Site) -> bool {
    site.ask(&["status", "--ready"]).wait_exit().success()
}

#[test]
fn it_serves_on_while_health_checks_say_no_and_then_stops_losing_nobody() {
    let site = Site::new();
    for concurrency in ["1", "64"] {
        let (server, address) =
            serve(&site, &["--workers", "2", "--concurrency", concurrency, "--lame-duck", "1.2"]);
        assert_eq!(client::get(&address, "/health").status, 200);
        let mut open = Client::connect(&address);
        assert_eq!(open.get("/").status, 200);
        let began = Instant::now();
        server.signal(SIGTERM);
        server.wait_line("stopping in 1 s");
        // Who is busy with a connection knows it as well.
        let health = open.get("/health");
        assert_eq!((health.status, health.closes()), (503, false), "{concurrency}");
        assert_eq!(client::get(&address, "/health").status, 503);
        let page = client::get(&address, "/");
        assert_eq!((page.status, page.text()), (200, PAGE.to_owned()));
        assert!(!is_ready(&site));
        drop(open);
        assert!(server.wait_exit().success(), "{}", server.lines().join("\n"));
        assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
    }
}

#[test]
fn under_load_nobody_is_cut_off_by_it() {
    let site = Site::new();
    let (server, address) = serve(&site, &["--workers", "2", "--lame-duck", "0.5"]);
    let load = Load::keep_alive(&address, "/").connections(8).start();
    load.wait_answered(200);
    server.signal(SIGTERM);
    server.wait_line("stopping in");
    load.wait_answered(100);
    assert!(server.wait_exit().success());
    let report = load.stop();
    assert_eq!(report.reset_after_send, 0, "{report:?}");
}

#[test]
fn a_second_term_cuts_it_short_and_a_person_at_a_terminal_need_not_wait() {
    let site = Site::new();
    for signals in [&[SIGTERM, SIGTERM][..], &[SIGINT], &[SIGTERM, SIGINT]] {
        let (server, _) = serve(&site, &["--workers", "1", "--lame-duck", "600"]);
        for (index, &signal) in signals.iter().enumerate() {
            if index > 0 {
                server.wait_line("stopping in 600 s");
            }
            server.signal(signal);
        }
        assert!(server.wait_exit().success(), "{}", server.lines().join("\n"));
    }
}

#[test]
fn a_worker_that_dies_meanwhile_is_replaced_and_a_reload_is_refused() {
    let site = Site::new();
    let (server, address) = serve(&site, &["--workers", "1", "--lame-duck", "600"]);
    server.signal(SIGTERM);
    server.wait_line("stopping in");
    let worker = server.wait_children(1)[0];
    assert!(testkit::process::signal(worker, 9));
    assert_eq!(client::get(&address, "/health").status, 503);
    let reload = site.ask(&["reload"]);
    assert_eq!(reload.wait_exit().code(), Some(1));
    reload.wait_line("stopping");
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}
