//! Logs of several processes: a file that is renamed again and again while four workers write to it; what
//! follows it; and a syslog daemon that is restarted.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tine::log::{Level, Log, Syslog};
use tine_os::fd::{message_pair, receive_message, send_message};
use tine_os::poll::readable;
use tine_os::privilege;
use tine_os::process::{self, Change};

use crate::{Check, DEADLINE, child, end_of, end_with_parent, wait_until};

pub(crate) const CHECKS: &[Check] = &[
    ("rotation_loses_no_line", || rotate(|_| {})),
    ("workers_without_rights_in_another_root_follow", || as_root(|| rotate(drop_everything))),
    (
        "after_a_reopening_nobody_writes_to_the_old_file",
        after_a_reopening_nobody_writes_to_the_old_file,
    ),
    ("standard_error_follows_the_log_it_is", standard_error_follows_the_log_it_is),
    ("a_restarted_syslog_is_called_for_all", || as_root(a_restarted_syslog_is_called_for_all)),
    ("a_check_that_fails_leaves_no_writer", a_check_that_fails_leaves_no_writer),
];

const WORKERS: usize = 4;
const ROTATIONS: usize = 50;
/// What each worker writes to every file, at least.
const LINES: usize = 20;

fn as_root(check: fn()) {
    match privilege::effective_uid() {
        0 => check(),
        _ => println!("skipped: it takes root"),
    }
}

fn drop_everything(directory: &Path) {
    privilege::chroot(&directory.join("root")).expect("chroot");
    privilege::set_groups(&[]).expect("groups");
    privilege::set_gid(65534).expect("group");
    privilege::set_uid(65534).expect("user");
    end_with_parent();
}

fn rotate(prepare: fn(&Path)) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("root")).expect("a directory");
    let path = directory.path().join("log");
    let log = Log::default().to_file(&path).expect("a log");
    log.share().expect("a mailbox");
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (ours, theirs) = message_pair().expect("a channel");
        let (_, pidfd) = child(|| {
            tine_os::fd::close_many(log.private_descriptor());
            prepare(directory.path());
            write_lines(&log, worker, &theirs);
        });
        workers.push((ours, pidfd));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for rotation in 0..ROTATIONS {
        wait_until("every worker has written to the new file", || {
            let text = fs::read_to_string(&path).expect("the log");
            let lines = |worker| text.matches(&format!(": {worker}/")).count();
            (0..WORKERS).all(|worker| lines(worker) >= LINES)
        });
        files.push(directory.path().join(format!("log.{rotation}")));
        fs::rename(&path, &files[rotation]).expect("renamed");
        log.line(Level::Info, format_args!("supervisor/{rotation}"));
        log.reopen().expect("reopened");
    }
    for (channel, pidfd) in &workers {
        send_message(channel, b"l").expect("told");
        assert_eq!(end_of(pidfd), Change::Exited(0));
    }
    files.push(path);
    check(&files);
}

/// A worker: lines, until it is told to leave. Of rotations it is told nothing.
fn write_lines(log: &Log, worker: usize, channel: &OwnedFd) {
    for number in 0_u64.. {
        if receive_message(channel, &mut [0; 16]).expect("a message").is_some() {
            log.line(Level::Info, format_args!("{worker}/last {number}"));
            return;
        }
        let padding = "x".repeat(usize::try_from(number % 700).expect("small"));
        log.line(Level::Info, format_args!("{worker}/{number} {padding}."));
        // Two processors, and five processes that never wait.
        std::thread::yield_now();
    }
}

/// What begins after a reopening is in the new file: the old one may be compressed.
fn after_a_reopening_nobody_writes_to_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let [path, old] = ["log", "old"].map(|name| directory.path().join(name));
    let log = Log::default().to_file(&path).expect("a log");
    log.share().expect("a mailbox");
    let (ours, theirs) = message_pair().expect("a channel");
    let (_, pidfd) = child(|| {
        tine_os::fd::close_many(log.private_descriptor());
        for number in 0..3 {
            assert!(readable(&theirs, Some(DEADLINE)).expect("poll"));
            let _ = receive_message(&theirs, &mut [0]).expect("a message");
            log.line(Level::Info, format_args!("{number}"));
            send_message(&theirs, b"w").expect("told");
        }
    });
    for reopenings in [0, 1, 5] {
        for _ in 0..reopenings {
            fs::rename(&path, &old).expect("renamed");
            log.reopen().expect("reopened");
        }
        assert_eq!(fs::read_to_string(&path).expect("the log"), "");
        send_message(&ours, b"w").expect("told");
        assert!(readable(&ours, Some(DEADLINE)).expect("poll"));
        let _ = receive_message(&ours, &mut [0]).expect("a message");
        assert_eq!(fs::read_to_string(&path).expect("the log").lines().count(), 1);
    }
    assert_eq!(end_of(&pidfd), Change::Exited(0));
}

