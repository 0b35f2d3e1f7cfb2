//! A pool as it is asked for: workers of one program, their numbers, and what they listen on.

use std::os::fd::OwnedFd;

use crate::Result;
use crate::config::{PoolConfig, PrivilegeConfig, Workers};
use crate::endpoint::Endpoint;
use crate::listen::ListenOptions;
use crate::plan::PoolPlan;
use crate::program::Program;
use crate::worker::{BoxError, Worker};

/// Workers of one program under one policy, and the sockets they share.
#[derive(Debug)]
#[must_use = "a pool does nothing until its service runs"]
pub struct Pool {
    pub(crate) name: String,
    pub(crate) config: PoolConfig,
    pub(crate) privileges: PrivilegeConfig,
    pub(crate) endpoints: Vec<(String, ListenOptions)>,
    pub(crate) sockets: Vec<OwnedFd>,
    /// What the last of the sockets are called, and whether there are such.
    pub(super) inherited: Option<Vec<Option<String>>>,
    pub(crate) program: Program,
}

impl Pool {
    /// A pool that runs this program.
    pub fn new(name: impl Into<String>, program: Program) -> Self {
        Self {
            name: name.into(),
            config: PoolConfig::default(),
            privileges: PrivilegeConfig::default(),
            endpoints: Vec::new(),
            sockets: Vec::new(),
            inherited: None,
            program,
        }
    }

    /// A pool of helpers: `run` is called in a process of its own at every turn of the policy, which is
    /// [`Workers::every`]. It ends when `run` returns, is told to leave when the service stops
    /// ([`Worker::shutdown`]), and is ended when it takes too long. A run that fails is logged; the next one
    /// begins at its time. A reload waits for no run, and ends none.
    pub fn helper(
        name: impl Into<String>,
        policy: Workers,
        run: impl Fn(&Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Self {
        let program = Program::fork(move |worker| {
            worker.ready()?;
            run(&worker)
        });
        let config = PoolConfig { workers: policy, ..PoolConfig::default() };
        Self::new(name, program).config(config)
    }

    /// Its numbers.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// Who its workers become.
    pub fn privileges(mut self, privileges: PrivilegeConfig) -> Self {
        self.privileges = privileges;
        self
    }

    /// An address to listen on; see [`Endpoint`] for what can be written.
    pub fn listen(mut self, address: impl Into<String>, options: ListenOptions) -> Self {
        self.endpoints.push((address.into(), options));
        self
    }

    /// A socket that is bound already.
    pub fn socket(mut self, socket: OwnedFd) -> Self {
        self.sockets.push(socket);
        self
    }

    /// Listens on the sockets that whoever started this process has passed in, beside what else is named: as systemd
    /// does (`LISTEN_FDS`, sd_listen_fds(3); `LISTEN_PID` must name this process), as Server::Starter does
    /// (`SERVER_STARTER_PORT`), or as Einhorn does (`EINHORN_FD_COUNT`; `EINHORN_MASTER_PID` must be this process's
    /// parent); the first of these that is set counts. The names of `LISTEN_FDNAMES` or of `SERVER_STARTER_PORT` are
    /// those of the listeners ([`crate::listen::Listener::name`]); the variables are removed. It is an error if there
    /// are none.
    pub fn inherited(mut self) -> Self {
        self.inherited = Some(Vec::new());
        self
    }

    /// Takes the sockets that were passed in, if it was asked for them.
    pub(super) fn take_inherited(&mut self) -> Result<()> {
        if let Some(names) = &mut self.inherited {
            for (socket, name) in crate::program::sockets_passed_in()? {
                self.sockets.push(socket);
                names.push(name);
            }
        }
        Ok(())
    }

    /// What it is to listen on. A Unix socket belongs to whoever serves on it (row N14).
    pub(super) fn endpoints(&self, plan: &PoolPlan) -> Result<Vec<(Endpoint, ListenOptions)>> {
        let mut endpoints = self.parsed()?;
        if let Some(identity) = &plan.privileges.identity {
            for (_, options) in &mut endpoints {
                options.unix_uid = options.unix_uid.or(Some(identity.uid));
                options.unix_gid = options.unix_gid.or(Some(identity.gid));
            }
        }
        Ok(endpoints)
    }

    pub(super) fn parsed(&self) -> Result<Vec<(Endpoint, ListenOptions)>> {
        let mut all = Vec::new();
        for (text, options) in &self.endpoints {
            let endpoints = Endpoint::parse_all(text)?;
            all.extend(endpoints.into_iter().map(|endpoint| (endpoint, options.clone())));
        }
        Ok(all)
    }
}
