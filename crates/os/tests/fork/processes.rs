//! Forks, pidfds, and what becomes of children.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::family;
use tine_os::fd;
use tine_os::memory::SharedMemory;
use tine_os::process::{self, Change, Pid};
use tine_os::signal::{Signal, SignalFd};
use tine_os::{poll, signal, title};

use crate::{Check, DEADLINE, Outcome, child, hang, wait};

pub(crate) const CHECKS: &[Check] = &[
    ("a_child_knows_its_parent", a_child_knows_its_parent),
    ("a_title_is_shown_and_all_else_stays", a_title_is_shown_and_all_else_stays),
    ("a_fork_after_a_join_is_not_refused", a_fork_after_a_join_is_not_refused),
    ("a_fork_is_refused_while_another_thread_runs", a_fork_is_refused_while_another_thread_runs),
    ("a_burst_of_children_is_reaped", a_burst_of_children_is_reaped),
    ("an_end_is_told_by_status_or_signal", an_end_is_told_by_status_or_signal),
    ("a_reaped_child_is_gone", a_reaped_child_is_gone),
    ("a_stop_and_a_continue_are_told_once", a_stop_and_a_continue_are_told_once),
    ("peeking_reaps_nobody", peeking_reaps_nobody),
    ("a_group_dies_together", a_group_dies_together),
    (
        "descendants_are_found_and_signalled_wherever_they_are",
        descendants_are_found_and_signalled_wherever_they_are,
    ),
    ("an_orphan_dies_with_its_parent", an_orphan_dies_with_its_parent),
    ("leaving_now_drops_nothing", leaving_now_drops_nothing),
    ("a_process_is_named_and_leads", a_process_is_named_and_leads),
];

fn a_child_knows_its_parent() -> Outcome {
    let here = process::pid();
    assert_eq!(process::thread_count().unwrap(), 1);
    let (pid, pidfd) = child(|| {
        assert_ne!(process::pid(), here);
        assert_eq!(process::parent(), Some(here));
        i32::from(process::thread_count().unwrap() != 1)
    });
    assert_ne!(pid, here);
    assert_eq!(wait(&pidfd), Change::Exited(0));
    Ok(())
}

fn a_fork_after_a_join_is_not_refused() -> Outcome {
    for _ in 0..200 {
        std::thread::spawn(|| ()).join().unwrap();
        let (_, pidfd) = child(|| 0);
        assert_eq!(wait(&pidfd), Change::Exited(0));
    }
    Ok(())
}

fn a_fork_is_refused_while_another_thread_runs() -> Outcome {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (start, started) = std::sync::mpsc::channel();
    let builder = std::thread::Builder::new().name("a second one".into());
    let body = move || start.send(()).is_ok() && stopped.recv().is_err();
    let thread = builder.spawn(body).unwrap();
    // A thread names itself, so has no name until it runs.
    started.recv().unwrap();
    assert_eq!(process::thread_count().unwrap(), 2);
    let error = process::fork().unwrap_err();
    assert!(error.to_string().contains("a second one"), "{error}");
    drop(stop);
    assert!(thread.join().unwrap());
    Ok(())
}

fn a_burst_of_children_is_reaped() -> Outcome {
    let children: Vec<_> = (0..100).map(|number| child(move || number)).collect();
    for (number, (_, pidfd)) in children.iter().enumerate() {
        assert_eq!(wait(pidfd), Change::Exited(number as i32));
    }
    assert_eq!(process::peek_exited().unwrap(), None);
    Ok(())
}

fn an_end_is_told_by_status_or_signal() -> Outcome {
    let (_, pidfd) = child(|| hang());
    assert_eq!(process::reap(&pidfd).unwrap(), None);
    process::send(&pidfd, Signal::KILL).unwrap();
    assert_eq!(wait(&pidfd), Change::Signaled { signal: Signal::KILL, core: false });

    let (pid, pidfd) = child(|| hang());
    process::signal_pid(pid, Signal::USR1).unwrap();
    assert_eq!(wait(&pidfd), Change::Signaled { signal: Signal::USR1, core: false });

    let (_, pidfd) = child(|| hang());
    let real_time = Signal::from_number(40).unwrap();
    process::send(&pidfd, real_time).unwrap();
    assert_eq!(wait(&pidfd), Change::Signaled { signal: real_time, core: false });

    let (_, pidfd) = child(|| 256 + 7);
    assert_eq!(wait(&pidfd), Change::Exited(7));
    Ok(())
}

