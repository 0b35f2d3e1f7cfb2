//! A service in a process that was executed as one of its workers: the same builder, and another end.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tine_os::event::EventFd;
use tine_os::process::Pid;

use super::{Pool, Service};
use crate::accept::Share;
use crate::listen::Listener;
use crate::log::LogFile;
use crate::passthrough::Passed;
use crate::plan::PoolPlan;
use crate::scoreboard::Scoreboard;
use crate::shared::Region;
use crate::supervisor::spawn::{Descriptors, Kit, Letter, Summons, end, live, refuse};
use crate::{Error, Result};

/// What main has built, with the supervisor's memory and sockets in it.
struct Rebuilt {
    pool: Pool,
    plan: PoolPlan,
    board: Scoreboard,
    wake: EventFd,
    poke: EventFd,
    share: Share,
    listeners: Vec<Rc<Listener>>,
    regions: Vec<Region>,
    supervisor: Pid,
}

impl Service {
    /// Is the worker it was started as, and ends as one.
    pub(super) fn answer(self, summons: Summons) -> ! {
        end(move || {
            let (log, hooks) = (self.log.clone(), self.hooks.clone());
            let passed = Passed::new(&self.passed);
            let Summons { channel, letter, descriptors } = summons;
            let rebuilt = match self.rebuild(&letter, descriptors) {
                Ok(rebuilt) => rebuilt,
                Err(error) => return refuse(&channel, &error.to_string()),
            };
            let passed = match passed {
                Ok(passed) => passed,
                Err(error) => return refuse(&channel, &error.to_string()),
            };
            live(Kit {
                plan: &rebuilt.plan,
                program: &rebuilt.pool.program,
                supervisor: rebuilt.supervisor,
                channel,
                record: rebuilt.board.record(letter.record),
                tail: rebuilt.board.tail(letter.record),
                siblings: rebuilt.board.siblings(letter.assignment.pool),
                line: rebuilt.board.line(letter.assignment.pool),
                bell: rebuilt.board.bell(letter.assignment.pool),
                assignment: letter.assignment,
                wake: Arc::new(rebuilt.wake),
                poke: Arc::new(rebuilt.poke),
                share: rebuilt.share,
                listeners: rebuilt.listeners,
                regions: rebuilt.regions,
                log,
                hooks,
                passed,
            })
        })
    }

    fn rebuild(mut self, letter: &Letter, left: Descriptors) -> Result<Rebuilt> {
        let os = |error| Error::os("cannot take over what the supervisor has left", error);
        let index = letter.assignment.pool;
        let mut plans = self.plan()?;
        if plans.get(index).is_none_or(|plan| plan.name != letter.pool) {
            let name = &letter.pool;
            let text =
                format!("main has built no pool {name} this time: what it builds must not differ");
            return Err(Error::config(text));
        }
        let (plan, pool) = (plans.swap_remove(index), self.pools.swap_remove(index));
        self.follow_logs(letter, left.logs).map_err(os)?;
        self.log.opened()?;
        self.log_files.iter().try_for_each(LogFile::opened)?;
        // Handles that were given out before stop the supervisor, not this process.
        tine_os::fd::replace(&*self.stop?, left.stop).map_err(os)?;
        let (pools, records) = letter.board;
        let board = Scoreboard::adopt(left.board, pools, records)?;
        if index >= pools || letter.record >= records {
            return Err(Error::config("the letter names a record that is not there"));
        }
        let share = Share::adopt(left.share, letter.share.0, letter.share.1)?;
        let known = letter.regions.iter().zip(left.regions);
        let regions = known.map(|((name, version), fd)| Region::adopt(fd, name, *version));
        let regions = regions.collect::<Result<_>>()?;
        let parsed = pool.parsed()?;
        let told = letter.listeners.iter().zip(left.listeners);
        let listeners = told.map(|(told, socket)| {
            let asked = |(endpoint, _): &&(_, _)| endpoint_is(endpoint, &told.endpoint);
            let asked = if told.adopted { None } else { Some(parsed.iter().find(asked)) };
            let received =
                Listener::received(socket, asked.flatten(), &told.address, told.adopted)?;
            received.set_name(told.name.clone());
            Ok(Rc::new(received.sharded(told.shard)))
        });
        let listeners = listeners.collect::<Result<_>>()?;
        let supervisor = Pid::from_raw(letter.supervisor);
        let supervisor = supervisor.ok_or_else(|| Error::boot("the supervisor has no number"))?;
        let (wake, poke) = (EventFd::from(left.wake), EventFd::from(left.poke));
        Ok(Rebuilt { pool, plan, board, wake, poke, share, listeners, regions, supervisor })
    }
}

impl Service {
    /// Lines go where the supervisor's go: what main has opened by name may be another file by now.
    fn follow_logs(
        &self,
        letter: &Letter,
        files: Vec<Option<(OwnedFd, OwnedFd)>>,
    ) -> std::io::Result<()> {
        let mut all = letter.logs.iter().copied().zip(files);
        if let Some((Some(has_stderr), Some((file, mailbox)))) = all.next() {
            self.log.follow(file, mailbox, has_stderr)?;
        }
        for (own, told) in self.log_files.iter().zip(all) {
            if let (_, Some((file, mailbox))) = told {
                own.follow(file, mailbox)?;
            }
        }
        Ok(())
    }
}

fn endpoint_is(endpoint: &crate::endpoint::Endpoint, text: &str) -> bool {
    endpoint.to_string() == text
}
