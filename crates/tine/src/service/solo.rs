//! A service without a supervisor: its program in this very process.

use std::sync::Arc;
use std::time::Duration;

use tine_os::event::EventFd;

use super::Service;
use crate::accept::Share;
use crate::listen::bind_all;
use crate::log::{info, warning};
use crate::program::Program;
use crate::scoreboard::Scoreboard;
use crate::seat::{Parts as SeatParts, Seat, Shutdown};
use crate::shared::wanted::Wanted;
use crate::worker::Worker;
use crate::{Error, Result};

impl Service {
    /// The first pool's program in this very process: no supervisor, no fork, to debug and to test.
    /// Sockets are bound as usual; signals, privileges and limits are left alone.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub(crate) fn solo(mut self) -> Result<(Worker, Program)> {
        let gate = self.plan()?.swap_remove(0).gate;
        let mut pool = self.pools.swap_remove(0);
        pool.take_inherited()?;
        let (bound, notes) = bind_all(&pool.parsed()?, pool.sockets)?;
        bound.name_last(pool.inherited.unwrap_or_default());
        notes.iter().for_each(|note| warning!(self.log, "{note}"));
        for listener in &bound {
            let with = if listener.tls() { " with TLS" } else { "" };
            info!(self.log, "listening on {}{with}", listener.address());
        }
        let os = |error| Error::os("cannot set the worker up", error);
        let event = || EventFd::new().map(Arc::new).map_err(os);
        let board = Scoreboard::create(1, 1)?;
        let seat = Arc::new(Seat::new(SeatParts {
            record: board.record(0),
            siblings: board.siblings(0),
            line: None,
            bell: None,
            channel: None,
            supervisor: None,
            leave_event: self.stop?,
            wake: event()?,
            poke: event()?,
            share: Share::alone(),
            place: 0,
            standby: false,
            concurrency: pool.config.concurrency.max(1),
            max_connections: 0,
            max_requests: 0,
            grace: Duration::MAX,
        }));
        // What a supervisor keeps up to date is not here without one.
        let untended = self.regions.iter().filter(|wanted| wanted.tend.is_none());
        let regions = untended.map(Wanted::make);
        let worker = Worker {
            shutdown: Shutdown::new(seat.clone(), self.hooks.clone(), None).map_err(os)?,
            seat,
            listeners: bound.iter().cloned().collect(),
            regions: regions.collect::<Result<_>>()?,
            log: self.log,
            gate,
            hooks: self.hooks,
            given: None,
            id: 1,
            pool: pool.name,
            place: 0,
            generation: 1,
        };
        Ok((worker, pool.program))
    }
}