/// Every line is whole, and in one of the files, and each worker's numbers are all there, in order.
fn check(files: &[PathBuf]) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = 0;
    for file in files {
        let text = fs::read_to_string(file).expect("a file");
        assert!(text.ends_with('\n'), "{}: its last line is torn", file.display());
        for line in text.lines() {
            let (head, text) = line.split_once("]: ").expect("a line with a head");
            assert_eq!(head.matches("tine[").count(), 1, "{line:?}");
            let (who, text) = text.split_once('/').unwrap_or_else(|| panic!("{line:?}"));
            let expected = next.entry(who.to_owned()).or_default();
            if let Some(number) = text.strip_prefix("last ") {
                assert_eq!(number, expected.to_string(), "{}: {line:?}", file.display());
                last += 1;
                continue;
            }
            let number = text.split(' ').next().unwrap_or_default();
            assert_eq!(number, expected.to_string(), "{}: {line:?}", file.display());
            let padding = usize::try_from(*expected % 700).expect("small");
            let rest = &text[number.len()..];
            let whole = who == "supervisor" || rest == format!(" {}.", "x".repeat(padding));
            assert!(whole, "{line:?}");
            *expected += 1;
        }
    }
    assert_eq!(last, WORKERS, "everybody said his last word");
    assert_eq!(next.remove("supervisor"), Some(ROTATIONS as u64));
    assert_eq!(next.len(), WORKERS);
    println!("{} lines in {} files", next.values().sum::<u64>(), files.len());
}

fn standard_error_follows_the_log_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let [path, old] = ["log", "old"].map(|name| directory.path().join(name));
    let log = Log::default().to_file(&path).expect("a log");
    let say = |text: &str| io::stderr().write_all(text.as_bytes()).expect("written");
    log.capture_stderr().expect("dup2");
    say("one\n");
    fs::rename(&path, &old).expect("renamed");
    say("two\n");
    log.reopen().expect("reopened");
    say("three\n");
    assert_eq!(fs::read_to_string(&old).expect("the old one"), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&path).expect("the new one"), "three\n");
}

/// The workers cannot reach it themselves; their supervisor's call is theirs, too.
fn a_restarted_syslog_is_called_for_all() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("root")).expect("a directory");
    let path = directory.path().join("log");
    let first = UnixDatagram::bind(&path).expect("a socket");
    let log = Log::default().to_syslog(Syslog::new().path(&path)).expect("a log");
    let (ours, theirs) = message_pair().expect("a channel");
    let (_, pidfd) = child(|| {
        // The daemon is not its parent's, really.
        tine_os::fd::close_many([first.as_raw_fd()]);
        drop_everything(directory.path());
        for _ in 0..2 {
            assert!(readable(&theirs, Some(DEADLINE)).expect("poll"));
            let _ = receive_message(&theirs, &mut [0]).expect("a message");
            log.line(Level::Info, format_args!("from the worker"));
        }
    });
    let next = |socket: &UnixDatagram| {
        assert!(readable(socket, Some(DEADLINE)).expect("poll"));
        let mut packet = [0; 256];
        let length = socket.recv(&mut packet).expect("a packet");
        String::from_utf8_lossy(&packet[..length]).into_owned()
    };
    send_message(&ours, b"1").expect("told");
    assert!(next(&first).ends_with("from the worker"));
    fs::remove_file(&path).expect("removed");
    drop(first);
    let second = UnixDatagram::bind(&path).expect("a socket");
    log.line(Level::Info, format_args!("from the supervisor"));
    assert!(next(&second).ends_with("from the supervisor"));
    send_message(&ours, b"2").expect("told");
    assert!(next(&second).ends_with("from the worker"));
    assert_eq!(end_of(&pidfd), Change::Exited(0));
}

/// Of a check that panics while its workers write, and whose pids nobody has.
fn a_check_that_fails_leaves_no_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = Log::default().to_file(directory.path().join("log")).expect("a log");
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let (_, pidfd) = child(|| {
        for worker in 0..WORKERS {
            let (_ours, theirs) = message_pair().expect("a channel");
            let (pid, _) = child(|| write_lines(&log, worker, &theirs));
            (&writer).write_all(&pid.get().to_ne_bytes()).expect("written");
        }
        process::exit_now(101);
    });
    assert_eq!(end_of(&pidfd), Change::Exited(101));
    for _ in 0..WORKERS {
        let mut pid = [0; 4];
        io::Read::read_exact(&mut reader, &mut pid).expect("a pid");
        let pid = u32::from_ne_bytes(pid);
        wait_until("the writers are gone", || !testkit::alive(pid));
    }
}
