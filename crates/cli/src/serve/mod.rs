//! `tine serve`: a pool of workers around the files of a directory.

use std::path::Path;

use tine::endpoint::Endpoint;
use tine::listen::ListenOptions;
use tine::log::LogFile;
use tine::{BoxError, Level, Log, Nursery, Prefork, Worker};
use tine_http::access_log::AccessLog;
use tine_http::{Options, Tls, Trust};
use tine_web::{Files, HttpsOnly};

use crate::args::Control;
use crate::failure::{Failure, fine};

mod flags;
mod tls;

pub(crate) use flags::Serve;

pub(crate) fn run(typed: Serve) -> Result<(), Failure> {
    refuse_datagrams(&typed.listen)?;
    let tls = tls::read(&typed)?;
    // Before anything is bound, and before privileges are dropped.
    let files = Nursery::gather(|| Files::new(typed.root.clone()))?;
    let hello = Hello::of(&typed);
    let (solo, inetd, check) = (typed.solo, typed.inetd, typed.check);
    let (options, log_file) = Nursery::gather(|| options(&typed, tls.certificates.clone()))?;
    let mut server = server(typed)?;
    if let Some(certificates) = &tls.certificates {
        server = certificates.share_tickets(server);
    }
    if let Some(file) = log_file {
        server = server.log_file(file);
    }
    if check {
        return fine(server.check()?);
    }
    let serve = move |worker| serve(worker, &files, &options, tls.redirect, &hello);
    if inetd {
        server.run_inetd(serve)?
    } else if solo {
        server.run_solo(serve)?
    } else {
        server.try_run(serve)?
    }
    Ok(())
}

/// How HTTP is served, and the file of its log.
fn options(typed: &Serve, tls: Option<Tls>) -> Result<(Options, Option<LogFile>), Failure> {
    let file = match &typed.access_log {
        Some(path) if typed.check => LogFile::check(path).map(|()| None)?,
        path => path.as_ref().map(LogFile::open).transpose()?,
    };
    let format = typed.access_log_format.clone();
    let options = Options {
        access_log: file.clone().map(|file| AccessLog::to_file(file, format)),
        trust: Trust::new(&typed.trust)?,
        forwarded: typed.forwarded,
        proxy_protocol: typed.proxy_protocol,
        health: typed.health.clone(),
        tls,
        ..Options::default()
    };
    Ok((options, file))
}

fn serve(
    worker: Worker,
    files: &Files,
    options: &Options,
    redirect: Option<u16>,
    hello: &Hello,
) -> Result<(), BoxError> {
    // Said by the first worker of all: from then on it is true.
    if worker.id() == 1 && !hello.inetd {
        worker.log().line(Level::Info, format_args!("{}", hello.text()));
    }
    let (files, options) = (files.clone(), options.clone());
    match redirect {
        None => tine_http::serve_with(worker, options, |_context| async { Ok(files) }),
        Some(port) => {
            let files = HttpsOnly::new(files, port);
            tine_http::serve_with(worker, options, |_context| async { Ok(files) })
        }
    }
}

/// Files go over connections.
fn refuse_datagrams(addresses: &[String]) -> Result<(), Failure> {
    for address in addresses {
        let endpoints = Endpoint::parse_all(address)?;
        if endpoints.iter().any(|it| matches!(it, Endpoint::Udp(_) | Endpoint::UnixDatagram(_))) {
            let text = format!("--listen {address}: HTTP needs connections, not datagrams");
            return Err(Failure::Reason(2, text));
        }
    }
    Ok(())
}

/// What is served, and how to end it.
struct Hello {
    root: String,
    solo: bool,
    /// Nobody is there to read it.
    inetd: bool,
    control: bool,
}

impl Hello {
    fn of(typed: &Serve) -> Self {
        let root = typed.root.canonicalize();
        let root = root.as_deref().unwrap_or(Path::new(&typed.root)).display().to_string();
        let control = !matches!(typed.control, Some(Control::Off));
        Self { root, solo: typed.solo, inetd: typed.inetd, control }
    }

    /// Said in a worker: only its parent is the supervisor for sure, a daemon's above all.
    fn text(&self) -> String {
        let pid = std::os::unix::process::parent_id();
        let or = match self.control {
            _ if self.solo => String::new(),
            true => format!(" or: tine stop --pid {pid}"),
            false => format!(" or: kill {pid}"),
        };
        format!("serving {}; stop with Ctrl-C{or}", self.root)
    }
}

fn server(typed: Serve) -> Result<Prefork, Failure> {
    let mut log = Log::default().with_level(typed.log_level);
    match typed.log_file {
        Some(path) if typed.check => LogFile::check(path)?,
        Some(path) => log = log.to_file(path)?,
        None => {}
    }
    let mut server = Prefork::new()
        .name("files")
        .workers(typed.workers)
        .concurrency(typed.concurrency)
        .accept(typed.accept)
        .stop_timeout(typed.drain_timeout)
        .lame_duck(typed.lame_duck)
        .request_timeout(typed.timeout)
        .log(log);
    if typed.inherited {
        server = server.inherited();
    } else {
        let socket = ListenOptions { unix_mode: Some(typed.unix_mode), ..ListenOptions::default() };
        let listen = |server: Prefork, address| server.listen_with(address, socket.clone());
        server = typed.listen.into_iter().fold(server, listen);
    }
    server = server.max_unavailable(typed.max_unavailable);
    if let Some(workers) = typed.max_surge {
        server = server.max_surge(workers);
    }
    if let Some(interval) = typed.replace_interval {
        server = server.replace_interval(interval);
    }
    if let Some(path) = typed.core_directory {
        server = server.core_directory(path);
    }
    if let Some(requests) = typed.max_requests {
        server = server.max_requests(requests);
    }
    if let Some(bytes) = typed.max_memory {
        server = server.max_memory(bytes);
    }
    if let Some(user) = typed.user {
        server = server.user(user);
    }
    if let Some(group) = typed.group {
        server = server.group(group);
    }
    if let Some(path) = typed.pid_file {
        server = server.pid_file(path);
    }
    if typed.daemonize {
        server = server.daemonize();
    }
    Ok(Control::of(typed.control, server))
}
