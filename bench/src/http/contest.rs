//! One load and several servers: all are started, and loaded in turn, round after round, so that what
//! else the machine does falls on all of them.

use testkit::process;

use super::arena::{Arena, Entrant, Setup};
use super::load::Load;
use super::measure::{Bound, Contest, Goal, Line, Measure, Sample};

/// A contest to be held.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) main: Measure,
    pub(crate) load: Load,
    pub(crate) setups: Vec<Setup>,
    pub(crate) goals: Vec<Goal>,
}

/// What is wanted of Tine's `measure` as a multiple of a peer's.
pub(crate) fn goal(measure: Measure, against: &str, bound: Bound) -> Goal {
    Goal { measure, of: "tine".to_owned(), against: Some(against.to_owned()), bound }
}

impl Card {
    /// Holds it, with those servers that are installed.
    pub(crate) fn hold(self, arena: &Arena<'_>, rounds: usize) -> Contest {
        let entrants: Vec<Entrant> =
            self.setups.iter().filter_map(|setup| arena.start(setup)).collect();
        let line =
            |entrant: &Entrant| Line { server: entrant.name.to_owned(), samples: Vec::new() };
        let mut lines: Vec<Line> = entrants.iter().map(line).collect();
        for _ in 0..rounds {
            for (entrant, line) in entrants.iter().zip(&mut lines) {
                line.samples.push(sample(&self.load, entrant));
            }
        }
        Contest {
            title: self.title.to_owned(),
            unit: self.unit.to_owned(),
            main: self.main,
            lines,
            goals: self.goals,
        }
    }
}

/// One server under load, once.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds are far below 2^52")]
fn sample(load: &Load, entrant: &Entrant) -> Sample {
    let pid = entrant.running.pid();
    let before = process::family_cpu_nanos(pid);
    let (requests, mut sample) = load.run(&entrant.address);
    let spent = process::family_cpu_nanos(pid).saturating_sub(before);
    sample.insert(Measure::Cpu, spent as f64 / requests / 1e3);
    sample.insert(Measure::Pss, process::family_pss_kib(pid) as f64 / 1024.0);
    sample
}