fn a_reaped_child_is_gone() -> Outcome {
    let (pid, pidfd) = child(|| 0);
    assert_eq!(wait(&pidfd), Change::Exited(0));
    let code = |error: std::io::Error| error.raw_os_error();
    assert_eq!(code(process::reap(&pidfd).unwrap_err()), Some(libc::ECHILD));
    assert_eq!(code(process::reap_pid(pid).unwrap_err()), Some(libc::ECHILD));
    assert_eq!(code(process::send(&pidfd, Signal::TERM).unwrap_err()), Some(libc::ESRCH));
    assert_eq!(process::stop_state(&pidfd).unwrap(), None);
    assert!(!process::any_stop_pending().unwrap());
    Ok(())
}

/// Waits for a SIGCHLD, as the loop of a supervisor would.
fn news(children: &SignalFd) {
    assert!(poll::readable(children, Some(DEADLINE)).unwrap(), "no SIGCHLD");
    assert_eq!(children.read().unwrap().signal, Signal::CHLD);
}

fn a_stop_and_a_continue_are_told_once() -> Outcome {
    signal::block(&[Signal::CHLD]).unwrap();
    let children = SignalFd::new(&[Signal::CHLD]).unwrap();
    let (_, pidfd) = child(|| hang());
    assert!(!process::any_stop_pending().unwrap());
    for (cause, told) in
        [(Signal::STOP, Change::Stopped(Signal::STOP)), (Signal::CONT, Change::Continued)]
    {
        process::send(&pidfd, cause).unwrap();
        news(&children);
        assert!(process::any_stop_pending().unwrap());
        assert!(process::any_stop_pending().unwrap(), "looking took it away");
        assert_eq!(process::stop_state(&pidfd).unwrap(), Some(told));
        assert_eq!(process::stop_state(&pidfd).unwrap(), None);
        assert!(!process::any_stop_pending().unwrap());
    }
    process::send(&pidfd, Signal::STOP).unwrap();
    news(&children);
    process::send(&pidfd, Signal::KILL).unwrap();
    news(&children);
    assert_eq!(process::stop_state(&pidfd).unwrap(), None, "a dead child is not stopped");
    assert!(!process::any_stop_pending().unwrap());
    assert_eq!(wait(&pidfd), Change::Signaled { signal: Signal::KILL, core: false });
    Ok(())
}

fn peeking_reaps_nobody() -> Outcome {
    assert_eq!(process::peek_exited().unwrap(), None, "without any child");
    let (alive, living) = child(|| hang());
    let (pid, pidfd) = child(|| 3);
    assert!(poll::readable(&pidfd, Some(DEADLINE)).unwrap());
    assert_eq!(process::peek_exited().unwrap(), Some(pid));
    assert_eq!(process::peek_exited().unwrap(), Some(pid));
    assert_eq!(process::reap_pid(pid).unwrap(), Some(Change::Exited(3)));
    assert_eq!(process::peek_exited().unwrap(), None);
    assert_eq!(process::reap_pid(alive).unwrap(), None);
    process::send(&living, Signal::KILL).unwrap();
    wait(&living);
    Ok(())
}

/// In a child: says "here I am" before hanging.
fn ready_and_hang(ready: &EventFd) -> ! {
    ready.signal();
    hang()
}

fn await_ready(ready: &EventFd) {
    assert!(poll::readable(ready, Some(DEADLINE)).unwrap(), "the child does not get ready");
    assert_eq!(ready.take(), Some(1));
}

