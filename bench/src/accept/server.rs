//! The server that is measured: the same few lines of HTTP behind each way of accepting, in the same
//! workers. What differs is who calls accept, and when.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;

use clap::{Args, ValueEnum};
use tine::{Accept, BoxError, Busy, Conn, Level, Log, Prefork, Stream, Worker, Workers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

/// A way of accepting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Tine's, one socket for all
    Shared,
    /// Tine's, a socket a worker
    Sharded,
    /// Tine's, one worker at a time
    Serialized,
    /// tokio's own accept on one socket
    Tokio,
    /// A thread in a blocking accept, feeding the runtime
    Thread,
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long, value_enum)]
    way: Way,
    #[arg(long)]
    workers: u32,
    #[arg(long)]
    concurrency: u32,
    #[arg(long)]
    control: PathBuf,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
const LAST: &[u8] =
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\nHello, World!";

pub(crate) fn run(typed: Arguments) -> ExitCode {
    let accept = match typed.way {
        Way::Sharded => Accept::Sharded,
        Way::Serialized => Accept::Serialized,
        Way::Shared | Way::Tokio | Way::Thread => Accept::Shared,
    };
    Prefork::new()
        .listen("127.0.0.1:0")
        .workers(Workers::fixed(typed.workers))
        .concurrency(typed.concurrency)
        .accept(accept)
        .control(typed.control)
        .log(Log::default().with_level(Level::Info))
        .run(move |worker| match typed.way {
            Way::Tokio => by_tokio(&worker),
            Way::Thread => by_thread(&worker),
            Way::Shared | Way::Sharded | Way::Serialized => {
                worker.serve_async(|_| async { Ok(serve) })
            }
        })
}

async fn serve(conn: Conn) {
    let (Stream::Tcp(stream), _busy) = conn.into_parts() else { return };
    if let Ok(stream) = TcpStream::from_std(stream) {
        // A client that goes away is no matter here.
        let _ = talk(stream).await;
    }
}

/// Answers until the client goes, or asks for the end.
async fn talk(mut stream: TcpStream) -> io::Result<()> {
    let mut received = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        if !received.ends_with(b"\r\n\r\n") {
            continue;
        }
        let last = received.windows(17).any(|window| window == b"Connection: close");
        stream.write_all(if last { LAST } else { ANSWER }).await?;
        if last {
            return Ok(());
        }
        received.clear();
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// As a server on tokio is written that knows nothing of Tine. It ends by the signal of its end.
fn by_tokio(worker: &Worker) -> Result<(), BoxError> {
    worker.ready()?;
    let listener = worker.listeners()[0].try_clone_tcp()?;
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            spawn(stream, worker.busy());
        }
    })
}

fn spawn(stream: TcpStream, busy: Busy) {
    tokio::task::spawn_local(async move {
        let _busy = busy;
        let _ = talk(stream).await;
    });
}

fn by_thread(worker: &Worker) -> Result<(), BoxError> {
    worker.ready()?;
    let listener = worker.listeners()[0].try_clone_tcp()?;
    let (sender, mut accepted) = mpsc::unbounded_channel();
    thread::spawn(move || -> io::Result<()> {
        loop {
            // The listener itself does not block, for whoever else has it.
            let mut listening =
                [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut listening, None)?;
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                if sender.send(stream).is_err() {
                    return Ok(());
                }
            }
        }
    });
    let worker = Rc::new(worker);
    runtime()?.block_on(async {
        while let Some(stream) = accepted.recv().await {
            spawn(TcpStream::from_std(stream)?, worker.busy());
        }
        Ok(())
    })
}
