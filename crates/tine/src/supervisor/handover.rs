//! The supervisor's hands at a reload: the probe, the letter, and the step into the next program.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tine_os::event::EventFd;
use tine_os::image::Image;
use tine_os::poll::Interest;

use super::action::{Back, Note};
use super::event::Event;
use super::note::exit_text;
use super::procs::Proc;
use super::reload::Stage;
use super::run::{KIND, PROBE, Pool, Supervisor};
use super::state::{Rules, WorkerId};
use crate::accept::Share;
use crate::handover::{Estate, Letter, PoolLeft, Probe, VERSION, become_program};
use crate::listen::{Left, Listeners};
use crate::log::LogFile;
use crate::plan::PoolPlan;
use crate::program::environment::Handed;
use crate::scoreboard::Scoreboard;
use crate::{Error, Program, Result};

/// Bytes that there are for the reason of going back.
const NOTE: usize = 4096;

/// Where the supervisor is about to go, once everything that has happened is known.
#[derive(Clone, Debug)]
pub(super) enum Leaving {
    /// To the program that was probed.
    Onward,
    /// To the program before, for this reason.
    Back(Reason),
}

/// Why the program before is to come back.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    text: String,
    /// Whose last lines say more.
    worker: Option<WorkerId>,
}

/// Descriptors that a program opens for itself while it takes over, the standard ones among them: fewer than these.
const OWN_DESCRIPTORS: usize = 20;

/// Whether the limit allows the next program all it needs: what it is left, copies of that before it lets go of
/// anything, and of each process a descriptor and perhaps its old scoreboard. One that runs out could neither go on nor
/// come back.
fn has_room(letter: &Letter) -> io::Result<()> {
    let old_boards = letter.procs.iter().filter(|proc| proc.board > 0).count();
    let processes = letter.procs.len() + old_boards;
    let need = (2 * letter.descriptors().len() + processes + OWN_DESCRIPTORS) as u64;
    match tine_os::privilege::raise_open_files() {
        Ok(limit) if limit < need => Err(io::Error::other(format!(
            "the next program needs {need} open files while it takes over and the limit is {limit}: raise it"
        ))),
        _ => Ok(()),
    }
}

impl Supervisor {
    pub(super) fn begin_probe(&mut self) {
        self.notify_reloading();
        let begin = || -> io::Result<Probe> {
            let image = self.program.open()?;
            let letter = self.letter().seal()?;
            let probe = Probe::start(image, &letter)?;
            self.epoll.add(&probe.pidfd, PROBE << KIND, Interest::READ)?;
            Ok(probe)
        };
        match begin() {
            Ok(probe) => self.probe = Some(probe),
            Err(error) => {
                let text = format!("the new program cannot be tried: {error}");
                self.events.push_back(Event::ReloadFailed(text));
            }
        }
    }

