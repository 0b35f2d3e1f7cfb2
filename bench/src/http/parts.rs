//! The parts: what is asked of whom, and what is wanted. Who is compared on which load stands here.

use super::Programs;
use super::arena::{self, Arena, Cores, HELLO, Key, LARGE, MEDIUM, Setup, Who};
use super::contest::{Card, goal};
use super::idle;
use super::load::{Generator, Load};
use super::measure::Bound::{AtLeast, AtMost};
use super::measure::{Bound, Contest, Goal, Measure};

/// One kept connection a process: as many processes as clients, for servers that cannot do otherwise.
const CLIENTS: u32 = 64;
/// Clients that do nothing but shake hands: enough that a server never waits for them.
const SHAKERS: u32 = 32;

pub(crate) fn hello(arena: &Arena<'_>, rounds: usize) -> Vec<Contest> {
    let card = Card {
        title: "Hello, 64 kept connections, 1 worker",
        unit: "request",
        main: Measure::Cpu,
        load: Load::keep_alive(CLIENTS, HELLO),
        setups: vec![
            Setup::new(Who::TineHello, 1),
            Setup::new(Who::Hyper, 1),
            Setup::new(Who::Floor, 1),
            Setup::new(Who::Fasthttp, 1),
            Setup::new(Who::Nginx, 1),
            Setup::new(Who::Apache, CLIENTS),
            Setup::new(Who::Starman, CLIENTS),
        ],
        goals: vec![cpu("floor", AtMost(1.20)), cpu("fasthttp/prefork", AtMost(1.0))],
    };
    vec![card.hold(arena, rounds)]
}

pub(crate) fn cores(arena: &Arena<'_>, rounds: usize) -> Vec<Contest> {
    let setups = [Who::TineHello, Who::Hyper, Who::Floor, Who::Fasthttp, Who::Nginx];
    let both = |who| Setup { cores: Cores::Both, ..Setup::new(who, 2) };
    let card = Card {
        title: "Hello, 512 kept connections, 2 workers, load on both cores",
        unit: "request",
        main: Measure::Rate,
        load: Load { cores: Cores::Both, ..Load::keep_alive(512, HELLO) },
        setups: setups.map(both).into(),
        goals: vec![goal(Measure::Rate, "fasthttp/prefork", AtLeast(1.35))],
    };
    vec![card.hold(arena, rounds)]
}

pub(crate) fn pipelined(arena: &Arena<'_>, rounds: usize) -> Vec<Contest> {
    let setups = [Who::TineHello, Who::Hyper, Who::Floor, Who::Fasthttp, Who::Nginx];
    let script = Generator::WrkScript(Arena::script("pipelined.lua"));
    let card = Card {
        title: "Hello, pipelined 16 deep, 64 connections, 1 worker",
        unit: "request",
        main: Measure::Cpu,
        load: Load::keep_alive(CLIENTS, HELLO).by(script),
        setups: setups.map(|who| Setup::new(who, 1)).into(),
        goals: vec![cpu("fasthttp/prefork", AtMost(0.95))],
    };
    vec![card.hold(arena, rounds)]
}

pub(crate) fn close(arena: &Arena<'_>, rounds: usize) -> Vec<Contest> {
    let card = |title, workers, goals| Card {
        title,
        unit: "connection",
        main: Measure::Cpu,
        load: Load::keep_alive(32, HELLO).by(Generator::WrkClosing),
        setups: vec![
            Setup::new(Who::TineHello, workers).isolated(),
            Setup::new(Who::Apache, workers),
            Setup::new(Who::Nginx, 1),
            Setup::new(Who::Fasthttp, 1),
        ],
        goals,
    };
    let goals = vec![cpu("Apache prefork", AtMost(0.45)), cpu("nginx", AtMost(1.15))];
    vec![
        card("One connection a request, 4 isolated workers", 4, goals).hold(arena, rounds),
        card("One connection a request, 256 isolated workers", 256, Vec::new()).hold(arena, rounds),
    ]
}

pub(crate) fn files(arena: &Arena<'_>, rounds: usize) -> Vec<Contest> {
    let card = |title, path, clients| Card {
        title,
        unit: "request",
        main: Measure::Cpu,
        load: Load::keep_alive(clients, path),
        setups: vec![
            Setup::new(Who::TineFiles, 1),
            Setup::new(Who::Nginx, 1),
            Setup::new(Who::Apache, clients),
        ],
        goals: vec![cpu("nginx", AtMost(1.0))],
    };
    [
        card("A file of 13 bytes, 64 kept connections, 1 worker", HELLO, CLIENTS),
        card("A file of 10 KiB, 64 kept connections, 1 worker", MEDIUM, CLIENTS),
        card("A file of 1 MiB, 16 kept connections, 1 worker", LARGE, 16),
    ]
    .into_iter()
    .map(|card| card.hold(arena, rounds))
    .collect()
}

