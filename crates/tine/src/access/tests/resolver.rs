//! The resolver with a source that answers, lies, fails, panics or hangs as it is told.

use crate::access::*;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use std::{io, thread};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who asked what, and what it is told.
struct Fake {
    names: BTreeMap<IpAddr, &'static str>,
    addresses: BTreeMap<&'static str, Vec<IpAddr>>,
    asked: Mutex<Vec<IpAddr>>,
    begun: Mutex<Sender<IpAddr>>,
    /// Whether lookups hang.
    held: Mutex<bool>,
    released: Condvar,
}

impl Fake {
    /// Hosts with a name, and the names' addresses; `!` as a name is a failure, `?` a panic.
    fn new(
        names: &[(&str, &'static str)],
        addresses: &[(&'static str, &str)],
    ) -> (Arc<Self>, Receiver<IpAddr>) {
        let (begun, receiver) = mpsc::channel();
        let mut by_name = BTreeMap::<_, Vec<_>>::new();
        for (name, address) in addresses {
            by_name.entry(*name).or_default().push(ip(address));
        }
        let fake = Self {
            names: names.iter().map(|(address, name)| (ip(address), *name)).collect(),
            addresses: by_name,
            asked: Mutex::default(),
            begun: Mutex::new(begun),
            held: Mutex::new(false),
            released: Condvar::new(),
        };
        (Arc::new(fake), receiver)
    }

    fn hold(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.released.notify_all();
    }

    fn asked(&self) -> Vec<IpAddr> {
        self.asked.lock().unwrap().clone()
    }
}

impl Source for Arc<Fake> {
    fn name_of(&self, address: IpAddr) -> io::Result<Option<String>> {
        self.asked.lock().unwrap().push(address);
        let _ = self.begun.lock().unwrap().send(address);
        let held = self.held.lock().unwrap();
        drop(self.released.wait_timeout_while(held, PATIENCE, |held| *held).unwrap());
        match self.names.get(&address) {
            Some(&"!") => Err(io::Error::other("out of reach")),
            Some(&"?") => panic!("as it was told"),
            name => Ok(name.map(|name| (*name).to_owned())),
        }
    }

    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.addresses.get(name).cloned().ok_or_else(|| io::Error::other("no such name"))
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// Long enough for any test that is not about time.
fn patient() -> ResolverConfig {
    ResolverConfig { timeout: PATIENCE, ..ResolverConfig::default() }
}

/// For tests in which time is to run out.
fn hasty() -> ResolverConfig {
    ResolverConfig { timeout: Duration::from_millis(30), threads: 1, ..ResolverConfig::default() }
}

fn resolver(config: &ResolverConfig, fake: &Arc<Fake>) -> Resolver {
    Resolver::with(config, fake.clone()).expect("the configuration makes sense")
}

/// Runs a future on this thread, with no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, end) = (pin!(future), Instant::now() + PATIENCE);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = end.checked_duration_since(Instant::now()).expect("nobody woke the future");
        thread::park_timeout(left);
    }
}

/// A lookup that hangs on a thread for sure: with little time and a busy machine it can be over before a
/// thread has taken it.
fn hang(resolver: &Resolver, fake: &Fake, begun: &Receiver<IpAddr>, from: &str) -> Lookup {
    fake.hold(true);
    let end = Instant::now() + PATIENCE;
    loop {
        let lookup = resolver.look_up(ip(from), Lookups::Reverse);
        if begun.recv_timeout(Duration::from_millis(20)).is_ok() {
            return lookup;
        }
        assert!(Instant::now() < end, "no thread takes it");
    }
}

const HONEST: &str = "192.0.2.1";
const LIAR: &str = "192.0.2.66";

/// Who is who in most tests.
fn world() -> (Arc<Fake>, Receiver<IpAddr>) {
    let names = [
        (HONEST, "Honest.Example."),
        (LIAR, "honest.example"),
        ("192.0.2.2", "nowhere.example"),
        ("192.0.2.3", "10.0.0.1"),
        ("192.0.2.4", "evil\nline"),
        ("192.0.2.5", "!"),
        ("192.0.2.6", "?"),
        ("2001:db8::1", "mapped.example"),
        ("192.0.2.7", "mapped.example"),
    ];
    let addresses = [
        ("honest.example", "2001:db8::99"),
        ("honest.example", HONEST),
        ("mapped.example", "::ffff:192.0.2.7"),
    ];
    Fake::new(&names, &addresses)
}

fn failure_of(name: &Name) -> &Failure {
    let Name::Failed(failure) = name else { panic!("{name}") };
    failure
}

#[test]
fn a_name_is_what_the_address_says_and_verified_only_if_it_leads_back() {
    let (fake, _begun) = world();
    let resolver = resolver(&patient(), &fake);
    let claimed = Name::Claimed("honest.example".into());
    for (from, reverse, double) in [
        (HONEST, claimed.clone(), Name::Verified("honest.example".into())),
        ("::ffff:192.0.2.1", claimed.clone(), Name::Verified("honest.example".into())),
        (LIAR, claimed, Name::Mismatch("honest.example".into())),
        (
            "192.0.2.7",
            Name::Claimed("mapped.example".into()),
            Name::Verified("mapped.example".into()),
        ),
        (
            "2001:db8::1",
            Name::Claimed("mapped.example".into()),
            Name::Mismatch("mapped.example".into()),
        ),
        ("192.0.2.99", Name::Missing, Name::Missing),
        // An address for a name would match rules about addresses.
        ("192.0.2.3", Name::Missing, Name::Missing),
        // And this one would write into the log.
        ("192.0.2.4", Name::Missing, Name::Missing),
    ] {
        assert_eq!(resolver.look_up(ip(from), Lookups::Reverse).wait(), reverse, "{from}");
        assert_eq!(block_on(resolver.look_up(ip(from), Lookups::Double)), double, "{from}");
    }
}

#[test]
fn failures_are_told_and_end_nothing() {
    let (fake, _begun) = world();
    let resolver = resolver(&ResolverConfig { threads: 1, ..patient() }, &fake);
    for (from, lookups, text) in [
        ("192.0.2.5", Lookups::Reverse, "out of reach"),
        ("192.0.2.6", Lookups::Reverse, "panicked"),
        ("192.0.2.2", Lookups::Double, "nowhere.example has no address: no such name"),
    ] {
        let name = resolver.look_up(ip(from), lookups).wait();
        assert!(
            matches!(failure_of(&name), Failure::Resolver(what) if what.contains(text)),
            "{name}"
        );
    }
    assert!(matches!(resolver.look_up(ip(HONEST), Lookups::Double).wait(), Name::Verified(_)));
}

#[test]
fn an_answer_is_kept_for_its_time() {
    let (fake, _begun) = world();
    let kept = resolver(&patient(), &fake);
    for _ in 0..3 {
        for from in [HONEST, "192.0.2.99", "192.0.2.5"] {
            let _ = kept.look_up(ip(from), Lookups::Reverse).wait();
        }
    }
    assert_eq!(fake.asked().len(), 3, "each once");
    let (fake, _begun) = world();
    let nothing = ResolverConfig { negative_ttl: Duration::ZERO, ..patient() };
    let brief = resolver(&nothing, &fake);
    for from in [HONEST, HONEST, "192.0.2.99", "192.0.2.99"] {
        let _ = brief.look_up(ip(from), Lookups::Reverse).wait();
    }
    assert_eq!(fake.asked().len(), 3, "the name once, its absence twice");
}

#[test]
fn who_asks_the_same_shares_one_lookup() {
    let (fake, begun) = world();
    let resolver = resolver(&patient(), &fake);
    fake.hold(true);
    let ask = || resolver.look_up(ip(HONEST), Lookups::Reverse);
    let (first, second, dropped) = (ask(), ask(), ask());
    begun.recv_timeout(PATIENCE).unwrap();
    let mut dropped = Box::pin(dropped);
    assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(dropped);
    let waiting = thread::spawn(move || first.wait());
    fake.hold(false);
    assert_eq!(block_on(second).as_str(), Some("honest.example"));
    assert_eq!(waiting.join().unwrap().as_str(), Some("honest.example"));
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn a_lookup_that_hangs_is_over_in_time_and_its_late_answer_is_kept() {
    let (fake, begun) = world();
    let resolver = resolver(&hasty(), &fake);
    let future = hang(&resolver, &fake, &begun, HONEST);
    let ask = || resolver.look_up(ip(HONEST), Lookups::Reverse);
    let blocking = ask();
    assert_eq!(block_on(future), Name::Failed(Failure::TimedOut), "without a timer of a runtime");
    assert_eq!(blocking.wait(), Name::Failed(Failure::TimedOut));
    assert_eq!(ask().wait(), Name::Failed(Failure::TimedOut), "as long as it hangs");
    fake.hold(false);
    let end = Instant::now() + PATIENCE;
    while ask().wait().as_str() != Some("honest.example") {
        assert!(Instant::now() < end, "the late answer never came");
        thread::yield_now();
    }
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn what_timed_out_in_the_queue_is_not_looked_up() {
    let (fake, begun) = world();
    let resolver = resolver(&hasty(), &fake);
    let hanging = hang(&resolver, &fake, &begun, HONEST);
    let queued = resolver.look_up(ip(LIAR), Lookups::Reverse);
    for lookup in [hanging, queued] {
        assert_eq!(block_on(lookup), Name::Failed(Failure::TimedOut));
    }
    fake.hold(false);
    let end = Instant::now() + PATIENCE;
    let mut last = Name::Missing;
    while last.as_str().is_none() {
        assert!(Instant::now() < end, "{last}");
        last = resolver.look_up(ip("192.0.2.2"), Lookups::Reverse).wait();
    }
    assert!(!fake.asked().contains(&ip(LIAR)));
}

#[test]
fn a_full_queue_fails_at_once() {
    let (fake, begun) = world();
    let resolver = resolver(&ResolverConfig { threads: 1, queue: 1, ..patient() }, &fake);
    fake.hold(true);
    let ask = |from| resolver.look_up(ip(from), Lookups::Reverse);
    let running = ask(HONEST);
    begun.recv_timeout(PATIENCE).unwrap();
    let queued = ask(LIAR);
    assert_eq!(ask("192.0.2.2").wait(), Name::Failed(Failure::Busy));
    let joined = ask(LIAR);
    fake.hold(false);
    for lookup in [running, queued, joined] {
        assert_eq!(lookup.wait().as_str(), Some("honest.example"));
    }
    assert_eq!(ask("192.0.2.2").wait().as_str(), Some("nowhere.example"), "that was not kept");
}

#[test]
fn several_lookups_run_at_once() {
    let (fake, begun) = world();
    let resolver = resolver(&ResolverConfig { threads: 3, ..patient() }, &fake);
    fake.hold(true);
    let lookups: Vec<_> =
        [HONEST, LIAR, "192.0.2.2"].map(|from| resolver.look_up(ip(from), Lookups::Reverse)).into();
    for _ in 0..3 {
        begun.recv_timeout(PATIENCE).expect("all three hang at the same time");
    }
    fake.hold(false);
    assert!(lookups.into_iter().all(|lookup| lookup.wait().as_str().is_some()));
}

fn gate(fake: &Arc<Fake>, deny: &[&str], allow: &[&str], lookups: Lookups) -> Gate {
    let list = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    let config =
        AccessConfig { deny: list(deny), allow: list(allow), lookups, ..AccessConfig::default() };
    Gate::new(Rules::new(&config).unwrap(), resolver(&patient(), fake))
}

#[test]
fn a_gate_lets_in_who_is_proven_and_keeps_out_who_lies() {
    let (fake, _begun) = world();
    let double = gate(&fake, &[], &["honest.example"], Lookups::Double);
    let reverse = gate(&fake, &[], &["honest.example"], Lookups::Reverse);
    let answer = |gate: &Gate, from| {
        let (blocking, future) =
            (gate.check(Some(ip(from))), block_on(gate.check_async(Some(ip(from)))));
        assert_eq!(blocking, future);
        blocking.allowed
    };
    assert!(answer(&double, HONEST) && !answer(&double, LIAR));
    assert!(answer(&reverse, HONEST) && answer(&reverse, LIAR), "a client's word for it");
    assert!(!answer(&double, "192.0.2.99") && !answer(&double, "192.0.2.5"));
    assert!(double.check(None).allowed && block_on(double.check_async(None)).allowed);
}

#[test]
fn a_gate_looks_nothing_up_that_the_address_settles() {
    let (fake, _begun) = world();
    for (deny, allow, lookups) in [
        (&[][..], &[][..], Lookups::Off),
        (&["192.0.2.0/24"], &[], Lookups::Double),
        (&["192.0.2.0/24"], &[".example"], Lookups::Reverse),
        (&["10.0.0.0/8"], &["192.0.2.0/24", ".example"], Lookups::Reverse),
        (&["10.0.0.0/8"], &["192.0.2.0/24"], Lookups::Reverse),
    ] {
        let gate = gate(&fake, deny, allow, lookups);
        let _ = gate.check(Some(ip(HONEST)));
        let _ = block_on(gate.check_async(Some(ip(HONEST))));
    }
    assert!(fake.asked().is_empty());
}

#[test]
fn a_gate_that_is_asked_for_names_looks_up_everybody_it_lets_in() {
    let (fake, _begun) = world();
    let config = AccessConfig {
        deny: vec!["10.0.0.0/8".to_owned()],
        lookups: Lookups::Reverse,
        names_for_all: true,
        ..AccessConfig::default()
    };
    let gate = Gate::new(Rules::new(&config).unwrap(), resolver(&patient(), &fake));
    assert!(!gate.check(Some(ip("10.0.0.1"))).allowed);
    assert!(fake.asked().is_empty(), "who stays out needs no name");
    let verdict = gate.check(Some(ip(HONEST)));
    let name = verdict.name.as_ref().and_then(Name::as_str);
    assert!(verdict.allowed && name == Some("honest.example"), "{verdict}");
    assert_eq!(block_on(gate.check_async(Some(ip(HONEST)))), verdict);
    let config = AccessConfig { names_for_all: true, ..AccessConfig::default() };
    assert!(Rules::new(&config).unwrap_err().to_string().contains("lookups are off"));
}
