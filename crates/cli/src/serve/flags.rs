//! What can be typed after `tine serve`, and what `--help` says of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{ArgPredicate, OsStringValueParser, TypedValueParser as _};
use tine::{Accept, Bytes, Level, Span, Workers};
use tine_http::Forwarded;
use tine_http::access_log::Format;

use super::limits::HttpLimits;
use crate::args::{Control, EXIT_CODES, log_path, mode, seconds};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Serve {
    /// The directory, or a configuration such as tine.toml
    ///
    /// The keys of a configuration are in docs/configuration.md; flags that are typed win over its [server]. A directory is
    /// looked for by this path every second: a link that is turned, and a directory that is deleted and made anew, are
    /// served within that time. While there is none, the answer is 503. What links reach outside the directory is not
    /// served; absolute links are followed where their target begins with its path.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub(crate) root: PathBuf,

    /// Serve files and directories whose names begin with a dot, too: .git and .htpasswd, if they are there
    ///
    /// /.well-known/ is served without this.
    #[arg(long)]
    pub(crate) dotfiles: bool,

    /// Where to listen: HOST:PORT, PORT or unix:PATH; may be given several times
    ///
    /// With /tls at the end (HOST:PORT/tls, tls:unix:PATH) it is for HTTPS, which needs --cert. With --cert the default
    /// is 127.0.0.1:8443/tls.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    #[arg(default_value_if("cert", ArgPredicate::IsPresent, "127.0.0.1:8443/tls"))]
    pub(crate) listen: Vec<String>,

    /// Mode of the files of Unix sockets, in octal; clients need the right to write
    ///
    /// By default every user of this machine may connect who may enter the directory it is in, as to a port on
    /// 127.0.0.1. With 0660 it is those of the workers' user and group.
    #[arg(long, value_name = "MODE", default_value = "0666", value_parser = mode)]
    pub(crate) unix_mode: u32,

    #[command(flatten)]
    pub(crate) tls: Tls,

    #[command(flatten)]
    pub(crate) limits: HttpLimits,

    /// How many workers: always N, between MIN and MAX by load, or auto: one a CPU
    #[arg(long, value_name = "N|MIN..MAX|auto", default_value = "auto")]
    pub(crate) workers: Workers,

    /// How many connections a worker serves at once
    ///
    /// With 1 the workers are isolated: each serves one connection to its end, so that whatever goes
    /// wrong there can hurt no other; as many connections are served as there are workers, and more
    /// wait. With more than 1 a worker serves that many side by side, which suits files and takes
    /// far fewer processes.
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: u32,

    /// How the workers share an address: shared, sharded, serialized, buckets=N or cores/N
    ///
    /// shared: one socket, taken from by whoever is free. sharded: a socket a worker, on which the kernel
    /// spreads the connections; buckets=N: N sockets; cores/N: one for every N processors. serialized: one
    /// worker at a time waits for a connection.
    #[arg(long, value_name = "MODE", default_value = "shared")]
    pub(crate) accept: Accept,

    /// Replace a worker after so many requests; between two numbers, each worker draws its own
    #[arg(long, value_name = "N|MIN..MAX")]
    pub(crate) max_requests: Option<Span>,

    /// How many workers may be on their way beside those they replace, at a reload above all [default: one in four, and
    /// one at least]
    ///
    /// With 0 a worker leaves first, and its place is taken when it has ended: so no memory is needed for more
    /// workers than there are. --max-unavailable says how many may be missing then.
    #[arg(long, value_name = "N")]
    pub(crate) max_surge: Option<u32>,

    /// How many workers may be missing while others replace them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_unavailable: u32,

    /// Replace workers one by one, and so long one after the other: at a reload above all
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) replace_interval: Option<Duration>,

    /// End and replace a worker that is at one request for so long
    ///
    /// Looked at from outside, so nothing that hangs, loops or blocks in a worker can hide it. With
    /// --concurrency 1 a request may take so long until its answer is sent; a client that takes nothing of it
    /// begins the time anew (and is cut off by the limits of HTTP); with more a worker may keep all its
    /// connections waiting for so long. What it was at stands in the log and in `tine status`.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Replace a worker that has so much memory of its own: 64M, 1G; between two sizes, each worker draws
    /// its own
    #[arg(long, value_name = "SIZE|MIN..MAX", value_parser = sizes)]
    pub(crate) max_memory: Option<Span>,

    /// Write the server's pid to a file, removed at its end
    #[arg(long, value_name = "PATH")]
    pub(crate) pid_file: Option<PathBuf>,

    /// The user the workers become: a name, or a number with --group. With or without, no worker gains privileges by
    /// a program it starts
    #[arg(long, value_name = "NAME|NUMBER")]
    pub(crate) user: Option<String>,

    /// The group the workers become; the user's own unless given
    #[arg(long, value_name = "NAME|NUMBER")]
    pub(crate) group: Option<String>,

    /// How much is logged to standard error: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,

    /// Write the log to this file instead of standard error, - for standard output; USR1 opens it anew, after a rotation
    #[arg(long, value_name = "PATH|-", value_parser = OsStringValueParser::new().map(log_path::<PathBuf>))]
    pub(crate) log_file: Option<PathBuf>,

    /// Write a line for each request to this file, - for standard output; USR1 opens it anew, after a rotation
    ///
    /// Standard output (-, /dev/stdout) and standard error (/dev/stderr) may be a file, a pipe, a socket (the journal) or a
    /// terminal. They are kept as they are at USR1 and at a reload.
    #[arg(long, value_name = "PATH|-", value_parser = OsStringValueParser::new().map(log_path::<PathBuf>))]
    pub(crate) access_log: Option<PathBuf>,

    /// How a line looks: common, combined, json, or a text with the directives of Apache's LogFormat
    #[arg(long, value_name = "NAME|TEXT", default_value = "combined", requires = "access_log")]
    pub(crate) access_log_format: Format,

    /// Believe these proxies on whose behalf they ask: an address, a network (10.0.0.0/8), or unix; may
    /// be given several times
    ///
    /// What they say in X-Forwarded-For and X-Forwarded-Proto decides which client the logs show. Nobody
    /// else is believed.
    #[arg(long, value_name = "CIDR")]
    pub(crate) trust: Vec<String>,

    /// The header in which trusted proxies say so: x-forwarded (X-Forwarded-For and X-Forwarded-Proto),
    /// or forwarded (RFC 7239)
    #[arg(long, value_name = "NAME", default_value = "x-forwarded", requires = "trust")]
    #[arg(value_parser = forwarded)]
    pub(crate) forwarded: Forwarded,

    /// Expect connections of trusted proxies to begin with a PROXY header, version 1 or 2
    #[arg(long, requires = "trust")]
    pub(crate) proxy_protocol: bool,

    /// Answer this path with 200, and from the moment on at which the server is to stop with 503: for load
    /// balancers; see --lame-duck
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) health: Option<String>,

    /// Serve in the background. This command ends when every pool serves, with 0, or with the reason why not
    ///
    /// Terminal, pipe and socket are let go of: without --log-file the log is kept only if standard error is a file.
    #[arg(long)]
    pub(crate) daemonize: bool,

    /// Where the control socket is, for status, stop and reload; off for none [default: in the
    /// runtime directory, by pid]
    #[arg(long, value_name = "PATH|off")]
    pub(crate) control: Option<Control>,

    /// When stopping, cut off after so long what is still in flight
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) drain_timeout: Duration,

    /// When stopping, serve on for so long while --health says 503 already: for load balancers
    ///
    /// A second TERM cuts it short; Ctrl-C does not wait for it. `tine status --ready` says no meanwhile.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) lame_duck: Duration,

    /// Listen on the sockets that whoever started this has passed in, instead of --listen: systemd, start_server or Einhorn
    #[arg(long, conflicts_with = "listen")]
    pub(crate) inherited: bool,

    /// Where workers leave their cores; it becomes their working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) core_directory: Option<PathBuf>,

    /// Serve the one connection on standard input and end: for inetd, or systemd with Accept=yes
    #[arg(long, conflicts_with_all = ["solo", "inherited", "listen", "cert", "daemonize", "workers", "max_requests", "timeout",
          "max_memory", "pid_file", "user", "group", "control", "drain_timeout", "lame_duck"])]
    pub(crate) inetd: bool,

    /// Say whether it could serve like this, and end; a server that runs is not disturbed
    ///
    /// Everything that was typed is looked up: addresses, users, files, certificates, limits. Nothing is bound, made or
    /// replaced. What somebody has now (a port, a pid file) is said and is no error. The exit code is that of the start.
    #[arg(long, conflicts_with = "inetd")]
    pub(crate) check: bool,

    /// Serve from this one process, without a supervisor and without a fork: to debug
    #[arg(long, conflicts_with_all = ["daemonize", "workers", "accept", "max_requests", "timeout", "max_memory", "pid_file", "user", "group",
          "control", "drain_timeout", "lame_duck"])]
    pub(crate) solo: bool,
}

