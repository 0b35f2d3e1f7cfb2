//! The paved path: one pool, built in a few lines.

use std::process::ExitCode;
use std::time::Duration;

use crate::log::{Log, error};
use crate::program::{Producer, Program, Way};
use crate::service::{Handle, Pool, Service};
use crate::worker::{BoxError, Worker};
use crate::{Error, Result};

mod pool;
mod service;

/// A pre-forking server with one pool of workers.
///
/// ```no_run
/// use std::{io, process::ExitCode};
/// use tine::{Prefork, Workers};
///
/// fn main() -> ExitCode {
///     Prefork::new()
///         .listen("127.0.0.1:7007")
///         .workers(Workers::dynamic(5..=50).spare(2..=10))
///         .max_connections(1000)
///         .run(|worker| worker.serve(|mut conn| {
///             let mut reader = conn.try_clone()?;
///             io::copy(&mut reader, &mut conn).map(drop)
///         }))
/// }
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it runs"]
pub struct Prefork {
    pool: Pool,
    helpers: Vec<Pool>,
    service: Service,
    log: Log,
}

impl Default for Prefork {
    fn default() -> Self {
        Self::new()
    }
}

impl Prefork {
    /// A server with the defaults of [`crate::PoolConfig`] and no address yet.
    pub fn new() -> Self {
        let program = Program::fork(|_| Ok(()));
        let (service, log) = (Service::new(), Log::default());
        Self { pool: Pool::new("main", program), helpers: Vec::new(), service, log }
    }

    /// The pool's name in logs and status. Default `main`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }

    /// Something to stop the service by, from code.
    ///
    /// # Errors
    /// What `eventfd(2)` says.
    pub fn handle(&self) -> Result<Handle> {
        self.service.handle()
    }

    /// Workers begin anew, by exec, instead of being forked: see [`Program::exec`] for what that means and for
    /// whom it is.
    pub fn exec(mut self) -> Self {
        self.pool.program.way = Way::Exec;
        self
    }

    /// Serves until it is stopped, writes an error to the log, and says how the program should exit:
    /// 0 stopped, 1 run-time failure, 2 configuration, 3 cannot bind, 4 cannot drop privileges, 5 no command.
    #[must_use = "it is the program's exit code"]
    pub fn run(
        mut self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> ExitCode {
        self.pool.program.serve = std::rc::Rc::new(serve);
        self.run_pool()
    }

    /// The same with workers that are processes of a foreign program: see [`Program::command`].
    #[must_use = "it is the program's exit code"]
    pub fn run_command(self, producer: impl Into<Producer>) -> ExitCode {
        self.of_command(producer).run_pool()
    }

    fn run_pool(self) -> ExitCode {
        let log = self.log.clone();
        match self.into_service().run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                error!(log, "{failure}");
                ExitCode::from(failure.exit_code())
            }
        }
    }

    /// The same, with the error for the caller.
    ///
    /// # Errors
    /// See [`Service::run`].
    pub fn try_run(
        mut self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        self.pool.program.serve = std::rc::Rc::new(serve);
        self.into_service().run()
    }

    /// [`Prefork::run_command`], with the error for the caller.
    ///
    /// # Errors
    /// See [`Service::run`]; one for which [`Error::is_command`] is true if there is no command to run.
    pub fn try_run_command(self, producer: impl Into<Producer>) -> Result<()> {
        self.of_command(producer).into_service().run()
    }

    /// Whether it could serve like this, asked without taking anything; see [`Service::check`].
    ///
    /// # Errors
    /// See [`Service::check`].
    pub fn check(self) -> Result<Vec<String>> {
        self.into_service().check()
    }

    /// [`Prefork::check`] for workers that are processes of a foreign program.
    ///
    /// # Errors
    /// See [`Service::check`]; one for which [`Error::is_command`] is true if there is no command to run.
    pub fn check_command(self, producer: impl Into<Producer>) -> Result<Vec<String>> {
        self.of_command(producer).check()
    }

    fn of_command(mut self, producer: impl Into<Producer>) -> Self {
        self.pool.program.way = Way::Command(Box::new(producer.into()));
        self
    }

    /// The pool first, for it is the one that signals resize; then the helpers, with the same rights.
    fn into_service(self) -> Service {
        let (privileges, main) = (self.pool.privileges.clone(), self.pool.config.clone());
        let mut service = self.service.pool(self.pool);
        for mut helper in self.helpers {
            helper.privileges = privileges.clone();
            helper.config.term_grace = main.term_grace;
            helper.config.stop_timeout = main.stop_timeout;
            service = service.pool(helper);
        }
        service
    }

    /// A worker in this very process, its sockets bound, without a fork: for debuggers, and for tests,
    /// whose runner has threads and therefore cannot fork.
    ///
    /// # Errors
    /// A configuration or bind error.
    pub fn solo(self) -> Result<Worker> {
        self.service.pool(self.pool).solo().map(|(worker, _)| worker)
    }

    /// Serves the one connection on standard input in this very process, and returns at its end: for inetd
    /// (`nowait`), or systemd with `Accept=yes`. If standard input is a socket that listens (inetd's `wait`),
    /// it serves there, one after the other, until a signal ends it. TERM, INT, QUIT and HUP let it finish what
    /// it has, within 30 s. Its own listeners are left out. Standard
    /// output becomes `/dev/null`, and so does standard error if it is the client (row N44).
    ///
    /// # Errors
    /// A configuration error if standard input is no socket; a boot error if the program's code fails.
    pub fn run_inetd(
        self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        match self.service.pool(self.pool).inetd()? {
            Some(worker) => run_here(worker, serve),
            None => Ok(()),
        }
    }

    /// Serves in this very process until a signal (TERM, INT, QUIT, HUP) or [`Handle::stop`] ends it
    /// (row A35).
    ///
    /// # Errors
    /// As [`Prefork::solo`]; a boot error if the program's code fails.
    pub fn run_solo(
        self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        let worker = self.solo()?;
        run_here(worker, serve)
    }
}

/// A worker's life in a process that is nothing else's: a signal that asks it to leave lets it finish what it has.
fn run_here(
    worker: Worker,
    serve: impl Fn(Worker) -> std::result::Result<(), BoxError>,
) -> Result<()> {
    let (leave, grace) = (worker.seat.leave_event(), Duration::from_secs(30));
    tine_os::signal::on_leave(&leave, grace, &crate::supervisor::spawn::LEAVES_ON)
        .map_err(|error| Error::os("cannot catch signals", error))?;
    let (hooks, info) = (worker.hooks.clone(), worker.info());
    let started = hooks.worker_started(&worker);
    let result = started.and_then(|()| serve(worker));
    hooks.worker_ended(&info);
    result.map_err(|failure| Error::boot(failure.to_string()))
}
