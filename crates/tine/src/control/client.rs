//! The other side of the control socket: for programs that look after services.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use tine_os::poll;
use tine_os::process::{Pid, pidfd};
use tine_os::socket::Credentials;

use super::call::Call;
use super::command::{Answer, Request, Verb};
use super::find::Directory;
use super::{Canary, PATIENCE, Status, find};
use crate::log::escaped;
use crate::{Error, Result};

/// Between two attempts to connect.
pub(super) const AGAIN: Duration = Duration::from_millis(10);

/// Between two questions whether a reload is over: mostly it is in milliseconds, and then it need not be asked about often.
const RELOADED: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(64)];

/// Which of the services that this user may control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The one whose supervisor is this process.
    Pid(u32),
    /// The one that listens on this TCP port; of several, the one that began last.
    Port(u16),
    /// The one with this control socket.
    Path(PathBuf),
    /// The only one that runs.
    Only,
}

/// One running service.
///
/// It stays the same one: should it end, and another have its place, that is an error and not a stranger's
/// status. Every call is a connection of its own and waits at most five seconds for its answer. What the service refuses,
/// fails at, or does not live to do, is an error for which [`Error::is_refused`] is true.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    pid: Option<Pid>,
    /// The user that listens there.
    uid: u32,
    process: Option<OwnedFd>,
}

