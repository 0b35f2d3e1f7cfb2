//! Reloads and upgrades one after another: is anybody lost, does anybody wait, does anything grow?

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::process::{open_fds, pss_kib};
use testkit::{Server, TempDir};

use super::Clients;
use crate::sample::{median, millis, worst};
use crate::server::{BODY, PATH, Tine};
use crate::table::Row;

const RELOADS: usize = 100;
const UPGRADES: usize = 20;
/// After this many descriptors and memory are as they are to stay.
const SETTLED: usize = 3;
/// What a heap may vary by from one program to the next, in KiB.
const TOLERANCE: u64 = 256;
/// No answer may take longer.
const SLOWEST: Duration = Duration::from_millis(100);

/// How workers are: a name, and their flags.
const WORKERS: [(&str, &str); 2] = [
    ("isolated", "--concurrency 1 --workers 16"),
    ("multiplexed", "--concurrency 256 --workers 4"),
];

pub(super) fn rows(program: &Path) -> Vec<Row> {
    let modes = ["shared", "sharded", "serialized"];
    modes
        .iter()
        .flat_map(|mode| WORKERS.map(|(name, flags)| run(program, mode, name, flags)))
        .collect()
}

fn run(program: &Path, mode: &str, name: &str, flags: &str) -> Row {
    let release = Release::of(program);
    let tine = release.start(&format!("{flags} --accept {mode}"));
    let clients = Clients::start(tine.address());
    let mut took = Vec::new();
    let mut settled = (0, 0);
    for number in 0..RELOADS + UPGRADES {
        if number >= RELOADS {
            release.install(number % 2 == 0);
        }
        let began = Instant::now();
        tine.reload();
        took.push(began.elapsed());
        clients.wait_answered(2);
        if number == SETTLED {
            settled = weight(&tine);
        }
    }
    let outcome = clients.stop();
    let last = weight(&tine);
    let runs = fs::metadata(format!("/proc/{}/exe", tine.running().pid())).map(|it| it.len());
    assert_eq!(runs.ok(), Some(release.length()), "the last program that was installed runs");
    let steady = last.0 <= settled.0 && last.1 <= settled.1 + TOLERANCE;
    Row::judged(
        format!("{RELOADS} reloads, {UPGRADES} upgrades: {mode}, {name}"),
        format!(
            "{outcome}; a reload {}, the longest {}; descriptors {} → {}, memory {} → {} KiB",
            millis(median(&took)),
            millis(worst(&took)),
            settled.0,
            last.0,
            settled.1,
            last.1
        ),
        "0 lost, ≤ 100 ms, nothing grows",
        outcome.lost() == 0 && outcome.slowest() <= SLOWEST && steady,
    )
}

/// The supervisor's descriptors, and its memory in KiB, once nobody looks at it who holds some.
fn weight(tine: &Tine) -> (usize, u64) {
    let pid = tine.running().pid();
    // Old workers that still have a connection have a descriptor here, and nobody else may have.
    let workers = |fields: [&str; 2]| fields.iter().map(|field| tine.pool(field)).sum::<u64>();
    testkit::wait_until("the old workers are gone", Duration::from_secs(20), || {
        workers(["booting", "draining"]) == 0
    });
    (open_fds(pid).len(), pss_kib(pid))
}

/// The program where a deploy puts it: a file that is replaced, not written to.
pub(super) struct Release {
    directory: TempDir,
}

impl Release {
    pub(super) fn of(program: &Path) -> Self {
        let it = Self { directory: TempDir::new().expect("a temporary directory") };
        fs::copy(program, it.file("one")).expect("a copy of the program");
        fs::copy(program, it.file("two")).expect("another");
        let mut other = fs::OpenOptions::new().append(true).open(it.file("two")).expect("ours");
        // Another file for whoever looks, the same program for whoever runs it.
        other.write_all(b"two").expect("there is room");
        drop(other);
        it.install(false);
        let site = it.file("site");
        fs::create_dir(&site).expect("a directory for the site");
        fs::write(site.join(&PATH[1..]), BODY).expect("a file in the site");
        it
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Puts the one or the other in place at once, as install(1) does.
    pub(super) fn install(&self, other: bool) {
        let link = self.file("link");
        fs::hard_link(self.file(if other { "two" } else { "one" }), &link).expect("a link");
        fs::rename(&link, self.file("tine")).expect("it is replaced");
        // rename(2) does nothing where both are one file already.
        let _ = fs::remove_file(&link);
    }

    fn length(&self) -> u64 {
        fs::metadata(self.file("tine")).expect("it is there").len()
    }

    pub(super) fn start(&self, flags: &str) -> Tine {
        let server = Server::command(self.file("tine")).arg("serve").arg(self.file("site"));
        let server = server.args(["--listen", "127.0.0.1:0"]).args(flags.split_whitespace());
        Tine::run(server, TempDir::new().expect("a temporary directory"))
    }
}
