//! What the program before has left, in the image that takes it over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tine_os::comeback;
use tine_os::event::EventFd;
use tine_os::fd::{adopt, close_many, copy_of};
use tine_os::image::Image;
use tine_os::memory::read_page;
use tine_os::no_follow::{Found, find};

use super::letter::Letter;
use crate::listen::Leftovers;
use crate::log::{Log, LogFile};
use crate::program::environment::{self, Handed};
use crate::scoreboard::Scoreboard;
use crate::shared::Region;
use crate::shared::wanted::Wanted;
use crate::{Error, Result};

/// What a reload has begun this process as.
#[derive(Debug)]
pub(crate) enum Summons {
    /// A probe; its channel, and what it would take over.
    Probe(OwnedFd, Box<Result<Letter>>),
    /// The next supervisor.
    Estate(Box<Estate>),
}

/// See the module. Its descriptors are copies: the numbers themselves stay as they are for the way back, and are
/// closed by [`Estate::settle`].
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) letter: Letter,
    pub(crate) listeners: Leftovers,
    /// The program before, which this process can become again as long as it is known; `None` if it is that one.
    pub(crate) before: Option<Image>,
    /// Why this is the program before.
    pub(crate) reason: Option<String>,
    /// The scoreboard is the one that was left.
    pub(crate) keeps_board: bool,
    /// Numbers that are not in the letter.
    others: Vec<i32>,
}

/// What a reload has begun this process as, if it has. From then on it has no marker any more; the second answer is no.
///
/// # Errors
/// What was left cannot be read; of a process that has a way back, this does not return then.
pub(crate) fn summons() -> Result<Option<Summons>> {
    let Some(handed) = environment::handed() else { return Ok(None) };
    let found = open(handed);
    if let Err(error) = &found {
        comeback::go(&error.whole());
    }
    found.map(Some)
}

fn open(handed: Handed) -> Result<Summons> {
    let os = |error| Error::os("cannot take over from the program before", error);
    let unmarked = environment::unmark().map_err(os);
    match handed {
        Handed::Probe { channel, letter } => {
            let channel = adopt(channel).map_err(os)?;
            let letter = unmarked.and_then(|()| adopt(letter).map_err(os));
            let letter = letter.and_then(|file| Letter::read(&file));
            Ok(Summons::Probe(channel, Box::new(letter)))
        }
        Handed::Take { back, letter, image, note } => {
            unmarked?;
            let read = |number| copy_of(number).map_err(os);
            let before = if back { None } else { Some(read(image)?.into()) };
            let reason = back.then(|| read(note).and_then(|page| read_page(page).map_err(os)));
            let others = vec![letter, image, note];
            let letter = Letter::read(&read(letter)?)?;
            let listeners = Leftovers::new(letter.listeners.clone(), false);
            let reason = reason.transpose()?;
            Ok(Summons::Estate(Box::new(Estate {
                letter,
                listeners,
                before,
                reason,
                keeps_board: false,
                others,
            })))
        }
    }
}

impl Estate {
    /// The scoreboard, if it is what this plan needs: the same pools, and the same number of records. Another one's
    /// lines would be written by workers of a pool that has another place here.
    /// One whose header was written over begins anew.
    pub(crate) fn board(
        &mut self,
        pools: &[&str],
        records: usize,
        log: &Log,
    ) -> Result<Option<Scoreboard>> {
        let before = self.letter.pools.iter().map(|pool| &*pool.name);
        let Some(&current) = self.letter.boards.first() else { return Ok(None) };
        if !before.eq(pools.iter().copied()) || (current.1, current.2) != (pools.len(), records) {
            return Ok(None);
        }
        let board = self.old_board(current)?;
        if !board.is_intact() {
            begins_anew(log, "the scoreboard");
            return Ok(None);
        }
        // Only the supervisor writes these lines, and any worker could have.
        (0..pools.len()).for_each(|pool| board.signpost(pool).clear());
        self.keeps_board = true;
        Ok(Some(board))
    }