    pub(super) fn end_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            let _ = self.epoll.remove(&probe.pidfd);
            probe.end();
        }
        if let Some(reason) = self.back.take() {
            self.stay(&reason, "it did not answer in time");
        }
    }

    /// The program before is to take over again; whether it still could serve is seen first.
    pub(super) fn begin_to_return(&mut self, why: &Back) {
        let reason = self.reason_to_go_back(why);
        if self.state.reloads.rolls {
            // The program has stayed: the workers are all there was to put back.
            let again = |why: &Back| match why {
                Back::Boot { pool, .. } => self.rules[*pool].persists,
                Back::Trial { .. } => false,
            };
            let more = if again(why) { "; it is tried again" } else { "" };
            return self.events.push_back(Event::ReloadFailed(format!("{}{more}", reason.text)));
        }
        let Some(image) = self.before.take() else {
            return self.stay(&reason, "it is not known any more");
        };
        let begin = || -> io::Result<Probe> {
            let probe = Probe::start(image, &self.letter().seal()?)?;
            self.epoll.add(&probe.pidfd, PROBE << KIND, Interest::READ)?;
            Ok(probe)
        };
        match begin() {
            Ok(probe) => (self.probe, self.back) = (Some(probe), Some(reason)),
            Err(error) => self.stay(&reason, &error.to_string()),
        }
    }

    /// This program goes on, though it should not.
    fn stay(&mut self, reason: &Reason, error: &str) {
        let reason = self.whole_reason(reason);
        let text = format!("{reason}; the program before cannot take over again: {error}");
        self.events.push_back(Event::NoWayBack(text));
    }

    /// The probe has ended.
    pub(super) fn probe_ended(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        let _ = self.epoll.remove(&probe.pidfd);
        if let Some(reason) = self.back.take() {
            match probe.verdict() {
                Ok(image) => {
                    self.before = Some(image);
                    self.leaving = Some(Leaving::Back(reason));
                }
                Err(error) => self.stay(&reason, &error),
            }
            return self.happen(Event::Time);
        }
        match probe.verdict() {
            Ok(image) => {
                self.next = Some(image);
                self.happen(Event::Probed);
            }
            Err(text) => {
                let path = self.program.path().display();
                let text = format!("{path}: {text}");
                self.happen(Event::ReloadFailed(text));
            }
        }
    }

    /// Goes where it is to go; returns if it need not, or cannot.
    pub(super) fn leave(&mut self) {
        let Some(leaving) = self.leaving.take() else { return };
        let text = match (leaving, self.state.reloads.stage) {
            (Leaving::Onward, Stage::HandingOver) => match self.next.take() {
                Some(image) => self.become_program(&image, None).to_string(),
                None => return,
            },
            (Leaving::Back(reason), Stage::GoingBack(_)) => {
                let Some(image) = self.before.take() else { return };
                let text = self.whole_reason(&reason);
                let error = self.become_program(&image, Some(&text));
                self.stay(&reason, &error.to_string());
                return self.happen(Event::Time);
            }
            _ => return,
        };
        self.happen(Event::ReloadFailed(text));
    }

    /// With what the worker that failed said last: known when its report is made, a moment after the decision.
    fn whole_reason(&self, reason: &Reason) -> String {
        let words = reason.worker.and_then(|worker| self.casualties.last_words_of(worker));
        match words {
            Some(words) if !reason.text.contains(&words) => format!("{}; {words}", reason.text),
            _ => reason.text.clone(),
        }
    }

    /// What is known at the moment of the decision.
    fn reason_to_go_back(&self, why: &Back) -> Reason {
        let told = |worker: &WorkerId| self.procs.get(worker)?.story.failure.clone();
        match why {
            Back::Boot { worker, pool, exit } => {
                let words = told(worker).filter(|_| exit.is_explained());
                let words = words.unwrap_or_else(|| exit_text(*exit));
                let name = &self.pools[*pool].plan.name;
                let text =
                    format!("pool {name}: no worker of the new generation could boot: {words}");
                Reason { text, worker: Some(*worker) }
            }
            Back::Trial { worker, text } => {
                let words = worker.as_ref().and_then(told);
                let text = words.map_or(text.clone(), |words| format!("{text}: {words}"));
                Reason { text, worker: *worker }
            }
        }
    }

    fn become_program(&mut self, image: &Image, reason: Option<&str>) -> io::Error {
        if let Some(birth) = self.birth.take() {
            birth.tell(Ok(()));
        }
        let go = || -> io::Result<io::Error> {
            let own = Image::running().map_err(|error| {
                io::Error::other(format!(
                    "this program cannot be held open to come back to: /proc/self/exe: {error}"
                ))
            })?;
            let note = File::from(tine_os::memory::page("tine-note", NOTE)?);
            let text = reason.unwrap_or_default().as_bytes();
            note.write_at(&text[..text.len().min(NOTE - 1)], 0)?;
            let letter = self.letter();
            let sealed = letter.seal()?;
            has_room(&letter)?;
            let taken = Handed::Take {
                back: reason.is_some(),
                letter: sealed.as_raw_fd(),
                image: own.as_fd().as_raw_fd(),
                note: note.as_raw_fd(),
            };
            let longest = self.rules.iter().map(|rules| rules.boot_timeout).max().unwrap_or(0);
            Ok(become_program(image, &letter, taken, Duration::from_nanos(longest)))
        };
        go().unwrap_or_else(|error| error)
    }

    /// What the next program is to know.
    fn letter(&self) -> Letter {
        let mut boards = vec![&self.board];
        let mut procs = Vec::new();
        for (&id, proc) in &self.procs {
            let number = proc.board(&self.board).as_fd().as_raw_fd();
            let same = |board: &&Scoreboard| board.as_fd().as_raw_fd() == number;
            let index = boards.iter().position(same).unwrap_or_else(|| {
                boards.push(proc.board(&self.board));
                boards.len() - 1
            });
            procs.push(proc.left(id, index));
        }
        let pools = self.pools.iter().zip(&self.rules).map(|(pool, rules)| PoolLeft {
            name: pool.plan.name.clone(),
            rules: rules.clone(),
            past: pool.past,
            poke: pool.poke.as_fd().as_raw_fd(),
        });
        let listeners = self.pools.iter().flat_map(|pool| {
            pool.listeners.iter().map(|listener| Left::of(listener, &pool.plan.name))
        });
        let logs = self.log_files.iter().filter_map(LogFile::left);
        let region =
            |region: &crate::Region| (region.name(), region.version(), region.as_fd().as_raw_fd());
        let board =
            |board: &Scoreboard| (board.as_fd().as_raw_fd(), board.pools(), board.records());
        Letter {
            version: VERSION,
            program: self.program.path().to_owned(),
            state: self.state.clone(),
            pools: pools.collect(),
            procs,
            boards: boards.into_iter().map(board).collect(),
            regions: self.regions.iter().map(region).collect(),
            listeners: listeners.collect(),
            logs: self.log.left().into_iter().chain(logs).collect(),
            wake: self.wake.as_fd().as_raw_fd(),
            stop: self.stop.as_fd().as_raw_fd(),
            control: self.control.as_ref().map(crate::control::Server::left),
            pid_file: self.pid_file.clone(),
            started: self.started,
            reports: self.casualties.left(),
            last_words: self.last_words.clone(),
            notify: self.manager.as_ref().map(|manager| manager.wishes().clone()),
        }
    }

    /// Goes on with everything that the program before has left. Until the last step there is a way back.
    pub(super) fn take_over(&mut self, estate: Estate) -> Result<()> {
        let os = |error| Error::os("cannot take over from the program before", error);
        let letter = &estate.letter;
        let before: Vec<(&str, &Rules)> =
            letter.pools.iter().map(|left| (&*left.name, &left.rules)).collect();
        let own: Vec<String> = self.pools.iter().map(|pool| pool.plan.name.clone()).collect();
        let names: Vec<&str> = own.iter().map(String::as_str).collect();
        self.state = letter.state.clone();
        let places = self.state.succeed(&before, &names, &mut self.rules);
        for (left, place) in letter.pools.iter().zip(&places) {
            let Some(place) = *place else { continue };
            if place >= names.len() {
                let poke = estate.poke(&left.name).map_err(os)?;
                let pool = self.of_none(&left.name, self.rules[place].clone(), poke);
                self.pools.push(pool);
            }
            self.pools[place].past = left.past;
        }
        for left in &letter.procs {
            let Some(pool) = places.get(left.pool).copied().flatten() else { continue };
            let mut proc = Proc::take_over(&self.epoll, left, pool).map_err(os)?;
            if left.board == 0 && estate.keeps_board {
                self.free_records.retain(|&record| record != left.record);
            } else {
                let board = letter.boards.get(left.board).copied();
                let board = board.ok_or_else(|| Error::config("a scoreboard is missing"))?;
                proc.old_board = Some(estate.old_board(board)?);
            }
            self.procs.insert(WorkerId(left.worker), proc);
            self.list(WorkerId(left.worker));
            self.sits(WorkerId(left.worker));
        }
        self.started = letter.started;
        self.last_words.clone_from(&letter.last_words);
        self.casualties.take_over(letter.reports.clone());
        let control = self.control.as_ref().map(crate::control::Server::path);
        let kept = [self.pid_file.as_ref().map(|file| file.0.as_path()), control];
        let (image, reason) = estate.settle(kept, &self.log).map_err(os)?;
        self.before = image;
        self.events.push_back(match reason {
            Some(reason) => Event::ReloadFailed(reason),
            None => Event::TookOver,
        });
        Ok(())
    }

    /// A worker of the program before that is in its status file is in this one's.
    fn list(&self, id: WorkerId) {
        if self.state.workers.get(&id).is_some_and(|worker| worker.ready_at.is_some()) {
            self.show_in_status_file(&Note::Ready(id));
        }
    }

    /// A pool that is no more: its workers leave.
    fn of_none(&self, name: &str, rules: Rules, poke: EventFd) -> Pool {
        Pool {
            plan: PoolPlan::of_none(name, rules),
            program: Program::fork(|_| Ok(())),
            bound: Rc::new(Listeners::default()),
            listeners: Vec::new(),
            line: self.board.line(0),
            bell: self.board.bell(0),
            watch: super::watch::Watch::default(),
            poke: Arc::new(poke),
            share: Share::alone(),
            to_look: false,
            past: super::procs::Totals::default(),
        }
    }
}
