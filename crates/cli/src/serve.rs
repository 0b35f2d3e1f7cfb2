//! `tine serve`: a pool of workers around the files of a directory.

use std::path::Path;

use tine::{BoxError, Level, Log, Prefork, Worker};
use tine_web::Files;

use crate::args::{Control, Serve};
use crate::failure::Failure;

pub(crate) fn run(typed: Serve) -> Result<(), Failure> {
    // Before anything is bound, and before privileges are dropped.
    let files = Files::new(typed.root.clone())?;
    let hello = hello(&typed);
    let solo = typed.solo;
    let server = server(typed);
    let serve = move |worker| serve(worker, &files, &hello);
    if solo {
        server.run_solo(serve)?
    } else {
        server.try_run(serve)?
    }
    Ok(())
}

fn serve(worker: Worker, files: &Files, hello: &str) -> Result<(), BoxError> {
    // Said by the first worker of all: from then on it is true.
    if worker.id() == 1 {
        worker.log().line(Level::Info, format_args!("{hello}"));
    }
    let files = files.clone();
    tine_http::serve(worker, |_context| async { Ok(files) })
}

/// What is served, and how to end it.
fn hello(typed: &Serve) -> String {
    let root = typed.root.canonicalize();
    let root = root.as_deref().unwrap_or(Path::new(&typed.root)).display();
    let pid = std::process::id();
    let or = match typed.control {
        _ if typed.solo => String::new(),
        Some(Control::Off) => format!(" or: kill {pid}"),
        _ => format!(" or: tine stop --pid {pid}"),
    };
    format!("serving {root}; stop with Ctrl-C{or}")
}

fn server(typed: Serve) -> Prefork {
    let mut server = Prefork::new()
        .name("files")
        .workers(typed.workers)
        .concurrency(typed.concurrency)
        .stop_timeout(typed.drain_timeout)
        .log(Log::default().with_level(typed.log_level));
    for address in typed.listen {
        server = server.listen(address);
    }
    if let Some(requests) = typed.max_requests {
        server = server.max_requests(requests);
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
    match typed.control {
        Some(Control::At(path)) => server.control(path),
        Some(Control::Off) => server.no_control(),
        None => server,
    }
}
