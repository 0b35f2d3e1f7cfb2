//! The operating system, made safe.
//!
//! This is the only crate of Tine that contains `unsafe`. Each function is one system idea, takes and
//! returns owned or borrowed descriptors (never bare integers), and answers with an [`std::io::Result`]
//! whose error is the kernel's. There is no policy here, no logging and no configuration: those live in
//! the crates above.
//!
//! Linux only.
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Tine needs Linux: it is made of fork, pidfd, epoll and memfd; on another system, run it in a container or a virtual machine"
);

pub mod beneath;
pub mod clock;
pub mod comeback;
pub mod cpu;
pub mod daemon;
pub mod diag;
pub mod event;
pub mod exec;
pub mod family;
pub mod fd;
pub mod image;
pub mod inspect;
pub mod memory;
pub mod names;
pub mod notice;
pub mod nursery;
pub mod pass;
pub mod poll;
pub mod privilege;
pub mod process;
pub mod send;
pub mod signal;
pub mod sink;
pub mod socket;
pub mod title;
pub mod user;
