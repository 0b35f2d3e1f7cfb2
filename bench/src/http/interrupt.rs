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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use testkit::{DEADLINE, Server, alive, process, wait_until};

    use super::*;

    #[test]
    fn an_interrupt_unwinds_and_stops_what_was_started() {
        watch().expect("signals can be watched");
        let server = Server::command("sleep").arg("60").start();
        let pid = server.pid();
        let wait = || {
            let _server = server;
            assert!(process::signal(std::process::id(), SIGINT), "the test lives");
            wait_until("the interrupt is seen", DEADLINE, || {
                check();
                false
            });
        };
        let unwound = catch_unwind(AssertUnwindSafe(wait)).expect_err("it is interrupted");
        assert_eq!(unwound.downcast_ref(), Some(&"interrupted"));
        assert!(!alive(pid));
    }
}
