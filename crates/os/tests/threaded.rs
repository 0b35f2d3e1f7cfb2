//! What can be tested in a test runner with threads: waiting, memory, names, queues, and that
//! forking is refused.

use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tine_os::event::EventFd;
use tine_os::memory::SharedMemory;
use tine_os::poll::{Epoll, Event, Interest, Ready};
use tine_os::signal::Signal;
use tine_os::{diag, fd, poll, process, user};

const DEADLINE: Duration = Duration::from_secs(20);
const NOW: Option<Duration> = Some(Duration::ZERO);

#[test]
fn fork_refuses_a_threaded_process_and_names_the_thread() {
    let (stop, stopped) = mpsc::channel::<()>();
    let builder = thread::Builder::new().name("busy-reader".into());
    let (start, started) = mpsc::channel();
    let body = move || start.send(()).is_ok() && stopped.recv().is_err();
    let other = builder.spawn(body).unwrap();
    // A thread names itself, so has no name until it runs.
    started.recv().unwrap();
    assert!(process::thread_count().unwrap() >= 2);
    let error = process::fork().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert!(error.to_string().contains("busy-reader"), "{error}");
    drop(stop);
    assert!(other.join().unwrap());
}

#[test]
fn an_event_counts_until_it_is_taken() {
    let event = EventFd::new().unwrap();
    assert_eq!(event.take(), None);
    event.signal();
    event.signal();
    assert_eq!((event.take(), event.take()), (Some(2), None));
}

#[test]
fn epoll_tells_tokens_and_what_is_possible() {
    let epoll = Epoll::new().unwrap();
    let mut ready = Ready::with_capacity(8);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let event = EventFd::new().unwrap();
    epoll.add(&event, u64::MAX, Interest::READ).unwrap();
    epoll.add(&theirs, 7, Interest::READ_WRITE).unwrap();

    let mut events = || {
        epoll.wait(&mut ready, NOW).unwrap();
        assert_eq!(ready.is_empty(), ready.iter().next().is_none());
        let mut events: Vec<Event> = ready.iter().collect();
        events.sort_by_key(|event| event.token);
        events
    };
    let writable = Event { token: 7, readable: false, writable: true, hangup: false };
    assert_eq!(events(), [writable]);
    ours.write_all(b"x").unwrap();
    event.signal();
    let woken = Event { token: u64::MAX, readable: true, writable: false, hangup: false };
    assert_eq!(events(), [Event { readable: true, ..writable }, woken]);

    epoll.remove(&event).unwrap();
    epoll.modify(&theirs, 8, Interest::READ).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(events(), [Event { token: 8, readable: true, writable: false, hangup: true }]);
    drop(ours);
    assert!(events()[0].hangup);
    epoll.remove(&theirs).unwrap();
    assert_eq!(events(), []);
    assert_eq!(epoll.remove(&theirs).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_exclusive_wait_sees_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&listener, 1, Interest::READ_EXCLUSIVE).unwrap();
    // No room asked for is room for one.
    let mut ready = Ready::with_capacity(0);
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    epoll.wait(&mut ready, Some(DEADLINE)).unwrap();
    assert!(ready.iter().eq([Event { token: 1, readable: true, writable: false, hangup: false }]));
}

#[test]
fn waiting_keeps_to_its_deadline() {
    let event = EventFd::new().unwrap();
    let epoll = Epoll::new().unwrap();
    let mut ready = Ready::with_capacity(1);
    // A fraction of a millisecond is rounded up, so the deadline is over when the wait is.
    let wait = Duration::from_micros(1500);
    for _ in 0..20 {
        let start = Instant::now();
        epoll.wait(&mut ready, Some(wait)).unwrap();
        assert!(start.elapsed() >= wait);
        let start = Instant::now();
        assert!(!poll::readable(&event, Some(wait)).unwrap());
        assert!(start.elapsed() >= wait);
    }
    event.signal();
    assert!(poll::readable(&event, None).unwrap());
    assert!(poll::readable(&event, Some(Duration::MAX)).unwrap());
}

#[test]
fn a_full_pipe_is_not_writable() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    assert!(poll::writable_now(&writer));
    fd::set_nonblocking(&writer, true).unwrap();
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    assert!(!poll::writable_now(&writer));
    assert!(fd::bytes_unread(&reader).unwrap() >= 4096);
    fd::set_nonblocking(&writer, false).unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn copies_are_close_on_exec_until_told_otherwise() {
    use rustix::io::{FdFlags, fcntl_getfd};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = fd::duplicate(&listener).unwrap();
    assert!(fcntl_getfd(&copy).unwrap().contains(FdFlags::CLOEXEC));
    fd::set_close_on_exec(&copy, false).unwrap();
    assert!(!fcntl_getfd(&copy).unwrap().contains(FdFlags::CLOEXEC));
    assert!(fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));
    assert!(fd::open_count().unwrap() >= 2);
}

#[test]
fn messages_that_cannot_be_sent_are_errors() {
    let (ours, theirs) = fd::message_pair().unwrap();
    assert_eq!(fd::send_message(&ours, b"").unwrap_err().kind(), ErrorKind::InvalidInput);
    let message = [1; 1000];
    let error = loop {
        if let Err(error) = fd::send_message(&ours, &message) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // Gone with unread messages: the end, not an error.
    drop(theirs);
    let mut buffer = [0; 8];
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some([].as_slice()));
}

