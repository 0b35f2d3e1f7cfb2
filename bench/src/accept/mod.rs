//! Ways of accepting, compared: how evenly connections fall, and what one costs.

mod rescue;
pub(crate) mod server;

use std::time::Duration;

use clap::ValueEnum as _;
use testkit::{Load, Server, TempDir, process};

use crate::load::Crowd;
use crate::sample::{median, millis};
use crate::server::{BODY, Tine};
use crate::table::{Row, Table};
use server::Way;

/// Connections of a balance: of fewer, chance alone makes more than the bound now and then.
const CONNECTIONS: usize = 4000;
const CONCURRENCY: u32 = 5000;
/// The coefficient of variation that is wanted of the default, in percent.
const EVEN: f64 = 10.0;
const ROUNDS: usize = 3;
/// Connections of a price, and clients that make them.
const PRICED: u64 = 8000;
const CLIENTS: usize = 32;
/// What the default may cost beside tokio's own accept.
const DEAR: f64 = 1.15;

/// All of it.
pub(crate) fn measure(begins: impl Fn(&str)) -> Table {
    let mut table = Table::default();
    begins("balance");
    for way in Way::value_variants() {
        table.0.extend(balance(*way));
    }
    for workers in [4, 64] {
        begins(&format!("CPU, {workers} workers"));
        table.0.extend(prices(workers));
    }
    begins("what nobody serves");
    table.0.extend(rescue::rows());
    table
}

/// A server with so many workers that serve many at once.
fn start(way: Way, workers: u64) -> Tine {
    start_with(way, workers, CONCURRENCY)
}

fn start_with(way: Way, workers: u64, concurrency: u32) -> Tine {
    let program = std::env::current_exe().expect("this program has a path");
    let name = way.to_possible_value().expect("no way is hidden").get_name().to_owned();
    let server = Server::command(program)
        .args(["accept-server", "--way", &name, "--workers", &workers.to_string()])
        .args(["--concurrency", &concurrency.to_string()]);
    let tine = Tine::run(server, TempDir::new().expect("a temporary directory"));
    tine.wait_idle(workers);
    tine
}

/// How 4,000 connections fall on 4 workers: at once, one by one, and one by one without staying.
fn balance(way: Way) -> Vec<Row> {
    let burst = start(way, 4);
    let mut crowd = Crowd::gather(CONNECTIONS, "/", BODY).expect("sockets for the clients");
    let took = crowd.burst(burst.socket_address()).expect("everybody is answered");
    let at_once = row(way, "at once", &burst, took);
    let trickle = start(way, 4);
    let mut crowd = Crowd::gather(CONNECTIONS, "/", BODY).expect("sockets for the clients");
    let slowest = crowd.one_by_one(trickle.socket_address()).expect("everybody is answered");
    let one_by_one = row(way, "one by one, staying", &trickle, slowest);
    let brief = start(way, 4);
    let load = Load::one_per_connection(brief.address(), "/").connections(1);
    let report = load.run_requests(CONNECTIONS as u64);
    assert_eq!(report.failed_total, 0, "{report:?}");
    vec![at_once, one_by_one, row(way, "one by one, leaving", &brief, report.slowest)]
}

fn row(way: Way, how: &str, tine: &Tine, slowest: Duration) -> Row {
    let shares = tine.connections();
    let uneven = variation(&shares);
    let name = format!("{way:?}: {CONNECTIONS} connections on 4 workers, {how}");
    let measured = format!("CV {uneven:.1} % {shares:?}; slowest {}", millis(slowest));
    match way {
        Way::Shared => Row::judged(name, measured, format!("≤ {EVEN} %"), uneven <= EVEN),
        _ => Row::told(name, measured),
    }
}

/// The coefficient of variation, in percent.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn variation(shares: &[u64]) -> f64 {
    let count = shares.len() as f64;
    let mean = shares.iter().sum::<u64>() as f64 / count;
    let squares = shares.iter().map(|&share| (share as f64 - mean).powi(2)).sum::<f64>();
    100.0 * (squares / count).sqrt() / mean
}

/// What a connection of one request costs, way by way, in turn.
fn prices(workers: u64) -> Vec<Row> {
    let servers: Vec<(Way, Tine)> =
        Way::value_variants().iter().map(|&way| (way, start(way, workers))).collect();
    // The first pages a fork shares are copied, which is a price of starting.
    for (_, tine) in &servers {
        price(tine);
    }
    let mut costs = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for ((_, tine), costs) in servers.iter().zip(&mut costs) {
            costs.push(price(tine));
        }
    }
    let costs: Vec<f64> = costs.iter().map(|costs| median(costs)).collect();
    let tokio = servers.iter().position(|(way, _)| *way == Way::Tokio).map_or(1.0, |i| costs[i]);
    let priced = servers.iter().zip(&costs);
    let row = |((way, _), cost): (&(Way, Tine), &f64)| {
        let ratio = cost / tokio;
        let name = format!("{way:?}: CPU a connection, {workers} workers");
        let measured = format!("{cost:.1} µs, {ratio:.2} × tokio's accept");
        match way {
            Way::Shared => Row::judged(name, measured, format!("≤ {DEAR} ×"), ratio <= DEAR),
            _ => Row::told(name, measured),
        }
    };
    priced.map(row).collect()
}

/// Microseconds of CPU.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds are far below 2^52")]
fn price(tine: &Tine) -> f64 {
    let spent = || process::family_cpu_nanos(tine.running().pid());
    let before = spent();
    let load = Load::one_per_connection(tine.address(), "/").connections(CLIENTS);
    let report = load.run_requests(PRICED);
    assert_eq!(report.failed_total, 0, "{report:?}");
    (spent() - before) as f64 / PRICED as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_shares_do_not_vary() {
        assert!(variation(&[7, 7, 7]).abs() < 1e-9);
        assert!((variation(&[0, 4]) - 100.0).abs() < 1e-9);
    }
}
