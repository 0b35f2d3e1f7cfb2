//! Names of clients, looked up on threads of their own: the system's resolver blocks, and a worker that
//! serves many must not.
//!
//! Everything has a bound: threads, questions that wait, answers that are kept, and the time until whoever
//! asks gets an answer. The threads start with the first question and end after a quiet minute, so a process
//! that never asks, the supervisor above all, has none. Several who ask the same share one lookup. An answer
//! that comes after its deadline is still kept: who asks again has it at once.

use super::cache::{Cache, Limits};
use super::config::{Lookups, ResolverConfig};
use super::lookup::{Lookup, Question};
use super::name::{Failure, Name};
use super::names::{is_host_name, without_root};
use crate::Result;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

/// A thread without work ends after this.
const KEEP: Duration = Duration::from_secs(60);

/// Where names come from. Called on the resolver's threads, where it may block.
pub trait Source: Send + Sync + 'static {
    /// The name of an address, if it has one.
    ///
    /// # Errors
    /// If it cannot be found out.
    fn name_of(&self, address: IpAddr) -> io::Result<Option<String>>;

    /// The addresses of a name.
    ///
    /// # Errors
    /// If they cannot be found out.
    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The C library's resolver. In a changed root it needs what it needs elsewhere: `/etc/resolv.conf`,
/// `/etc/hosts`, `/etc/nsswitch.conf`.
#[derive(Clone, Copy, Debug)]
struct System;

impl Source for System {
    fn name_of(&self, address: IpAddr) -> io::Result<Option<String>> {
        tine_os::names::name_of(address)
    }

    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        tine_os::names::addresses_of(name)
    }
}

/// Looks names up; see the module. A clone is the same resolver.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

/// Whose name, and whether it must lead back.
type Key = (IpAddr, bool);

struct Shared {
    config: ResolverConfig,
    source: Box<dyn Source>,
    state: Mutex<State>,
    /// Something to look up.
    work: Condvar,
    /// Something to time.
    timing: Condvar,
}

