//! The keeper of a command: stands between the supervisor and a foreign program, and leaves nothing behind.
//!
//! To the supervisor it is the worker: it has the seat, says when the command is ready, passes on that it is to
//! leave, and tells how it ended. To the command it is the parent, and the adoptive parent of every orphan below
//! it, so that whatever the command starts stays in sight, in a session of its own or not. It ends them all when
//! the command has ended, when it is told to (`SIGQUIT`), or a while after the supervisor's death. Should it be
//! killed itself, the kernel kills the command, and the supervisor the group of both.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::Duration;

use tine_os::clock::monotonic;
use tine_os::exec;
use tine_os::fd::{receive_message, send_message};
use tine_os::poll::{Epoll, Interest, Ready};
use tine_os::process::{self, Change, Forked, Pid};
use tine_os::signal::{self, Signal, SignalFd};

use super::super::state::{MILLISECOND, Nanos};
use super::launch::{Failure, Launch, launch, produce};
use super::life::{Kit, watch_parent};
use super::sign::Sign;
use crate::program::{Producer, status, tell_exit};
use crate::scoreboard::{Activity, Record};
use crate::seat::{
    BEGUN, CONTINUED, ENDED, FAILURE, FINISH, HALTED, LEAVE, LEAVING, READY, WIRE_BYTES, cut,
};

mod ending;

/// Signals it takes: the first four ask to leave, or (QUIT) to end everything now.
const TAKEN: [Signal; 5] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::CHLD];
/// Meant for the supervisor, or for nobody, or for the command, which may signal the whole group it is in
/// (`kill 0`): its keeper must not die of that, and what it keeps get away.
const IGNORED: [Signal; 14] = [
    Signal::PIPE,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::WINCH,
    Signal::ALRM,
    Signal::VTALRM,
    Signal::PROF,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::IO,
    Signal::PWR,
];
/// Between two rounds of `SIGKILL`: who was born during one gets the next.
const ROUND: Nanos = 20 * MILLISECOND;

/// Tokens of its epoll.
const CHANNEL: u64 = 0;
const SUPERVISOR: u64 = 1;
const SIGNALS: u64 = 2;
const REPORT: u64 = 3;
const SIGN: u64 = 4;

/// After FINISH: the stop is by this signal.
const INTERRUPT: u8 = Signal::INT.number() as u8;

struct Keeper {
    channel: OwnedFd,
    supervisor: OwnedFd,
    signals: SignalFd,
    epoll: Epoll,
    record: Record,
    /// By what the command shows that it is ready.
    sign: Sign,
    /// What asks it to leave, for a successor and at the end.
    leaves_on: (Signal, Signal),
    /// HUP is for the supervisor.
    passes_hup: bool,
    /// How long the command has after the supervisor's death.
    grace: Nanos,
    command: Pid,
    pidfd: OwnedFd,
    /// Why there was no exec; open until there was one, or the reason is known.
    report: Option<PipeReader>,
    failure: String,
    ready_at: Option<Nanos>,
    ready: bool,
    kill_at: Option<Nanos>,
    leaving: bool,
    ended: Option<Change>,
    /// Signals that could not be sent, and that this was told of.
    complained: Vec<Signal>,
}

/// A keeper's life; its value is the exit status.
pub(super) fn keep(kit: Kit<'_>, producer: &Producer) -> i32 {
    let complaint = tine_os::fd::duplicate(&kit.channel);
    let (text, code) = match Keeper::begin(kit, producer) {
        Ok(mut keeper) => {
            drop(complaint);
            return match keeper.close_the_rest() {
                Ok(()) => keeper.run(),
                Err(_) => status::CANNOT_BOOT,
            };
        }
        Err(failure) => failure,
    };
    // Without it the exit status is all there is to say.
    let _ = complaint.and_then(|channel| send_message(channel, &cut(FAILURE, &text)));
    code
}

