//! What a site is made of: tower services that answer requests, and know nothing of processes.
//!
//! [`Files`] serves a directory:
//!
//! ```no_run
//! # fn main() -> Result<(), tine_web::FilesError> {
//! let site = tine_web::Files::new("examples/site".into())?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod coding;
// `tine.toml`, the configuration of sites.
mod conditions;
pub mod config;
mod files;
mod gzip;
mod https_only;
mod kind;
mod page;
mod path;
mod ranges;
mod resource;
mod root;
mod site;
mod validators;

pub use files::{Files, FilesError};
pub use https_only::{HttpsOnly, HttpsOnlyFuture};
pub use site::{Guard, Missing, Pattern, Route, Site, SiteError, Sites};