pub(crate) fn tls(
    arena: &Arena<'_>,
    programs: &Programs,
    rounds: usize,
) -> Result<Vec<Contest>, String> {
    if !arena::serve_has(programs, "--cert") {
        return Err("tine serve has no --cert".to_owned());
    }
    let kept = |title, clients, path, goals| Card {
        title,
        unit: "request",
        main: Measure::Rate,
        load: Load::keep_alive(clients, path).by(Generator::Wrk { tls: true }),
        setups: [Who::TineFiles, Who::Nginx].map(|who| Setup::secure(who, Key::P256)).into(),
        goals,
    };
    let shaken = |title, key, resumed, goals| Card {
        title,
        unit: "handshake",
        main: Measure::Rate,
        load: Load::keep_alive(SHAKERS, HELLO)
            .by(Generator::Shake { program: arena.shake(), resumed }),
        setups: vec![
            Setup::secure(Who::TineFiles, key),
            Setup { name: "tine, isolated", ..Setup::secure(Who::TineFiles, key).isolated() },
            Setup::secure(Who::Nginx, key),
        ],
        goals,
    };
    let goals = || vec![goal(Measure::Rate, "nginx", AtLeast(1.0)), cpu("nginx", AtMost(1.0))];
    let cards = [
        shaken("TLS 1.3: full handshakes, P-256, 1 worker", Key::P256, false, goals()),
        shaken("TLS 1.3: full handshakes, RSA 2048, 1 worker", Key::Rsa, false, goals()),
        shaken("TLS 1.3: resumed handshakes, P-256, 1 worker", Key::P256, true, Vec::new()),
        kept("TLS 1.3: 1 MiB, 16 kept connections, 1 worker", 16, LARGE, goals()),
        kept("TLS 1.3: hello, 64 kept connections, 1 worker", CLIENTS, HELLO, Vec::new()),
    ];
    let mut contests: Vec<_> = cards.into_iter().map(|card| card.hold(arena, rounds)).collect();
    contests.push(idle::secure_contest(arena, rounds)?);
    Ok(contests)
}

pub(crate) fn h2(arena: &Arena<'_>, rounds: usize) -> Result<Vec<Contest>, String> {
    let tine = arena.start(&Setup::new(Who::TineHello, 1));
    if !tine.is_some_and(|tine| arena::speaks_h2c(&tine)) {
        return Err("tine-http does not answer HTTP/2 without TLS".to_owned());
    }
    let setups = [Who::TineHello, Who::Nginx];
    let card = Card {
        title: "HTTP/2 without TLS: hello, 16 connections of 16 streams, 1 worker",
        unit: "request",
        main: Measure::Cpu,
        load: Load::keep_alive(16, HELLO).by(Generator::H2load),
        setups: setups.map(|who| Setup { http2: true, ..Setup::new(who, 1) }).into(),
        goals: Vec::new(),
    };
    Ok(vec![card.hold(arena, rounds)])
}

pub(crate) fn log(
    arena: &Arena<'_>,
    programs: &Programs,
    rounds: usize,
) -> Result<Vec<Contest>, String> {
    if !arena::serve_has(programs, "--access-log") {
        return Err("tine serve has no --access-log".to_owned());
    }
    let setup = |who, name, access_log| Setup { name, access_log, ..Setup::new(who, 1) };
    let card = Card {
        title: "Access log: a file of 13 bytes, 64 kept connections, 1 worker",
        unit: "request",
        main: Measure::Cpu,
        load: Load::keep_alive(CLIENTS, HELLO),
        setups: vec![
            setup(Who::TineFiles, "tine, log off", false),
            setup(Who::TineFiles, "tine, log on", true),
            setup(Who::Nginx, "nginx, log off", false),
            setup(Who::Nginx, "nginx, log on", true),
        ],
        goals: vec![Goal {
            measure: Measure::Cpu,
            of: "tine, log on".to_owned(),
            against: Some("tine, log off".to_owned()),
            bound: AtMost(1.06),
        }],
    };
    Ok(vec![card.hold(arena, rounds)])
}

/// Tine's CPU against a peer's.
fn cpu(against: &str, bound: Bound) -> Goal {
    goal(Measure::Cpu, against, bound)
}
