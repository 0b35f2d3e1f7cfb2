//! A service in a process that a reload has begun: as a probe, which says whether it could serve, or as the next
//! supervisor, which goes on with what the one before has left.

use std::os::fd::OwnedFd;
use std::path::absolute;

use tine_os::comeback;

use super::start::refuse_threads;
use super::{ControlAt, Service};
use crate::Result;
use crate::control;
use crate::handover::{Estate, Letter, answer};
use crate::listen::{Leftovers, bind_pool};
use crate::pidfile::PidFile;

impl Service {
    /// Says over the channel whether this service could take over, and ends.
    pub(super) fn be_tried(self, channel: &OwnedFd, letter: Result<Letter>) -> ! {
        let result = letter.and_then(|letter| self.try_out(&letter));
        answer(channel, result.map_err(|error| error.whole()))
    }

    /// Everything that can fail at a start, done and undone: names are looked up, and what is new is bound and closed
    /// again. What the service has already is left alone. No hook is called.
    fn try_out(self, letter: &Letter) -> Result<()> {
        let plans = self.plan()?;
        refuse_threads()?;
        let left = Leftovers::new(letter.listeners.clone(), true);
        for (pool, plan) in self.pools.into_iter().zip(&plans) {
            let endpoints = pool.endpoints(plan)?;
            let (bound, _) =
                bind_pool(&endpoints, pool.sockets, plan.sockets, (&left, &plan.name))?;
            // What stays is stale, and is replaced.
            let _ = bound.unlink();
        }
        if let Some(path) = &self.pid_file
            && letter.pid_file.as_ref().map(|left| &left.0) != absolute(path).ok().as_ref()
        {
            PidFile::create(path, tine_os::process::pid().get())?.remove()?;
        }
        if let ControlAt::Path(path) = &self.control
            && letter.control.as_ref().map(|left| &left.path) != absolute(path).ok().as_ref()
        {
            drop(control::Server::open(path)?);
        }
        Ok(())
    }

    /// Goes on as the next supervisor. What fails before it has everything leads back to the program before.
    pub(super) fn take_over(self, estate: Estate) -> Result<()> {
        let plans = self.plan().and_then(|plans| refuse_threads().map(|()| plans));
        let plans = plans.inspect_err(|error| comeback::go(&error.whole()))?;
        self.begin(plans, &mut None, Some(estate))
    }
}
