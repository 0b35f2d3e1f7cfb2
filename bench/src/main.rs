//! `tine-bench`: measures the real program from outside, and says whether it is as quick and as
//! light as it promises. What each row means is in README.md.
//!
//! A further bench is a further module with a function that returns rows, and a subcommand here.
#![forbid(unsafe_code)]

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

/// Exit code: the program could not be built, so that nothing was measured.
const NO_PROGRAM: u8 = 2;

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

fn main() -> ExitCode {
    let Bench::Spine(typed) = Arguments::parse().bench;
    match Program::find(typed.tine) {
        Ok(program) => spine(&program, &typed.parts),
        Err(why) => {
            tell(&format!("tine-bench: {why}"));
            ExitCode::from(NO_PROGRAM)
        }
    }
}

fn spine(program: &Program, parts: &[Part]) -> ExitCode {
    tell(&circumstances());
    let table = spine::measure(program, parts, |part| tell(&format!("measuring: {part} …")));
    // Whoever closed standard output does not want the table; the exit code is still true.
    let _ = writeln!(io::stdout(), "{table}");
    if table.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On what the numbers were taken: they mean nothing without it.
fn circumstances() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cpus} CPUs, Linux {}, load before: {}", kernel.trim(), load.join(" "))
}

/// Says something beside the table.
fn tell(text: &str) {
    // Only a remark: not worth failing for.
    let _ = writeln!(io::stderr(), "{text}");
}
