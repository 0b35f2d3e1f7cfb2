//! `tine start` and `start_server`: a superdaemon for a program in any language. Two command lines, one meaning.
//!
//! [`flags`] reads Tine's, [`server_starter`] that of Server::Starter; both come to [`Asked`], which is all there is
//! to run: a pool of foreign commands under the engine's supervisor.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use tine::log::LogFile;
use tine::{Command, Level, Log, Prefork, Producer, Readiness, Signal, Workers};

mod ask;
mod flags;
mod getopt;
mod server_starter;
mod sockets;
mod words;

pub(crate) use flags::{Start, run};
pub(crate) use server_starter::main as start_server;

use sockets::Socket;
use words::{Quiet, Talkative};

use crate::args::Control;

/// The pool's name in the log and the status.
const POOL: &str = "start";
/// As long as anybody can wait.
const FOR_EVER: Duration = Duration::MAX;

/// What both command lines come to.
struct Asked {
    sockets: Vec<Socket>,
    labels: Vec<String>,
    /// With the sockets that were passed in.
    inherited: bool,
    backlog: Option<u32>,
    command: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    directory: Option<PathBuf>,
    env_directory: Option<PathBuf>,
    workers: Workers,
    ready: Readiness,
    boot_timeout: Duration,
    /// Failures after which a start, or a new generation, is given up; `None`: never.
    attempts: Option<u32>,
    backoff: (Duration, Duration),
    kill_old_delay: Duration,
    /// Old workers have so long; `None`: for ever.
    old_timeout: Option<Duration>,
    /// All have so long when it stops; `None`: for ever.
    stop_timeout: Option<Duration>,
    /// For a successor, and when it stops.
    leaves_on: (Signal, Signal),
    /// The age at which a worker is replaced.
    auto_restart: Option<(Duration, Duration)>,
    replace_interval: Duration,
    max_surge: Option<u32>,
    pid_file: Option<PathBuf>,
    status_file: Option<PathBuf>,
    log_file: Option<OsString>,
    log_level: Level,
    daemonize: bool,
    control: Option<Control>,
    user: Option<String>,
    group: Option<String>,
    /// Speaks, and behaves where users could tell, as Server::Starter does.
    as_server_starter: bool,
}

impl Asked {
    /// Serves until the end.
    fn run(self) -> tine::Result<()> {
        let (log, producer) = (self.log()?, self.producer());
        self.prefork(log).try_run_command(producer)
    }

    /// Looks whether it could.
    fn check(self) -> tine::Result<Vec<String>> {
        if let Some(file) = self.log_file.as_ref().filter(|file| command_of(file).is_none()) {
            LogFile::check(file)?;
        }
        let producer = self.producer();
        self.prefork(Log::default()).check_command(producer)
    }

    fn prefork(&self, log: Log) -> Prefork {
        let mut prefork = Prefork::new()
            .name(POOL)
            .workers(self.workers)
            .boot_timeout(self.boot_timeout)
            .boot_attempts(self.attempts.unwrap_or(u32::MAX))
            .persists(self.attempts.is_none())
            .backoff(self.backoff)
            .linger(self.kill_old_delay)
            .drain_timeout(self.old_timeout.unwrap_or(FOR_EVER))
            .stop_timeout(self.stop_timeout.unwrap_or(FOR_EVER))
            .replace_interval(self.replace_interval)
            .rolls();
        for socket in &self.sockets {
            prefork = prefork.listen_with(socket.address.clone(), socket.options(self.backlog));
        }
        if self.inherited {
            prefork = prefork.inherited();
        }
        if let Some((from, to)) = self.auto_restart {
            prefork = prefork.max_age(from..to);
        }
        if let Some(workers) = self.max_surge {
            prefork = prefork.max_surge(workers);
        }
        if let Some(user) = &self.user {
            prefork = prefork.user(user);
        }
        if let Some(group) = &self.group {
            prefork = prefork.group(group);
        }
        self.behave(prefork, log)
    }

    /// What concerns the service around the pool.
    fn behave(&self, mut prefork: Prefork, log: Log) -> Prefork {
        if let Some(path) = &self.pid_file {
            prefork = prefork.pid_file(path);
        }
        if let Some(path) = &self.status_file {
            prefork = prefork.status_file(path);
        }
        if self.daemonize {
            prefork = prefork.daemonize();
        }
        prefork = Control::of(self.control.clone(), prefork);
        if self.as_server_starter {
            let words = Talkative::new(log.clone().with_level(Level::Info), self);
            // The original's words are instead of those that are no trouble.
            let log = log.with_level(Level::Warn);
            // Scripts look for the command line, too.
            prefork.signals(tine::Signals::ServerStarter).untitled().log(log).hooks(words)
        } else {
            prefork.log(log.clone()).hooks(Quiet::new(log))
        }
    }

    fn log(&self) -> tine::Result<Log> {
        let log = Log::default().with_level(self.log_level);
        let log = if self.as_server_starter { log.bare() } else { log };
        let Some(file) = &self.log_file else { return Ok(log) };
        match command_of(file) {
            Some(command) => log.to_command(&command),
            None => log.to_file(file),
        }
    }

    fn producer(&self) -> Producer {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().cloned().unwrap_or_default()).args(words);
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        if let Some(directory) = &self.directory {
            command = command.current_dir(directory);
        }
        if let Some(directory) = &self.env_directory {
            command = command.env_directory(directory);
        }
        let mut producer = match self.as_server_starter {
            // What is not there yet may come: there it is tried, and not looked for before.
            true if self.inherited => Producer::new(move |_| Ok(command.clone())).ignore_pipe(),
            true => {
                let producer = Producer::new(move |_| Ok(command.clone())).ignore_pipe();
                producer.inherit_descriptors()
            }
            false => Producer::from(command),
        };
        if self.sockets.iter().any(|socket| socket.number.is_some()) {
            producer = producer.listeners_at(sockets::numbers(&self.sockets).unwrap_or_default());
        }
        let names = self.sockets.iter().map_while(|socket| socket.name.clone());
        let (hup, term) = self.leaves_on;
        let producer = producer.names(names).labels(&self.labels).every_dialect();
        producer.leaves_on(hup, term).ready(self.ready.clone())
    }
}

/// The command that a log goes to, if it is not a file.
fn command_of(log_file: &OsStr) -> Option<String> {
    let text = log_file.to_string_lossy();
    text.trim_start().strip_prefix('|').map(|command| command.trim().to_owned())
}
