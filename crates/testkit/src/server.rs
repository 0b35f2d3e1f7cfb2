//! How a process of a test is to be started, and starting it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use crate::fds::{self, MOST, Streams, TARGETS};
use crate::running::Running;

/// The environment variable by which the kit finds what its processes left behind.
pub(crate) const MARKER: &str = "TESTKIT_ID";

/// A process to be started: program, arguments, surroundings.
///
/// Its standard input is `/dev/null`, it leads a process group of its own, and inherits the test's
/// environment.
#[derive(Debug)]
#[must_use = "nothing runs before `start`"]
pub struct Server {
    program: OsString,
    args: Vec<OsString>,
    wrap: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    own_pid: Vec<String>,
    directory: Option<PathBuf>,
    listeners: Vec<(OwnedFd, i32)>,
}

impl Server {
    /// Starts `path`, looked for on `PATH` if there is no `/` in it.
    pub fn command(path: impl AsRef<OsStr>) -> Self {
        Self {
            program: path.as_ref().to_owned(),
            args: Vec::new(),
            wrap: Vec::new(),
            env: Vec::new(),
            own_pid: Vec::new(),
            directory: None,
            listeners: Vec::new(),
        }
    }

    /// Another program instead.
    pub fn program(mut self, path: impl AsRef<OsStr>) -> Self {
        path.as_ref().clone_into(&mut self.program);
        self
    }

    /// One argument more.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Several arguments more.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Without this environment variable.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// An environment variable whose value is the pid of the process itself, as `LISTEN_PID` of
    /// socket activation needs (sd_listen_fds(3)). Under [`wrap`](Self::wrap) it is the wrapper's.
    ///
    /// # Panics
    /// When `name` is no name of a shell variable.
    #[track_caller]
    pub fn env_own_pid(mut self, name: &str) -> Self {
        let fits = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        assert!(
            !name.is_empty() && name.bytes().all(fits),
            "{name:?} is no name of a shell variable"
        );
        self.own_pid.push(name.to_owned());
        self
    }