struct State {
    cache: Cache<Key>,
    /// Waiting for a thread, or on one; at most `queue` + `threads`.
    asked: BTreeMap<Key, Arc<Question>>,
    queue: VecDeque<Key>,
    threads: usize,
    idle: usize,
    /// Whether the thread that minds the deadlines runs: the others may all be stuck.
    clock: bool,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Resolver {
    /// The system's resolver. Starts nothing yet.
    ///
    /// # Errors
    /// A configuration error for a number that is out of its bounds.
    pub fn new(config: &ResolverConfig) -> Result<Self> {
        Self::with(config, System)
    }

    /// Names from somewhere else.
    ///
    /// # Errors
    /// As [`Resolver::new`].
    pub fn with(config: &ResolverConfig, source: impl Source) -> Result<Self> {
        config.validate()?;
        let limits = Limits {
            entries: config.cache_entries,
            positive: config.positive_ttl,
            negative: config.negative_ttl,
        };
        let state = State {
            cache: Cache::new(limits),
            asked: BTreeMap::new(),
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
            clock: false,
        };
        let shared = Shared {
            config: config.clone(),
            source: Box::new(source),
            state: Mutex::new(state),
            work: Condvar::new(),
            timing: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Asks for the name of an address: with [`Lookups::Double`] one that leads back to it.
    pub fn look_up(&self, address: IpAddr, lookups: Lookups) -> Lookup {
        let key = (address.to_canonical(), lookups == Lookups::Double);
        let now = Instant::now();
        let mut state = self.shared.state();
        if let Some(name) = state.cache.get(key, now) {
            return Lookup::ready(name.clone());
        }
        if let Some(question) = state.asked.get(&key) {
            return Lookup::asked(question.clone());
        }
        if state.queue.len() >= self.shared.config.queue {
            return Lookup::ready(Name::Failed(Failure::Busy));
        }
        if let Err(error) = self.staff(&mut state) {
            return Lookup::ready(failed("no thread to look it up on", &error));
        }
        let question = Question::new(now + self.shared.config.timeout);
        state.asked.insert(key, question.clone());
        state.queue.push_back(key);
        drop(state);
        self.shared.work.notify_one();
        self.shared.timing.notify_one();
        Lookup::asked(question)
    }

    /// Sees to it that there are threads for one more question.
    fn staff(&self, state: &mut State) -> io::Result<()> {
        if !state.clock {
            spawn(&self.shared, "names: clock", Shared::mind_deadlines)?;
            state.clock = true;
        }
        if state.idle > state.queue.len() || state.threads >= self.shared.config.threads {
            return Ok(());
        }
        match spawn(&self.shared, "names", Shared::answer_questions) {
            Ok(()) => state.threads += 1,
            // Those there are will do.
            Err(_) if state.threads > 0 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn spawn(shared: &Arc<Shared>, name: &str, work: fn(&Shared)) -> io::Result<()> {
    let shared = shared.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared)).map(drop)
}

fn failed(what: &str, error: &io::Error) -> Name {
    Name::Failed(Failure::Resolver(format!("{what}: {error}").into()))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn answer_questions(&self) {
        while let Some((key, question)) = self.next() {
            let find = AssertUnwindSafe(|| find(&*self.source, key));
            let name = catch_unwind(find)
                .unwrap_or_else(|_| Name::Failed(Failure::Resolver("the lookup panicked".into())));
            let mut state = self.state();
            state.asked.remove(&key);
            state.cache.put(key, name.clone(), Instant::now());
            drop(state);
            question.answer(name);
        }
    }

    /// The next question for this thread; `None` after a quiet time: the thread ends.
    fn next(&self) -> Option<(Key, Arc<Question>)> {
        let mut state = self.state();
        loop {
            if let Some(key) = state.queue.pop_front() {
                let Some(question) = state.asked.get(&key).cloned() else { continue };
                if Instant::now() < question.deadline() {
                    return Some((key, question));
                }
                // Nobody waits for it any more.
                state.asked.remove(&key);
                question.answer(Name::Failed(Failure::TimedOut));
                continue;
            }
            state.idle += 1;
            let (woken, _) = self
                .work
                .wait_timeout_while(state, KEEP, |state| state.queue.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    /// The life of the thread that answers those whose time is over.
    fn mind_deadlines(&self) {
        let mut state = self.state();
        loop {
            let Some(next) = state.open().map(|question| question.deadline()).min() else {
                let (woken, _) = self
                    .timing
                    .wait_timeout_while(state, KEEP, |state| state.open().next().is_none())
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if state.open().next().is_none() {
                    state.clock = false;
                    return;
                }
                continue;
            };
            let now = Instant::now();
            if now < next {
                let waited = self.timing.wait_timeout(state, next - now);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let due: Vec<_> =
                state.open().filter(|question| question.deadline() <= now).cloned().collect();
            // Whoever is woken may ask again at once.
            drop(state);
            due.iter().for_each(|question| question.answer(Name::Failed(Failure::TimedOut)));
            state = self.state();
        }
    }
}

impl State {
    /// Questions that somebody may be waiting for.
    fn open(&self) -> impl Iterator<Item = &Arc<Question>> {
        self.asked.values().filter(|question| !question.is_answered())
    }
}

fn find(source: &dyn Source, (address, verify): Key) -> Name {
    let name: Arc<str> = match source.name_of(address) {
        Ok(Some(name)) if is_host_name(without_root(&name)) => {
            without_root(&name).to_ascii_lowercase().into()
        }
        Ok(_) => return Name::Missing,
        Err(error) => return failed("the resolver says", &error),
    };
    if !verify {
        return Name::Claimed(name);
    }
    match source.addresses_of(&name) {
        Ok(found) if found.iter().any(|found| found.to_canonical() == address) => {
            Name::Verified(name)
        }
        Ok(_) => Name::Mismatch(name),
        Err(error) => failed(&format!("{name} has no address"), &error),
    }
}
