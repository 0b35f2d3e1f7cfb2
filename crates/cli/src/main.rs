//! `tine`, the program: reads what was typed, does it, and says by its exit code how that went.
#![forbid(unsafe_code)]

mod args;
mod check;
mod failure;
mod instance;
mod rollout;
mod schema;
mod serve;
mod start;
mod table;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::failure::Failure;

/// The name under which the command line is Server::Starter's.
const NAME: &str = "start_server";

/// An idle worker is a third smaller for it.
#[global_allocator]
static ALLOCATOR: tine::Nursery = tine::Nursery;

fn main() -> ExitCode {
    if let Some(arguments) = as_start_server(std::env::args_os()) {
        return start::start_server(arguments);
    }
    let result = match Arguments::try_parse() {
        Ok(typed) => run(typed.command),
        // What is missing may stand in the file.
        Err(error) => serve::with_file().unwrap_or_else(|| Err(Failure::from(error))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The arguments of `start_server`, if that is what this was called as.
fn as_start_server(
    mut words: impl Iterator<Item = OsString>,
) -> Option<impl Iterator<Item = OsString>> {
    let called =
        words.next().is_some_and(|name| Path::new(&name).file_name() == Some(NAME.as_ref()));
    let mut words = words.peekable();
    let named = !called && words.next_if(|word| word == NAME).is_some();
    (called || named).then_some(words)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve::run(*serve),
        Command::Start(typed) => start::run(*typed),
        Command::Status(status) => instance::status(status),
        Command::Stop(stop) => instance::stop(stop),
        Command::Reload(typed) => instance::reload(typed),
        Command::Check(typed) => check::run(&typed),
        Command::Schema(typed) => schema::run(&typed),
        Command::Rollout(typed) => rollout::run(typed),
    }
}