/// What HTTPS needs.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// A certificate for HTTPS: a PEM file with the whole chain; may be given several times, each with its --key
    ///
    /// A client is shown that of the host it asks for, or the first. The files are read once, before privileges are dropped;
    /// `tine reload` reads them anew, and leaves the old ones in use if it cannot.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Vec<PathBuf>,

    /// The key of the --cert in the same place of the order: a PEM file, not encrypted
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Vec<PathBuf>,

    /// Send clients of the listeners without TLS to https://; to this port, or to that of the first listener with TLS
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) https_redirect: Option<Option<u16>>,

    /// How long a TLS session can be resumed, in any worker; its keys change every half of it
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ticket_life: Option<Duration>,
}

/// A size, or two.
fn sizes(text: &str) -> Result<Span, String> {
    let size = |text: &str| match text.parse::<Bytes>() {
        Ok(bytes) if bytes.0 == 0 => Err("0 would be no bound: leave the flag out".to_owned()),
        Ok(bytes) => Ok(bytes.0),
        Err(error) => Err(error.to_string()),
    };
    match text.split_once("..") {
        None => Ok(Span::from(size(text)?)),
        Some((min, max)) => Ok(Span::from(size(min)?..=size(max)?)),
    }
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?')
    {
        true => Ok(text.to_owned()),
        false => Err("it is a path, such as /health".to_owned()),
    }
}

