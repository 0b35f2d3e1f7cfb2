//! Before anything is bound: what was asked for is given its meaning, and the service goes into the background.

use std::time::Duration;

use super::Service;
use crate::daemon::{Daemon, Role};
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
        let mut daemon = Daemon::new(deadline).directory(None);
        if self.log.is_stderr() {
            daemon = daemon.keep_stderr();
        }
        let role = daemon.start()?;
        if matches!(role, Role::Child(_)) && !self.log.is_stderr() {
            self.log
                .capture_stderr()
                .map_err(|error| Error::os("cannot redirect standard error", error))?;
        }
        Ok(role)
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
