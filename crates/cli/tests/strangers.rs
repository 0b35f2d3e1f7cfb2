//! Commands that ask a running server: which one they believe, and what of its text they show.
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

use serde_json::{Value, json};
use testkit::{Running, Server, TempDir, is_root, require_peer, wait_until};

/// Titles, colours, a cleared screen, a text turned around, and a line of its own.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\r\nFORGED";

fn tine(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tine")).args(words).output().expect("it runs")
}

/// A status in which every text is hostile.
fn hostile_status() -> Value {
    let reload = json!({"number": 1, "ago": 1.0, "failure": HOSTILE});
    let pool = json!({"name": HOSTILE, "accept": HOSTILE, "max": 1});
    let worker = json!({"worker": 1, "pool": HOSTILE, "stage": HOSTILE, "letter": HOSTILE,
        "activity": HOSTILE, "request": HOSTILE, "client": HOSTILE});
    let report = json!({"time": HOSTILE, "cause": HOSTILE, "end": HOSTILE, "pool": HOSTILE,
        "request": HOSTILE, "client": HOSTILE, "panic": HOSTILE, "lines": [HOSTILE],
        "stack": [HOSTILE], "core": HOSTILE, "wait": HOSTILE, "syscall": HOSTILE});
    json!({"version": HOSTILE, "pid": 1, "phase": HOSTILE, "ready": false, "reload": reload,
        "rollout": {"number": 2, "phase": HOSTILE}, "listeners": [{"address": HOSTILE}],
        "pools": [pool], "workers": [worker], "reports": [report]})
}

/// Answers as a service would, with texts that no service should have.
fn serve_hostile(client: UnixStream) {
    let mut reader = BufReader::new(&client);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        let answer = match serde_json::from_str::<Value>(&line).expect("JSON")["do"].as_str() {
            Some("ping") => json!({"tine": 1, "ok": true, "pid": process::id()}),
            Some("status") => json!({"tine": 1, "ok": true, "status": hostile_status()}),
            _ => json!({"tine": 1, "ok": false, "error": HOSTILE}),
        };
        if (&client).write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

#[test]
fn nothing_that_a_service_says_reaches_the_terminal_raw() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("control");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve_hostile));
    let [pid_file, status_file] = ["pid", "status"].map(|name| directory.path().join(name));
    fs::write(&pid_file, process::id().to_string()).expect("a file");
    fs::write(&status_file, format!("1:{}\n", process::id())).expect("a file");
    let [path, pid_file, status_file] =
        [&path, &pid_file, &status_file].map(|it| it.to_str().expect("text"));
    let start_server = ["start_server", "--status-file", status_file, "--pid-file", pid_file];
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--ready"],
        &["reload"],
        &["stop"],
        &["rollout", "start"],
        &["rollout", "status"],
        &["rollout", "status", "--json"],
        &["rollout", "promote"],
        &["rollout", "abort"],
        &[&start_server[..], &["--restart"]].concat(),
        &[&start_server[..], &["--stop"]].concat(),
    ] {
        let output = tine(&[words, &["--control", path]].concat());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        assert!(said.contains("FORGED"), "{words:?}: {said:?}");
        assert!(!said.lines().any(|line| line.trim_start().starts_with("FORGED")), "{said:?}");
        let obeyed = |c: char| c != '\n' && tine::log::is_unprintable(c);
        assert!(!said.contains(obeyed), "{words:?}: {said:?}");
    }
}

/// A directory of `/tmp` in which services of a user have their sockets, of a user that does not exist.
struct Home {
    path: PathBuf,
    uid: u32,
}

impl Home {
    fn new(number: u32) -> Self {
        let uid = 3_000_000 + 10 * process::id() + number;
        let path = PathBuf::from(format!("/tmp/tine-{uid}"));
        fs::create_dir(&path).expect("a directory");
        let it = Self { path, uid };
        it.is_of(uid, 0o700);
        it
    }

    fn is_of(&self, uid: u32, mode: u32) {
        chown(&self.path, Some(uid), Some(uid)).expect("its owner");
        fs::set_permissions(&self.path, Permissions::from_mode(mode)).expect("its mode");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path).or_else(|_| fs::remove_dir_all(&self.path));
    }
}

