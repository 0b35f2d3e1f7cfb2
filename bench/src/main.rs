//! `tine-bench`: measures the real program from outside, and says whether it is as quick and as
//! light as it promises. What each row means is in README.md.
//!
//! A further bench is a further module with a function that returns rows, and a subcommand here.
#![forbid(unsafe_code)]

mod accept;
mod deploy;
mod http;
mod load;
mod program;
mod sample;
mod server;
mod spine;
mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::program::Program;
use crate::spine::Part;

/// Exit code: nothing was measured, e.g. because the program could not be built.
const NOTHING_MEASURED: u8 = 2;

/// Measures `tine` from outside.
///
/// Exit codes: 0 all wants are met, 1 one was missed, 2 nothing could be measured.
#[derive(Debug, Parser)]
#[command(name = "tine-bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The process model: bursts, killed workers, recycling, idling, memory, and the price of many
    Spine(Spine),
    /// HTTP side by side with Apache, nginx, fasthttp/prefork and Starman
    ///
    /// As root it installs what is missing of them (apt-get). What was measured is written into the
    /// results' directory: RESULTS.md, results.json, results.svg.
    Http(Http),
    /// How connections come to workers that serve many at once: balance and price, mode by mode
    Accept,
    /// Reloads and upgrades under load, one by one and in a storm, and beside peers
    ///
    /// As root it installs what is missing of these (apt-get).
    Deploy(Deploy),
    /// The server that `accept` measures
    #[command(hide = true)]
    AcceptServer(accept::server::Arguments),
}

#[derive(Debug, Args)]
struct Spine {
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// This program instead of the one built from the sources around
    #[arg(long, value_name = "PATH")]
    tine: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Http {
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<http::Part>,

    /// This program instead of the one built from the sources around; what is measured without
    /// `tine serve` is built from them all the same
    #[arg(long, value_name = "PATH")]
    tine: Option<PathBuf>,

    /// How often each server has its turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Where the results stand
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_MANIFEST_DIR"))]
    results: PathBuf,
}

#[derive(Debug, Args)]
struct Deploy {
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<deploy::Part>,

    /// This program instead of the one built from the sources around
    #[arg(long, value_name = "PATH")]
    tine: Option<PathBuf>,
}

fn main() -> ExitCode {
    let measured = match Arguments::parse().bench {
        Bench::Spine(typed) => {
            Program::find(typed.tine).map(|program| spine(&program, &typed.parts))
        }
        Bench::Http(typed) => http(typed),
        Bench::Accept => Ok(accept()),
        Bench::Deploy(typed) => deploy(typed),
        Bench::AcceptServer(typed) => return accept::server::run(typed),
    };
    match measured {
        Ok((table, met)) => {
            // Whoever closed standard output does not want the table; the exit code is still true.
            let _ = writeln!(io::stdout(), "{table}");
            if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            tell(&format!("tine-bench: {why}"));
            ExitCode::from(NOTHING_MEASURED)
        }
    }
}

fn spine(program: &Program, parts: &[Part]) -> (String, bool) {
    tell(&circumstances());
    let table = spine::measure(program, parts, |part| tell(&format!("measuring: {part} …")));
    (table.to_string(), table.is_met())
}

fn accept() -> (String, bool) {
    tell(&circumstances());
    let table = accept::measure(|what| tell(&format!("measuring: {what} …")));
    (table.to_string(), table.is_met())
}

fn deploy(typed: Deploy) -> Result<(String, bool), String> {
    let program = Program::find(typed.tine)?;
    let programs = http::Programs::with(program.path().to_owned())?;
    tell(&circumstances());
    let table = deploy::measure(&programs, &typed.parts, tell);
    Ok((table.to_string(), table.is_met()))
}

fn http(typed: Http) -> Result<(String, bool), String> {
    let program = Program::find(typed.tine)?;
    let programs = http::Programs::with(program.path().to_owned())?;
    let circumstances = circumstances();
    tell(&circumstances);
    let order = http::Order {
        parts: typed.parts,
        rounds: usize::try_from(typed.rounds).unwrap_or(usize::MAX),
        directory: typed.results,
        circumstances,
    };
    http::measure(&programs, &order, tell)
}

/// On what the numbers were taken: they mean nothing without it.
fn circumstances() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cpus} CPUs {model}, Linux {}, load before: {}", kernel.trim(), load.join(" "))
}

/// Says something beside the table.
fn tell(text: &str) {
    // Only a remark: not worth failing for.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_defaults_and_parts_their_names() {
        let parse =
            |line: &str| Arguments::try_parse_from(line.split(' ')).map(|typed| typed.bench);
        let Ok(Bench::Http(typed)) = parse("tine-bench http hello idle") else {
            panic!("it is http")
        };
        assert_eq!((typed.parts, typed.rounds), (vec![http::Part::Hello, http::Part::Idle], 5));
        assert!(parse("tine-bench http --rounds 0").is_err());
        assert!(parse("tine-bench spine burst cpu").is_ok());
    }
}
