//! The signals a supervisor takes: held back from before its first socket until after its last.

use tine_os::signal::{Signal, SignalFd};

use crate::passthrough::Passed;

pub(super) fn taken_signals(passed: &Passed) -> Vec<Signal> {
    let mut signals = crate::signals::HANDLED.to_vec();
    signals.push(Signal::CHLD);
    signals.extend(passed.all());
    signals
}

/// While it lives signals wait for the loop. Taken before anything is made that a sudden death would
/// leave behind.
#[derive(Debug)]
pub(crate) struct HeldSignals(Vec<Signal>);

impl HeldSignals {
    pub(crate) fn take(passed: &Passed) -> std::io::Result<Self> {
        let taken = taken_signals(passed);
        tine_os::signal::set_default(Signal::CHLD)?;
        tine_os::signal::ignore(Signal::PIPE)?;
        // Too long a log is no reason to die: the line counts as lost.
        tine_os::signal::disregard(Signal::XFSZ)?;
        tine_os::signal::block(&taken)?;
        Ok(Self(taken))
    }
}

impl Drop for HeldSignals {
    /// Those that came too late to be read have been answered by the end itself.
    fn drop(&mut self) {
        if let Ok(late) = SignalFd::new(&self.0) {
            while late.read().is_some() {}
        }
        let _ = tine_os::signal::unblock_all();
    }
}
