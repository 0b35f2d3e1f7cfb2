//! Logs that are standard output, standard error, or a descriptor: whatever these are, and through USR1, a reload and a
//! change of user. And logs in a directory of other users, who put links there.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use testkit::load::Load;
use testkit::{DEADLINE, Server, TempDir, client, is_root, process, wait_until};

const HUP: i32 = 1;
const USR1: i32 = 10;
const TERM: i32 = 15;
/// Another user, with no name.
const OTHER: u32 = 54_321;

/// Whether what takes root can be tested.
fn as_root() -> bool {
    let required = std::env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(is_root() || !required, "this test takes root");
    is_root()
}

struct Place {
    directory: TempDir,
    address: String,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), mode.clone()).expect("it is ours");
        fs::create_dir(directory.path().join("site")).expect("a directory");
        fs::write(directory.path().join("site/index.html"), "hello").expect("a file");
        // An address that no other test uses, and a port that is free there: what asks has to know both before a line
        // could say them.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let host = format!("127.{high}.{low}.{}", NEXT.fetch_add(1, Relaxed));
        let port = TcpListener::bind((&*host, 0)).expect("a port");
        Self { address: port.local_addr().expect("an address").to_string(), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, before: &[&str], more: &[&str]) -> Command {
        let words = [before, &[env!("CARGO_BIN_EXE_tine"), "serve", "--workers", "1"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["--control", "off", "--listen", &self.address]);
        command.args(more).arg(self.path("site")).stdin(Stdio::null());
        command.current_dir(self.directory.path());
        command
    }

    fn get(&self) {
        wait_until("an answer", DEADLINE, || std::net::TcpStream::connect(&self.address).is_ok());
        assert_eq!(client::get(&self.address, "/").text(), "hello");
    }
}

