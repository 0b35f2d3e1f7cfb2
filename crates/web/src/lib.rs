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

mod body;
mod files;
mod page;
mod path;
mod validators;

pub use body::FileBody;
pub use files::{Files, FilesError};
