//! `start_server`: Server::Starter's command line, with its exit codes, so that what is built on it runs unchanged.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tine::{Level, Readiness, Signal, Workers};

use super::flags::{range, readiness};
use super::getopt::{self, Known, Takes, Typed};
use super::sockets::{Socket, numbers};
use super::{Asked, ask, command_of};
use crate::args::Control;
use crate::failure::{Failure, print};

/// The version whose command line this is.
const VERSION: &str = "0.35";
/// What Perl's `die` exits with if no system call has failed.
const DIED: u8 = 255;
/// What GetOptions has found wrong.
const USAGE: u8 = 1;
/// Without a deadline.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

const fn original(name: &'static str, takes: Takes) -> Known {
    Known { name, takes, shortens: true }
}

const fn ours(name: &'static str, takes: Takes) -> Known {
    Known { name, takes, shortens: false }
}

const KNOWN: [Known; 33] = [
    original("port", Takes::Text),
    original("path", Takes::Text),
    original("interval", Takes::Number),
    original("log-file", Takes::Text),
    original("pid-file", Takes::Text),
    original("dir", Takes::Text),
    original("signal-on-hup", Takes::Text),
    original("signal-on-term", Takes::Text),
    original("backlog", Takes::Number),
    original("envdir", Takes::Text),
    original("enable-auto-restart", Takes::Nothing),
    original("daemonize", Takes::Nothing),
    original("auto-restart-interval", Takes::Number),
    original("kill-old-delay", Takes::Number),
    original("status-file", Takes::Text),
    original("restart", Takes::Nothing),
    original("stop", Takes::Nothing),
    original("help", Takes::Nothing),
    original("version", Takes::Nothing),
    ours("workers", Takes::Text),
    ours("ready", Takes::Text),
    ours("boot-timeout", Takes::Number),
    ours("attempts", Takes::Number),
    ours("retry-delay", Takes::Text),
    ours("old-timeout", Takes::Number),
    ours("stop-timeout", Takes::Number),
    ours("replace-interval", Takes::Number),
    ours("timeout", Takes::Number),
    ours("now", Takes::Nothing),
    ours("inherited", Takes::Nothing),
    ours("control", Takes::Text),
    ours("user", Takes::Text),
    ours("group", Takes::Text),
];

const HELP: &str = "\
start_server: Server::Starter's command line, by Tine

Usage:
  start_server [OPTIONS] -- PROGRAM ARGUMENTS...
  start_server --restart --pid-file=PATH --status-file=PATH
  start_server --stop --pid-file=PATH

Options of Server::Starter:
  --port=PORT|HOST:PORT|[IPV6]:PORT   listen there; u before PORT for UDP, =N after it for descriptor number N
  --path=PATH                  listen on a Unix socket
  --interval=SECONDS           how long the program must live to count as started [1]
  --log-file=PATH|'| COMMAND'  where all output goes; USR1 opens it anew
  --pid-file=PATH              --status-file=PATH      --dir=PATH      --envdir=PATH
  --signal-on-hup=NAME [TERM]  --signal-on-term=NAME [TERM]
  --backlog=N                  --daemonize
  --enable-auto-restart        --auto-restart-interval=SECONDS [360]
  --kill-old-delay=SECONDS [0; 5 with auto restart]
  --restart, --stop            of the superdaemon that runs
  --help, --version

Options that Server::Starter does not have (not to be shortened):
  --workers=N                  that many processes of the program [1]
  --ready=WHAT                 when it counts as started; see tine start --help [lived]
  --boot-timeout=SECONDS       within which it must [30 over the interval]
  --attempts=N                 give up after so many failures: a start ends, of a new generation the old one goes on
                               [never]
  --retry-delay=MIN..MAX       how long to wait between failures, doubling [each --interval]
  --old-timeout=SECONDS        kill old processes that have not left by then [never]
  --stop-timeout=SECONDS       the same when all is to stop [never]
  --replace-interval=SECONDS   replace processes one by one, one in so long
  --timeout=SECONDS            how long --restart and --stop wait [for ever]
  --now                        with --stop: without finishing what is in flight
  --inherited                  listen on the sockets that were passed in, too
  --control=PATH|off           --user=NAME             --group=NAME
";

/// Reads the command line, does what it says, and gives the exit code.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
    let typed = match getopt::read(&KNOWN, arguments, posix) {
        Ok(typed) => typed,
        Err(wrong) => {
            wrong.iter().for_each(|line| say(line));
            return ExitCode::from(USAGE);
        }
    };
    match run(Given::from(typed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Died(code, text)) => {
            say(&text);
            ExitCode::from(code)
        }
    }
}

fn say(text: &str) {
    // Without a standard error the exit code must do.
    let _ = writeln!(std::io::stderr(), "{}", tine::log::escaped(text));
}

/// An exit code and the reason.
struct Died(u8, String);

