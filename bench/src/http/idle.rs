//! What an idle connection weighs: so many clients that have asked once, and stay.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::tls::Connector;
use testkit::{DEADLINE, process};

use super::arena::{Arena, Entrant, HELLO, Key, Setup, Who};
use super::interrupt;
use super::measure::{Bound, Contest, Goal, Line, Measure, Sample};

const CLIENTS: usize = 9_000;
/// Each of them has a session that it can read with.
const SECURE_CLIENTS: usize = 2_000;
/// Descriptors for them, on either side, and the rest.
const DESCRIPTORS: u64 = 10_000;
/// How long all of them are silent before they are weighed.
const IDLE: Duration = Duration::from_secs(3);
/// KiB.
const WANTED: f64 = 12.0;

/// Each round with fresh servers, since none gives back all it took.
///
/// # Errors
/// Why it cannot be measured here.
pub(crate) fn contest(arena: &Arena<'_>, rounds: usize) -> Result<Contest, String> {
    let setups = [Who::TineHello, Who::Floor, Who::Fasthttp, Who::Nginx];
    let setups = setups.map(|who| Setup::new(who, 1));
    let lines = hold(arena, rounds, &setups, |server| weigh(server, CLIENTS, ask))?;
    Ok(Contest {
        title: format!("{CLIENTS} idle keep-alive connections, 1 worker"),
        unit: "connection".to_owned(),
        main: Measure::Each,
        lines,
        goals: vec![Goal {
            measure: Measure::Each,
            of: "tine".to_owned(),
            against: None,
            bound: Bound::AtMost(WANTED),
        }],
    })
}

/// The same over TLS, with full handshakes.
///
/// # Errors
/// Why it cannot be measured here.
pub(crate) fn secure_contest(arena: &Arena<'_>, rounds: usize) -> Result<Contest, String> {
    let setups = [Who::TineFiles, Who::Nginx].map(|who| Setup::secure(who, Key::P256));
    let connector = Connector::trusting(&[arena.identity(Key::P256)]);
    let ask = |address: &str| {
        let mut client = connector.clone().forgetting().try_connect(address, "localhost")?;
        match client.get(HELLO).status {
            200 => Ok(client),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    };
    let lines = hold(arena, rounds, &setups, |server| weigh(server, SECURE_CLIENTS, ask))?;
    Ok(Contest {
        title: format!("TLS 1.3: {SECURE_CLIENTS} idle keep-alive connections, 1 worker"),
        unit: "connection".to_owned(),
        main: Measure::Each,
        lines,
        goals: Vec::new(),
    })
}

fn hold(
    arena: &Arena<'_>,
    rounds: usize,
    setups: &[Setup],
    weigh: impl Fn(&Entrant) -> Sample,
) -> Result<Vec<Line>, String> {
    allow_descriptors()?;
    let mut lines: Vec<Line> = Vec::new();
    for _ in 0..rounds {
        for setup in setups {
            let Some(server) = arena.start(setup) else { continue };
            let sample = weigh(&server);
            match lines.iter_mut().find(|line| line.server == server.name) {
                Some(line) => line.samples.push(sample),
                None => lines.push(Line { server: server.name.to_owned(), samples: vec![sample] }),
            }
        }
    }
    Ok(lines)
}

/// Makes room for as many, here and, inherited, in the servers.
fn allow_descriptors() -> Result<(), String> {
    let now = getrlimit(Resource::Nofile);
    let maximum = now.maximum.map(|most| most.max(DESCRIPTORS));
    let wanted = Rlimit { current: maximum, maximum };
    let enough = now.current.is_none_or(|current| current >= DESCRIPTORS);
    if enough || setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(());
    }
    Err(format!("{CLIENTS} connections need {DESCRIPTORS} descriptors (ulimit -n)"))
}

#[expect(clippy::cast_precision_loss, reason = "kibibytes are far below 2^52")]
fn weigh<C>(server: &Entrant, clients: usize, ask: impl Fn(&str) -> io::Result<C>) -> Sample {
    let weight = || process::family_pss_kib(server.running.pid()) as f64;
    let before = weight();
    let connect = |_| {
        interrupt::check();
        ask(&server.address)
    };
    let clients: io::Result<Vec<C>> = (0..clients).map(connect).collect();
    let clients =
        clients.unwrap_or_else(|error| panic!("{} and its clients: {error}", server.name));
    // Idle is who has been so for a while.
    std::thread::sleep(IDLE);
    interrupt::check();
    let after = weight();
    Sample::from([
        (Measure::Each, (after - before) / clients.len() as f64),
        (Measure::Pss, after / 1024.0),
    ])
}

/// A client that has its answer and keeps its connection.
fn ask(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // One piece: written part by part it would come in as many packets.
    stream.write_all(format!("GET {HELLO} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    while !answer.ends_with(b"Hello, World!") {
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&bytes[..count]),
        }
    }
    Ok(stream)
}
