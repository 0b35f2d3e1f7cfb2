//! Handover: a supervisor becomes another program in place, which goes on with its workers, sockets and counters.
//!
//! What it knows goes into a [`Letter`] in a sealed file in memory; what it holds stays open under the same numbers, which
//! the letter names. The next image takes copies and leaves the numbers alone until it has everything
//! ([`Estate::settle`]), so that until then [the way back](tine_os::comeback) finds all of it.

mod estate;
mod letter;
mod probe;
mod program;

pub(crate) use estate::{Estate, Summons, summons};
pub(crate) use letter::{ControlLeft, Letter, LogLeft, PoolLeft, ProcLeft, VERSION};
pub(crate) use probe::{Probe, answer};
pub(crate) use program::{ProgramFile, become_program};

/// Whether this process was begun by a reload: to try whether this program could serve, or to take over from the one
/// before. Its `main` runs like any other up to [`crate::Service::run`]; what must not be done twice, it asks this for.
/// Sockets it would bind itself, for [`crate::Prefork::socket`], are there already: they come along.
///
/// Asks the environment until the process has taken over, so not while other threads may change it.
#[must_use]
pub fn is_reload() -> bool {
    crate::program::environment::handed().is_some()
}
