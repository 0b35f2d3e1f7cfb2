//! HTTP, side by side with peers: each part a contest or several, all held in one run.

mod arena;
mod contest;
mod idle;
mod interrupt;
mod load;
mod measure;
mod parts;
mod peers;
mod picture;
mod results;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::program;
use crate::table::{Table, markdown};
pub(crate) use arena::{Arena, Setup, Who};
use measure::Contest;
pub(crate) use peers::install as install_peers;
use results::{Measured, Results};

/// The parts, in the order they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// Hello, 64 kept connections, one worker
    Hello,
    /// Hello, 512 kept connections, two workers, load on both cores
    Cores,
    /// 16 requests in one write
    Pipelined,
    /// One connection a request, at 4 and at 256 isolated workers
    Close,
    /// Files of 13 bytes, 10 KiB and 1 MiB
    Files,
    /// TLS: full and resumed handshakes, 1 MiB, hello, idle connections
    Tls,
    /// HTTP/2 without TLS
    H2,
    /// The access log, on and off
    Log,
    /// What an idle connection weighs
    Idle,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// The programs of ours that are measured.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `tine`.
    tine: PathBuf,
    /// The smallest server with `tine-http`.
    hello: PathBuf,
    hyper: PathBuf,
    /// The bare loop.
    floor: PathBuf,
    /// The load of handshakes.
    shake: PathBuf,
}

impl Programs {
    /// `tine`, and what the bench has cargo build beside itself.
    ///
    /// # Errors
    /// A sentence why there is none.
    pub(crate) fn with(tine: PathBuf) -> Result<Self, String> {
        let names =
            ["tine-bench-hello", "tine-bench-hyper", "tine-bench-floor", "tine-bench-shake"];
        let [hello, hyper, floor, shake] = program::build("tine-bench", names)?;
        Ok(Self { tine, hello, hyper, floor, shake })
    }

    pub(crate) fn tine(&self) -> &Path {
        &self.tine
    }
}

/// What is to be measured, and where to write it.
#[derive(Debug)]
pub(crate) struct Order {
    /// None = all.
    pub(crate) parts: Vec<Part>,
    pub(crate) rounds: usize,
    /// Where the results stand.
    pub(crate) directory: PathBuf,
    /// On what they are taken.
    pub(crate) circumstances: String,
}

/// Measures, writes the results into the directory; the tables, and whether no goal was missed.
///
/// A part that fails is a missed goal, and the others are measured all the same: what a failing server
/// wrote is on standard error then.
///
/// # Errors
/// A sentence why nothing could be measured, or written.
pub(crate) fn measure(
    programs: &Programs,
    order: &Order,
    tell: impl Fn(&str),
) -> Result<(String, bool), String> {
    let io = |error: std::io::Error| error.to_string();
    interrupt::watch().map_err(io)?;
    peers::install(&tell);
    stay_on_the_load_core()?;
    let mut results = Results::read(&order.directory)?;
    let parts = if order.parts.is_empty() { Part::value_variants() } else { &order.parts };
    let arena = Arena::new(programs);
    let mut tables = String::new();
    let mut met = true;
    for &part in parts {
        tell(&format!("measuring: {part} …"));
        let held = catch_unwind(AssertUnwindSafe(|| hold(part, &arena, programs, order.rounds)));
        if interrupt::is_asked() {
            return Err("interrupted; every server is stopped".to_owned());
        }
        match held {
            Ok(Ok(contests)) => {
                met &= contests.iter().all(|contest| goals(contest).is_met());
                tables += &text(&contests);
                results.put(part, Measured::now(order, contests));
            }
            Ok(Err(why)) => tables += &format!("{part}: skipped: {why}\n\n"),
            Err(_) => {
                met = false;
                tables += &format!("{part}: FAILED: see above\n\n");
            }
        }
    }
    results.write(&order.directory)?;
    Ok((tables, met))
}

/// This process and the load it starts have one core, the servers another: see [`arena::Cores`].
fn stay_on_the_load_core() -> Result<(), String> {
    let mut second = CpuSet::new();
    second.set(1);
    let pinned = sched_setaffinity(None, &second);
    pinned.map_err(|error| format!("server and load need a core each, 0 and 1: {error}"))
}

fn hold(
    part: Part,
    arena: &Arena<'_>,
    programs: &Programs,
    rounds: usize,
) -> Result<Vec<Contest>, String> {
    let needed = if part == Part::H2 { "nghttp2-client" } else { "wrk" };
    if part != Part::Idle && !peers::has(needed) {
        return Err(format!("{needed} is not installed"));
    }
    match part {
        Part::Hello => Ok(parts::hello(arena, rounds)),
        Part::Cores => Ok(parts::cores(arena, rounds)),
        Part::Pipelined => Ok(parts::pipelined(arena, rounds)),
        Part::Close => Ok(parts::close(arena, rounds)),
        Part::Files => Ok(parts::files(arena, rounds)),
        Part::Tls => parts::tls(arena, programs, rounds),
        Part::H2 => parts::h2(arena, rounds),
        Part::Log => parts::log(arena, programs, rounds),
        Part::Idle => idle::contest(arena, rounds).map(|contest| vec![contest]),
    }
}

/// What is wanted in a contest, and whether it is so.
fn goals(contest: &Contest) -> Table {
    Table(contest.goals.iter().map(|goal| contest.verdict(goal)).collect())
}

/// The tables of a part: each contest's, and below it its goals.
fn text(contests: &[Contest]) -> String {
    let mut text = String::new();
    for contest in contests {
        text += &format!("**{}**\n\n{}\n", contest.title, markdown(&contest.cells()));
        let goals = goals(contest);
        if !goals.0.is_empty() {
            text += &format!("{goals}\n");
        }
    }
    text
}
