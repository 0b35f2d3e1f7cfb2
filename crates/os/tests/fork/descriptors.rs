//! Descriptors and memory between processes.

use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
use std::sync::atomic::Ordering::SeqCst;

use tine_os::event::EventFd;
use tine_os::exec;
use tine_os::fd;
use tine_os::memory::SharedMemory;
use tine_os::poll;
use tine_os::process::Change;

use crate::{Check, DEADLINE, Outcome, child, wait};

pub(crate) const CHECKS: &[Check] = &[
    ("closing_many_closes_those_and_no_other", closing_many_closes_those_and_no_other),
    ("a_number_is_adopted_once_it_is_open", a_number_is_adopted_once_it_is_open),
    ("messages_keep_their_edges_between_processes", messages_keep_their_edges_between_processes),
    ("memory_is_shared_with_a_child", memory_is_shared_with_a_child),
    ("an_event_wakes_another_process", an_event_wakes_another_process),
    (
        "placed_descriptors_are_all_that_outlives_an_exec",
        placed_descriptors_are_all_that_outlives_an_exec,
    ),
    ("nonsense_is_not_placed", nonsense_is_not_placed),
    ("all_but_some_are_closed", all_but_some_are_closed),
    (
        "a_replaced_descriptor_is_another_file_for_everybody",
        a_replaced_descriptor_is_another_file_for_everybody,
    ),
    (
        "a_variable_is_removed_where_nobody_can_be_reading",
        a_variable_is_removed_where_nobody_can_be_reading,
    ),
];

fn is_open(number: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

fn closing_many_closes_those_and_no_other() -> Outcome {
    let new = |_| fd::duplicate(EventFd::new().unwrap()).unwrap().into_raw_fd();
    let numbers: Vec<i32> = (0..12).map(new).collect();
    let (_, pidfd) = child(|| {
        let before = fd::open_count().unwrap();
        // Runs and single ones, a gap of one between two, in no order, with what must do no harm.
        let picked = [7, 0, 1, 3, 6, 10, 7];
        let list = picked.iter().map(|&at| numbers[at]);
        fd::close_many(list.chain([-1, i32::MIN, i32::MAX]));
        for (at, &number) in numbers.iter().enumerate() {
            assert_eq!(is_open(number), !picked.contains(&at), "number {at}");
        }
        assert!(is_open(0) && is_open(1) && is_open(2));
        assert_eq!(fd::open_count().unwrap(), before - 6);
        0
    });
    assert_eq!(wait(&pidfd), Change::Exited(0));
    assert!(numbers.iter().all(|&number| is_open(number)), "the parent's are its own");
    Ok(())
}

fn a_number_is_adopted_once_it_is_open() -> Outcome {
    let event = fd::duplicate(EventFd::new().unwrap()).unwrap();
    fd::set_close_on_exec(&event, false).unwrap();
    let number = event.into_raw_fd();
    let adopted = fd::adopt(number).unwrap();
    assert_eq!(adopted.as_raw_fd(), number);
    let flags = rustix::io::fcntl_getfd(&adopted).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let event = EventFd::from(adopted);
    event.signal();
    assert_eq!(event.take(), Some(1));
    drop(event);
    assert_eq!(fd::adopt(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(fd::adopt(-1).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    Ok(())
}

fn messages_keep_their_edges_between_processes() -> Outcome {
    let (ours, theirs) = fd::message_pair().unwrap();
    let mut buffer = [0; 16];
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), None);
    let (_, pidfd) = child(|| {
        for message in [b"one".as_slice(), b"and two", b"much too long for the buffer", b"last"] {
            fd::send_message(&theirs, message).unwrap();
        }
        0
    });
    drop(theirs);
    assert_eq!(wait(&pidfd), Change::Exited(0));
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some(b"one".as_slice()));
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some(b"and two".as_slice()));
    let error = fd::receive_message(&ours, &mut buffer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some(b"last".as_slice()));
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some(b"".as_slice()), "the end");
    let error = fd::send_message(&ours, b"anybody?").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    Ok(())
}

fn memory_is_shared_with_a_child() -> Outcome {
    const ROUNDS: u64 = 10_000;
    let memory = SharedMemory::create("shared", 1024).unwrap();
    let count = || {
        for _ in 0..ROUNDS {
            memory.words()[1023].fetch_add(1, SeqCst);
        }
        0
    };
    let children = [child(count), child(count)];
    let (_, mapped_again) = child(|| {
        let copy = fd::duplicate(&memory).unwrap();
        let again = SharedMemory::from_fd(copy).unwrap();
        again.words()[0].store(u64::MAX, SeqCst);
        i32::from(again.words().len() != 1024)
    });
    count();
    for (_, pidfd) in &children {
        assert_eq!(wait(pidfd), Change::Exited(0));
    }
    assert_eq!(wait(&mapped_again), Change::Exited(0));
    assert_eq!(memory.words()[1023].load(SeqCst), 3 * ROUNDS);
    assert_eq!(memory.words()[0].load(SeqCst), u64::MAX);
    Ok(())
}