impl Client {
    /// The service with this control socket, if it answers. It must be root's, this user's, or that of the
    /// owner of its directory, if no other user can write there. No other process is spoken to.
    ///
    /// # Errors
    /// [`Error::is_config`] if there is none, it will not talk to this user, or is a stranger's; else the system's.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path = absolute(path)
            .map_err(|error| Error::os(format!("no path: {}", path.display()), error))?;
        Self::meet(&path, |peer| find::is_believed(&path, peer))
    }

    /// The service with this control socket, if `is_its` accepts the process that listens there.
    fn meet(path: &Path, is_its: impl FnOnce(Credentials) -> bool) -> Result<Self> {
        let mut client = Self { path: path.to_owned(), pid: None, uid: 0, process: None };
        let none = |error| match client.dial_error(error) {
            error if error.is_refused() => Error::config(error.to_string()),
            error => error,
        };
        let mut call =
            Call::dial(&client.path, Instant::now() + PATIENCE, || false).map_err(none)?;
        if !is_its(call.peer) {
            return Err(stranger(&client.path, call.peer));
        }
        // That it answers afterwards shows that the descriptor is this process's, and not one's that
        // was given its number since.
        client.process = call.peer.pid.and_then(|pid| pidfd(pid).ok());
        client.pid = call.peer.pid.filter(|_| client.process.is_some());
        client.uid = call.peer.uid;
        match client.ask(&mut call, Verb::Ping) {
            Err(error) if error.is_refused() => Err(Error::config(error.to_string())),
            answer => answer.map(|_| client),
        }
    }

    /// Looks for a service.
    ///
    /// # Errors
    /// [`Error::is_config`] if there is none, or for [`By::Only`] more than one: the text names them.
    pub fn find(by: &By) -> Result<Self> {
        Self::find_in(&find::visible_directories(), by)
    }

    pub(super) fn find_in(directories: &[Directory], by: &By) -> Result<Self> {
        let none =
            |which: String| Error::config(format!("no service {which}{}", seen(directories)));
        let found = match by {
            By::Path(path) => return Self::connect(path),
            By::Pid(pid) => {
                let found = find::running(directories).into_iter().find(|it| it.pid == *pid);
                found.ok_or_else(|| none(format!("runs as process {pid}")))?
            }
            By::Port(port) => find::with_port(directories, *port)
                .ok_or_else(|| none(format!("listens on port {port}")))?,
            By::Only => {
                let mut all = find::running(directories);
                let last = all.pop().ok_or_else(|| none("runs".into()))?;
                if !all.is_empty() {
                    all.push(last);
                    return Err(ambiguous(&all));
                }
                last
            }
        };
        Self::meet(&found.path, |peer| found.is_its(peer))
    }

    /// The supervisor's process; `None` if it is in another pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid.map(Pid::get)
    }

    /// Its control socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is doing.
    ///
    /// # Errors
    /// If it has ended or does not answer.
    pub fn status(&self) -> Result<Status> {
        let answer = self.request(Request::Status)?;
        let status = answer.status.ok_or_else(|| self.error("it answered without a status"))?;
        Ok(*status)
    }

    /// Ends it, at once if `now`, and returns when it has ended: its process too.
    ///
    /// # Errors
    /// If it does not answer, or has not ended before the `deadline`: it will, later.
    pub fn stop(&self, now: bool, deadline: Duration) -> Result<()> {
        let began = Instant::now();
        let stop = || -> Result<Call> {
            let mut call = self.dial()?;
            self.ask(&mut call, Verb::Ask(Request::Stop { now }))?;
            Ok(call)
        };
        let call = match stop() {
            Err(_) if self.process.is_some() && !self.is_running() => return Ok(()),
            call => call?,
        };
        let left = deadline.saturating_sub(began.elapsed());
        let ended = match &self.process {
            Some(process) => poll::readable(process, Some(left)),
            None => poll::readable(&call.stream, Some(left)),
        };
        match ended {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = format!("{} has not ended within {deadline:?}", self.name());
                Err(Error::os(text, ErrorKind::TimedOut.into()))
            }
            Err(error) => Err(Error::os(format!("cannot wait for {}", self.name()), error)),
        }
    }

    /// Has it replace its program, configuration and workers, and returns when every worker is replaced: the
    /// generation that serves. Of several that ask at once some get the result of one.
    ///
    /// # Errors
    /// Why it could not, and then the program and the workers from before go on; if it refuses, has ended or does not
    /// answer; or if it is not done before the `deadline`: it goes on trying.
    pub fn reload(&self, deadline: Duration) -> Result<u32> {
        self.wait_reloaded(self.begin(Request::Reload)?, deadline)
    }

    /// Begins a reload with a trial, and returns its number: see [`Canary`].
    ///
    /// # Errors
    /// If it refuses, has ended or does not answer.
    pub fn begin_rollout(&self, canary: Canary) -> Result<u64> {
        self.begin(Request::Rollout(canary))
    }

    /// Ends the trial that is under way: its generation replaces the other. Returns when it has been told.
    ///
    /// # Errors
    /// If none is; else as [`Self::begin_rollout`].
    pub fn promote(&self) -> Result<()> {
        self.request(Request::Promote).map(drop)
    }

    /// Has the generation come back that was there before the reload that is under way. Returns when it has been told;
    /// whoever waits for the reload gets it as an error.
    ///
    /// # Errors
    /// If none is; else as [`Self::begin_rollout`].
    pub fn abort(&self) -> Result<()> {
        self.request(Request::Abort).map(drop)
    }

    fn begin(&self, request: Request) -> Result<u64> {
        let answer = self.request(request)?;
        answer.reload.ok_or_else(|| self.error("it does not say which reload it is"))
    }

    /// Waits for the end of the reload of this number: the generation that serves.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn wait_reloaded(&self, which: u64, deadline: Duration) -> Result<u32> {
        let until = Instant::now() + deadline;
        let [mut pause, longest] = RELOADED;
        loop {
            // A connection does not outlive the step into the next program; who waits for it does.
            match self.request(Request::Reloaded(which)) {
                Ok(Answer { generation: Some(generation), .. }) => return Ok(generation),
                Err(error) if error.is_refused() || !self.is_running() => return Err(error),
                _ if Instant::now() >= until => {
                    let text = format!("{} has not reloaded within {deadline:?}", self.name());
                    return Err(Error::os(text, ErrorKind::TimedOut.into()));
                }
                _ => std::thread::sleep(pause),
            }
            pause = longest.min(pause * 2);
        }
    }

    /// One worker more. Returns when it has been told.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn grow(&self) -> Result<()> {
        self.request(Request::Grow).map(drop)
    }

    /// One worker fewer. Returns when it has been told.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn shrink(&self) -> Result<()> {
        self.request(Request::Shrink).map(drop)
    }

    fn request(&self, request: Request) -> Result<Answer> {
        self.ask(&mut self.dial()?, Verb::Ask(request))
    }

    /// Asks again if a reload has cut the connection off: who is in the queue of the socket is heard by the next
    /// program, who was accepted by the one before is not.
    fn ask(&self, call: &mut Call, verb: Verb) -> Result<Answer> {
        let answer = loop {
            match call.ask(verb) {
                Err(error) if verb.may_be_repeated_after(error.kind()) && self.is_running() => {
                    let until = call.until;
                    if Instant::now() >= until {
                        break Err(error);
                    }
                    std::thread::sleep(AGAIN);
                    *call = Call { until, ..self.dial()? };
                }
                answer => break answer,
            }
        };
        let answer = answer.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                Error::os(format!("{} does not answer within {PATIENCE:?}", self.name()), error)
            }
            _ => Error::os(format!("cannot talk to {}", self.name()), error),
        })?;
        match answer.error {
            // It may repeat what a failed program said, of its configuration in many lines. Those are marked, so that none
            // passes for one of ours.
            Some(text) => {
                let lines: Vec<String> = text.lines().map(escaped).collect();
                Err(self.error(&lines.join("\n| ")))
            }
            None if !answer.ok => Err(self.error("it refused without a reason")),
            None => Ok(answer),
        }
    }

    /// A connection to this service, and to no other.
    fn dial(&self) -> Result<Call> {
        let until = Instant::now() + PATIENCE;
        let call = Call::dial(&self.path, until, || self.is_running());
        let call = call.map_err(|error| self.dial_error(error))?;
        match (self.pid, call.peer.pid) {
            (Some(known), Some(pid)) if known != pid => {
                Err(self.error(&format!("it has ended, and process {pid} has its place")))
            }
            _ if call.peer.uid != self.uid => Err(stranger(&self.path, call.peer)),
            _ => Ok(call),
        }
    }

    fn dial_error(&self, error: io::Error) -> Error {
        let path = self.path.display();
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                Error::refused(format!("no service has the control socket {path}"))
            }
            _ => Error::os(format!("cannot connect to {path}"), error),
        }
    }

    fn is_running(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|it| matches!(poll::readable(it, Some(Duration::ZERO)), Ok(false)))
    }

    fn name(&self) -> String {
        match self.pid {
            Some(pid) => format!("the service of process {pid}"),
            None => format!("the service at {}", self.path.display()),
        }
    }

    fn error(&self, text: &str) -> Error {
        Error::refused(format!("{}: {text}", self.name()))
    }
}

/// A socket at which another user listens than should.
fn stranger(path: &Path, peer: Credentials) -> Error {
    let process = peer.pid.map_or("a process".to_owned(), |pid| format!("process {pid}"));
    Error::config(format!(
        "{process} of user {} listens at {}, and may not be believed: every user that can write in that \
         directory can put a socket there",
        peer.uid,
        path.display(),
    ))
}

/// Where was looked, if nothing was found.
fn seen(directories: &[Directory]) -> String {
    let shown: Vec<_> = directories.iter().map(|it| it.path.display().to_string()).collect();
    match shown.as_slice() {
        [] => " that this user could see".into(),
        shown => format!(": there is no control socket of one in {}", shown.join(", ")),
    }
}

fn ambiguous(all: &[find::Instance]) -> Error {
    let pids: Vec<_> = all.iter().map(|it| it.pid.to_string()).collect();
    Error::config(format!(
        "several services run, as processes {}: choose one with --pid, --port or --control",
        pids.join(", ")
    ))
}
