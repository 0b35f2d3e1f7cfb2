//! Descriptors and memory between processes.

use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::sync::atomic::Ordering::SeqCst;

use tine_os::event::EventFd;
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
        let mut list: Vec<i32> = picked.iter().map(|&at| numbers[at]).collect();
        list.extend([-1, i32::MIN, i32::MAX]);
        fd::close_many(&mut list);
        assert!(list.is_empty());
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
