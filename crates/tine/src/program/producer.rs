//! Where commands come from: one for all workers, or one made for each.

use std::fmt;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use tine_os::signal::Signal;

use super::command::Command;
use super::dialects::name_of;
use super::readiness::Readiness;
use crate::listen::Listeners;
use crate::worker::BoxError;

/// Makes the command of a worker.
type Produce = Rc<dyn Fn(&Spawn) -> Result<Command, BoxError>>;

/// Where the commands of a pool come from, at which numbers they find the listeners, and when they are ready.
#[derive(Clone)]
#[must_use = "a producer belongs into a program"]
pub struct Producer {
    produce: Produce,
    /// The command, if it is always the same: so that it can be checked before anything is bound.
    fixed: Option<Command>,
    numbers: Vec<RawFd>,
    names: Vec<String>,
    labels: Vec<String>,
    pub(crate) readiness: Readiness,
    /// Whether it is told of its listeners in other words than systemd's.
    pub(crate) every_dialect: bool,
    /// What asks it to leave for a successor, and when the service stops.
    pub(crate) leaves_on: (Signal, Signal),
    pub(crate) ignores_pipe: bool,
    /// Descriptors that it finds as this process has them: 0, its input, and those from 3 on.
    pub(crate) inherits: Vec<RawFd>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fixed, numbers, readiness, .. } = self;
        f.debug_struct("Producer")
            .field("fixed", fixed)
            .field("numbers", numbers)
            .field("readiness", readiness)
            .finish_non_exhaustive()
    }
}

/// What a producer is told about the worker to be.
#[derive(Clone, Debug)]
pub struct Spawn {
    pub(crate) worker: u64,
    pub(crate) place: usize,
    pub(crate) generation: u32,
    pub(crate) listeners: Vec<Passed>,
}

/// A listener as a command finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// Where it is bound: see [`crate::listen::Listener::address`].
    pub address: String,
    /// The number of its descriptor.
    pub number: RawFd,
    /// What `SERVER_STARTER_PORT` calls it; see [`Producer::names`].
    pub name: String,
    /// What `LISTEN_FDNAMES` calls it; see [`Producer::labels`].
    pub label: Option<String>,
}

impl Spawn {
    /// The worker's number; see [`crate::Worker::id`].
    #[must_use]
    pub fn worker(&self) -> u64 {
        self.worker
    }

    /// Its place in the pool, from 0.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// Its generation, from 1.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The listeners it will find, in the order they were named.
    #[must_use]
    pub fn listeners(&self) -> &[Passed] {
        &self.listeners
    }
}

impl Producer {
    /// Calls `produce` for each worker, in its keeper: a process of its own, with the supervisor's privileges. An
    /// error, as a panic, counts as a worker that could not boot, and its text is the reason (row F10).
    pub fn new(produce: impl Fn(&Spawn) -> Result<Command, BoxError> + 'static) -> Self {
        Self {
            produce: Rc::new(produce),
            fixed: None,
            numbers: Vec::new(),
            names: Vec::new(),
            labels: Vec::new(),
            readiness: Readiness::Lived(Duration::from_secs(1)),
            every_dialect: false,
            leaves_on: (Signal::TERM, Signal::TERM),
            ignores_pipe: false,
            inherits: Vec::new(),
        }
    }

    /// Numbers of the listeners' descriptors, in the order of the listeners; those beyond the list get the lowest
    /// that are left from 3 on. 0 is standard input (row S6). Default: 3 and on, and only then does the command
    /// have `LISTEN_FDS`, which can say nothing else.
    pub fn listeners_at(mut self, numbers: impl IntoIterator<Item = RawFd>) -> Self {
        self.numbers = numbers.into_iter().collect();
        self
    }

    /// Tells it of its listeners in the words of Server::Starter and of Einhorn, too (row S3): the variables
    /// `SERVER_STARTER_PORT`, `SERVER_STARTER_GENERATION`, which is the [worker's number](Spawn::worker) (row S4),
    /// `EINHORN_FD_COUNT`, `EINHORN_FD_0` and on, `EINHORN_MASTER_PID`, which is its parent, and
    /// `EINHORN_CHILD_INDEX`, which is its place. Default: `LISTEN_FDS` and its kin alone.
    pub fn every_dialect(mut self) -> Self {
        self.every_dialect = true;
        self
    }

    /// What `SERVER_STARTER_PORT` calls the listeners, in their order. Default, and for those beyond the list: where
    /// they are bound.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// What `LISTEN_FDNAMES` calls the listeners, in their order (sd_listen_fds(3)); no `:` in them. Default: what
    /// whoever passed them in calls them.
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Which signal asks a command to leave when a successor serves, and which when the service stops (row S9). One
    /// that was not enough is followed by TERM and KILL, as for every worker. A stop by SIGINT is TERM in any case.
    /// Default TERM, TERM.
    pub fn leaves_on(mut self, succeeded: Signal, stopping: Signal) -> Self {
        self.leaves_on = (succeeded, stopping);
        self
    }

    /// The command begins with `SIGPIPE` ignored, as Server::Starter's do (row S21). Default: every signal at its
    /// default.
    pub fn ignore_pipe(mut self) -> Self {
        self.ignores_pipe = true;
        self
    }

