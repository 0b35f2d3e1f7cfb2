//! Signals that go through the supervisor to every worker (row N33).

use std::sync::Arc;

use tine_os::event::EventFd;
use tine_os::notice;
use tine_os::signal::Signal;

use crate::supervisor::spawn::LEAVES_ON;
use crate::{Error, Result};

/// Which do; checked by [`Passed::new`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed(Vec<Signal>);

impl Passed {
    /// Refuses what cannot be caught, and what means something about the process it comes to.
    pub(crate) fn new(signals: &[Signal]) -> Result<Self> {
        const OWN: [Signal; 5] =
            [Signal::KILL, Signal::STOP, Signal::CHLD, Signal::ALRM, Signal::PIPE];
        match signals.iter().find(|it| OWN.contains(it) || it.is_fatal_fault()) {
            None => Ok(Self(signals.to_vec())),
            Some(signal) => Err(Error::config(format!(
                "{signal} cannot be passed on: it is about one process alone"
            ))),
        }
    }

    pub(crate) fn contains(&self, signal: Signal) -> bool {
        self.0.contains(&signal)
    }

    pub(crate) fn all(&self) -> &[Signal] {
        &self.0
    }

    /// In a worker: takes note of them, but for those it leaves on anyway. `None` if there are none.
    pub(crate) fn expect(&self) -> std::io::Result<Option<Arc<EventFd>>> {
        let noted: Vec<Signal> =
            self.0.iter().copied().filter(|signal| !LEAVES_ON.contains(signal)).collect();
        if noted.is_empty() {
            return Ok(None);
        }
        let event = EventFd::new()?;
        notice::note(&event, &noted)?;
        Ok(Some(Arc::new(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_process_is_not_passed_on() {
        for signal in [Signal::KILL, Signal::CHLD, Signal::SEGV, Signal::ALRM] {
            let error = Passed::new(&[Signal::USR1, signal]).expect_err("refused");
            assert!(error.is_config() && error.to_string().contains(&*signal.name()), "{error}");
        }
        assert!(Passed::new(&[Signal::USR1, Signal::TERM]).is_ok());
    }
}
