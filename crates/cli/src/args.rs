//! What can be typed, and what is said about it: the flags, and the text of `--help`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tine::Prefork;
use tine::control::By;

use crate::check::Check;
use crate::rollout::Rollout;
use crate::schema::Schema;
use crate::serve::Serve;
use crate::start::Start;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, or served and stopped as asked
  1  it failed while running; or a running server could not do what it was asked: a reload, say
  2  the command line or the configuration is wrong, or names no running server
  3  cannot listen on an address
  4  cannot drop privileges";

/// Serves from many small processes that share one set of sockets.
#[derive(Debug, Parser)]
#[command(name = "tine", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the files of a directory, or the sites of a configuration
    ///
    /// Runs in the foreground until SIGTERM, SIGINT (Ctrl-C) or `tine stop`; requests in flight are
    /// finished, a second signal ends them. SIGHUP does what `tine reload` does. A directory is served by its
    /// index.html or index.htm. Names that begin with a dot, and what links reach outside the
    /// directory, are not served.
    Serve(Box<Serve>),
    /// Run a program in any language, and replace it without closing its sockets
    ///
    /// Binds the sockets, starts the program with them, and starts it again when it ends. On SIGHUP (or --restart, or
    /// `tine reload`) new processes are started, and the old ones are asked to leave when the new are ready. The program
    /// finds its sockets as systemd, Server::Starter and Einhorn pass them: LISTEN_FDS, SERVER_STARTER_PORT,
    /// EINHORN_FD_0 and so on. Called as start_server, the command line is Server::Starter's.
    Start(Box<Start>),
    /// Say whether a configuration is right, and with --effective what it comes to
    ///
    /// Every fault is shown with its line. Addresses, users, directories, files and certificates are looked up, as the start
    /// of `tine serve FILE` would; nothing is bound or made.
    Check(Check),
    /// Print the JSON schema of the configuration, for editors
    Schema(Schema),
    /// Show what a running server does
    Status(Status),
    /// Stop a running server: requests in flight are finished
    Stop(Stop),
    /// Replace the program and the workers of a running server, new ones first; no request is lost
    ///
    /// The program that is at the server's path now is tried first, and then takes over with the same pid and
    /// sockets. If it cannot serve, the old one goes on, and the reason is said here, with exit code 1.
    Reload(Reload),
    /// Replace the program and the workers of a running server in two steps: some workers first, which are watched
    #[command(subcommand)]
    Rollout(Rollout),
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) which: Which,

    /// As JSON, with all there is to know
    #[arg(long)]
    pub(crate) json: bool,

    /// Say nothing, and end with 0 if clients should be sent there, else with 1: for health checks
    #[arg(long, conflicts_with = "json")]
    pub(crate) ready: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Without finishing what is in flight
    #[arg(long)]
    pub(crate) now: bool,

    /// How long to wait until it has stopped; it goes on stopping after that
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) which: Which,

    /// How long to wait until every worker is replaced; it goes on after that
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Which server is meant. It need not be said if only one runs.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Which {
    /// The server with this pid (the supervisor's)
    #[arg(long, value_name = "N")]
    pid: Option<u32>,

    /// The server that listens on this port
    #[arg(long, value_name = "N")]
    port: Option<u16>,

    /// The server with this control socket: root's, your own, or one in a directory that the server's user
    /// alone can write to
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl From<Which> for By {
    fn from(which: Which) -> Self {
        match which {
            Which { pid: Some(pid), .. } => Self::Pid(pid),
            Which { port: Some(port), .. } => Self::Port(port),
            Which { control: Some(path), .. } => Self::Path(path),
            Which { pid: None, port: None, control: None } => Self::Only,
        }
    }
}

/// Whether there is a control socket, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    At(PathBuf),
    Off,
}

impl From<OsString> for Control {
    fn from(text: OsString) -> Self {
        if text == "off" { Self::Off } else { Self::At(text.into()) }
    }
}

impl Control {
    /// Gives the server its control socket: where it was typed, or where it is anyway.
    pub(crate) fn of(typed: Option<Self>, server: Prefork) -> Prefork {
        match typed {
            Some(Self::At(path)) => server.control(path),
            Some(Self::Off) => server.no_control(),
            None => server,
        }
    }
}

/// Where a log goes: `-` is standard output.
pub(crate) fn log_path<Path: From<OsString>>(text: OsString) -> Path {
    if text == "-" { OsString::from("/dev/stdout").into() } else { text.into() }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "it is a number of seconds, such as 30 or 0.5".to_owned())
}

/// A mode of files, in octal: `0660`, `660`.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("it is three octal digits: 0660, say".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).map(|arguments| arguments.command)
    }

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn nonsense_is_a_usage_error_that_names_the_flag() {
        for (line, flag) in [
            ("tine serve --concurrency 0", "--concurrency"),
            ("tine serve --workers many", "--workers"),
            ("tine serve --accept anyhow", "--accept"),
            ("tine serve --log-level nonsense", "--log-level"),
            ("tine serve --drain-timeout -1", "-1"),
            ("tine serve --drain-timeout=-1", "--drain-timeout"),
            ("tine serve --max-requests x", "--max-requests"),
            ("tine serve --timeout soon", "--timeout"),
            ("tine serve --max-memory much", "--max-memory"),
            ("tine serve --max-memory 1M..", "--max-memory"),
            ("tine serve --solo --user nobody", "--user"),
            ("tine serve --unix-mode 0888", "--unix-mode"),
            ("tine start --unix-mode 1777 -- x", "--unix-mode"),
            ("tine serve --access-log a --access-log-format %h%Z", "%Z at byte 3"),
            ("tine serve --access-log-format json", "--access-log"),
            ("tine serve --proxy-protocol", "--trust"),
            ("tine serve --health health", "--health"),
            ("tine serve --cert a", "--key"),
            ("tine serve --key a", "--cert"),
            ("tine serve --inetd --cert a --key b", "--cert"),
            ("tine serve --cert a --key b --ticket-life long", "--ticket-life"),
            ("tine serve --trust 10.0.0.1 --forwarded x", "x-forwarded or forwarded"),
            ("tine serve --inetd --timeout 3", "--timeout"),
            ("tine serve --inetd --max-memory 1G", "--max-memory"),
            ("tine serve --inetd --listen 80", "--listen"),
            ("tine serve --inherited --listen 80", "--listen"),
            ("tine status --pid 1 --port 2", "--port"),
            ("tine stop --timeout soon", "--timeout"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