/// Ended with its test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: i32) {
        assert!(process::signal(self.0.id(), signal));
    }

    fn stop(mut self) {
        self.signal(TERM);
        assert!(self.0.wait().expect("it is ours").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is in a file. To open a pipe would be to wait for its writer.
fn text(path: &Path) -> String {
    if path.is_file() { fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

/// The other end of a stream, and the stream; of a pipe that only root could open by its path.
fn streams() -> Vec<(&'static str, OwnedFd, Stdio)> {
    let (reader, pipe) = std::io::pipe().expect("a pipe");
    let (ours, socket) = UnixStream::pair().expect("a pair");
    let pipe: OwnedFd = pipe.into();
    let socket: OwnedFd = socket.into();
    vec![("pipe", reader.into(), pipe.into()), ("socket", ours.into(), socket.into())]
}

#[test]
fn a_log_is_written_to_standard_output_or_error_be_it_a_pipe_or_a_socket_of_another_user() {
    let place = Place::new();
    let other: &[&str] =
        &["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--no-new-privs"];
    let users: Vec<&[&str]> = if as_root() { vec![&[], other] } else { vec![&[]] };
    for before in users {
        for (option, path, is_output) in [
            ("--access-log", "-", true),
            ("--access-log", "/dev/stdout", true),
            ("--access-log", "/dev/stderr", false),
            ("--access-log", "/proc/self/fd/1", true),
            ("--log-file", "-", true),
            ("--log-file", "/dev/stderr", false),
        ] {
            for (what, reader, stream) in streams() {
                let mut command = place.command(before, &[option, path]);
                let (on, off) = (stream, Stdio::null());
                match is_output {
                    true => command.stdout(on).stderr(off),
                    false => command.stdout(off).stderr(on),
                };
                let server = Process(command.spawn().expect("it runs"));
                // Else its end would never be seen.
                drop(command);
                place.get();
                server.stop();
                let mut said = String::new();
                File::from(reader).read_to_string(&mut said).expect("text");
                let wanted = if option == "--access-log" { "GET / HTTP/1.1" } else { "listening" };
                assert!(said.contains(wanted), "{option} {path}, a {what}: {said}");
            }
        }
    }
    assert!(!place.path("-").exists(), "no file of this name");
}

#[test]
fn a_log_that_is_standard_output_is_kept_by_usr1_and_a_reload_though_nobody_could_open_it() {
    let place = Place::new();
    let (out, err) = (place.path("out"), place.path("err"));
    let before: &[&str] = match as_root() {
        true => &["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"],
        false => &["env"],
    };
    for (option, path) in [
        ("--access-log", "/dev/stdout"),
        ("--access-log", "/proc/self/fd/1"),
        ("--log-file", "/dev/stdout"),
    ] {
        let mut command = place.command(before, &[option, path]);
        let file = |path| File::options().append(true).create(true).open(path).expect("a file");
        command.stdout(file(&out)).stderr(file(&err));
        let server = Process(command.spawn().expect("it runs"));
        let both = || format!("{}{}", text(&out), text(&err));
        place.get();
        let moved = place.path("moved");
        fs::rename(&out, &moved).expect("it is there");
        fs::set_permissions(&moved, fs::Permissions::from_mode(0o000)).expect("it is ours");
        server.signal(USR1);
        let all = || format!("{}{}", text(&moved), text(&err));
        wait_until("a reopening", DEADLINE, || all().contains("reopened"));
        server.signal(HUP);
        wait_until("generation 2", DEADLINE, || all().contains("generation 2 serves"));
        place.get();
        server.stop();
        assert!(!out.exists(), "{option} {path}: {}", both());
        let wanted = if option == "--access-log" { "GET / HTTP/1.1" } else { "tine[" };
        assert!(text(&moved).matches(wanted).count() >= 2, "{option} {path}: {}", text(&moved));
        [moved, err.clone()].into_iter().for_each(|file| fs::remove_file(file).expect("removed"));
    }
}

#[test]
fn a_log_at_a_descriptor_that_was_passed_in_is_there_after_a_reload() {
    let place = Place::new();
    let three = place.path("three");
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--workers", "1", "--control", "off", "--listen", &place.address])
        .args(["--access-log", "/dev/fd/3"])
        .arg(place.path("site"))
        .listener(File::create(&three).expect("a file"), 3)
        .start();
    place.get();
    for generation in 2..4 {
        server.signal(HUP);
        server.wait_line(&format!("generation {generation} serves"));
        place.get();
    }
    server.signal(TERM);
    assert!(server.wait_exit().success());
    assert_eq!(text(&three).lines().filter(|line| line.contains("GET /")).count(), 3);
}

#[test]
fn two_logs_share_a_file_that_was_opened_twice_and_no_line_is_lost() {
    let place = Place::new();
    let out = place.path("out");
    let more = ["--access-log", "-", "--log-level", "debug", "--max-requests", "25"];
    let mut command = place.command(&["env"], &more);
    // As a shell does for `>out 2>out`: each with a position of its own, and none to append.
    let file = || File::create(&out).expect("a file");
    command.stdout(file()).stderr(file());
    let server = Process(command.spawn().expect("it runs"));
    place.get();
    let load = Load::one_per_connection(&place.address, "/").connections(4).start();
    load.wait_answered(300);
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    server.stop();
    let text = text(&out);
    let whole = |line: &&str| line.contains("tine[") != line.starts_with("127.");
    assert_eq!(text.lines().find(|line| !whole(line)), None, "a torn line");
    let served = text.lines().filter(|line| line.contains("\" 200 ")).count() as u64;
    assert!(served > report.answered, "{served} of {}", report.answered);
}

/// What it is, and how it is made at a path.
type Trap<'a> = (&'a str, &'a dyn Fn(&Path));

/// A directory of another user, in one of root's with a file that is nobody else's business.
fn traps(place: &Place) -> (PathBuf, PathBuf) {
    let (theirs, secret) = (place.path("theirs"), place.path("secret"));
    fs::create_dir(&theirs).expect("a directory");
    chown(&theirs, Some(OTHER), Some(OTHER)).expect("it is root's");
    fs::write(&secret, "root's\n").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    (theirs, secret)
}

#[test]
fn a_link_that_the_workers_user_puts_in_a_log_s_place_is_not_followed() {
    if !as_root() {
        return;
    }
    let place = Place::new();
    let (theirs, secret) = traps(&place);
    let (own, access, err) = (theirs.join("own"), theirs.join("access"), place.path("err"));
    let words = [own.to_str().expect("text"), access.to_str().expect("text")];
    let more = ["--log-file", words[0], "--access-log", words[1], "--user", "54321"];
    let more = [&more[..], &["--group", "54321"]].concat();
    let start = || {
        let mut command = place.command(&["env"], &more);
        Process(command.stderr(File::create(&err).expect("a file")).spawn().expect("it runs"))
    };
    let traps: [Trap<'_>; 3] = [
        ("a symbolic link", &|path| symlink(&secret, path).expect("a link")),
        ("a second name", &|path| fs::hard_link(&secret, path).expect("a link")),
        ("a pipe", &|path| {
            let made = Command::new("mkfifo").arg(path).status();
            assert!(made.expect("it runs").success());
        }),
    ];
    for (what, trap) in traps {
        let server = start();
        place.get();
        for path in [&own, &access] {
            let moved = path.with_extension("moved");
            fs::rename(path, &moved).expect("it is there");
            trap(path);
            server.signal(USR1);
            wait_until("it is refused", DEADLINE, || {
                // The own log goes on in the file that it has.
                let said = [&own, &own.with_extension("moved")].map(|path| text(path)).concat();
                said.lines().any(|line| line.contains(&*path.to_string_lossy()))
            });
            place.get();
            fs::remove_file(path).expect("removed");
            fs::rename(&moved, path).expect("it is there");
            server.signal(USR1);
            wait_until("a reopening", DEADLINE, || text(&own).contains("reopened"));
        }
        server.stop();
        assert!(text(&access).matches("GET /").count() >= 3, "{what}: {}", text(&access));
        for path in [&own, &access] {
            [&own, &access].into_iter().for_each(|path| drop(fs::remove_file(path)));
            trap(path);
            let mut refused = start();
            assert_eq!(
                refused.0.wait().expect("it ends").code(),
                Some(2),
                "{what}: {}",
                text(&err)
            );
            assert!(text(&err).contains(&*path.to_string_lossy()), "{what}: {}", text(&err));
        }
        [&own, &access].into_iter().for_each(|path| drop(fs::remove_file(path)));
        assert_eq!(text(&secret), "root's\n", "{what}");
    }
}

#[test]
fn a_link_to_standard_output_is_a_log_as_container_images_have_it() {
    let place = Place::new();
    let access = place.path("access.log");
    symlink("/dev/stdout", &access).expect("a link");
    for (_, reader, stream) in streams() {
        let mut command =
            place.command(&["env"], &["--access-log", access.to_str().expect("text")]);
        command.stdout(stream).stderr(File::create(place.path("err")).expect("a file"));
        let server = Process(command.spawn().expect("it runs"));
        drop(command);
        place.get();
        server.signal(USR1);
        wait_until("a reopening", DEADLINE, || text(&place.path("err")).contains("reopened"));
        place.get();
        server.stop();
        let mut said = String::new();
        File::from(reader).read_to_string(&mut said).expect("text");
        assert_eq!(said.matches("GET /").count(), 2, "{said}");
    }
}
