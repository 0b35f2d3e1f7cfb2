//! `tine start`: Tine's own command line for the superdaemon.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use tine::{Level, Probe, Readiness, Signal, Workers};

use super::sockets::{Socket, numbers};
use super::{Asked, ask};
use crate::args::{Control, EXIT_CODES, log_path, mode, seconds};
use crate::failure::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  tine start --listen 8080 -- ./app --its --arguments
  tine start --listen 127.0.0.1:8080 --listen unix:/run/app.sock --workers 4 --ready notify -- ./app
  tine start --restart --pid-file /run/app.pid";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}\n  5  there is no such program to run"))]
pub(crate) struct Start {
    /// Where to listen: HOST:PORT, PORT, udp:HOST:PORT or unix:PATH; with =N after it, the program has it at
    /// descriptor number N; may be given several times
    #[arg(long, value_name = "ADDR[=N]")]
    listen: Vec<String>,

    /// Mode of the files of Unix sockets, in octal; clients need the right to write
    ///
    /// By default every user of this machine may connect who may enter the directory it is in, as to a port on
    /// 127.0.0.1. With 0660 it is those of the program's user and group.
    #[arg(long, value_name = "MODE", default_value = "0666", value_parser = mode)]
    unix_mode: u32,

    /// Listen on the sockets that whoever started this has passed in, too: systemd, start_server or Einhorn
    #[arg(long)]
    inherited: bool,

    /// What LISTEN_FDNAMES calls the sockets, in their order
    #[arg(long, value_name = "NAME:NAME", value_delimiter = ':')]
    fd_names: Vec<String>,

    /// How many connections wait in the queue of a socket
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    backlog: Option<u32>,

    /// How many processes of the program: N, or auto: one a CPU
    #[arg(long, value_name = "N|auto", default_value = "1")]
    workers: Workers,

    /// When the program counts as ready: lived, notify, ack[=N], tcp, http:/PATH, tcp:HOST:PORT or
    /// http://HOST:PORT/PATH
    ///
    /// lived: when it has lived for --interval. notify: when it says READY=1 to NOTIFY_SOCKET (sd_notify). ack: when it
    /// writes something to the descriptor whose number is in EINHORN_SOCK_FD, or to number N. tcp, http: when it takes a
    /// connection, or answers GET /PATH with 200 to 399, on its first listener, or on one more that it gets beside the
    /// others; with a host and a port, there.
    #[arg(long, value_name = "WHAT", default_value = "lived")]
    ready: String,

    /// How long the program must live to count as ready
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,

    /// Within which time it must be ready
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    boot_timeout: Duration,

    /// Give up after so many failures: a start ends, of a new generation the old one goes on; 0: never
    #[arg(long, value_name = "N", default_value_t = 3)]
    attempts: u32,

    /// How long to wait between failures: it doubles from MIN to MAX, half of it drawn; one number is a pace, from one
    /// beginning to the next
    #[arg(long, value_name = "MIN..MAX", default_value = "0.1..30", value_parser = range)]
    retry_delay: (Duration, Duration),

    /// How long old processes serve beside the new ones that are ready, before they are asked to leave
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    kill_old_delay: Duration,

    /// How long old processes have to leave; then they get TERM, and a second later KILL
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    old_timeout: Duration,

    /// The same when all is to stop
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    drain_timeout: Duration,

    /// What asks old processes to leave
    #[arg(long, value_name = "NAME", default_value = "TERM")]
    signal_on_hup: Signal,

    /// What asks processes to leave when all is to stop
    #[arg(long, value_name = "NAME", default_value = "TERM")]
    signal_on_term: Signal,

    /// Replace each process at such an age; between two, each draws its own
    #[arg(long, value_name = "SECONDS|MIN..MAX", value_parser = range)]
    auto_restart: Option<(Duration, Duration)>,

    /// Replace processes one by one, one in so long
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    replace_interval: Duration,

    /// How many new processes may be on their way at once beside those they replace [default: one in four, and one at
    /// least]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_surge: Option<u32>,

    /// Variables for the program from the files of this directory, read whenever it is started
    ///
    /// A file's name is the variable's, its first line the value; an empty file takes the variable away.
    #[arg(long, value_name = "DIR")]
    env_dir: Option<PathBuf>,

    /// The program's working directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Write the log, and what the program says, to this file, - for standard output; or, after a |, to this command
    ///
    /// USR1 opens the file anew, after a rotation, and begins the command anew. Processes that run keep what they have.
    #[arg(long, value_name = "PATH|-|'| COMMAND'", value_parser = OsStringValueParser::new().map(log_path::<OsString>))]
    log_file: Option<OsString>,

    /// How much is logged: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Level,

    /// Write the superdaemon's pid to a file, locked while it runs and removed at its end
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,

    /// Keep a file with a line GENERATION:PID for each process that serves or finishes what it has
    #[arg(long, value_name = "PATH")]
    status_file: Option<PathBuf>,

    /// The user the program becomes: a name, or a number with --group
    #[arg(long, value_name = "NAME|NUMBER")]
    user: Option<String>,

    /// The group the program becomes; the user's own unless given
    #[arg(long, value_name = "NAME|NUMBER")]
    group: Option<String>,