fn a_group_dies_together() -> Outcome {
    let ready = EventFd::new().unwrap();
    process::become_subreaper().unwrap();
    let (leader, leader_fd) = child(|| {
        process::lead_own_group().unwrap();
        child(|| ready_and_hang(&ready));
        hang()
    });
    await_ready(&ready);
    process::signal_group(leader, Signal::TERM).unwrap();
    let by_term = Change::Signaled { signal: Signal::TERM, core: false };
    assert_eq!(wait(&leader_fd), by_term);
    // Its child is ours now, and got the same.
    signal::block(&[Signal::CHLD]).unwrap();
    let children = SignalFd::new(&[Signal::CHLD]).unwrap();
    let orphan = loop {
        match process::peek_exited().unwrap() {
            Some(pid) => break pid,
            None => news(&children),
        }
    };
    assert_eq!(process::reap_pid(orphan).unwrap(), Some(by_term));
    let everybody = process::signal_group(Pid::from_raw(1).unwrap(), Signal::CONT);
    assert_eq!(everybody.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    Ok(())
}

fn descendants_are_found_and_signalled_wherever_they_are() -> Outcome {
    let ready = EventFd::semaphore().unwrap();
    process::become_subreaper().unwrap();
    assert_eq!(family::children(process::pid()).unwrap(), []);
    let (first, _) = child(|| {
        child(|| {
            process::new_session().unwrap();
            child(|| ready_and_hang(&ready));
            // Its child is an orphan now, in a session without a leader.
            0
        });
        child(|| ready_and_hang(&ready));
        ready_and_hang(&ready)
    });
    for _ in 0..3 {
        await_ready(&ready);
    }
    let own = process::pid();
    assert!(family::children(own).unwrap().contains(&first));
    while family::signal_descendants(own, Signal::KILL).unwrap().told > 0 {
        while let Some(pid) = process::peek_exited().unwrap() {
            process::reap_pid(pid).unwrap();
        }
    }
    assert_eq!(family::children(own).unwrap(), []);
    assert_eq!(family::children(first).unwrap(), [], "of one that is gone");
    Ok(())
}

fn an_orphan_dies_with_its_parent() -> Outcome {
    assert!(!process::is_subreaper());
    process::become_subreaper().unwrap();
    assert!(process::is_subreaper());
    let ready = EventFd::new().unwrap();
    let (ours, theirs) = fd::message_pair().unwrap();
    let (_, parent) = child(|| {
        let (grandchild, _pidfd) = child(|| {
            process::die_with_parent(Signal::USR2).unwrap();
            ready_and_hang(&ready)
        });
        await_ready(&ready);
        fd::send_message(&theirs, &grandchild.get().to_ne_bytes()).unwrap();
        assert!(poll::readable(&theirs, Some(DEADLINE)).unwrap());
        0
    });
    let grandchild = pidfd_from(&ours);
    assert!(!poll::readable(&grandchild, Some(Duration::ZERO)).unwrap());
    fd::send_message(&ours, b"go").unwrap();
    assert_eq!(wait(&parent), Change::Exited(0));
    assert_eq!(wait(&grandchild), Change::Signaled { signal: Signal::USR2, core: false });
    Ok(())
}

fn pidfd_from(socket: &OwnedFd) -> OwnedFd {
    assert!(poll::readable(socket, Some(DEADLINE)).unwrap());
    let mut buffer = [0; 4];
    let message = fd::receive_message(socket, &mut buffer).unwrap().unwrap();
    let number = u32::from_ne_bytes(message.try_into().unwrap());
    process::pidfd(Pid::from_raw(number).unwrap()).unwrap()
}

fn leaving_now_drops_nothing() -> Outcome {
    struct Guard<'a>(&'a SharedMemory);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.words()[0].store(1, SeqCst);
        }
    }
    let memory = SharedMemory::create("drops", 1).unwrap();
    let (_, pidfd) = child(|| {
        let _guard = Guard(&memory);
        process::exit_now(5)
    });
    assert_eq!(wait(&pidfd), Change::Exited(5));
    assert_eq!(memory.words()[0].load(SeqCst), 0);
    Ok(())
}

fn a_process_is_named_and_leads() -> Outcome {
    let name = || std::fs::read_to_string("/proc/self/comm").unwrap();
    for (given, kept) in [
        ("tine: worker 1", "tine: worker 1\n"),
        ("a name of twenty-four by", "a name of twent\n"),
        ("fourteen bytes\u{e4}", "fourteen bytes\n"),
        ("cut\0off", "cut\n"),
    ] {
        process::set_name(given).unwrap();
        assert_eq!(name(), kept);
    }
    let (_, pidfd) = child(|| {
        process::new_session().unwrap();
        let own = process::pid().get().to_string();
        // pid (comm) state ppid pgrp session, and so on: proc_pid_stat(5).
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        i32::from(fields[2] != own || fields[3] != own)
    });
    assert_eq!(wait(&pidfd), Change::Exited(0));
    Ok(())
}

fn a_title_is_shown_and_all_else_stays() -> Outcome {
    let shown = |what: &str| std::fs::read(format!("/proc/self/{what}")).unwrap();
    let (_, pidfd) = child(|| {
        let (command, environment) = (shown("cmdline"), shown("environ"));
        let arguments: Vec<String> = std::env::args().collect();
        let long = format!("tine: {}", "\u{e4}".repeat(400));
        for (given, kept) in [
            ("t", "t\0"),
            ("tine: worker main/3 gen 2", "tine: worker main/3 gen 2\0"),
            ("cut\0off", "cut\0"),
            // 511 bytes, the zero among them, and no half character.
            (&long, &format!("tine: {}\0", "\u{e4}".repeat(252))),
        ] {
            title::set(given).unwrap();
            assert_eq!(shown("cmdline"), kept.as_bytes());
            assert_eq!(shown("environ"), environment);
        }
        assert!(std::env::args().eq(arguments));
        // What was set before a fork is the child's, and its own.
        let (_, grandchild) = child(|| {
            let before = shown("cmdline");
            title::set("mine").unwrap();
            i32::from(before.len() != 511 || shown("cmdline") != b"mine\0")
        });
        assert_eq!(wait(&grandchild), Change::Exited(0));
        assert_eq!(shown("cmdline").len(), 511);
        title::restore().unwrap();
        i32::from(shown("cmdline") != command)
    });
    assert_eq!(wait(&pidfd), Change::Exited(0));
    Ok(())
}
