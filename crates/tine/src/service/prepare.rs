//! Before anything is bound: what was asked for is given its meaning, and the service goes into the background.

use std::io;
use std::time::Duration;

use tine_os::daemon::has_reader;

use super::Service;
use crate::daemon::{Daemon, Role};
use crate::log::{LogFile, warning};
use crate::passthrough::Passed;
use crate::plan::PoolPlan;
use crate::{Error, Result};

impl Service {
    /// Goes into the background; the parent waits until every pool has had a ready worker. The working
    /// directory stays: paths that were typed keep their meaning.
    pub(super) fn become_daemon(&self, plans: &[PoolPlan]) -> Result<Role> {
        let tries = |plan: &PoolPlan| {
            let once = plan.rules.boot_timeout.saturating_add(plan.rules.backoff.1);
            once.saturating_mul(u64::from(plan.rules.boot_attempts))
        };
        let longest = plans.iter().map(tries).max().unwrap_or(0);
        let deadline = Duration::from_nanos(longest).saturating_add(Duration::from_secs(5));
        let daemon = self.keep_logs(Daemon::new(deadline).directory(None))?;
        let role = daemon.start()?;
        if matches!(role, Role::Child(_)) && !self.log.is_stderr() {
            let os = |error| Error::os("cannot redirect standard error", error);
            if self.log.is_command() {
                // The one that reads it until now has the starter's output, and would keep it.
                self.log.reopen().map_err(os)?;
            }
            self.log.capture_stderr().map_err(os)?;
        }
        Ok(role)
    }

    /// A daemon that keeps standard output and error if a log goes there, which must be files then.
    fn keep_logs(&self, mut daemon: Daemon) -> Result<Daemon> {
        let os = |error| Error::os("cannot go into the background", error);
        let streams =
            [has_reader(io::stdout()).map_err(os)?, has_reader(io::stderr()).map_err(os)?];
        let logs = self.log_files.iter().map(LogFile::own_descriptor);
        for number in logs.chain([self.log.own_descriptor()]).flatten() {
            let (name, has_reader) = match number {
                1 => ("output", streams[0]),
                2 => ("error", streams[1]),
                _ => continue,
            };
            if has_reader {
                return Err(Error::config(format!(
                    "in the background there is no standard {name}, unless it is a file: name a file for the log"
                )));
            }
            daemon = if number == 1 { daemon.keep_stdout() } else { daemon.keep_stderr() };
        }
        if self.log.is_stderr() {
            daemon = daemon.keep_stderr();
            if streams[1] {
                let text = "in the background there is no standard error, so nothing is logged: name a file for the log";
                warning!(self.log, "{text}");
            }
        }
        Ok(daemon)
    }

    /// What everything that was asked for means, if it makes sense.
    pub(super) fn plan(&self) -> Result<Vec<PoolPlan>> {
        if self.pools.is_empty() {
            return Err(Error::config("a service needs a pool"));
        }
        Passed::new(&self.passed)?;
        let mut plans: Vec<PoolPlan> = Vec::new();
        for pool in &self.pools {
            if plans.iter().any(|plan| plan.name == pool.name) {
                return Err(Error::config(format!("pool {}: two pools have this name", pool.name)));
            }
            pool.parsed()?;
            let plan = PoolPlan::resolve(&pool.name, &pool.config, &pool.privileges)?;
            plans.push(match pool.program.producer() {
                Some(producer) => plan.of_command(producer)?,
                None => plan,
            });
        }
        Ok(plans)
    }
}
