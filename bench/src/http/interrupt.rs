//! Ctrl-C: a measurement is broken off as by a panic, so that every server that was started is
//! stopped.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on these signals only leave a mark.
pub(crate) fn watch() -> io::Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// Whether somebody wants this to end.
pub(crate) fn is_asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}

/// Asked wherever something is waited for. Unwinds, as a panic without a message, when somebody wants
/// this to end.
pub(crate) fn check() {
    if is_asked() {
        std::panic::resume_unwind(Box::new("interrupted"));
    }
}
