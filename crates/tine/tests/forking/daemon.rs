//! What becomes of a daemon, as whoever starts it sees it; and what the daemon has let go of.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use testkit::{alive, process::status};
use tine::daemon::{Daemon, Ready, Role, Verdict, core_directory, inetd_connection};
use tine_os::daemon::{Standard, redirect};
use tine_os::poll::readable;
use tine_os::privilege::{self, Resource, limit};
use tine_os::process::{self, Change, Pid};
use tine_os::signal::{self, Signal};
use tine_os::socket::Traffic;

use crate::{Check, DEADLINE, child, end_of, lasting_child};

pub(crate) const CHECKS: &[Check] = &[
    ("a_daemon_that_serves_is_told_of_with_its_pid", a_daemon_that_serves_is_told_of_with_its_pid),
    ("a_daemon_has_let_go_of_where_it_came_from", a_daemon_has_let_go_of_where_it_came_from),
    ("standard_error_is_kept_if_it_is_the_log", standard_error_is_kept_if_it_is_the_log),
    ("a_failure_is_told_with_its_text_and_code", a_failure_is_told_with_its_text_and_code),
    ("an_end_without_a_word_is_told", an_end_without_a_word_is_told),
    ("a_worker_of_a_dead_daemon_deceives_nobody", a_worker_of_a_dead_daemon_deceives_nobody),
    ("a_daemon_that_hangs_is_ended", a_daemon_that_hangs_is_ended),
    ("a_daemon_that_cannot_be_set_up_has_failed", a_daemon_that_cannot_be_set_up_has_failed),
    ("a_connection_of_inetds_is_taken_over", a_connection_of_inetds_is_taken_over),
    ("a_core_is_allowed_after_the_drop", a_core_is_allowed_after_the_drop),
];

/// Starts a daemon that lives so, and says what became of it.
fn verdict(daemon: Daemon, life: impl FnOnce(Ready)) -> Verdict {
    match daemon.start().expect("a fork") {
        Role::Parent(verdict) => verdict,
        Role::Child(ready) => {
            life(ready);
            process::exit_now(7)
        }
    }
}

fn daemon() -> Daemon {
    Daemon::new(DEADLINE)
}

/// In a daemon: waits for its end.
fn hang() {
    signal::arm_alarm(DEADLINE);
    loop {
        std::thread::park_timeout(DEADLINE);
    }
}

fn served(verdict: Verdict) -> Pid {
    match verdict {
        Verdict::Serving(pid) => pid,
        failed @ Verdict::Failed { .. } => panic!("{failed:?}"),
    }
}

fn kill(pid: Pid) {
    process::signal_pid(pid, Signal::KILL).expect("kill");
}

fn a_daemon_that_serves_is_told_of_with_its_pid() {
    let pid = served(verdict(daemon(), |ready| {
        ready.tell(Ok(()));
        hang();
    }));
    assert_eq!(status(pid.get()).ppid, std::process::id());
    kill(pid);
}

fn a_daemon_has_let_go_of_where_it_came_from() {
    let pid = served(verdict(daemon(), |ready| {
        ready.tell(Ok(()));
        hang();
    }));
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).expect("a link");
    assert_eq!(link("cwd").to_str(), Some("/"));
    for number in 0..3 {
        assert_eq!(link(&format!("fd/{number}")).to_str(), Some("/dev/null"));
    }
    // Fields 5 to 7: group, session, terminal (proc_pid_stat(5)).
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let own = pid.to_string();
    assert_eq!(fields[2..5], [&*own, &*own, "0"], "{stat}");
    kill(pid);
}

fn standard_error_is_kept_if_it_is_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let here = std::env::current_dir().expect("a directory");
    redirect(Standard::Error, fs::File::create(&path).expect("a file")).expect("dup2");
    let life = |ready: Ready| {
        let _ = writeln!(io::stderr(), "{}", std::env::current_dir().expect("one").display());
        ready.tell(Ok(()));
    };
    served(verdict(daemon().directory(None).keep_stderr(), life));
    assert_eq!(fs::read_to_string(&path).expect("the log"), format!("{}\n", here.display()));
}

fn a_failure_is_told_with_its_text_and_code() {
    let told = |text: &str, code| verdict(daemon(), |ready| ready.tell(Err((text, code))));
    let address = "cannot bind 127.0.0.1:80: in use";
    assert_eq!(told(address, 3), Verdict::Failed { text: address.into(), code: 3 });
    assert_eq!(told("why", 0), Verdict::Failed { text: "why".into(), code: 1 });
    let long = "ä".repeat(100_000);
    let Verdict::Failed { text, code: 2 } = told(&long, 2) else { panic!("it failed") };
    assert_eq!(text, "ä".repeat(2048), "cut");
}

