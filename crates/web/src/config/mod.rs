//! The configuration file: `tine.toml` into plain data, or into all of its faults.
//!
//! What is read here knows nothing of requests. The keys of `[server]` are the flags of the program that reads the file: it
//! checks them, so that their faults stand among the others.

mod document;
mod effective;
mod faults;
mod not_yet;
mod resolve;
mod schema;
mod section;
mod server;
mod settings;
mod source;
mod tables;
mod words;

use std::io;
use std::path::Path;

pub use faults::{Fault, Faults, nearest};
pub use schema::{schema, sections};
pub use settings::{
    Answer, AuthConfig, Config, GuardConfig, LogConfig, MissingConfig, PathConfig, RateConfig,
    RouteConfig, Setting, SettingValue, SiteConfig, TlsConfig,
};
pub use source::{Place, Placed, Sources};

/// Why there is no configuration.
#[derive(Debug)]
pub enum ReadError {
    /// The file itself cannot be read.
    Unreadable(io::Error),
    /// It was read, and is wrong.
    Faults(Faults),
}

impl Config {
    /// Reads a file and what it includes. `server` checks the keys of `[server]`.
    ///
    /// # Errors
    /// When the file cannot be read, or with every fault of every section.
    pub fn read(
        path: &Path,
        server: impl FnOnce(&[Setting], &mut Faults),
    ) -> Result<Self, ReadError> {
        let mut faults = Faults::default();
        let sources = document::load(path, &mut faults).map_err(ReadError::Unreadable)?;
        let document = document::Document::parse(&sources, &mut faults);
        let settings = server::settings(document.server.as_ref(), &mut faults);
        server(&settings, &mut faults);
        let (sites, logs, auth) = resolve::resolve(&document, &mut faults);
        match faults.is_empty() {
            true => Ok(Self { server: settings, sites, logs, auth, sources }),
            false => Err(ReadError::Faults(faults)),
        }
    }
}
