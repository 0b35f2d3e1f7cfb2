//! What was measured, as it is kept: contests, their servers, a sample a round; and what is wanted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sample::median;
use crate::table::Row;

/// Something measured, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// Microseconds of CPU for one request (connection, handshake).
    Cpu,
    /// Requests a second.
    Rate,
    /// Half of the answers came within so many microseconds.
    P50,
    /// 99 of 100 came within so many.
    P99,
    /// Proportional memory of all the server's processes right after the load, MiB.
    Pss,
    /// Proportional memory a connection, KiB.
    Each,
}

impl Measure {
    /// A column's title; `unit` is what is counted.
    pub(crate) fn title(self, unit: &str) -> String {
        match self {
            Self::Cpu => format!("CPU µs/{unit}"),
            Self::Rate => format!("{unit}s/s"),
            Self::P50 => "p50".to_owned(),
            Self::P99 => "p99".to_owned(),
            Self::Pss => "PSS".to_owned(),
            Self::Each => format!("KiB/{unit}"),
        }
    }

    /// Which way is the right one.
    pub(crate) fn better(self) -> &'static str {
        if self == Self::Rate { "more is better" } else { "less is better" }
    }

    /// A value in a table.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{value:.0}"),
            Self::P50 | Self::P99 if value >= 1e3 => format!("{:.2} ms", value / 1e3),
            Self::P50 | Self::P99 => format!("{value:.0} µs"),
            Self::Pss => format!("{value:.1} MiB"),
            Self::Cpu | Self::Each if value < 10.0 => format!("{value:.2}"),
            Self::Cpu | Self::Each => format!("{value:.1}"),
        }
    }
}

/// What one round showed of one server.
pub(crate) type Sample = BTreeMap<Measure, f64>;

/// One server in a contest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) server: String,
    /// One a round.
    pub(crate) samples: Vec<Sample>,
}

impl Line {
    /// All rounds' values, if it has that measure.
    pub(crate) fn values(&self, measure: Measure) -> Vec<f64> {
        self.samples.iter().filter_map(|sample| sample.get(&measure)).copied().collect()
    }

    /// The rounds' median, if it has that measure.
    pub(crate) fn median(&self, measure: Measure) -> Option<f64> {
        let values = self.values(measure);
        (!values.is_empty()).then(|| median(&values))
    }
}

/// Where a ratio, or a value, is wanted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What is wanted of one server: of its value as a multiple of a peer's, or, without a peer, of the
/// value itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) measure: Measure,
    pub(crate) of: String,
    pub(crate) against: Option<String>,
    pub(crate) bound: Bound,
}

/// Several servers under the same load, in turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contest {
    pub(crate) title: String,
    /// What is counted: a request, a connection, a handshake.
    pub(crate) unit: String,
    /// The measure it is about.
    pub(crate) main: Measure,
    pub(crate) lines: Vec<Line>,
    pub(crate) goals: Vec<Goal>,
}