fn an_end_without_a_word_is_told() {
    let ended = |how: fn()| match verdict(daemon(), |_ready| how()) {
        Verdict::Failed { text, code } => (text, code),
        serving @ Verdict::Serving(_) => panic!("{serving:?}"),
    };
    let before = "the daemon ended before it served";
    assert_eq!(ended(|| {}), (format!("{before}, with status 7"), 7));
    assert_eq!(ended(|| process::exit_now(0)), (format!("{before}, with status 0"), 1));
    assert_eq!(ended(|| kill(process::pid())), (format!("{before}: killed by SIGKILL"), 1));
}

/// A worker that has the line open still does not keep anybody waiting.
fn a_worker_of_a_dead_daemon_deceives_nobody() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let failed = verdict(daemon(), |_ready| {
        let (pid, _) = lasting_child(hang);
        (&writer).write_all(&pid.get().to_ne_bytes()).expect("written");
    });
    assert!(matches!(failed, Verdict::Failed { code: 7, .. }), "{failed:?}");
    let mut pid = [0; 4];
    reader.read_exact(&mut pid).expect("a pid");
    let pid = Pid::from_raw(u32::from_ne_bytes(pid)).expect("a pid");
    assert!(alive(pid.get()), "and yet it was not waited for");
    kill(pid);
}

fn a_daemon_that_hangs_is_ended() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let short = Daemon::new(Duration::from_millis(50));
    let failed = verdict(short, |ready| {
        hang();
        drop((ready, writer));
    });
    let text = "the daemon did not serve within 0.05 s, and was ended".to_owned();
    assert_eq!(failed, Verdict::Failed { text, code: 1 });
    // Its end of the pipe is closed, and this process gave its own away.
    assert!(readable(&reader, Some(Duration::ZERO)).expect("poll"), "it is gone");
}

fn a_daemon_that_cannot_be_set_up_has_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let gone = directory.path().join("gone");
    let failed = verdict(daemon().directory(Some(gone.clone())), |ready| ready.tell(Ok(())));
    let Verdict::Failed { text, code: 1 } = failed else { panic!("{failed:?}") };
    assert!(text.contains(&*gone.to_string_lossy()) && text.contains("No such file"), "{text}");
}

fn a_connection_of_inetds_is_taken_over() {
    let (mut client, server) = UnixStream::pair().expect("a pair");
    for stream in [Standard::Input, Standard::Output, Standard::Error] {
        redirect(stream, &server).expect("dup2");
    }
    drop(server);
    let (socket, identity) = inetd_connection().expect("a socket");
    assert_eq!((identity.traffic, identity.listening), (Traffic::Stream, false));
    let _ = writeln!(io::stdout(), "a stray word");
    let _ = writeln!(io::stderr(), "another");
    let mut socket = UnixStream::from(socket);
    client.write_all(b"question").expect("sent");
    let mut question = [0; 8];
    socket.read_exact(&mut question).expect("received");
    socket.write_all(b"answer").expect("sent");
    drop(socket);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the end: nothing else has it open");
    assert_eq!((&question, &*answer), (b"question", "answer"));
    const ENOTSOCK: i32 = 88;
    let error = inetd_connection().expect_err("no socket any more");
    assert_eq!(error.raw_os_error(), Some(ENOTSOCK));
}

fn a_core_is_allowed_after_the_drop() {
    let directory = tempfile::tempdir().expect("a directory");
    // A directory of tempfile's is its maker's alone.
    privilege::chmod(directory.path(), 0o777).expect("chmod");
    let cores = core_directory(directory.path(), None).expect("it is there");
    let (_, hard) = limit(Resource::Core).expect("a limit");
    let root = privilege::effective_uid() == 0;
    let (_, pidfd) = child(|| {
        privilege::set_limit(Resource::Core, 0, hard).expect("a limit");
        match cores.lift_limit() {
            Ok(()) => assert_eq!(limit(Resource::Core).expect("a limit"), (u64::MAX, u64::MAX)),
            Err(error) => assert!(!root && hard != u64::MAX, "{error}"),
        }
        if root {
            privilege::set_gid(65534).expect("group");
            privilege::set_uid(65534).expect("user");
        }
        cores.enter().expect("entered");
        assert_eq!(std::env::current_dir().expect("one"), directory.path());
        // What is not dumpable belongs to root there (proc(5)).
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self/io").expect("io"));
        assert_eq!(owner, privilege::effective_uid());
    });
    assert_eq!(end_of(&pidfd), Change::Exited(0));
}