impl From<Failure> for Died {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Typed(error) => Self(DIED, error.to_string()),
            Failure::Reason(_, text) | Failure::Lines(_, text) => Self(DIED, text),
        }
    }
}

impl From<tine::Error> for Died {
    /// With the number of the system's error, as Perl's `die` has it.
    fn from(error: tine::Error) -> Self {
        let source = error.source().and_then(|it| it.downcast_ref::<std::io::Error>());
        let errno = source.and_then(std::io::Error::raw_os_error);
        let code = errno.and_then(|errno| u8::try_from(errno).ok()).filter(|&code| code > 0);
        let Failure::Reason(_, text) = Failure::from(error) else {
            return Self(DIED, String::new());
        };
        Self(code.unwrap_or(DIED), text)
    }
}

fn died<T>(text: impl Into<String>) -> Result<T, Died> {
    Err(Died(DIED, text.into()))
}

/// Options by their names, the last one counting, and what was given several times.
struct Given {
    last: BTreeMap<&'static str, OsString>,
    ports: Vec<OsString>,
    paths: Vec<OsString>,
    words: Vec<OsString>,
}

impl From<Typed> for Given {
    fn from(typed: Typed) -> Self {
        let all = |wanted: &str| {
            let these = typed.options.iter().filter(|(name, _)| *name == wanted);
            these.map(|(_, value)| value.clone()).collect()
        };
        let (ports, paths) = (all("port"), all("path"));
        Self { ports, paths, last: typed.options.into_iter().collect(), words: typed.words }
    }
}

impl Given {
    fn has(&self, name: &str) -> bool {
        self.last.contains_key(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.last.get(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.last.get(name).map(PathBuf::from)
    }

    fn control(&self) -> Option<Control> {
        self.last.get("control").cloned().map(Control::from)
    }

    /// A number above 0 that is no absurdity.
    fn count(&self, name: &str) -> Option<u32> {
        self.number(name).and_then(|it| u32::try_from(it).ok()).filter(|&it| it > 0)
    }

    /// A number that is an amount; less than nothing is nothing.
    fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        Some(
            text.trim_start_matches('+')
                .parse::<i64>()
                .map_or(u64::MAX, |it| it.max(0).cast_unsigned()),
        )
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_secs)
    }

    fn signal(&self, name: &str) -> Result<Signal, Died> {
        let text = self.text(name).filter(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| "TERM".to_owned());
        text.to_uppercase()
            .parse()
            .or_else(|_| died(format!("Unrecognized signal name \"{text}\" (--{name})")))
    }
}

fn run(given: Given) -> Result<(), Died> {
    if given.has("help") {
        return Ok(print(HELP)?);
    }
    if given.has("version") {
        return Ok(print(&format!("{VERSION}\n"))?);
    }
    let pid_file = given.path("pid-file");
    let timeout = given.seconds("timeout").unwrap_or(FOR_EVER);
    let control = given.control();
    if given.has("restart") {
        let (Some(pid_file), true) = (pid_file, given.has("status-file")) else {
            return died(
                "--restart option requires --pid-file and --status-file to be set as well",
            );
        };
        let pid = ask::pid_in(&pid_file)?;
        // Before a process of the first generation is ready there is nothing that could be replaced.
        has_generation(&given.path("status-file").unwrap_or_default())?;
        let client = ask::find(pid, control.as_ref())?;
        return Ok(ask::restart(&client, timeout, true)?);
    }
    if given.has("stop") {
        let Some(pid_file) = pid_file else {
            return died("--stop option requires --pid-file to be set as well");
        };
        let pid = ask::pid_in(&pid_file)?;
        say(&format!("stop_server (pid:{}) stopping now (pid:{pid})...", std::process::id()));
        let client = ask::find(pid, control.as_ref())?;
        return Ok(ask::stop(&client, timeout, given.has("now"))?);
    }
    if given.has("daemonize") && !given.has("log-file") {
        return died("Usage: --log-file option must be specified together with --daemonize");
    }
    if given.words.is_empty() {
        return died("server program not specified");
    }
    let asked = asked(&given)?;
    if let Some(log) = asked.log_file.as_ref().filter(|log| command_of(log).is_none()) {
        touch(Path::new(log))?;
    }
    say(&format!("start_server (pid:{}) starting now...", std::process::id()));
    Ok(asked.run()?)
}

/// Whether a status file names a process.
fn has_generation(path: &Path) -> Result<(), Died> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let code = error.raw_os_error().and_then(|errno| u8::try_from(errno).ok());
        Died(code.unwrap_or(DIED), format!("failed to open file:{}:{error}", path.display()))
    })?;
    let is_one =
        |line: &str| line.split_once(':').is_some_and(|(number, _)| number.parse::<u64>().is_ok());
    if text.lines().any(is_one) {
        return Ok(());
    }
    died("no active process found in the status file")
}