/// A server of another user, its files in a directory that all users can read.
fn serve(uid: u32, site: &Path, more: &[&str]) -> Running {
    let program = site.join("tine");
    if !program.exists() {
        testkit::copy_program(Path::new(env!("CARGO_BIN_EXE_tine")), &program);
    }
    let user = uid.to_string();
    Server::command(program)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(more)
        .arg(site)
        .env_remove("XDG_RUNTIME_DIR")
        .wrap(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"])
        .start()
}

/// A directory that all users can write to.
fn open_directory() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).expect("its mode");
    directory
}

fn is_able() -> bool {
    if !is_root() {
        eprintln!("skipped: it takes root");
    }
    is_root() && require_peer("setpriv")
}

#[test]
fn root_believes_a_users_service_only_where_nobody_else_can_have_put_it() {
    if !is_able() {
        return;
    }
    let (site, home) = (open_directory(), Home::new(0));
    let server = serve(home.uid, site.path(), &[]);
    server.address();
    let pid = server.pid().to_string();
    let finds = || tine(&["status", "--pid", &pid]).status.code();
    wait_until("it is found", testkit::DEADLINE, || finds() == Some(0));
    for mode in [0o720, 0o702, 0o755, 0o1777] {
        home.is_of(home.uid, mode);
        assert_eq!(finds(), Some(2), "{mode:o}");
    }
    home.is_of(home.uid + 1, 0o700);
    assert_eq!(finds(), Some(2), "another's directory");
    home.is_of(home.uid, 0o700);
    let aside = site.path().join("aside");
    fs::rename(&home.path, &aside).expect("moved");
    symlink(&aside, &home.path).expect("a link");
    assert_eq!(finds(), Some(2), "a link");
    fs::remove_file(&home.path).expect("a link");
    fs::rename(&aside, &home.path).expect("moved");
    assert_eq!(finds(), Some(0), "as it was");
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn nothing_is_said_to_a_stranger_at_a_services_socket() {
    if !is_able() {
        return;
    }
    let home = Home::new(1);
    // Root's own process listens in the directory of a user: so a link would lead there.
    let own = process::id().to_string();
    let listener = UnixListener::bind(home.path.join(format!("{own}.sock"))).expect("a socket");
    symlink(format!("{own}.sock"), home.path.join("port-1.sock")).expect("a link");
    for which in [["--pid", &own], ["--port", "1"]] {
        for command in ["status", "stop", "reload"] {
            let output = tine(&[&[command][..], &which].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
        }
    }
    listener.set_nonblocking(true).expect("a socket");
    let mut heard = Vec::new();
    while let Ok((mut client, _)) = listener.accept() {
        client.read_to_end(&mut heard).expect("it is closed");
    }
    assert_eq!(heard, b"");
}

#[test]
fn a_socket_that_was_typed_is_believed_of_root_and_of_its_directorys_owner() {
    if !is_able() {
        return;
    }
    let (site, home) = (open_directory(), Home::new(2));
    for (directory, code) in [(site.path(), 2), (home.path.as_path(), 0)] {
        let path = directory.join("typed.sock");
        let path = path.to_str().expect("text");
        let server = serve(home.uid, site.path(), &["--control", path]);
        server.address();
        let output = tine(&["status", "--control", path]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains("may not be believed"), code == 2, "{said}");
        server.signal(15);
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_server_makes_no_socket_in_a_directory_that_another_user_has_prepared() {
    if !is_able() {
        return;
    }
    let (site, home) = (open_directory(), Home::new(3));
    let refused = |what: &str| {
        let server = serve(home.uid, site.path(), &[]);
        server.wait_line(&format!("it must be a directory of user {}", home.uid));
        server.address();
        assert_eq!(fs::read_dir(&home.path).expect("a directory").count(), 0, "{what}");
        server.signal(15);
        assert!(server.wait_exit().success());
    };
    home.is_of(home.uid + 1, 0o777);
    refused("another's");
    home.is_of(home.uid, 0o770);
    refused("open to a group");
    home.is_of(home.uid, 0o700);
    fs::rename(&home.path, site.path().join("aside")).expect("moved");
    symlink(site.path().join("aside"), &home.path).expect("a link");
    refused("a link to one of its own");
}
