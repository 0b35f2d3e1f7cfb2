//! What a service says about itself.

use serde::{Deserialize, Serialize};

use tine_os::inspect;
use tine_os::process::Pid;

use super::Report;

/// A running service at one moment.
///
/// Client and service need not be of the same version: what the one does not know is left out, what the
/// other does not say is zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Status {
    /// Version of the service's Tine.
    pub version: String,
    /// The supervisor's process.
    pub pid: u32,
    /// `running`, `probing` (a reload tries the new program), `canary` (some of its workers are on trial), `reloading` (it
    /// replaces the workers), `rolling back`,
    /// `lame duck` (it will stop soon), `stopping`.
    pub phase: String,
    /// Whether clients should be sent here: every place has had a worker, and no stop is under way or announced.
    pub ready: bool,
    /// The generation that serves, from 1; a reload that went well has made it one more. Workers of another one are
    /// on their way out.
    pub generation: u64,
    /// The reload that is under way; `None` if none is.
    pub rollout: Option<RolloutStatus>,
    /// How the last reload ended; `None` before the first.
    pub reload: Option<ReloadStatus>,
    /// Seconds since the start.
    pub uptime: f64,
    /// The sockets it listens on.
    pub listeners: Vec<ListenerStatus>,
    /// The pools, in the order they were configured.
    pub pools: Vec<PoolStatus>,
    /// All worker processes, those on their way out too.
    pub workers: Vec<WorkerStatus>,
    /// What the last workers were at that hung, crashed or panicked; at most 16, the newest last.
    pub reports: Vec<Report>,
}

impl Status {
    /// Fills in [`WorkerStatus::pss`] where this process may look into the worker (ptrace(2)). Not done by the
    /// service, whose supervisor must not stall: the kernel walks every page for it.
    pub fn measure(&mut self) {
        for worker in &mut self.workers {
            worker.pss = Pid::from_raw(worker.pid)
                // In another pid namespace the number is somebody else's.
                .filter(|&pid| inspect::stat(pid).is_ok_and(|stat| stat.parent == self.pid))
                .and_then(|pid| inspect::proportional_bytes(pid).ok());
        }
    }
}

/// A reload that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReloadStatus {
    /// Which, from 1.
    pub number: u64,
    /// Seconds since its end.
    pub ago: f64,
    /// Why it failed; empty if it went well.
    pub failure: String,
}

/// A reload that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// Which, from 1.
    pub number: u64,
    /// Where it is, as [`Status::phase`].
    pub phase: String,
    /// The trial, while one is under way.
    pub trial: Option<TrialStatus>,
}

/// A generation on trial: what was asked for, and what it and the old one have done since it began. See
/// [`Canary`](super::Canary).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TrialStatus {
    /// The share of the connections that it should have, from 0 to 1.
    pub share: f64,
    /// Workers of the new generation.
    pub workers: u32,
    /// Seconds since all of it serves; 0 before.
    pub seconds: f64,
    /// How long it is watched, in seconds.
    pub observe: f64,
    /// Requests that it must answer meanwhile.
    pub least_requests: u64,
    /// Connections it has taken.
    pub connections: u64,
    /// Requests it has answered.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Connections the old generation has taken meanwhile.
    pub old_connections: u64,
    /// Requests it has answered.
    pub old_requests: u64,
    /// Those of them that failed.
    pub old_errors: u64,
    /// It waits to be promoted.
    pub hold: bool,
}

/// A socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Where it is bound, with the real port: `127.0.0.1:8080`, `udp:[::]:53`, `unix:/run/s.sock`.
    pub address: String,
    /// Connections that wait to be accepted; 0 for datagrams, which are not counted.
    pub queued: u32,
    /// How many may wait.
    pub backlog: u32,
    /// Which of the sockets of its address it is, from 0; nothing if there is only this one.
    pub shard: Option<u32>,
}

/// A pool. Workers are counted now, totals since the start, workers that are gone included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Fewest workers it may have.
    pub min: u32,
    /// Most workers it may have, draining ones not counted.
    pub max: u32,
    /// Of a helper: seconds from one run to the next, of which `max` may be under way at once; 0 for other
    /// pools.
    pub every: f64,
    /// How its workers share its sockets: `shared`, `sharded`, `buckets=4` …
    pub accept: String,
    /// Workers it should have now.
    pub wanted: u32,
    /// Workers that take connections: the idle and the busy ones.
    pub serving: u32,
    /// Serving workers with room for another connection.
    pub idle: u32,
    /// Serving workers without.
    pub busy: u32,
    /// Workers that are not ready yet.
    pub booting: u32,
    /// Workers that finish what they have, and take nothing new.
    pub draining: u32,
    /// Connections that wait to be accepted, at all its listeners.
    pub queued: u32,
    /// Connections taken.
    pub connections: u64,
    /// Requests answered; 0 where nobody counts them.
    pub requests: u64,
    /// Of them, those that failed by the server's fault: over HTTP answers of 500 and above.
    pub errors: u64,
    /// Workers that have ended, for whatever reason.
    pub exits: u64,
    /// Those of them that nobody wanted to end.
    pub crashes: u64,
}

/// A worker process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its number in this service, which no other worker gets.
    pub worker: u64,
    /// The name of its pool.
    pub pool: String,
    /// Its seat in the pool; a draining worker shares it with its successor.
    pub place: u32,
    /// The generation it belongs to.
    pub generation: u64,
    /// Its process; 0 before there is one.
    pub pid: u32,
    /// What the supervisor has it for: `booting`, `serving`, `draining` …
    pub stage: String,
    /// What it says it is doing, as Apache's letter (`_` idle, `R` reading, `W` working …).
    pub letter: String,
    /// The same as a word: `idle`, `reading`, `working` …
    pub activity: String,
    /// Its memory in bytes: its own pages, and its part of those it shares. Only after [`Status::measure`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss: Option<u64>,
    /// Connections open now.
    pub open: u64,
    /// Connections taken so far.
    pub connections: u64,
    /// Requests answered so far.
    pub requests: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Seconds since it was made.
    pub age: f64,
    /// Seconds since it began what it is doing.
    pub in_state: f64,
    /// The current or the last request, as the worker describes it; empty where there was none.
    pub request: String,
    /// Whose request it is; empty where nobody says.
    pub client: String,
    /// Seconds the current request has been running, or the last one took.
    pub request_seconds: f64,
}
