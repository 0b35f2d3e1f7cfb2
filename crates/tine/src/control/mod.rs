//! The control socket: asking a running service what it does, and telling it what to do.
//!
//! A Unix stream socket that the supervisor serves from its own loop. One JSON object a line, at most 4096
//! bytes; every line is answered by one line.
//!
//! | asked | answered |
//! |---|---|
//! | `{"tine":1,"do":"ping"}` | `{"tine":1,"ok":true,"pid":4711}` |
//! | `{"tine":1,"do":"status"}` | `{"tine":1,"ok":true,"status":{…}}`, see [`Status`] |
//! | `{"tine":1,"do":"stop"}`, with `"now":true` at once | `{"tine":1,"ok":true}`, and the connection ends when the service does |
//! | `{"tine":1,"do":"wait"}` | the same, and nothing is stopped |
//! | `{"tine":1,"do":"reload"}` | `{"tine":1,"ok":true,"reload":7}`: which one this is answered by |
//! | `{"tine":1,"do":"rollout","share":50,"requests":100,"observe":60000,"errors":10,"hold":false}` | the same, of a reload with a trial, see [`Canary`]; `observe` is in milliseconds |
//! | `{"tine":1,"do":"promote"}`, `"abort"` | `{"tine":1,"ok":true}`: the trial is over; the generation before comes back |
//! | `{"tine":1,"do":"reloaded","reload":7}` | `{"tine":1,"ok":true,"reload":7}` while it is under way, `{"tine":1,"ok":true,"generation":4}` if it went well, an error if it did not |
//! | `{"tine":1,"do":"grow"}`, `"shrink"` | `{"tine":1,"ok":true}`: it has been asked for |
//!
//! What cannot be done is answered `{"tine":1,"ok":false,"error":"…"}`. The connection is good for more,
//! unless the line was no JSON, or too long.
//!
//! A client finds services in directories of its user, and root in those of all users ([`Client::find`]). It talks only
//! to a process of the directory's owner, and escapes what it shows of an answer.
//!
//! Root and the user of the service may connect: the socket's mode says so, and the kernel is asked who it
//! is. Sixteen at once are served, the others wait. Who says nothing for five seconds, or does not read an
//! answer within five, is dropped; who waits for the end may be silent. Who shuts down his sending side is
//! answered and dropped. Twelve may wait for the end; whoever comes after them is dropped like the others.

mod call;
mod client;
mod command;
mod connection;
mod find;
mod report;
mod server;
mod status;
#[cfg(test)]
mod tests;

pub use crate::supervisor::trial::Canary;
pub use client::{By, Client};
pub(crate) use command::{Reply, Request};
pub(crate) use find::default_path;
pub use report::Report;
pub(crate) use server::Server;
pub use status::{
    ListenerStatus, PoolStatus, ReloadStatus, RolloutStatus, Status, TrialStatus, WorkerStatus,
};

use std::time::Duration;

/// Version of the protocol; every line of either side has it.
const VERSION: u64 = 1;
/// Longest request, in bytes, without its newline.
const REQUEST_MAX: usize = 4096;
/// Longest reply, in bytes, its newline included: the status of some twenty thousand workers.
const REPLY_MAX: usize = 8 << 20;
/// How long a client may keep silent, or take to read an answer; and how long it waits for one.
const PATIENCE: Duration = Duration::from_secs(5);