fn an_event_wakes_another_process() -> Outcome {
    let event = EventFd::semaphore().unwrap();
    let (_, pidfd) = child(|| {
        event.signal();
        event.signal();
        0
    });
    assert!(poll::readable(&event, Some(DEADLINE)).unwrap());
    assert_eq!(wait(&pidfd), Change::Exited(0));
    assert_eq!((event.take(), event.take(), event.take()), (Some(1), Some(1), None));
    Ok(())
}

/// The numbers above 2 that an exec would leave open, each with what it is open on.
fn outliving() -> Vec<(i32, std::path::PathBuf)> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let mut found = Vec::new();
    for number in entries.filter_map(number).filter(|&number| number > 2) {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        let flags = info.ok().and_then(|text| {
            let flags =
                text.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
            i32::from_str_radix(&flags, 8).ok()
        });
        if flags.is_some_and(|flags| flags & libc::O_CLOEXEC == 0) {
            found.push((number, link(number)));
        }
    }
    found.sort_unstable();
    found
}

fn link(number: i32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
}

fn placed_descriptors_are_all_that_outlives_an_exec() -> Outcome {
    let (one, other) = std::io::pipe().unwrap();
    let (spare, _writer) = std::io::pipe().unwrap();
    let inherited = fd::duplicate(&one).unwrap();
    fd::set_close_on_exec(&inherited, false).unwrap();
    let (n, m) = (one.as_raw_fd(), other.as_raw_fd());
    let was = [link(m), link(n), link(n)];
    // Crosswise, and one twice: what was at a target is not lost on the way to its own.
    let wanted = [(other.as_fd(), n), (one.as_fd(), m), (one.as_fd(), 90)];
    let kept = exec::place(&wanted, &spare).unwrap();
    let [to_n, to_m, to_90] = was;
    let mut expected = vec![(n, to_n), (m, to_m), (90, to_90)];
    expected.sort_unstable();
    assert_eq!(outliving(), expected);
    assert_eq!(link(kept.as_raw_fd()), link(spare.as_raw_fd()));
    assert!(kept.as_raw_fd() > 90);
    Ok(())
}

fn nonsense_is_not_placed() -> Outcome {
    let (one, other) = std::io::pipe().unwrap();
    for numbers in [[7, 7], [-1, 7], [7, i32::MAX]] {
        let wanted = [(one.as_fd(), numbers[0]), (other.as_fd(), numbers[1])];
        exec::place(&wanted, &one).unwrap_err();
        assert!(!is_open(7), "{numbers:?}");
    }
    Ok(())
}

fn all_but_some_are_closed() -> Outcome {
    let new = |_| fd::duplicate(EventFd::new().unwrap()).unwrap().into_raw_fd();
    let numbers: Vec<i32> = (0..12).map(new).collect();
    exec::close_all_but(&[numbers[9], numbers[4], 1, numbers[5], i32::MAX]).unwrap();
    for (at, &number) in numbers.iter().enumerate() {
        assert_eq!(is_open(number), [4, 5, 9].contains(&at), "number {at}");
    }
    assert!(is_open(0) && is_open(1) && is_open(2));
    assert_eq!(fd::open_count().unwrap(), 6);
    Ok(())
}

fn a_replaced_descriptor_is_another_file_for_everybody() -> Outcome {
    let (mine, theirs) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    let number = mine.as_fd().as_raw_fd();
    fd::replace(&mine, &theirs).unwrap();
    mine.signal();
    assert_eq!(theirs.take(), Some(1));
    assert_eq!(mine.as_fd().as_raw_fd(), number);
    fd::replace(&mine, &mine).unwrap();
    assert!(outliving().iter().all(|(open, _)| *open != number));
    Ok(())
}

fn a_variable_is_removed_where_nobody_can_be_reading() -> Outcome {
    // What every test of cargo's has.
    const NAME: &str = "CARGO_MANIFEST_DIR";
    if std::env::var_os(NAME).is_none() {
        return Err("it runs outside of cargo");
    }
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (start, started) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || start.send(()).is_ok() && stopped.recv().is_err());
    started.recv().unwrap();
    exec::remove_variable(NAME).unwrap_err();
    assert!(std::env::var_os(NAME).is_some());
    drop(stop);
    assert!(thread.join().unwrap());
    poll_until(|| tine_os::process::thread_count().unwrap() == 1);
    exec::remove_variable(NAME).unwrap();
    assert!(std::env::var_os(NAME).is_none());
    Ok(())
}

/// A thread is counted for a moment after it was joined.
fn poll_until(mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
}