fn forwarded(text: &str) -> Result<Forwarded, String> {
    match text {
        "x-forwarded" => Ok(Forwarded::X),
        "forwarded" => Ok(Forwarded::Standard),
        _ => Err("it is x-forwarded or forwarded".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).map(|arguments| arguments.command)
    }

    #[test]
    fn serve_has_defaults_and_takes_several_addresses() {
        let Ok(Command::Serve(serve)) = parse("tine serve") else { panic!("it is serve") };
        assert_eq!((serve.root, serve.concurrency), (PathBuf::from("."), 256));
        assert_eq!(serve.listen, ["127.0.0.1:8080"]);
        assert_eq!((serve.workers, serve.control), (Workers::per_cpu(), None));
        let line = "tine serve site --listen 80 --listen unix:/s --workers 2..4 --control off";
        let Ok(Command::Serve(serve)) = parse(line) else { panic!("it is serve") };
        assert_eq!(serve.listen, ["80", "unix:/s"]);
        let line = "tine serve --cert a --key b --https-redirect site";
        let Ok(Command::Serve(secure)) = parse(line) else { panic!("it is serve") };
        assert_eq!(
            (secure.listen, secure.root),
            (vec!["127.0.0.1:8443/tls".into()], "site".into())
        );
        assert_eq!(secure.tls.https_redirect, Some(None));
        assert_eq!((serve.workers, serve.control), (Workers::dynamic(2..=4), Some(Control::Off)));
    }
}