impl Keeper {
    /// Gets the command, and starts it.
    fn begin(kit: Kit<'_>, producer: &Producer) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| (error.to_string(), status::CANNOT_BOOT);
        process::lead_own_group().map_err(failed)?;
        process::set_name("tine: keeper").map_err(failed)?;
        let (pool, place) = (&kit.plan.name, kit.assignment.place);
        let _ = tine_os::title::set(&format!("tine: keeper {pool}/{place}"));
        process::become_subreaper().map_err(failed)?;
        // Until there is a command, a signal ends the keeper, be its producer as stuck as it may, and be QUIT ignored, as in
        // what a shell script starts with `&`.
        TAKEN.into_iter().try_for_each(signal::set_default).map_err(failed)?;
        IGNORED.into_iter().try_for_each(signal::ignore).map_err(failed)?;
        signal::unblock_all().map_err(failed)?;
        process::die_with_parent(Signal::TERM).map_err(failed)?;
        let supervisor = watch_parent(kit.supervisor)
            .map_err(|error| (error.to_string(), status::CANNOT_BOOT))?;
        let (command, mut spawn) = produce(&kit, producer)?;
        let user = kit.plan.privileges.identity.as_ref().map(|identity| identity.uid);
        let (readiness, own) = (&producer.readiness, &mut spawn.listeners);
        let sign = Sign::expect(readiness, user, own, &kit.listeners).map_err(failed)?;
        let taken = [&TAKEN, kit.passed.all()].concat();
        signal::block(&taken).map_err(failed)?;
        let signals = SignalFd::new(&taken).map_err(failed)?;
        let (report, writer) = std::io::pipe().map_err(failed)?;
        let keeper = process::pid();
        let pid = match process::fork().map_err(failed)? {
            Forked::Child => super::end(|| {
                launch(
                    Launch {
                        kit: &kit,
                        keeper,
                        producer,
                        command: &command,
                        spawn: &spawn,
                        sign: &sign,
                    },
                    writer,
                )
            }),
            Forked::Parent(pid) => pid,
        };
        drop(writer);
        kit.record.set_pid(pid.get());
        let keeper = Self {
            // Ours and not reaped, so the number is its own.
            pidfd: process::pidfd(pid).map_err(failed)?,
            epoll: Epoll::new().map_err(failed)?,
            grace: kit.plan.rules.stop_timeout,
            sign,
            leaves_on: producer.leaves_on,
            passes_hup: producer.every_dialect,
            channel: kit.channel,
            record: kit.record,
            supervisor,
            signals,
            command: pid,
            report: Some(report),
            failure: String::new(),
            ready_at: None,
            ready: false,
            kill_at: None,
            leaving: false,
            ended: None,
            complained: Vec::new(),
        };
        keeper.watch().map_err(failed)?;
        keeper.tell(BEGUN, &pid.to_string());
        Ok(keeper)
    }

    /// Puts what it waits for into the epoll.
    fn watch(&self) -> std::io::Result<()> {
        self.epoll.add(&self.channel, CHANNEL, Interest::READ)?;
        self.epoll.add(&self.supervisor, SUPERVISOR, Interest::READ)?;
        self.epoll.add(&self.signals, SIGNALS, Interest::READ)?;
        if let Some(sign) = self.sign.descriptor() {
            self.epoll.add(sign, SIGN, Interest::READ)?;
        }
        self.report.as_ref().map_or(Ok(()), |pipe| self.epoll.add(pipe, REPORT, Interest::READ))
    }

    /// Closes what it has inherited from the supervisor, listeners above all. Their owners in this memory never
    /// learn of it: the process ends without a destructor.
    fn close_the_rest(&self) -> std::io::Result<()> {
        let mut keep = vec![self.channel.as_raw_fd(), self.supervisor.as_raw_fd()];
        keep.extend([self.signals.as_fd().as_raw_fd(), self.epoll.as_fd().as_raw_fd()]);
        keep.push(self.pidfd.as_raw_fd());
        keep.extend(self.report.as_ref().map(|pipe| pipe.as_raw_fd()));
        keep.extend(self.sign.own_descriptor());
        exec::close_all_but(&keep)
    }

    fn run(&mut self) -> i32 {
        let mut ready = Ready::with_capacity(4);
        while self.ended.is_none() {
            if self.epoll.wait(&mut ready, self.timeout()).is_err() {
                self.kill_at = Some(0);
            }
            for event in ready.iter() {
                match event.token {
                    CHANNEL => self.read_channel(),
                    SUPERVISOR => self.orphaned(),
                    SIGNALS => self.read_signals(),
                    SIGN => self.read_sign(),
                    _ => self.read_report(),
                }
            }
            self.look_at_the_clock();
        }
        self.end_family();
        self.last_words()
    }

    fn timeout(&self) -> Option<Duration> {
        let next = self.ready_at.into_iter().chain(self.kill_at).min()?;
        Some(Duration::from_nanos(next.saturating_sub(monotonic())))
    }

    fn look_at_the_clock(&mut self) {
        let now = monotonic();
        // Both may have come with one wake-up.
        if self.ended.is_none() && self.ready_at.is_some_and(|at| at <= now) {
            self.is_ready();
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = Some(now + ROUND);
            self.kill();
        }
    }

    /// Says so, once.
    fn is_ready(&mut self) {
        self.ready_at = None;
        if !std::mem::replace(&mut self.ready, true) && !self.leaving {
            self.record.set(Activity::Idle);
            self.tell(READY, "");
        }
    }

