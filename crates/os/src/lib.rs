//! The operating system, made safe.
//!
//! This is the only crate of Tine that contains `unsafe`. Each function is one system idea, takes and
//! returns owned or borrowed descriptors (never bare integers), and answers with an [`std::io::Result`]
//! whose error is the kernel's. There is no policy here, no logging and no configuration: those live in
//! the crates above.
//!
//! Linux only: on another system, or with `--cfg tine_unsupported`, there is nothing in it.
#![cfg(all(target_os = "linux", not(tine_unsupported)))]
#![warn(missing_docs)]

pub mod beneath;
pub mod clock;
pub mod comeback;
pub mod cpu;
pub mod daemon;
pub mod deliver;
pub mod diag;
pub mod event;
pub mod exec;
pub mod family;
pub mod fd;
pub mod image;
pub mod inspect;
pub mod kernel;
pub mod memory;
pub mod names;
pub mod no_follow;
pub mod notice;
pub mod nursery;
pub mod pass;
pub mod poll;
pub mod possible;
pub mod privilege;
pub mod process;
pub mod send;
pub mod signal;
pub mod sink;
pub mod socket;
pub mod title;
pub mod user;
pub mod word;
