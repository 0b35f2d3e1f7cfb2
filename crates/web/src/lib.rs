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
//!
//! [`Sites`] has each request answered by the site of its host; [`config`] reads sites from a file:
//!
//! ```no_run
//! use tine_web::{Files, Guard, Pattern, Route, Site, Sites};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = Files::new("examples/site".into())?;
//! let internal = Guard::new().pattern(Pattern::new("/internal/*")?).allow("10.0.0.0/8")?;
//! let site = Site::new(["example.org", "*.example.org"])?
//!     .guard(internal)
//!     .route(Route::redirect("/news/{*}", 308)?.pattern(Pattern::new("/press/*")?))
//!     .route(Route::files(files.clone()));
//! let sites = Sites::new(vec![site], vec![files])?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod coding;
mod conditions;
pub mod config;
mod files;
mod gzip;
mod https_only;
mod kind;
mod methods;
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
