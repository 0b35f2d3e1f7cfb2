//! Signals that a process takes note of: a handler that writes down which came, and an event to wait on.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::IntoRawFd as _;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::event::EventFd;
use crate::signal::{Signal, dispose};

/// What came since it was last asked for, a bit a signal; and where to tell. A handler can be given nothing,
/// so these are the process's.
static CAME: AtomicU64 = AtomicU64::new(0);
static EVENT: AtomicI32 = AtomicI32::new(-1);

/// From now on any of `signals` signals `event`, and is told by [`noted`]; it does nothing else. System calls go
/// on after it (`SA_RESTART`). A handler of the program's own takes the place of this one, and `exec` ends it:
/// a program started from here has the signal at its default.
///
/// The caller unblocks them. The process keeps a descriptor of its own for `event`, for its whole life.
///
/// # Errors
/// `EMFILE`; `EINVAL` for a signal that cannot be caught.
pub fn note(event: &EventFd, signals: &[Signal]) -> io::Result<()> {
    // Leaked on purpose: the handler may run at any time, even after the caller's `event` is dropped.
    let event = crate::fd::duplicate(event)?.into_raw_fd();
    EVENT.store(event, Ordering::SeqCst);
    CAME.store(0, Ordering::SeqCst);
    let handler: extern "C" fn(c_int) = take_note;
    for &signal in signals {
        dispose(signal, handler as *const () as libc::sighandler_t, libc::SA_RESTART, signals)?;
    }
    Ok(())
}

/// Which signals have come since this was last asked, in the order of their numbers. Of several of one number
/// there is one.
#[must_use]
pub fn noted() -> Vec<Signal> {
    let came = CAME.swap(0, Ordering::SeqCst);
    let number = |bit: i32| (came >> bit & 1 == 1).then_some(bit + 1);
    (0..64).filter_map(number).filter_map(Signal::from_number).collect()
}

/// The handler. It may interrupt anything, so it uses atomics and what signal-safety(7) lists, and leaves
/// errno as it found it.
extern "C" fn take_note(signal: c_int) {
    // SAFETY: always answers with the thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives, and only this thread's.
    let before = unsafe { *errno };
    CAME.fetch_or(1 << ((signal - 1) & 63), Ordering::SeqCst);
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes; the descriptor was leaked by `note`, so is open.
    unsafe { libc::write(EVENT.load(Ordering::SeqCst), one.as_ptr().cast(), one.len()) };
    // SAFETY: as for reading it.
    unsafe { *errno = before };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn signals_are_noted_and_told_once() {
        let event = EventFd::new().unwrap();
        note(&event, &[Signal::WINCH, Signal::URG]).unwrap();
        for signal in [Signal::WINCH, Signal::WINCH, Signal::URG] {
            process::signal_pid(process::pid(), signal).unwrap();
        }
        let mut came = Vec::new();
        while came.len() < 2 {
            assert!(
                crate::poll::readable(&event, Some(std::time::Duration::from_secs(10))).unwrap()
            );
            let _ = event.take();
            came.extend(noted());
        }
        came.sort_unstable();
        came.dedup();
        assert_eq!(came, [Signal::URG, Signal::WINCH]);
    }
}
