//! The process model, measured: one file a part, each a function from the program to rows.

mod burst;
mod cpu;
mod idle;
mod kills;
mod memory;
mod recycle;
mod replace;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::ValueEnum;

use crate::program::Program;
use crate::table::{Row, Table};

/// The parts, in the order they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// 256 clients at once
    Burst,
    /// A killed worker's successor
    Replace,
    /// Ten seconds of killing
    Kills,
    /// Workers replaced every 50 requests under load
    Recycle,
    /// What is done while there is nothing to do
    Idle,
    /// What an idle worker weighs
    Memory,
    /// What a connection costs among 256 workers, against 4
    Cpu,
}

impl Part {
    fn rows(self, program: &Program) -> Vec<Row> {
        match self {
            Self::Burst => burst::rows(program),
            Self::Replace => replace::rows(program),
            Self::Kills => kills::rows(program),
            Self::Recycle => recycle::rows(program),
            Self::Idle => idle::rows(program),
            Self::Memory => memory::rows(program),
            Self::Cpu => cpu::rows(program),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// Measures these parts, or all of them if none is named.
///
/// A part that fails is a missed row, and the others are measured all the same: what a failing server
/// wrote is on standard error then.
pub(crate) fn measure(program: &Program, parts: &[Part], begins: impl Fn(Part)) -> Table {
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    let mut table = Table::default();
    for &part in parts {
        begins(part);
        let rows = catch_unwind(AssertUnwindSafe(|| part.rows(program)));
        let failed = || vec![Row::judged(part.to_string(), "it failed: see above", "", false)];
        table.0.extend(rows.unwrap_or_else(|_| failed()));
    }
    table
}
