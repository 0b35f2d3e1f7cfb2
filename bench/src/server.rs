//! One running `tine serve`, with a site of one small file, and what its control socket says.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{Running, Server, TempDir};

use crate::program::Program;

/// What the site's only file has in it: 13 bytes.
pub(crate) const BODY: &str = "Hello, World!";
/// Where it is.
pub(crate) const PATH: &str = "/hello.txt";
/// How long a pool may take to be as it is to be measured.
const SETTLING: Duration = Duration::from_secs(10);

/// A started server. Dropping it kills it and its workers.
#[derive(Debug)]
pub(crate) struct Tine {
    running: Running,
    address: String,
    control: PathBuf,
    _directory: TempDir,
}

/// A worker, as the supervisor has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worker {
    pub(crate) pid: u32,
    pub(crate) place: u64,
}

impl Tine {
    /// Starts `program` with these flags besides address and control socket, separated by spaces.
    ///
    /// # Panics
    /// When it does not come to listen: all functions here do when the server does not do its part.
    pub(crate) fn start(program: &Program, flags: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let site = directory.path().join("site");
        fs::create_dir(&site).expect("a directory for the site");
        fs::write(site.join(&PATH[1..]), BODY).expect("a file in the site");
        let server = Server::command(program.path()).arg("serve").arg(site);
        let server = server.args(["--listen", "127.0.0.1:0"]).args(flags.split_whitespace());
        Self::run(server, directory)
    }

    /// Starts a server that takes `--control PATH`; the directory goes with it.
    pub(crate) fn run(server: Server, directory: TempDir) -> Self {
        let control = directory.path().join("control");
        let running = server.arg("--control").arg(&control).start();
        Self { address: running.address(), running, control, _directory: directory }
    }

    /// Starts it, and waits until `workers` are ready and idle.
    pub(crate) fn with_idle(program: &Program, workers: u64, flags: &str) -> Self {
        let tine = Self::start(program, flags);
        tine.wait_idle(workers);
        tine
    }

    /// Where it listens, as text.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        self.address.parse().expect("it listens on an IPv4 address")
    }

    /// The supervisor, its output and its end.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Has it reload, by the program that is in its place, and returns when that is done.
    ///
    /// # Panics
    /// With the reason if it cannot.
    pub(crate) fn reload(&self) {
        self.try_reload().unwrap_or_else(|why| panic!("it does not reload: {why}"));
    }

    /// The same; `Err` with what it says.
    pub(crate) fn try_reload(&self) -> Result<(), String> {
        let program = format!("/proc/{}/exe", self.running.pid());
        let reload =
            Command::new(program).args(["reload", "--control"]).arg(&self.control).output();
        let reload = reload.map_err(|error| error.to_string())?;
        let said = || String::from_utf8_lossy(&reload.stderr).into_owned();
        if reload.status.success() { Ok(()) } else { Err(said()) }
    }

    /// What the control socket answers to `status` (the fields of `tine status --json`). A reload cuts off whom it
    /// has not heard yet, who then asks again.
    pub(crate) fn status(&self) -> Value {
        let mut answer = None;
        testkit::wait_until("a status", SETTLING, || {
            answer = self.ask("status").ok();
            answer.is_some()
        });
        answer.map(|mut answer| answer["status"].take()).unwrap_or_default()
    }

    fn ask(&self, verb: &str) -> io::Result<Value> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(SETTLING))?;
        writeln!(stream, "{{\"tine\":1,\"do\":\"{verb}\"}}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// A number of the only pool's.
    pub(crate) fn pool(&self, field: &str) -> u64 {
        number(&self.status()["pools"][0], field)
    }

    /// The workers that serve, in the order they were made.
    pub(crate) fn serving(&self) -> Vec<Worker> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("a status lists the workers");
        workers
            .iter()
            .filter(|worker| worker["stage"] == "serving")
            .map(|worker| Worker {
                pid: u32::try_from(number(worker, "pid")).expect("a process number"),
                place: number(worker, "place"),
            })
            .collect()
    }

    /// How many connections each worker has taken that serves.
    pub(crate) fn connections(&self) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("a status lists the workers");
        let serving = workers.iter().filter(|worker| worker["stage"] == "serving");
        serving.map(|worker| number(worker, "connections")).collect()
    }

    /// Waits until exactly `workers` serve, all of them are idle, and nobody comes or goes.
    pub(crate) fn wait_idle(&self, workers: u64) {
        let wanted = [("serving", workers), ("idle", workers), ("booting", 0), ("draining", 0)];
        testkit::wait_until(&format!("{workers} idle workers"), SETTLING, || {
            let status = self.status();
            wanted.iter().all(|&(field, value)| number(&status["pools"][0], field) == value)
        });
    }
}

fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("a status has a number {field:?}: {object}"))
}
