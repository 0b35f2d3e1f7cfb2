//! To be written.
#![forbid(unsafe_code)]

pub mod endpoint;
mod error;
pub mod listen;
mod supervisor;

pub use error::{Error, Result};
