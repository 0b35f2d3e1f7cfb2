//! Real sockets, real clients.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tine_os::clock::monotonic;
use tine_os::event::EventFd;
use tine_os::poll::{Epoll, Interest, Ready};
use tine_os::privilege;

use super::{By, Client, Reply, Request, Server, Status, WorkerStatus, find};

const BASE: u64 = 1 << 40;
const STOP: u64 = 7;
const SECOND: u64 = 1_000_000_000;
const LONG: Duration = Duration::from_secs(20);

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{}.sock", process::id()));
    (directory, path)
}

/// So many workers, each with a text in its record that no buffer of a socket holds together.
fn status(workers: u64) -> Status {
    let worker =
        |worker| WorkerStatus { worker, request: "x".repeat(120), ..WorkerStatus::default() };
    Status {
        phase: "running".into(),
        workers: (0..workers).map(worker).collect(),
        ..Status::default()
    }
}

fn reply(request: Request) -> Reply {
    match request {
        Request::Status => Reply::Status(Box::new(status(5000))),
        Request::Reload => Reply::Refused("not today".into()),
        Request::Stop { .. } | Request::Grow | Request::Shrink => Reply::Done,
    }
}

/// A server in a loop of its own, as the supervisor has one.
struct Running {
    stop: Arc<EventFd>,
    turns: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn at(path: &Path) -> Self {
        let server = Server::open(path).unwrap();
        let (stop, turns) = (Arc::new(EventFd::new().unwrap()), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&turns));
        let run = move || serve(server, &stopped, &counted);
        Self { stop, turns, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.signal();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn serve(mut server: Server, stop: &EventFd, turns: &AtomicU32) {
    let epoll = Epoll::new().unwrap();
    epoll.add(stop, STOP, Interest::READ).unwrap();
    server.register(&epoll, BASE).unwrap();
    let mut ready = Ready::with_capacity(64);
    loop {
        let wait = server.deadline().map(|at| Duration::from_nanos(at.saturating_sub(monotonic())));
        epoll.wait(&mut ready, wait).unwrap();
        turns.fetch_add(1, SeqCst);
        for event in ready.iter() {
            if event.token == STOP {
                server.remove();
                return;
            }
            server.handle(&epoll, event.token - BASE, monotonic(), &mut reply);
        }
        server.expire(&epoll, monotonic());
    }
}

/// A server whose loop and clock are the test's.
struct Stepped {
    server: Server,
    epoll: Epoll,
    ready: Ready,
    now: u64,
    _directory: TempDir,
}

impl Stepped {
    fn new() -> Self {
        let (_directory, path) = place();
        let mut server = Server::open(&path).unwrap();
        let epoll = Epoll::new().unwrap();
        server.register(&epoll, BASE).unwrap();
        Self { server, epoll, ready: Ready::with_capacity(64), now: SECOND, _directory }
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.server.path()).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// Turns the loop until nothing happens any more; how often something did.
    fn settle(&mut self) -> usize {
        for turns in 0..1000 {
            self.epoll.wait(&mut self.ready, Some(Duration::ZERO)).unwrap();
            if self.ready.is_empty() {
                return turns;
            }
            for event in self.ready.iter() {
                self.server.handle(&self.epoll, event.token - BASE, self.now, &mut reply);
            }
        }
        panic!("the loop spins");
    }

    fn pass(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        self.server.expire(&self.epoll, self.now);
    }
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

fn ask(client: &mut BufReader<UnixStream>, line: &str) -> String {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    hear(client)
}

fn hear(client: &mut BufReader<UnixStream>) -> String {
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    answer
}

/// Whether the server has hung up: cleanly, or with something of ours unread.
fn is_over(mut client: impl Read) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

const PING: &str = r#"{"tine":1,"do":"ping"}"#;

#[test]
fn a_mistake_is_explained_and_the_connection_stays() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let refused = ask(&mut client, r#"{"tine":1,"do":"explode"}"#);
    assert!(refused.starts_with(r#"{"tine":1,"ok":false,"error":""#), "{refused}");
    assert!(refused.contains("explode") && refused.contains("reload"), "{refused}");
    assert!(ask(&mut client, r#"{"tine":9,"do":"ping"}"#).contains("version 9"));
    assert!(ask(&mut client, r#"{"tine":1,"do":"grow","by":2}"#).contains("by"));
    assert!(ask(&mut client, r#"{"tine":1,"do":"reload"}"#).contains("not today"));
    assert_eq!(ask(&mut client, r#"{"tine":1,"do":"grow"}"#), "{\"tine\":1,\"ok\":true}\n");
    assert!(ask(&mut client, PING).contains(&format!("\"pid\":{}", process::id())));
}

#[test]
fn broken_json_is_explained_and_ends_the_connection() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    for line in ["GET / HTTP/1.1\r", "{\"tine\":1", "[]", ""] {
        let mut client = connect(&path);
        let refused = ask(&mut client, line);
        assert!(refused.contains("\"ok\":false") && refused.contains("JSON"), "{line}: {refused}");
        assert!(is_over(client), "{line}");
    }
}

#[test]
fn a_line_may_be_as_long_as_it_may_be_and_no_longer() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let padding = " ".repeat(4096 - PING.len());
    assert!(ask(&mut client, &format!("{PING}{padding}")).contains("\"ok\":true"));
    assert!(ask(&mut client, &format!("{PING}{padding} ")).contains("longer than 4096"));
    assert!(is_over(client));
    let mut endless = connect(&path);
    endless.get_mut().write_all(&[b'{'; 64 << 10]).unwrap();
    assert!(hear(&mut endless).contains("longer than 4096"));
    assert!(is_over(endless));
}

#[test]
fn requests_in_one_write_and_without_a_last_newline_are_answered_in_order() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let all = [PING, r#"{"tine":1,"do":"shrink"}"#, r#"{"tine":1,"do":"status"}"#, PING].join("\n");
    client.get_mut().write_all(all.as_bytes()).unwrap();
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(hear(&mut client).contains("pid"));
    assert_eq!(hear(&mut client), "{\"tine\":1,\"ok\":true}\n");
    assert!(hear(&mut client).len() > 500_000);
    assert!(hear(&mut client).contains("pid"));
    assert!(is_over(client));
}

#[test]
fn a_hundred_clients_are_served_though_sixteen_fit() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let mut all: Vec<_> = (0..100).map(|_| connect(&path)).collect();
    for mut client in all.drain(..) {
        assert!(ask(&mut client, PING).contains("\"ok\":true"));
    }
    let turns = running.turns.load(SeqCst);
    assert!(turns < 1000, "{turns} turns: the loop spins while there is no room");
}

#[test]
fn a_slow_reader_gets_all_of_a_large_status_and_holds_up_nobody() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let mut slow = connect(&path);
    slow.get_mut().write_all(b"{\"tine\":1,\"do\":\"status\"}\n").unwrap();
    let mut answer = vec![0; 1000];
    slow.read_exact(&mut answer).unwrap();
    for _ in 0..50 {
        assert!(ask(&mut connect(&path), PING).contains("\"ok\":true"));
    }
    assert!(running.turns.load(SeqCst) < 1000, "the loop spins while a client does not read");
    slow.read_until(b'\n', &mut answer).unwrap();
    let answer: super::command::Answer = serde_json::from_slice(&answer).unwrap();
    assert_eq!(*answer.status.unwrap(), status(5000));
    assert!(ask(&mut slow, PING).contains("\"ok\":true"));
}

#[test]
fn who_keeps_silent_is_dropped_and_who_waits_for_the_end_is_not() {
    let mut stepped = Stepped::new();
    let (silent, mut half) = (stepped.client(), stepped.client());
    let mut waiting = BufReader::new(stepped.client());
    waiting.get_mut().write_all(b"{\"tine\":1,\"do\":\"stop\",\"now\":true}\n").unwrap();
    half.write_all(b"{\"tine\"").unwrap();
    stepped.settle();
    assert_eq!(stepped.server.deadline(), Some(stepped.now + 5 * SECOND));
    stepped.pass(5 * SECOND - 1);
    assert!(stepped.server.deadline().is_some());
    stepped.pass(1);
    assert!(is_over(&silent) && is_over(&half));
    assert_eq!(stepped.server.deadline(), None);
    stepped.pass(1000 * SECOND);
    assert!(hear(&mut waiting).contains("true"));
    drop(stepped);
    assert!(is_over(waiting));
}

#[test]
fn who_does_not_read_is_dropped_even_if_he_waits_for_the_end() {
    let mut stepped = Stepped::new();
    let mut client = stepped.client();
    client.write_all(b"{\"tine\":1,\"do\":\"wait\"}\n{\"tine\":1,\"do\":\"status\"}\n").unwrap();
    assert!(stepped.settle() > 1);
    assert_eq!(stepped.server.deadline(), Some(stepped.now + 5 * SECOND));
    stepped.pass(5 * SECOND);
    assert_eq!(stepped.server.deadline(), None);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(!rest.is_empty() && !rest.ends_with(b"\n"));
}

#[test]
fn who_waits_for_the_end_leaves_room_for_others() {
    let mut stepped = Stepped::new();
    let wait = |stepped: &Stepped| {
        let mut client = stepped.client();
        client.write_all(b"{\"tine\":1,\"do\":\"wait\"}\n").unwrap();
        client
    };
    let waiting: Vec<_> = (0..40).map(|_| wait(&stepped)).collect();
    for _ in 0..10 {
        stepped.settle();
        stepped.pass(5 * SECOND);
    }
    assert_eq!(stepped.server.deadline(), None, "twelve wait, the others were dropped");
    let mut client = stepped.client();
    client.write_all(format!("{PING}\n").as_bytes()).unwrap();
    stepped.settle();
    assert_ne!(client.read(&mut [0; 64]).unwrap(), 0);
    drop(waiting);
    stepped.settle();
    let mut open = Vec::new();
    stepped.server.descriptors(&mut open);
    assert_eq!(open.len(), 2, "the listener and the last client");
}

#[test]
fn a_child_is_told_of_every_descriptor() {
    let mut stepped = Stepped::new();
    let mut open = Vec::new();
    stepped.server.descriptors(&mut open);
    assert_eq!(open.len(), 1);
    let _clients: Vec<_> = (0..40).map(|_| stepped.client()).collect();
    stepped.settle();
    open.clear();
    stepped.server.descriptors(&mut open);
    open.sort_unstable();
    open.dedup();
    assert_eq!(open.len(), 17);
}

#[test]
fn a_stale_socket_is_replaced_and_everything_else_refused() {
    let (directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let server = Server::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let error = Server::open(&path).unwrap_err();
    assert!(error.is_bind() && error.to_string().contains("another process listens"), "{error}");
    drop(server);
    let other = directory.path().join("file");
    fs::write(&other, "text").unwrap();
    let error = Server::open(&other).unwrap_err();
    assert!(error.is_bind() && error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "text");
    let error = Server::open(&directory.path().join("x".repeat(200))).unwrap_err();
    assert!(error.to_string().contains("107 bytes"), "{error}");
}

#[test]
fn only_what_is_still_ours_is_removed() {
    let (_directory, path) = place();
    let first = Server::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Server::open(&path).unwrap();
    first.remove();
    assert!(path.exists());
    second.remove();
    assert!(!path.exists());
}

#[test]
fn a_service_is_found_by_its_port_until_it_ends() {
    let (directory, path) = place();
    let mut server = Server::open(&path).unwrap();
    let addresses =
        ["127.0.0.1:8080", "[::]:53", "udp:127.0.0.1:99", "unix:/run/s"].map(String::from);
    server.link(&addresses).unwrap();
    let link = |port: u16| fs::read_link(directory.path().join(format!("port-{port}.sock")));
    assert_eq!(link(8080).unwrap().as_os_str(), path.file_name().unwrap());
    assert!(link(53).is_ok() && link(99).is_err());
    symlink("1.sock", directory.path().join("other")).unwrap();
    fs::rename(directory.path().join("other"), directory.path().join("port-53.sock")).unwrap();
    server.link(&addresses[..1]).unwrap();
    assert_eq!(link(53).unwrap(), Path::new("1.sock"), "another service has the port by now");
    server.remove();
    assert!(link(8080).is_err() && !path.exists());
}

#[test]
fn what_the_dead_left_is_swept_away() {
    let (directory, path) = place();
    let beside = |name: &str| directory.path().join(name);
    let _live = UnixListener::bind(&path).unwrap();
    // No process has this number: it is beyond the kernel's largest (PID_MAX_LIMIT).
    let (dead, foreign) = (beside("2000000001.sock"), beside("2000000002.sock"));
    drop(UnixListener::bind(&dead).unwrap());
    let _in_another_namespace = UnixListener::bind(&foreign).unwrap();
    symlink("2000000001.sock", beside("port-1.sock")).unwrap();
    symlink(path.file_name().unwrap(), beside("port-2.sock")).unwrap();
    fs::write(beside("2000000003.sock"), "no socket").unwrap();
    find::sweep(directory.path());
    let left = ["2000000003.sock", "port-2.sock"].map(beside);
    assert!(left.iter().all(|it| it.exists()) && path.exists() && foreign.exists());
    assert!(!dead.exists() && fs::symlink_metadata(beside("port-1.sock")).is_err());
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let (directory, _) = place();
    let fresh = directory.path().join("tine");
    find::prepare(&fresh).unwrap();
    assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o777, 0o700);
    find::prepare(&fresh).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o722)).unwrap();
    assert!(find::prepare(&fresh).unwrap_err().is_config());
    let link = directory.path().join("link");
    symlink("/run", &link).unwrap();
    assert!(find::prepare(&link).unwrap_err().is_config(), "somebody else may have put it there");
}

#[test]
fn a_client_finds_what_runs() {
    let (directory, path) = place();
    let directories = [directory.path().to_path_buf()];
    let find = |by: By| Client::find_in(&directories, &by);
    let error = find(By::Only).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("no service runs"), "{error}");
    drop(UnixListener::bind(directory.path().join("2000000001.sock")).unwrap());
    let running = Running::at(&path);
    find::link(&path, 8080).unwrap();
    let own = process::id();
    for by in [By::Only, By::Pid(own), By::Port(8080), By::Path(path.clone())] {
        let client = find(by.clone()).unwrap_or_else(|error| panic!("{by:?}: {error}"));
        assert_eq!((client.pid(), client.path()), (Some(own), path.as_path()));
        assert_eq!(client.status().unwrap(), status(5000));
        client.grow().unwrap();
        assert!(client.reload().unwrap_err().to_string().contains("not today"));
    }
    for by in [By::Pid(1), By::Port(1), By::Path(directory.path().join("1.sock"))] {
        assert!(find(by.clone()).unwrap_err().is_config(), "{by:?}");
    }
    // This one lies about whose it is.
    let other = Command::new("sleep").arg("600").spawn().map(Killed).unwrap();
    let _lie = UnixListener::bind(directory.path().join(format!("{}.sock", other.0.id()))).unwrap();
    let error = find(By::Only).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&other.0.id().to_string()) && text.contains(&own.to_string()), "{text}");
    assert!(text.contains("--pid"), "{text}");
    drop(running);
}

struct Killed(process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the test [`elsewhere`] in a process of its own.
fn start_elsewhere(directory: &Path, role: &str, files: u32) -> Killed {
    fs::write(directory.join("role"), role).unwrap();
    let limited =
        format!("ulimit -n {files} && exec \"$0\" --exact control::tests::elsewhere --nocapture");
    let mut command = Command::new("sh");
    command.arg("-c").arg(limited).arg(std::env::current_exe().unwrap());
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    Killed(command.spawn().unwrap())
}

/// What other tests have a second process do; by itself it does nothing.
#[test]
fn elsewhere() {
    match fs::read_to_string("role").as_deref() {
        Ok("serve until stopped now") => serve_until_stopped_now(),
        Ok("accept without descriptors") => accept_without_descriptors(),
        _ => {}
    }
}

fn serve_until_stopped_now() {
    let mut server = Server::open(Path::new("new.sock")).unwrap();
    let epoll = Epoll::new().unwrap();
    server.register(&epoll, BASE).unwrap();
    fs::rename("new.sock", "its.sock").unwrap();
    let mut ready = Ready::with_capacity(64);
    let mut stopped = false;
    while !stopped {
        epoll.wait(&mut ready, Some(LONG)).unwrap();
        for event in ready.iter() {
            server.handle(&epoll, event.token - BASE, monotonic(), &mut |request| {
                stopped |= request == Request::Stop { now: true };
                Reply::Done
            });
        }
    }
}

#[test]
fn stop_returns_when_the_process_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let service = start_elsewhere(directory.path(), "serve until stopped now", 64);
    let path = directory.path().join("its.sock");
    let client = until(|| Client::connect(&path).ok());
    assert_eq!(client.pid(), Some(service.0.id()));
    let error = client.stop(false, Duration::from_millis(20)).unwrap_err();
    assert!(!error.is_config() && error.to_string().contains("has not ended within"), "{error}");
    client.stop(true, LONG).unwrap();
    assert!(!crate::pidfile::is_alive(service.0.id()).unwrap());
    client.stop(false, LONG).unwrap();
    assert!(client.status().unwrap_err().is_config());
    let _other = UnixListener::bind(directory.path().join("other")).unwrap();
    fs::rename(directory.path().join("other"), &path).unwrap();
    let error = client.status().unwrap_err();
    assert!(error.to_string().contains("has its place"), "{error}");
}

fn accept_without_descriptors() {
    let mut stepped = Stepped::new();
    let client = stepped.client();
    let mut files: Vec<fs::File> =
        std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    assert!(files.len() < 64, "descriptors have run out");
    stepped.settle();
    assert_eq!(stepped.server.deadline(), Some(stepped.now + SECOND), "it rests");
    stepped.pass(SECOND / 2);
    assert_eq!(stepped.settle(), 0);
    stepped.pass(SECOND / 2);
    stepped.settle();
    files.clear();
    stepped.pass(SECOND);
    let mut client = BufReader::new(client);
    client.get_mut().write_all(format!("{PING}\n").as_bytes()).unwrap();
    stepped.settle();
    assert!(hear(&mut client).contains("\"ok\":true"));
    fs::write("accepted", "").unwrap();
}

#[test]
fn without_descriptors_it_rests_and_then_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let mut starved = start_elsewhere(directory.path(), "accept without descriptors", 48);
    assert!(starved.0.wait().unwrap().success());
    assert!(directory.path().join("accepted").exists());
}

#[test]
fn another_user_is_turned_away_with_a_word() {
    let perl =
        "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(shift) or die $!; print scalar <$s>";
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e"]);
    let usable = stranger.arg("1").output().is_ok_and(|it| it.status.success());
    if privilege::effective_uid() != 0 || !usable {
        return;
    }
    let (directory, path) = place();
    let _running = Running::at(&path);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |arguments: &[&str]| {
        let mut stranger = Command::new("setpriv");
        stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", perl]);
        stranger.args(arguments).arg(&path).stdin(Stdio::null()).output().unwrap()
    };
    assert!(!ask(&[]).status.success(), "the file's mode keeps him out");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = String::from_utf8(ask(&[]).stdout).unwrap();
    assert!(answer.contains("\"ok\":false") && answer.contains("user 65534 may not"), "{answer}");
}

/// Asks until there is an answer, or it has taken too long.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LONG, "it does not happen");
        std::thread::yield_now();
    }
}
