//! `tine serve`: a pool of workers around the files of a directory.

use std::time::Duration;

use tine::endpoint::Endpoint;
use tine::listen::ListenOptions;
use tine::log::LogFile;
use tine::{BoxError, Log, Nursery, Prefork, Tidy, Worker};
use tine_http::access_log::{AccessLog, HostLogs};
use tine_http::{FileBody, HttpService, Options, Tls, Trust};
use tine_web::{Files, HttpsOnly};

use crate::args::Control;
use crate::failure::{Failure, fine};

mod build;
mod flags;
mod hello;
mod limits;
pub(crate) mod settings;
mod sites;
mod tls;

pub(crate) use flags::Serve;
use hello::Hello;
pub(crate) use sites::check as check_file;
use tls::{Redirect, Secure};

pub(crate) fn run(typed: Serve) -> Result<(), Failure> {
    if typed.root.is_file() {
        // The file's keys come before what was typed, so both are read again together.
        return sites::run(&typed.root, std::env::args_os().skip(2).collect());
    }
    let tls = tls::read(&typed, &[])?;
    // Before anything is bound, and before privileges are dropped.
    let files = Nursery::gather(|| Files::new(typed.root.clone()))?.dotfiles(typed.dotfiles);
    let hello = Hello::of(&typed.root);
    start(typed, tls, hello, Logs::default(), files)
}

/// Serves the sites of a file, if that is what was typed, and the flags need others: those may be keys of the file.
pub(crate) fn with_file() -> Option<Result<(), Failure>> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "serve" {
        return None;
    }
    let words: Vec<_> = words.collect();
    let file = settings::file_of(&words)?;
    Some(sites::run(&file, words))
}

/// Access logs of sites.
#[derive(Default)]
struct Logs {
    files: Vec<LogFile>,
    hosts: Option<HostLogs>,
}

/// What is served: files of a directory, or sites.
trait Content: HttpService<Answer: From<FileBody>> {
    /// Closes what was not used for a while; says when to ask again.
    fn let_go(&self) -> Option<Duration>;
    /// Closes all that is only remembered.
    fn let_go_of_all(&self);
}

impl Content for Files {
    fn let_go(&self) -> Option<Duration> {
        self.let_go()
    }

    fn let_go_of_all(&self) {
        self.let_go_of_all();
    }
}

fn start(
    typed: Serve,
    tls: Secure,
    hello: Hello,
    logs: Logs,
    content: impl Content,
) -> Result<(), Failure> {
    refuse_datagrams(&typed.listen)?;
    let (solo, inetd, check) = (typed.solo, typed.inetd, typed.check);
    let (mut options, log_file) = Nursery::gather(|| options(&typed, tls.certificates.clone()))?;
    options.host_logs = logs.hosts;
    let mut server = server(typed)?;
    if let Some(certificates) = &tls.certificates {
        server = certificates.share_tickets(server);
    }
    for file in log_file.into_iter().chain(logs.files) {
        server = server.log_file(file);
    }
    if check {
        return fine(server.check()?);
    }
    let serve = move |worker| serve(worker, &content, &options, tls.redirect);
    if inetd {
        server.run_inetd(serve)?
    } else if solo {
        server.run_solo(move |worker| {
            hello.say(worker.log(), None);
            serve(worker)
        })?
    } else {
        server.hooks(hello).try_run(serve)?
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
        limits: typed.limits.limits(),
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
    content: &impl Content,
    options: &Options,
    redirect: Option<Redirect>,
) -> Result<(), BoxError> {
    let (content, options) = (content.clone(), options.clone());
    let tidy = {
        let content = content.clone();
        move |why| match why {
            Tidy::Idle => content.let_go(),
            Tidy::OutOfDescriptors => {
                content.let_go_of_all();
                None
            }
        }
    };
    match redirect {
        None => tine_http::serve_with(worker, options, |context| async move {
            context.when_idle(tidy);
            Ok(content)
        }),
        Some(redirect) => {
            let content = HttpsOnly::new(content, redirect.port(&worker));
            tine_http::serve_with(worker, options, |context| async move {
                context.when_idle(tidy);
                Ok(content)
            })
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
        // A worker that serves files starts no program, and one that was taken over should gain nothing by one.
        .no_new_privileges()
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
