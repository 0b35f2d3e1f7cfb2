//! The superdaemon as the tests use it: started by either of its names, with a directory for its files.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::{Client, DEADLINE, Running, Server, TempDir, wait_until};

pub const HUP: i32 = 1;
pub const INT: i32 = 2;
pub const QUIT: i32 = 3;
pub const KILL: i32 = 9;
pub const USR1: i32 = 10;
pub const USR2: i32 = 12;
pub const TERM: i32 = 15;

pub const TINE: &str = env!("CARGO_BIN_EXE_tine");

/// Says who it is and where its sockets are, and leaves when it is asked to.
pub const APP: &str = "echo \"born $$ generation $SERVER_STARTER_GENERATION\"
trap 'echo \"term $$\"; exit 0' TERM
trap 'echo \"quit $$\"; exit 0' QUIT
trap 'echo \"usr2 $$\"; exit 0' USR2
echo \"heeds $$\"
while :; do sleep 600 & wait $!; done";

/// Says so, and does not leave when it is asked to.
pub const DEAF: &str = "trap '' TERM
echo \"deaf $$\"
while :; do sleep 600 & wait $!; done";

/// What has the superdaemon of a directory's pid file begin a new generation.
pub const RESTART: &str =
    "start_server --restart --control=%/control --pid-file=%/pid --status-file=%/status";

/// The app under `start_server` with these options, and its files.
pub fn app(options: &str) -> Daemon {
    program(options, APP)
}

/// The same of another script.
pub fn program(options: &str, text: &str) -> Daemon {
    let place = Place::new();
    place.script("app", text);
    place.start(
        "start_server",
        &format!("--pid-file %/pid --status-file %/status {options} -- %/app"),
    )
}

/// A directory for a superdaemon's files.
pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        fs::write(place.path("index.html"), "hello").expect("a file");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A shell script; returns its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let (file, beside) = (self.path(name), self.path(&format!("{name}.new")));
        // Written beside and moved: a file that is open to write cannot be executed.
        fs::write(&beside, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::rename(&beside, &file).expect("it can be moved");
        file.display().to_string()
    }

    /// The words, with the directory for `%`.
    fn words(&self, line: &str) -> Vec<String> {
        let directory = self.0.path().display().to_string();
        line.split_whitespace().map(|word| word.replace('%', &directory)).collect()
    }

    /// A superdaemon of this command line; `%` in it is the directory.
    pub fn start(self, name: &str, line: &str) -> Daemon {
        self.start_with(name, line, |server| server)
    }

    pub fn start_with(self, name: &str, line: &str, how: impl FnOnce(Server) -> Server) -> Daemon {
        let server = Server::command(TINE)
            .arg(name)
            .args(["--control", &self.path("control").display().to_string()]);
        let running = how(server.args(self.words(line))).start();
        Daemon { running, place: self }
    }

    /// A command of the program, to its end.
    pub fn run(&self, line: &str) -> Output {
        Command::new(TINE).args(self.words(line)).output().expect("it runs")
    }
}

/// One that runs.
pub struct Daemon {
    pub running: Running,
    pub place: Place,
}

impl Deref for Daemon {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// The number at the end of a line.
pub fn last_number(line: &str) -> u32 {
    let number = line.rsplit([' ', ':', '=']).next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{line:?} ends with no number"))
}

impl Daemon {
    /// The pid in the next line that begins so.
    #[track_caller]
    pub fn pid_after(&self, word: &str) -> u32 {
        let line = self.wait_line(word);
        let (_, rest) = line.split_once(word).expect("it is in it");
        let pid = rest.split_whitespace().next().and_then(|word| word.parse().ok());
        pid.unwrap_or_else(|| panic!("no pid after {word:?} in {line:?}"))
    }

    /// As `start_server` begins: its first worker's pid, when it is ready.
    #[track_caller]
    pub fn first(&self) -> u32 {
        let pid = self.pid_after("starting new worker ");
        self.wait_status_file(&format!("1:{pid}\n"));
        pid
    }

    /// Waits for a line with this text, wherever it is: what a command says and what is said of it come in any order.
    #[track_caller]
    pub fn says(&self, text: &str) {
        self.wait_until(&format!("it says {text:?}"), || self.count_lines(text) > 0);
    }

    /// Waits until the status file is this text.
    #[track_caller]
    pub fn wait_status_file(&self, text: &str) {
        wait_until(&format!("the status file is {text:?}"), DEADLINE, || {
            self.place.text("status") == text
        });
    }

    /// What it says of itself.
    pub fn status(&self) -> serde_json::Value {
        let output = self.place.run("status --json --control %/control");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Where its sockets are bound.
    #[track_caller]
    pub fn addresses(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.wait_until("it has sockets", || {
            let status = self.status();
            let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
            found = listeners
                .iter()
                .map(|it| it["address"].as_str().unwrap_or("").to_owned())
                .collect();
            !found.is_empty()
        });
        found
    }

    /// Stops it; it must say that all went well.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(TERM);
        let status = self.wait_exit();
        assert!(status.success(), "{status}\n{}", self.lines().join("\n"));
    }
}

/// The environment of a process.
pub fn environment(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').map(str::to_owned).collect()
}

/// The value of a variable of a process.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let all = environment(pid);
    all.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Whether something is there, be it a link that leads nowhere.
pub fn has(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What `tine serve` answers there.
pub fn hello(address: &str) -> bool {
    let Ok(mut client) = Client::try_connect(address) else { return false };
    client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").is_ok()
        && client.try_read_response().is_ok_and(|answer| answer.text() == "hello")
}