    /// Its time is up, or the service's is.
    fn end_now(&mut self) {
        self.kill_at = Some(0);
        if !self.ready && !self.leaving && self.failure.is_empty() {
            self.failure.push_str(self.sign.undone());
        }
    }

    /// The command has something to show.
    fn read_sign(&mut self) {
        match self.sign.look() {
            Some(true) => self.is_ready(),
            Some(false) => {}
            None => {
                let _ = self.sign.descriptor().map(|sign| self.epoll.remove(sign));
            }
        }
    }

    fn read_channel(&mut self) {
        let mut buffer = [0; WIRE_BYTES];
        while let Ok(Some(message)) = receive_message(&self.channel, &mut buffer) {
            match message.first() {
                Some(&LEAVE) => self.leave(self.leaves_on.0),
                // It ends with its supervisor: by which signal that was told to, it says.
                Some(&FINISH) if message.get(1) == Some(&INTERRUPT) => self.leave(Signal::TERM),
                Some(&FINISH) => self.leave(self.leaves_on.1),
                // A command cannot wait for its place, and has none of its own to say.
                Some(_) => {}
                None => return self.orphaned(),
            }
        }
    }

    /// Asks the command to end.
    fn leave(&mut self, by: Signal) {
        self.ready_at = None;
        if !std::mem::replace(&mut self.leaving, true) {
            self.record.set(Activity::Draining);
            self.tell(LEAVING, "");
        }
        self.signal(by);
    }

    /// The supervisor is dead: nobody will say that the time is up.
    fn orphaned(&mut self) {
        // Readable for ever.
        let _ = self.epoll.remove(&self.supervisor);
        let _ = self.epoll.remove(&self.channel);
        if self.kill_at.is_none() {
            self.kill_at = Some(monotonic().saturating_add(self.grace));
            self.leave(self.leaves_on.1);
        }
    }

    fn read_signals(&mut self) {
        while let Some(info) = self.signals.read() {
            match info.signal {
                Signal::CHLD => self.children_changed(),
                Signal::QUIT => self.end_now(),
                // Under Server::Starter a program that signals its parent has its superdaemon start it anew.
                Signal::HUP if self.passes_hup => {
                    drop(process::send(&self.supervisor, Signal::HUP))
                }
                signal if TAKEN.contains(&signal) => self.leave(Signal::TERM),
                signal => self.signal(signal),
            }
        }
    }

    fn children_changed(&mut self) {
        match process::stop_state(&self.pidfd) {
            Ok(Some(Change::Stopped(_))) => self.tell(HALTED, ""),
            Ok(Some(Change::Continued)) => self.tell(CONTINUED, ""),
            _ => {}
        }
        self.reap();
    }

    /// Takes note of the command's end, and of nobody else's.
    fn reap(&mut self) {
        while let Ok(Some(pid)) = process::peek_exited() {
            match process::reap_pid(pid) {
                Ok(change) if pid == self.command => self.ended = change,
                Ok(change) if self.sign.is_answer(pid, change) => self.is_ready(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// The pipe's end without a word is the exec.
    fn read_report(&mut self) {
        let mut bytes = [0; WIRE_BYTES];
        let Some(report) = &mut self.report else { return };
        if let Ok(length @ 1..) = report.read(&mut bytes) {
            self.failure.push_str(&String::from_utf8_lossy(&bytes[..length]));
            return;
        }
        let _ = self.epoll.remove(report);
        self.report = None;
        if !self.failure.is_empty() || self.leaving {
            return;
        }
        if let Sign::Lived(time) = self.sign {
            let time = Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
            self.ready_at = Some(monotonic().saturating_add(time));
        } else if let Err(error) = self.sign.begin() {
            self.tell(FAILURE, &format!("nobody can ask whether the command is ready: {error}"));
            self.kill_at = Some(0);
        }
    }

    /// Tells how the command ended; the keeper's own status says so as well as a status can.
    fn last_words(&mut self) -> i32 {
        while self.report.is_some() {
            self.read_report();
        }
        let change = self.ended.unwrap_or(Change::Exited(status::FAILED));
        if !self.failure.is_empty() {
            self.tell(FAILURE, &self.failure);
        } else {
            self.tell(ENDED, &tell_exit(change));
        }
        match change {
            Change::Exited(code) => code,
            Change::Signaled { signal, .. } => 128 + signal.number(),
            Change::Stopped(_) | Change::Continued => status::FAILED,
        }
    }

    /// A supervisor that is gone or does not read is noticed elsewhere.
    fn tell(&self, kind: u8, text: &str) {
        let _ = send_message(&self.channel, &cut(kind, text));
    }
}
