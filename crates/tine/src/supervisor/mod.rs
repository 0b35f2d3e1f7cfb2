//! The supervisor: one thread, one epoll loop, no client's byte.
//!
//! Its mind is pure ([`step`], [`size`], [`staff`], [`failures`], [`helpers`], [`ending`], [`last_queue`], [`reload`], [`succeed`], [`weight`], [`scale`],
//! [`deadline`] over [`state`]); its hands are [`run`], [`perform`], [`forks`], [`spawn`], [`procs`] and [`handover`]; its eyes are
//! [`look`], [`watch`] and [`sample`]; its mouth is [`note`], [`report`], [`verdict`] and [`casualty`], and [`hooked`] where
//! the program listens.

pub(crate) mod action;
mod casualty;
mod cores;
mod deadline;
mod ending;
pub(crate) mod event;
mod failures;
mod forks;
pub(crate) mod handover;
pub(crate) mod held;
mod helpers;
mod hooked;
mod lame_duck;
mod last_queue;
mod look;
mod note;
mod notified;
mod perform;
mod pool;
pub(crate) mod procs;
pub(crate) mod reload;
mod report;
pub(crate) mod run;
mod sample;
pub(crate) mod scale;
mod size;
pub(crate) mod spawn;
mod staff;
pub(crate) mod state;
mod step;
mod succeed;
pub(crate) mod tend;
mod terminal;
pub(crate) mod trial;
pub(crate) mod turnover;
mod verdict;
mod wake;
pub(crate) mod watch;
mod weight;

#[cfg(test)]
mod properties;