/// A new log is as everybody's files are; see umask(2).
fn touch(path: &Path) -> Result<(), Died> {
    tine::log::make_file(path, 0o666).map_err(|error| {
        let code = error.raw_os_error().and_then(|errno| u8::try_from(errno).ok());
        Died(code.unwrap_or(DIED), format!("failed to open log file:{}: {error}", path.display()))
    })
}

fn asked(given: &Given) -> Result<Asked, Died> {
    let text = |value: &OsString| value.to_string_lossy().into_owned();
    let mut sockets = Vec::new();
    for port in &given.ports {
        sockets.push(Socket::of_port(&text(port)).or_else(died)?);
    }
    sockets.extend(given.paths.iter().map(|path| Socket::of_path(&text(path))));
    numbers(&sockets).or_else(died)?;
    let settings = Settings::of(given);
    let interval = given.seconds("interval").unwrap_or(Duration::from_secs(1));
    let ready = match given.text("ready") {
        Some(text) => readiness(&text, interval).or_else(died)?,
        None => Readiness::Lived(interval),
    };
    let patience = interval.saturating_add(Duration::from_secs(30));
    let first = interval.max(Duration::from_millis(100));
    Ok(Asked {
        sockets,
        labels: Vec::new(),
        inherited: given.has("inherited"),
        backlog: given.count("backlog"),
        command: given.words.clone(),
        variables: settings.variables(given),
        directory: given.path("dir"),
        env_directory: settings.env_directory.clone().filter(|directory| directory.is_dir()),
        workers: given.text("workers").map_or(Ok(Workers::fixed(1)), |text| text.parse())?,
        ready,
        boot_timeout: given.seconds("boot-timeout").unwrap_or(patience),
        attempts: given.count("attempts"),
        backoff: given
            .text("retry-delay")
            .map_or(Ok((first, first)), |it| range(&it))
            .or_else(died)?,
        kill_old_delay: settings.kill_old_delay,
        old_timeout: given.seconds("old-timeout"),
        stop_timeout: given.seconds("stop-timeout"),
        leaves_on: (given.signal("signal-on-hup")?, given.signal("signal-on-term")?),
        // A tenth of it is drawn, so that the processes of many machines do not all begin at once.
        auto_restart: settings.auto_restart.map(|every| (every, every + every / 10)),
        replace_interval: given.seconds("replace-interval").unwrap_or_default(),
        max_surge: None,
        pid_file: given.path("pid-file"),
        status_file: given.path("status-file"),
        log_file: given.last.get("log-file").cloned(),
        log_level: Level::Info,
        daemonize: given.has("daemonize"),
        control: given.control(),
        user: given.text("user"),
        group: given.text("group"),
        as_server_starter: true,
    })
}

/// What options say, or, where they do not, variables, or the files of the environment directory.
struct Settings {
    env_directory: Option<PathBuf>,
    auto_restart: Option<Duration>,
    kill_old_delay: Duration,
}

impl Settings {
    fn of(given: &Given) -> Self {
        let env_directory =
            given.path("envdir").or_else(|| std::env::var_os("ENVDIR").map(PathBuf::from));
        let variable = |option: &str, name: &str| {
            let file =
                env_directory.as_ref().and_then(|it| std::fs::read_to_string(it.join(name)).ok());
            let file = file.and_then(|text| text.lines().next().map(str::to_owned));
            file.or_else(|| given.text(option)).or_else(|| std::env::var(name).ok())
        };
        let seconds = |text: String| Duration::from_secs(text.trim().parse().unwrap_or(0));
        let enabled = given.has("enable-auto-restart")
            || variable("enable-auto-restart", "ENABLE_AUTO_RESTART")
                .is_some_and(|text| !text.is_empty() && text != "0");
        let every = variable("auto-restart-interval", "AUTO_RESTART_INTERVAL").map(seconds);
        let every = every.filter(|every| !every.is_zero()).unwrap_or(Duration::from_secs(360));
        let delay = variable("kill-old-delay", "KILL_OLD_DELAY").map(seconds);
        let usual = Duration::from_secs(if enabled { 5 } else { 0 });
        Self {
            auto_restart: enabled.then_some(every),
            kill_old_delay: delay.unwrap_or(usual),
            env_directory,
        }
    }

    /// What the program finds of it.
    fn variables(&self, given: &Given) -> Vec<(&'static str, OsString)> {
        let mut all = Vec::new();
        for (option, name) in [
            ("envdir", "ENVDIR"),
            ("kill-old-delay", "KILL_OLD_DELAY"),
            ("auto-restart-interval", "AUTO_RESTART_INTERVAL"),
        ] {
            all.extend(given.last.get(option).map(|value| (name, value.clone())));
        }
        if given.has("enable-auto-restart") {
            all.push(("ENABLE_AUTO_RESTART", OsString::from("1")));
        }
        all
    }
}
