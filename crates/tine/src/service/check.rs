//! A service that is only looked at: could it start like this?

use tine_os::privilege::{Resource, limit};

use super::start::{board, refuse_old_kernels, regions, remarks};
use super::{ControlAt, Service};
use crate::Result;
use crate::control;
use crate::listen::Check;
use crate::pidfile::PidFile;
use crate::statusfile::StatusFile;

impl Service {
    /// Whether it could serve like this. Everything that was asked for is given its meaning, as at a start: numbers,
    /// names, users, addresses, files, commands. Nothing is bound, made, locked or replaced, no hook is called and no
    /// worker is forked, so it may be asked beside the very service that runs, by a program with threads, too.
    ///
    /// The answer is remarks for people. What somebody has now (a port, a pid file) is one of them and no error: it may be
    /// the service that this one is to follow. Sockets that are passed in by whoever starts it are not looked at.
    ///
    /// # Errors
    /// The first that [`Service::run`] would end with, as far as it can be known before.
    ///
    /// ```
    /// let server = tine::Prefork::new().listen("127.0.0.1:0").listen("unix:/no/such/directory/s");
    /// let refused = server.check().expect_err("there is no such directory");
    /// assert!(refused.is_bind());
    /// ```
    pub fn check(self) -> Result<Vec<String>> {
        let plans = self.plan()?;
        refuse_old_kernels()?;
        let open_files = limit(Resource::OpenFiles).map(|(_, hard)| hard);
        let mut notes = remarks(&plans, open_files);
        // Memory of this process's own.
        board(&plans, None, &self.log)?;
        regions(&self.regions, None, &self.log)?;
        let mut listeners = Check::default();
        for (pool, plan) in self.pools.iter().zip(&plans) {
            listeners.pool(&pool.endpoints(plan)?)?;
            if pool.inherited.is_some() {
                notes.push("the sockets that are passed in at the start are not looked at".into());
            }
        }
        notes.append(&mut listeners.notes);
        if let Some(path) = &self.pid_file
            && let Some(pid) = PidFile::check(path)?
        {
            notes.push(format!("the pid file {} is process {pid}'s now", path.display()));
        }
        self.status_file.as_deref().map_or(Ok(()), StatusFile::check)?;
        if let ControlAt::Path(path) = &self.control
            && control::Server::check(path)?
        {
            notes.push(format!("the control socket {} is another process's now", path.display()));
        }
        Ok(notes)
    }
}