    pub(crate) fn old_board(
        &self,
        (number, pools, records): (i32, usize, usize),
    ) -> Result<Scoreboard> {
        let board = copy_of(number).map_err(|error| Error::os("the scoreboard", error))?;
        Scoreboard::adopt(board, pools, records)
    }

    /// The region, if there was one of this name, version and length. One that differs begins anew, and so does one
    /// whose header was written over.
    pub(crate) fn region(&self, wanted: &Wanted, log: &Log) -> Result<Option<Region>> {
        let Wanted { name, version, words, .. } = wanted;
        let regions = &self.letter.regions;
        let same = |left: &&(String, u32, i32)| (&left.0, &left.1) == (name, version);
        let Some(left) = regions.iter().find(same) else { return Ok(None) };
        let descriptor =
            copy_of(left.2).map_err(|error| Error::os(format!("region {name}"), error))?;
        let region = Region::adopt(descriptor, name, *version)?;
        if !region.is_intact() {
            begins_anew(log, &format!("the shared region {name:?}"));
            return Ok(None);
        }
        Ok((region.words().len() == *words).then_some(region))
    }

    /// The event by which a pool's idle workers are poked; a new one for a new pool.
    pub(crate) fn poke(&self, pool: &str) -> io::Result<EventFd> {
        match self.letter.pools.iter().find(|left| left.name == pool) {
            Some(left) => copy_of(left.poke).map(EventFd::from),
            None => EventFd::semaphore(),
        }
    }

    /// Whether there was a listener at this address.
    pub(crate) fn has_listener(&self, address: &str) -> bool {
        self.letter.listeners.iter().any(|left| left.address() == address)
    }

    /// The event by which the service is stopped becomes the one that it has always been.
    pub(crate) fn take_stop(&self, stop: &EventFd) -> io::Result<()> {
        tine_os::fd::replace(stop, copy_of(self.letter.stop)?)
    }

    /// Workers of the program before follow these logs, too. Logs that cannot be opened any more go on with the file
    /// that is open.
    ///
    /// # Errors
    /// A configuration error for a log that is new and cannot be opened.
    pub(crate) fn follow_logs(&self, log: &Log, files: &[LogFile]) -> Result<()> {
        let os = |error| Error::os("cannot take the logs over", error);
        let mut unopened = Vec::new();
        for left in &self.letter.logs {
            let mut note = |error: Option<io::Error>| {
                unopened.extend(error.map(|error| (&left.path, error)));
            };
            if log.path() == Some(&left.path) {
                note(log.take_over(left).map_err(os)?);
            }
            for file in files.iter().filter(|file| file.path() == left.path) {
                note(file.take_over(left).map_err(os)?);
            }
        }
        log.opened()?;
        files.iter().try_for_each(LogFile::opened)?;
        for (path, error) in unopened {
            let path = path.display();
            crate::log::warning!(
                log,
                "{path} cannot be opened: {error}; it goes on with the file that is open"
            );
        }
        Ok(())
    }

    /// Everything is taken over: there is no way back any more, and what nobody has asked for is given up; of the pid
    /// file and the control socket, what is not `kept`.
    pub(crate) fn settle(
        self,
        kept: [Option<&Path>; 2],
        log: &Log,
    ) -> io::Result<(Option<Image>, Option<String>)> {
        comeback::close()?;
        self.listeners.give_up(log);
        let pid_file = self.letter.pid_file.iter().map(|left| &left.0);
        let left = pid_file.chain(self.letter.control.iter().map(|left| &left.path));
        for path in left.filter(|path| !kept.contains(&Some(path.as_path()))) {
            if let Err(error) = remove(path) {
                crate::log::warning!(log, "{} is left: {error}", path.display());
            }
        }
        close_many(self.letter.descriptors().into_iter().chain(self.others));
        Ok((self.before, self.reason))
    }
}

fn begins_anew(log: &Log, what: &str) {
    crate::log::warning!(
        log,
        "{what} was written over by a process of the service: it begins anew"
    );
}

/// Removes a file of the program before, in a directory that another user may have replaced since.
fn remove(path: &Path) -> io::Result<()> {
    match find(path)? {
        Found::Place(place) => place.remove(),
        Found::Descriptor { .. } => Ok(()),
    }
}
