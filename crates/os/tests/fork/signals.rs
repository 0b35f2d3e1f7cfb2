//! Masks, dispositions, signals as a descriptor, and being told to leave.

use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::process::{self, Change};
use tine_os::signal::{self, Signal, SignalFd};
use tine_os::{fd, poll};

use crate::{Check, DEADLINE, Outcome, child, hang_on_alarm, wait};

pub(crate) const CHECKS: &[Check] = &[
    ("a_signal_is_read_with_its_sender", a_signal_is_read_with_its_sender),
    ("unblocking_lets_a_pending_signal_through", unblocking_lets_a_pending_signal_through),
    ("an_ignored_signal_does_nothing_until_reset", an_ignored_signal_does_nothing_until_reset),
    ("what_cannot_be_caught_is_refused", what_cannot_be_caught_is_refused),
    ("the_first_leave_wakes_and_the_second_ends", the_first_leave_wakes_and_the_second_ends),
    ("a_leave_interrupts_no_system_call", a_leave_interrupts_no_system_call),
    ("who_does_not_leave_in_time_is_killed", who_does_not_leave_in_time_is_killed),
    ("a_cancelled_alarm_does_not_ring", a_cancelled_alarm_does_not_ring),
];

/// Long enough for no alarm to ring within a check.
const LONG: Duration = Duration::from_secs(100);

fn by(signal: Signal) -> Change {
    Change::Signaled { signal, core: false }
}

fn a_signal_is_read_with_its_sender() -> Outcome {
    signal::block(&[Signal::TERM, Signal::CHLD]).unwrap();
    let signals = SignalFd::new(&[Signal::TERM, Signal::CHLD]).unwrap();
    assert_eq!(signals.read(), None);

    let here = process::pid();
    let (pid, pidfd) = child(|| {
        process::signal_pid(here, Signal::TERM).unwrap();
        9
    });
    assert!(poll::readable(&pidfd, Some(DEADLINE)).unwrap());
    // The lower number comes first: TERM is 15, CHLD 17.
    let term = signals.read().unwrap();
    assert_eq!((term.signal, term.pid, term.code), (Signal::TERM, pid.get(), libc::SI_USER));
    assert_eq!(term.uid, tine_os::privilege::effective_uid());
    let ended = signals.read().unwrap();
    assert_eq!((ended.signal, ended.pid, ended.code), (Signal::CHLD, pid.get(), libc::CLD_EXITED));
    assert_eq!(signals.read(), None);
    assert_eq!(wait(&pidfd), Change::Exited(9));
    Ok(())
}

fn unblocking_lets_a_pending_signal_through() -> Outcome {
    let (_, pidfd) = child(|| {
        signal::block(&[Signal::TERM, Signal::USR1]).unwrap();
        process::signal_pid(process::pid(), Signal::TERM).unwrap();
        signal::unblock_all().unwrap();
        0
    });
    assert_eq!(wait(&pidfd), by(Signal::TERM));
    Ok(())
}

fn an_ignored_signal_does_nothing_until_reset() -> Outcome {
    let (_, pidfd) = child(|| {
        signal::ignore(Signal::TERM).unwrap();
        process::signal_pid(process::pid(), Signal::TERM).unwrap();
        // Rust's runtime ignores PIPE, and resetting undoes that as well.
        process::signal_pid(process::pid(), Signal::PIPE).unwrap();
        signal::reset_all_dispositions().unwrap();
        process::signal_pid(process::pid(), Signal::PIPE).unwrap();
        0
    });
    assert_eq!(wait(&pidfd), by(Signal::PIPE));
    let (_, pidfd) = child(|| {
        signal::ignore(Signal::TERM).unwrap();
        signal::set_default(Signal::TERM).unwrap();
        process::signal_pid(process::pid(), Signal::TERM).unwrap();
        0
    });
    assert_eq!(wait(&pidfd), by(Signal::TERM));
    Ok(())
}

fn what_cannot_be_caught_is_refused() -> Outcome {
    let event = EventFd::new().unwrap();
    for signal in [Signal::KILL, Signal::STOP] {
        let errors = [
            signal::ignore(signal),
            signal::set_default(signal),
            signal::on_leave(&event, LONG, &[signal]),
        ];
        for error in errors {
            assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }
    Ok(())
}

fn the_first_leave_wakes_and_the_second_ends() -> Outcome {
    let told = EventFd::new().unwrap();
    let (_, pidfd) = child(|| {
        let event = EventFd::new().unwrap();
        signal::block(&[Signal::TERM, Signal::QUIT]).unwrap();
        signal::on_leave(&event, LONG, &[Signal::TERM, Signal::QUIT]).unwrap();
        signal::unblock_all().unwrap();
        assert_eq!((signal::leave_signals(), event.take()), (0, None));
        process::signal_pid(process::pid(), Signal::QUIT).unwrap();
        assert_eq!((signal::leave_signals(), event.take()), (1, Some(1)));
        told.signal();
        hang_on_alarm()
    });
    assert!(poll::readable(&told, Some(DEADLINE)).unwrap());
    process::send(&pidfd, Signal::TERM).unwrap();
    assert_eq!(wait(&pidfd), Change::Exited(143));
    Ok(())
}

fn a_leave_interrupts_no_system_call() -> Outcome {
    let (ours, theirs) = fd::message_pair().unwrap();
    fd::set_nonblocking(&theirs, false).unwrap();
    let event = EventFd::new().unwrap();
    let (_, pidfd) = child(|| {
        signal::on_leave(&event, LONG, &[Signal::TERM]).unwrap();
        fd::send_message(&theirs, b"here").unwrap();
        let mut byte = [0; 8];
        // Blocks; without SA_RESTART this would end with EINTR.
        let length = rustix::io::read(&theirs, &mut byte).unwrap();
        i32::from(&byte[..length] != b"go")
    });
    assert!(poll::readable(&ours, Some(DEADLINE)).unwrap());
    process::send(&pidfd, Signal::TERM).unwrap();
    assert!(poll::readable(&event, Some(DEADLINE)).unwrap(), "the handler did not run");
    fd::send_message(&ours, b"go").unwrap();
    assert_eq!(wait(&pidfd), Change::Exited(0));
    Ok(())
}

fn who_does_not_leave_in_time_is_killed() -> Outcome {
    let (_, pidfd) = child(|| {
        let event = EventFd::new().unwrap();
        // As it may be inherited from whoever started the supervisor.
        signal::block(&[Signal::ALRM]).unwrap();
        signal::ignore(Signal::ALRM).unwrap();
        signal::on_leave(&event, Duration::from_millis(1), &[Signal::TERM]).unwrap();
        drop(event);
        process::signal_pid(process::pid(), Signal::TERM).unwrap();
        assert_eq!(signal::leave_signals(), 1);
        hang_on_alarm()
    });
    assert_eq!(wait(&pidfd), by(Signal::ALRM));
    Ok(())
}

fn a_cancelled_alarm_does_not_ring() -> Outcome {
    let (_, pidfd) = child(|| {
        signal::arm_alarm(Duration::from_millis(1));
        signal::cancel_alarm();
        signal::block(&[Signal::ALRM]).unwrap();
        let alarms = SignalFd::new(&[Signal::ALRM]).unwrap();
        let rings = |within| poll::readable(&alarms, Some(within)).unwrap();
        assert!(!rings(Duration::from_millis(1200)), "it rang");
        signal::arm_alarm(Duration::from_millis(1));
        i32::from(!rings(DEADLINE))
    });
    assert_eq!(wait(&pidfd), Change::Exited(0));
    Ok(())
}