    /// Run in the background. This command ends when the program is ready, with 0, or with the reason why not
    ///
    /// Terminal, pipe and socket are let go of: without --log-file what is said is kept only if standard error is a file.
    #[arg(long)]
    daemonize: bool,

    /// Where the control socket is, for status, stop and reload; off for none [default: in the runtime directory, by
    /// pid]
    #[arg(long, value_name = "PATH|off")]
    control: Option<Control>,

    /// Say whether it could start like this, and end; a superdaemon that runs is not disturbed
    ///
    /// Everything that was typed is looked up: addresses, users, files, the program. Nothing is bound, made or started.
    #[arg(long, conflicts_with_all = ["restart", "stop"])]
    check: bool,

    /// Have the superdaemon of --pid-file start a new generation, and wait until it serves
    #[arg(long, requires = "pid_file", conflicts_with = "stop")]
    restart: bool,

    /// Have the superdaemon of --pid-file stop, and wait until it has
    #[arg(long, requires = "pid_file")]
    stop: bool,

    /// With --stop: without finishing what is in flight
    #[arg(long, requires = "stop")]
    now: bool,

    /// How long --restart and --stop wait; what they have begun goes on after that
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    timeout: Duration,

    /// The program and its arguments, after --
    #[arg(value_name = "PROGRAM", last = true, required_unless_present_any = ["restart", "stop"])]
    command: Vec<OsString>,
}

/// Does what was typed.
pub(crate) fn run(typed: Start) -> Result<(), Failure> {
    match &typed.pid_file {
        Some(path) if typed.restart || typed.stop => {
            let client = ask::find(ask::pid_in(path)?, typed.control.as_ref())?;
            match typed.restart {
                true => ask::restart(&client, typed.timeout, false),
                false => ask::stop(&client, typed.timeout, typed.now),
            }
        }
        _ if typed.check => failure::fine(asked(typed)?.check()?),
        _ => Ok(asked(typed)?.run()?),
    }
}

fn asked(typed: Start) -> Result<Asked, Failure> {
    let wrong = |text: String| Failure::Reason(2, text);
    let socket = |text: &String| Socket::of_address(text, typed.unix_mode);
    let sockets: Vec<Socket> = typed.listen.iter().map(socket).collect();
    numbers(&sockets).map_err(wrong)?;
    Ok(Asked {
        ready: readiness(&typed.ready, typed.interval).map_err(wrong)?,
        sockets,
        labels: typed.fd_names,
        inherited: typed.inherited,
        backlog: typed.backlog,
        command: typed.command,
        variables: Vec::new(),
        directory: typed.dir,
        env_directory: typed.env_dir,
        workers: typed.workers,
        boot_timeout: typed.boot_timeout,
        attempts: Some(typed.attempts).filter(|&attempts| attempts > 0),
        backoff: typed.retry_delay,
        kill_old_delay: typed.kill_old_delay,
        old_timeout: Some(typed.old_timeout),
        stop_timeout: Some(typed.drain_timeout),
        leaves_on: (typed.signal_on_hup, typed.signal_on_term),
        auto_restart: typed.auto_restart,
        replace_interval: typed.replace_interval,
        max_surge: typed.max_surge,
        pid_file: typed.pid_file,
        status_file: typed.status_file,
        log_file: typed.log_file,
        log_level: typed.log_level,
        daemonize: typed.daemonize,
        control: typed.control,
        user: typed.user,
        group: typed.group,
        as_server_starter: false,
    })
}

/// What `--ready` says.
pub(super) fn readiness(text: &str, interval: Duration) -> Result<Readiness, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("lived", "") => Ok(Readiness::Lived(interval)),
        ("notify", "") => Ok(Readiness::Notify),
        ("ack", "") => Ok(Readiness::Ack(None)),
        ("ack", number) => match number.parse() {
            Ok(number @ 3..) => Ok(Readiness::Ack(Some(number))),
            _ => Err(format!("--ready {text}: the descriptor's number is 3 or more")),
        },
        _ => match Probe::from_str(text) {
            Ok(probe) => Ok(Readiness::Answers(probe)),
            Err(_) => Err(format!(
                "--ready {text}: it is lived, notify, ack, ack=N, tcp, http:/PATH, tcp:HOST:PORT or \
                 http://HOST:PORT/PATH"
            )),
        },
    }
}

/// `SECONDS`, or `MIN..MAX`.
pub(super) fn range(text: &str) -> Result<(Duration, Duration), String> {
    match text.split_once("..") {
        None => seconds(text).map(|time| (time, time)),
        Some((min, max)) => Ok((seconds(min)?, seconds(max)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_has_its_forms() {
        let read = |text: &str| readiness(text, Duration::from_secs(2));
        assert_eq!(read("lived"), Ok(Readiness::Lived(Duration::from_secs(2))));
        assert_eq!(read("notify"), Ok(Readiness::Notify));
        assert_eq!(read("ack=9"), Ok(Readiness::Ack(Some(9))));
        for text in ["tcp", "http:/up", "tcp:127.0.0.1:80", "http://a:80/x=y"] {
            assert!(matches!(read(text), Ok(Readiness::Answers(_))), "{text}");
        }
        for text in ["", "soon", "ack=0", "ack=x", "notify=1", "http:up"] {
            assert!(read(text).expect_err(text).contains("--ready"), "{text}");
        }
    }
}