impl Contest {
    pub(crate) fn line(&self, server: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.server == server)
    }

    fn median(&self, server: &str, measure: Measure) -> Option<f64> {
        self.line(server)?.median(measure)
    }

    /// A goal as a row: met, missed, or only told where a side of it was not measured.
    pub(crate) fn verdict(&self, goal: &Goal) -> Row {
        let Goal { measure, of, against, bound } = goal;
        let what = measure.title(&self.unit);
        let name = match against {
            Some(peer) => format!("{what}: {of} against {peer}"),
            None => format!("{what}: {of}"),
        };
        let Some(ours) = self.median(of, *measure) else { return Row::told(name, "not measured") };
        let (value, measured, times) = match against {
            None => (ours, measure.text(ours), ""),
            Some(peer) => {
                let Some(theirs) = self.median(peer, *measure) else {
                    return Row::told(name, format!("{}, without a peer", measure.text(ours)));
                };
                let ratio = ours / theirs;
                let both = format!("{} against {}", measure.text(ours), measure.text(theirs));
                (ratio, format!("{ratio:.2} × ({both})"), " ×")
            }
        };
        let (wanted, met) = match *bound {
            Bound::AtMost(most) => (format!("≤ {most:.2}{times}"), value <= most),
            Bound::AtLeast(least) => (format!("≥ {least:.2}{times}"), value >= least),
        };
        Row::judged(name, measured, wanted, met)
    }

    /// The contest as the cells of a table, titles first: medians, of the main measure with what it
    /// ranged over and as a multiple of the first line's.
    pub(crate) fn cells(&self) -> Vec<Vec<String>> {
        let all = self.lines.iter().flat_map(|line| &line.samples).flat_map(BTreeMap::keys);
        let measures: std::collections::BTreeSet<Measure> = all.copied().collect();
        let mut titles = vec!["server".to_owned()];
        for &measure in &measures {
            titles.push(measure.title(&self.unit));
            if measure == self.main {
                titles.push("×".to_owned());
            }
        }
        let first = self.lines.first().and_then(|line| line.median(self.main));
        let row = |line: &Line| {
            let mut row = vec![line.server.clone()];
            for &measure in &measures {
                let middle = line.median(measure);
                let text = middle.map_or_else(String::new, |value| measure.text(value));
                if measure == self.main {
                    row.push(format!("{text}{}", range(measure, &line.values(measure))));
                    let times = first.zip(middle).map(|(first, value)| value / first);
                    row.push(times.map_or_else(String::new, |times| format!("{times:.2}")));
                } else {
                    row.push(text);
                }
            }
            row
        };
        let mut cells = vec![titles];
        cells.extend(self.lines.iter().map(row));
        cells
    }
}

/// Between which values the rounds were.
fn range(measure: Measure, values: &[f64]) -> String {
    let least = values.iter().copied().reduce(f64::min);
    let most = values.iter().copied().reduce(f64::max);
    match least.zip(most) {
        Some((least, most)) => format!(" ({}–{})", measure.text(least), measure.text(most)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Verdict;

    fn line(server: &str, cpu: [f64; 3]) -> Line {
        let sample = |value| Sample::from([(Measure::Cpu, value), (Measure::P50, 1250.0)]);
        Line { server: server.to_owned(), samples: cpu.map(sample).into() }
    }

    fn contest() -> Contest {
        Contest {
            title: "hello".to_owned(),
            unit: "request".to_owned(),
            main: Measure::Cpu,
            lines: vec![line("tine", [4.5, 4.0, 9.0]), line("nginx", [6.0, 5.0, 7.0])],
            goals: Vec::new(),
        }
    }

    fn goal(against: Option<&str>, bound: Bound) -> Goal {
        let against = against.map(str::to_owned);
        Goal { measure: Measure::Cpu, of: "tine".to_owned(), against, bound }
    }

    #[test]
    fn a_goal_compares_medians_and_is_not_judged_without_the_peer() {
        let contest = contest();
        let verdict = |against, bound| contest.verdict(&goal(against, bound));
        let row = verdict(Some("nginx"), Bound::AtMost(0.8));
        assert_eq!(
            (row.measured.as_str(), row.wanted.as_str()),
            ("0.75 × (4.50 against 6.00)", "≤ 0.80 ×")
        );
        assert_eq!(row.verdict, Verdict::Met);
        assert_eq!(verdict(Some("nginx"), Bound::AtLeast(0.8)).verdict, Verdict::Missed);
        assert_eq!(verdict(None, Bound::AtMost(4.4)).verdict, Verdict::Missed);
        assert_eq!(verdict(Some("other"), Bound::AtMost(0.1)).verdict, Verdict::Told);
    }

    #[test]
    fn a_table_has_medians_and_multiples_of_the_first_line() {
        assert_eq!(
            contest().cells(),
            [
                ["server", "CPU µs/request", "×", "p50"],
                ["tine", "4.50 (4.00–9.00)", "1.00", "1.25 ms"],
                ["nginx", "6.00 (5.00–7.00)", "1.33", "1.25 ms"],
            ]
        );
    }
}