#[test]
fn last_words_are_heard_of_a_peer_that_left_without_listening() {
    let (ours, theirs) = fd::message_pair().unwrap();
    fd::send_message(&ours, b"unread").unwrap();
    fd::send_message(&theirs, b"last words").unwrap();
    drop(theirs);
    let mut buffer = [0; 16];
    let last = fd::receive_message(&ours, &mut buffer).unwrap();
    assert_eq!(last, Some(b"last words".as_slice()));
    assert_eq!(fd::receive_message(&ours, &mut buffer).unwrap(), Some([].as_slice()));
}

#[test]
fn memory_must_be_sealed_and_whole_words() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let memory = SharedMemory::create("sealed", 3).unwrap();
    assert_eq!(memory.words().len(), 3);
    assert!(memory.words().iter().all(|word| word.load(std::sync::atomic::Ordering::Relaxed) == 0));
    assert!(ftruncate(&memory, 8).is_err(), "it can be cut");
    for words in [0, usize::MAX] {
        let error = SharedMemory::create("none", words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    let file = |bytes, seals| {
        let fd = memfd_create("foreign", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, bytes).unwrap();
        fcntl_add_seals(&fd, seals).unwrap();
        SharedMemory::from_fd(fd)
    };
    let both = SealFlags::SHRINK | SealFlags::GROW;
    assert_eq!(file(16, both).unwrap().words().len(), 2);
    for (bytes, seals) in [(16, SealFlags::SHRINK), (16, SealFlags::GROW), (15, both), (0, both)] {
        let error = file(bytes, seals).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes} bytes, {seals:?}");
    }
    let no_memory = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    assert!(SharedMemory::from_fd(no_memory).is_err());
}

#[test]
fn signals_have_names_and_are_found_by_them() {
    for text in ["TERM", "SIGTERM", "term", "SigTerm", "15"] {
        assert_eq!(text.parse(), Ok(Signal::TERM), "{text}");
    }
    for text in ["", "SIG", "TERMS", "0", "65", "-15", "SIGSIGTERM", "RTMIN+99"] {
        assert!(text.parse::<Signal>().is_err(), "{text:?}");
    }
    assert_eq!("bogus".parse::<Signal>().unwrap_err().to_string(), "unknown signal \"bogus\"");
    assert_eq!("RTMIN+3".parse::<Signal>().unwrap().number(), libc::SIGRTMIN() + 3);
    for number in 1..=64 {
        let signal = Signal::from_number(number).unwrap();
        assert_eq!(signal.number(), number);
        assert!(signal.to_string().starts_with("SIG"));
        assert_eq!(format!("{signal}").len(), signal.name().len());
        // Two the C library keeps are named by number, and read back by name as such.
        assert_eq!(signal.name().parse(), Ok(signal), "{signal}");
    }
    assert_eq!((Signal::from_number(0), Signal::from_number(65)), (None, None));
    assert_eq!(Signal::SEGV.to_string(), "SIGSEGV");
    assert!(Signal::SEGV.is_fatal_fault() && !Signal::KILL.is_fatal_fault());
}

#[test]
fn users_and_groups_are_found_by_name_and_number() {
    let root = user::user_by_name("root").unwrap().unwrap();
    assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
    assert_eq!(user::user_by_uid(0).unwrap(), Some(root));
    assert_eq!(user::group_by_name("root").unwrap(), Some(0));
    assert!(user::groups_of("root", 0).unwrap().contains(&0));

    let nobody = "no such user here";
    assert_eq!(user::user_by_name(nobody).unwrap(), None);
    assert_eq!(user::group_by_name(nobody).unwrap(), None);
    assert_eq!(user::user_by_uid(3_999_999_999).unwrap(), None);
    assert_eq!(user::groups_of(nobody, 4711).unwrap(), [4711]);
    assert_eq!(user::user_by_name("ro\0ot").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_tcp_queue_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 17).unwrap();
    assert_eq!(diag::tcp_queue(&listener).unwrap(), (0, 17));
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    // A client is connected a moment before it is queued, so look until the last one is.
    for queued in (0..3).rev() {
        let (accepted, _) = listener.accept().unwrap();
        let start = Instant::now();
        while diag::tcp_queue(&listener).unwrap() != (queued, 17) {
            assert!(start.elapsed() < DEADLINE, "{:?}", diag::tcp_queue(&listener));
            thread::yield_now();
        }
        let error = diag::tcp_queue(&accepted).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    drop(clients);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(diag::tcp_queue(&udp).is_err());
}

#[test]
fn the_round_trip_of_a_connection_is_what_the_kernel_has_measured() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    for end in [&client, &accepted] {
        let round_trip = diag::round_trip(end).unwrap();
        assert!(!round_trip.is_zero() && round_trip < DEADLINE, "{round_trip:?}");
    }
    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(diag::round_trip(&unix).is_err());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(diag::round_trip(&udp).is_err());
}

#[test]
fn a_unix_queue_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 23).unwrap();
    let queue = || diag::unix_queue(listener.as_fd()).unwrap();
    assert_eq!(queue(), (0, 23));
    let clients: Vec<_> = (0..4).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert_eq!(queue(), (4, 23));
    listener.accept().unwrap();
    assert_eq!(queue(), (3, 23));

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for error in [diag::unix_queue(&clients[0]), diag::unix_queue(&tcp)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(diag::unix_queue(dir_as_fd(dir.path())).is_err());
}

fn dir_as_fd(path: &std::path::Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}
