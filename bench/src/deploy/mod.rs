//! Deploys under load, measured: reloads and upgrades one by one, a storm of them, and what peers do.

mod peers;
mod reloads;
mod storm;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clap::ValueEnum;
use testkit::{Load, LoadHandle, Report};

use crate::http::Programs;
use crate::sample::{millis, worst};
use crate::server::PATH;
use crate::table::{Row, Table};

/// The parts, in the order they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// 100 reloads and 20 upgrades, in every way of accepting
    Reloads,
    /// Twenty reloads a second
    Storm,
    /// The same load at peers that are told to restart gracefully
    Peers,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// Measures these parts, or all of them if none is named. A part that fails is a missed row, as in `spine`.
pub(crate) fn measure(programs: &Programs, parts: &[Part], tell: impl Fn(&str)) -> Table {
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    let mut table = Table::default();
    for &part in parts {
        tell(&format!("measuring: {part} …"));
        let rows = catch_unwind(AssertUnwindSafe(|| match part {
            Part::Reloads => reloads::rows(programs.tine()),
            Part::Storm => storm::rows(programs.tine()),
            Part::Peers => peers::rows(programs, &tell),
        }));
        let failed = || vec![Row::judged(part.to_string(), "it failed: see above", "", false)];
        table.0.extend(rows.unwrap_or_else(|_| failed()));
    }
    table
}

/// New connections a second, as many clients as needed: what a queue loses shows here.
const FRESH: f64 = 300.0;
/// Kept connections rest for so long between an answer and the next request: at each a deploy comes at another
/// moment of a connection's life.
const THINK: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5)];
/// Kept connections of each kind.
const KEPT: usize = 2;
/// An answer that takes longer counts as lost.
const DEADLINE: Duration = Duration::from_secs(5);

/// Clients that come anew, and clients that stay, at once.
struct Clients(Vec<LoadHandle>);

impl Clients {
    fn start(address: &str) -> Self {
        let fresh = Load::one_per_connection(address, PATH).connections(8).rate(FRESH);
        let kept = THINK.map(|think| {
            Load::keep_alive(address, PATH).connections(KEPT).think(think).rate(400.0)
        });
        let all = [fresh].into_iter().chain(kept);
        let clients = Self(all.map(|load| load.deadline(DEADLINE).start()).collect());
        clients.wait_answered(20);
        clients
    }

    /// Until each kind has had so many answers more.
    fn wait_answered(&self, more: u64) {
        self.0.iter().for_each(|load| load.wait_answered(more));
    }

    fn stop(self) -> Outcome {
        Outcome(self.0.into_iter().map(LoadHandle::stop).collect())
    }
}

/// What came of them.
struct Outcome(Vec<Report>);

impl Outcome {
    fn lost(&self) -> u64 {
        self.0.iter().map(|report| report.failed_total).sum()
    }

    fn slowest(&self) -> Duration {
        worst(&self.0.iter().map(|report| report.slowest).collect::<Vec<_>>())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.0.iter().map(|report| report.answered + report.failed_total).sum();
        let p99 = worst(&self.0.iter().map(|report| report.quantile(0.99)).collect::<Vec<_>>());
        let (lost, slowest) = (self.lost(), millis(self.slowest()));
        write!(f, "{lost} lost of {all}; p99 {}, slowest {slowest}", millis(p99))?;
        match self.0.iter().flat_map(|report| &report.failed).next() {
            Some(first) => write!(f, " (first lost: {first})"),
            None => Ok(()),
        }
    }
}
