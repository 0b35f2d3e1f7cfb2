//! What came of a load.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::http::Response;

/// How many failures are told in words.
const TOLD: usize = 20;
/// How many different values of one field are counted apart; further ones count as `OTHERS`.
const VALUES: usize = 4096;
const OTHERS: &str = "(others)";
/// How many durations are kept for [`Report::quantile`]: the first ones.
const DURATIONS: usize = 4_000_000;

/// The outcome of a load. `sent == answered + lost`, where the lost are the failures that are not
/// of connecting.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Requests of which at least the first byte was sent.
    pub sent: u64,
    /// Requests answered with a whole response, whatever its status.
    pub answered: u64,
    /// The first 20 failures in words.
    pub failed: Vec<String>,
    /// All failures: connecting, and requests sent and not answered.
    pub failed_total: u64,
    /// Of these: the connection was closed or reset after the request (or its first byte) was sent.
    pub reset_after_send: u64,
    /// Of these: nobody listened (ECONNREFUSED; for a Unix socket also ENOENT).
    pub refused: u64,
    /// Connections the server ended before any byte of a (further) request was sent on them: no
    /// failures, since the request went over another one.
    pub closed_unused: u64,
    /// Connections made.
    pub connections: u64,
    /// The longest time from the start of a request (of connecting, where it had to) to the end of
    /// its answer.
    pub slowest: Duration,
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, u64>,
    micros: Vec<u32>,
    fields: HashMap<String, HashMap<String, u64>>,
}

impl Report {
    /// How many responses had which value of the field `name` (any case), e.g. the distribution
    /// over `x-worker`.
    pub fn by_header(&self, name: &str) -> BTreeMap<String, u64> {
        let values = self.fields.get(&name.to_ascii_lowercase());
        values.into_iter().flatten().map(|(value, count)| (value.clone(), *count)).collect()
    }

    /// The time within which the share `q` (0 to 1) of the answers came; zero if there was none.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (q.clamp(0.0, 1.0) * micros.len().saturating_sub(1) as f64).round() as usize;
        Duration::from_micros(micros.get(index).copied().unwrap_or(0).into())
    }

    pub(crate) fn note_answer(&mut self, response: &Response, took: Duration) {
        self.answered += 1;
        self.slowest = self.slowest.max(took);
        if self.micros.len() < DURATIONS {
            self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
        *self.statuses.entry(response.status).or_default() += 1;
        for (name, value) in &response.headers {
            self.note_field(&name.to_ascii_lowercase(), value);
        }
    }

    fn note_field(&mut self, name: &str, value: &str) {
        if !self.fields.contains_key(name) {
            self.fields.insert(name.to_owned(), HashMap::new());
        }
        let Some(values) = self.fields.get_mut(name) else { return };
        let value =
            if values.contains_key(value) || values.len() < VALUES { value } else { OTHERS };
        match values.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(values.insert(value.to_owned(), 1)),
        }
    }

    pub(crate) fn note_failure(&mut self, why: String) {
        self.failed_total += 1;
        if self.failed.len() < TOLD {
            self.failed.push(why);
        }
    }
}

/// Without the durations of every answer.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("sent", &self.sent)
            .field("answered", &self.answered)
            .field("failed_total", &self.failed_total)
            .field("reset_after_send", &self.reset_after_send)
            .field("refused", &self.refused)
            .field("closed_unused", &self.closed_unused)
            .field("connections", &self.connections)
            .field("slowest", &self.slowest)
            .field("statuses", &self.statuses)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