    /// The command finds standard input as this process has it, and the descriptors that are open now and would outlive
    /// an exec: those that this process was started with, if this is said before any others are opened. Listeners get
    /// other numbers. Default: its input is empty, and it has no descriptor of this process's.
    pub fn inherit_descriptors(mut self) -> Self {
        // Without /proc it cannot be told which there are.
        self.inherits = tine_os::exec::inherited().unwrap_or_default();
        self.inherits.push(0);
        self
    }

    /// When a command counts as ready.
    pub fn ready(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    pub(crate) fn produce(&self, spawn: &Spawn) -> Result<Command, BoxError> {
        (self.produce)(spawn)
    }

    /// Has the listeners as a command wants them: blocking, as every program expects what it has not set up itself.
    ///
    /// # Errors
    /// Which number cannot be, and why; or what the system says.
    pub(crate) fn ready_listeners(&self, listeners: &Listeners) -> Result<(), String> {
        self.numbers(listeners.len())?;
        listeners.iter().try_for_each(|listener| {
            let blocking = tine_os::fd::set_nonblocking(&**listener, false);
            blocking.map_err(|error| format!("{}: {error}", listener.address()))
        })
    }

    /// The listeners as a command finds them.
    ///
    /// # Errors
    /// Which number cannot be, and why.
    pub(crate) fn pass<'a>(
        &self,
        listeners: impl ExactSizeIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Vec<Passed>, String> {
        let numbers = self.numbers(listeners.len())?;
        let passed =
            listeners.zip(numbers).enumerate().map(|(index, ((address, given), number))| {
                let name = self.names.get(index).map_or(name_of(address), String::as_str);
                let label = self.labels.get(index).map(String::as_str).or(given);
                Passed {
                    address: address.to_owned(),
                    name: name.to_owned(),
                    label: label.map(str::to_owned),
                    number,
                }
            });
        Ok(passed.collect())
    }

    /// What is known to be wrong before a listener is bound. `rooted`: the file is looked for below another root
    /// directory, so cannot be from here.
    pub(crate) fn check(&self, rooted: bool) -> Result<(), String> {
        match &self.fixed {
            Some(command) if !rooted => command.check(),
            _ => Ok(()),
        }
    }

    /// Whether the numbers and names that were given can be.
    pub(crate) fn check_numbers(&self) -> Result<(), String> {
        self.numbers(self.numbers.len())?;
        let bad = |name: &&String| name.is_empty() || name.contains(':');
        if let Some(label) = self.labels.iter().find(bad) {
            return Err(format!(
                "the descriptor name {label:?}: it has no colon, and is not empty"
            ));
        }
        match self.readiness {
            Readiness::Ack(Some(number)) if number < 3 || self.numbers.contains(&number) => {
                Err(format!("descriptor number {number} to say on that it is ready: it is taken"))
            }
            _ => Ok(()),
        }
    }

    /// The numbers of so many listeners.
    ///
    /// # Errors
    /// Which number cannot be, and why.
    pub(crate) fn numbers(&self, listeners: usize) -> Result<Vec<RawFd>, String> {
        let mut numbers = self.numbers.clone();
        for (index, &number) in numbers.iter().enumerate() {
            let first = numbers.iter().position(|&other| other == number);
            match number {
                ..=-1 => return Err(format!("descriptor number {number}: it is 0 or more")),
                1 | 2 => {
                    let text = format!("descriptor number {number} is the command's own output");
                    return Err(format!("{text}: choose 0, or 3 and on"));
                }
                _ if first != Some(index) => {
                    return Err(format!("descriptor number {number} is given to two listeners"));
                }
                _ => {}
            }
        }
        if numbers.len() > listeners {
            let given = numbers.len();
            return Err(format!("{given} descriptor numbers for {listeners} listeners"));
        }
        let mut next = 3;
        let ack = match self.readiness {
            Readiness::Ack(number) => number,
            _ => None,
        };
        while numbers.len() < listeners {
            if !numbers.contains(&next) && ack != Some(next) && !self.inherits.contains(&next) {
                numbers.push(next);
            }
            next += 1;
        }
        Ok(numbers)
    }
}

impl From<Command> for Producer {
    /// The same command for every worker. That there is such a program is checked before anything is bound.
    fn from(command: Command) -> Self {
        let fixed = Some(command.clone());
        Self { fixed, ..Self::new(move |_| Ok(command.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_get_their_numbers_and_collisions_are_refused() {
        let numbers = |fixed: &[RawFd], listeners| {
            Producer::from(Command::new("x")).listeners_at(fixed.iter().copied()).numbers(listeners)
        };
        assert_eq!(numbers(&[], 3), Ok(vec![3, 4, 5]));
        assert_eq!(numbers(&[0], 1), Ok(vec![0]));
        assert_eq!(numbers(&[4, 3], 4), Ok(vec![4, 3, 5, 6]));
        assert_eq!(numbers(&[], 0), Ok(vec![]));
        for (fixed, named) in [
            (&[7, 7][..], "two listeners"),
            (&[2], "output"),
            (&[-1], "-1"),
            (&[3, 4, 5], "3 desc"),
        ] {
            let error = numbers(fixed, 2).expect_err(named);
            assert!(error.contains(named), "{error}");
        }
    }
}
