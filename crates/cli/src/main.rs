//! `tine`, the program: reads what was typed, does it, and says by its exit code how that went.
#![forbid(unsafe_code)]

mod args;
mod failure;
mod instance;
mod rollout;
mod serve;
mod table;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::failure::Failure;

/// An idle worker is a third smaller for it.
#[global_allocator]
static ALLOCATOR: tine::Nursery = tine::Nursery;

fn main() -> ExitCode {
    let result = Arguments::try_parse().map_err(Failure::from).and_then(|typed| run(typed.command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve::run(*serve),
        Command::Status(status) => instance::status(status),
        Command::Stop(stop) => instance::stop(stop),
        Command::Reload(typed) => instance::reload(typed),
        Command::Rollout(typed) => rollout::run(typed),
    }
}
