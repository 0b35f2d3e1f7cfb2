//! How a supervisor's run ended, as its program is told.

use tine_os::clock::monotonic;

use super::action::Outcome;
use super::event::Exit;
use super::note::exit_text;
use super::run::Supervisor;
use crate::{Error, Result};

impl Supervisor {
    /// Says how it ended, to the starter of a daemon too.
    pub(super) fn finish(mut self) -> Result<()> {
        let (birth, mut manager) = (self.birth.take(), self.manager.take());
        let result = self.result();
        if let (Some(manager), Err(error)) = (&mut manager, &result) {
            manager.status(&error.to_string(), monotonic());
        }
        if let (Some(birth), Err(error)) = (birth, &result) {
            birth.tell(Err((&error.to_string(), error.exit_code())));
        }
        result
    }

    fn result(mut self) -> Result<()> {
        drop(self.control.take());
        let words = self.last_words.take();
        let reason = |exit| words.clone().unwrap_or_else(|| exit_text(exit));
        match self.outcome {
            Some(Outcome::NeverReady { pool, exit: exit @ Exit::PrivilegeFailed }) => {
                let name = &self.pools[pool].plan.name;
                Err(Error::privilege(format!("pool {name}: {}", reason(exit))))
            }
            Some(Outcome::NeverReady { pool, exit: exit @ Exit::NoCommand }) => {
                let name = &self.pools[pool].plan.name;
                Err(Error::command(format!("pool {name}: {}", reason(exit))))
            }
            Some(Outcome::NeverReady { pool, exit }) => {
                let name = &self.pools[pool].plan.name;
                Err(Error::boot(format!("pool {name}: no worker could boot: {}", reason(exit))))
            }
            Some(Outcome::CannotFork { errno }) => {
                let reason = std::io::Error::from_raw_os_error(errno);
                Err(Error::boot(format!("not one worker could be forked: {reason}")))
            }
            Some(Outcome::Fatal { pool, worker }) => {
                let name = &self.pools[pool].plan.name;
                let said = words.unwrap_or_else(|| "it did not say why".to_owned());
                Err(Error::fatal(format!("pool {name}: worker {worker} cannot go on: {said}")))
            }
            Some(Outcome::Exhausted { pool, failures }) => {
                let name = &self.pools[pool].plan.name;
                Err(Error::exhausted(format!("pool {name}: {failures} workers failed, too fast")))
            }
            Some(Outcome::HookFailed) => {
                let (name, words) = self.refusal.take().unwrap_or_default();
                Err(Error::hook(&name, &words))
            }
            Some(Outcome::Stopped) | None => Ok(()),
        }
    }
}