    /// Runs it under another program, e.g. `["strace", "-f", "-o", "calls"]`. Pid and signals are
    /// then the wrapper's.
    pub fn wrap(mut self, prefix: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.wrap.extend(prefix.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Its working directory.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Hands it `fd` as descriptor number `target`, at most three, numbered 3 to 9. Nothing else
    /// the test starts sees them; the test's own copy is closed by `start`.
    ///
    /// # Panics
    /// For a fourth one, or a number out of range or taken.
    #[track_caller]
    pub fn listener(mut self, fd: impl Into<OwnedFd>, target: i32) -> Self {
        assert!(self.listeners.len() < MOST, "at most {MOST} descriptors can be handed over");
        assert!(TARGETS.contains(&target), "descriptor number {target} is not in {TARGETS:?}");
        assert!(
            self.listeners.iter().all(|&(_, taken)| taken != target),
            "descriptor number {target} is taken"
        );
        self.listeners.push((fd.into(), target));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started, with the program's name.
    #[track_caller]
    pub fn start(self) -> Running {
        let program = self.wrap.first().unwrap_or(&self.program).clone();
        match self.try_start() {
            Ok(running) => running,
            Err(error) => panic!("cannot start {}: {error}", program.display()),
        }
    }

    fn try_start(self) -> io::Result<Running> {
        let id = unique_id();
        let (listeners, targets): (Vec<_>, Vec<_>) = self.listeners.into_iter().unzip();
        let mut words: Vec<OsString> = self.wrap;
        words.push(self.program);
        words.extend(self.args);
        let mut pipes = None;
        if !listeners.is_empty() || !self.own_pid.is_empty() {
            require_program(&words[0])?;
            pipes = Some(TempDir::new()?);
            let script = fds::script(&targets, &self.own_pid);
            words.splice(0..0, fds::shell(script, pipes.as_ref().map(TempDir::path)));
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0);
        for (name, value) in self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env(MARKER, &id);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        let Streams { read, pipes } = fds::fill_slots(&mut command, listeners, pipes)?;
        let child = command.spawn()?;
        // Closes the test's copies of what the child writes to, else their end would never be seen.
        drop(command);
        Ok(Running::new(child, read, &id, pipes))
    }
}

/// What `Command` would have said of a missing program, where a shell stands between it and the
/// program.
fn require_program(program: &OsStr) -> io::Result<()> {
    let found = program.to_str().is_none_or(crate::is_on_path);
    if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// A text no other process of any test has in its environment.
fn unique_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let me = process::id();
    let started = crate::process::entry(me).map_or(0, |entry| entry.started);
    format!("{me}-{started}-{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::TempDir;
    use crate::process::{open_fds, status};

    #[test]
    fn descriptors_arrive_at_their_numbers_and_nothing_else_does() {
        let directory = TempDir::new().expect("a directory");
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let second = UnixListener::bind(directory.path().join("a")).expect("a socket");
        let third = UnixListener::bind(directory.path().join("b")).expect("a socket");
        let me = process::id();
        let sockets = [OwnedFd::from(first), second.into(), third.into()];
        let links: Vec<String> = sockets.iter().map(|socket| link_of(me, socket)).collect();
        let mut server = Server::command("sh")
            .args(["-c", "echo out; echo err >&2; echo $LISTEN_PID; exec sleep 60"]);
        for (socket, target) in sockets.into_iter().zip([3, 9, 5]) {
            server = server.listener(socket, target);
        }
        let server = server.env_own_pid("LISTEN_PID").env("LISTEN_FDS", "3").start();
        server.wait_line(&server.pid().to_string());
        assert_eq!((server.count_lines("out"), server.count_lines("err")), (1, 1));
        let mine = open_fds(me);
        let mut fds = Vec::new();
        // `sleep` opens files while it starts.
        server.wait_until("these descriptors and no others", || {
            fds = open_fds(server.pid());
            // What the test itself was started with goes on to everything it starts.
            fds.retain(|fd| fd.0 <= 2 || !mine.contains(fd));
            let asleep = status(server.pid()).name == "sleep";
            asleep && fds.iter().map(|(number, _)| *number).eq([0, 1, 2, 3, 5, 9])
        });
        assert_eq!([&fds[3].1, &fds[5].1, &fds[4].1], [&links[0], &links[1], &links[2]]);
        assert_eq!(fds[0].1, "/dev/null");
        assert!(
            !mine.iter().any(|(_, target)| links.contains(target)),
            "the test keeps none: {mine:?}"
        );
    }

    fn link_of(pid: u32, fd: &OwnedFd) -> String {
        use std::os::fd::AsRawFd;
        let fds = open_fds(pid);
        fds.into_iter().find(|(number, _)| *number == fd.as_raw_fd()).expect("it is open").1
    }

    #[test]
    fn surroundings_are_as_told() {
        let directory = TempDir::new().expect("a directory");
        let server = Server::command("sh")
            .arg("-c")
            .arg("echo $A-$HOME; pwd -P; exec sleep 60")
            .env("A", "b")
            .env_remove("HOME")
            .wrap(["env", "-u", "NOTHING"])
            .current_dir(directory.path())
            .start();
        server.wait_line("b-");
        let real = directory.path().canonicalize().expect("it exists");
        assert_eq!(server.wait_line("/"), real.display().to_string());
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        for server in [
            Server::command("no-such-program"),
            Server::command("no-such-program").env_own_pid("PID"),
        ] {
            let panic = std::panic::catch_unwind(|| drop(server.start())).expect_err("it cannot");
            let text = panic.downcast_ref::<String>().expect("a formatted message");
            assert!(text.starts_with("cannot start no-such-program: "), "{text}");
        }
    }
}
