//! The same load at peers that are told to restart gracefully, by the signal their manuals name.

use std::thread;
use std::time::Duration;

use testkit::{Running, process};

use super::{Clients, Part};
use crate::http::{Arena, Programs, Setup, Who, install_peers};
use crate::table::Row;

/// How often each is told; they do not say when they are done, so by the clock.
const RESTARTS: u32 = 20;
const EVERY: Duration = Duration::from_millis(500);

const HUP: i32 = 1;
const USR1: i32 = 10;

pub(super) fn rows(programs: &Programs, tell: &impl Fn(&str)) -> Vec<Row> {
    install_peers(tell);
    let arena = Arena::new(programs);
    // nginx(8); httpd(8), "graceful"; Starman is a Net::Server::PreFork, whose HUP executes it anew.
    let peers = [
        (Setup::new(Who::TineFiles, 4).together(), HUP),
        (Setup::new(Who::TineFiles, 16).isolated().together(), HUP),
        (Setup::new(Who::Nginx, 4).together(), HUP),
        (Setup::new(Who::Apache, 16).together(), USR1),
        (Setup::new(Who::Starman, 16).together(), HUP),
    ];
    let told = peers.into_iter().filter_map(|(setup, signal)| {
        tell(&format!("{}: {}, {} workers …", Part::Peers, setup.name, setup.workers));
        let entrant = arena.start(&setup)?;
        let words = run(&entrant.address, &entrant.running, signal);
        let concurrency = if setup.concurrency == 1 { ", isolated" } else { "" };
        Some(Row::told(
            format!(
                "{RESTARTS} restarts, 2 a second: {}, {} workers{concurrency}",
                setup.name, setup.workers
            ),
            words,
        ))
    });
    told.collect()
}

fn run(address: &str, running: &Running, signal: i32) -> String {
    let clients = Clients::start(address);
    for _ in 0..RESTARTS {
        process::signal(running.pid(), signal);
        thread::sleep(EVERY);
    }
    clients.stop().to_string()
}
