//! `tine check FILE`: whether a configuration is right, and what it comes to.

use std::path::{Path, PathBuf};

use clap::Args;
use tine_web::config::{Config, ReadError};

use crate::args::EXIT_CODES;
use crate::failure::{Failure, print};
use crate::serve::settings;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Check {
    /// The configuration, such as tine.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print every value, with the file and the line it comes from
    #[arg(long)]
    effective: bool,
}

pub(crate) fn run(typed: &Check) -> Result<(), Failure> {
    let config = read(&typed.file)?;
    if typed.effective {
        let server = settings::effective(&config.server, &config.sources);
        return print(&format!("{server}\n{}", config.effective()));
    }
    crate::serve::check_file(&config)
}

/// Reads a file, `[server]` checked by the flags.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path, settings::check).map_err(|error| match error {
        ReadError::Unreadable(error) => {
            Failure::Reason(2, format!("cannot read {}: {error}", path.display()))
        }
        ReadError::Faults(faults) => faults.into(),
    })
}
