//! A report: what a worker was at when it hung, crashed or panicked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is known of a worker that came to grief, put together by the supervisor at that moment: for one that
/// hangs before it is ended, for one that has died from what it left in shared memory. What the worker wrote
/// there is its own claim. What is not known is zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Report {
    /// When, in UTC, as RFC 3339 writes it.
    pub time: String,
    /// Seconds since then.
    pub ago: f64,
    /// What happened: `was killed by SIGSEGV (11)`, `has been at a request for 5.0 s` …
    pub cause: String,
    /// How the worker ended, if that came later; empty while it lives.
    pub end: String,
    /// Its number.
    pub worker: u64,
    /// Its process.
    pub pid: u32,
    /// The name of its pool.
    pub pool: String,
    /// Its place in the pool.
    pub place: u32,
    /// Its generation.
    pub generation: u64,
    /// Seconds since it was made.
    pub age: f64,
    /// What it was doing, as it said: `reading`, `working` …
    pub activity: String,
    /// The current or the last request, its query left out; empty where nobody says.
    pub request: String,
    /// Whose request.
    pub client: String,
    /// Seconds the current request had been running; 0 if none was.
    pub request_seconds: f64,
    /// Connections that were open.
    pub open: u64,
    /// Connections taken.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
    /// Seconds of processor time.
    pub cpu: f64,
    /// Bytes of memory it had in RAM then; 0 if it had died.
    pub memory: u64,
    /// Bytes of memory it had in RAM at most; 0 while it lives.
    pub peak_memory: u64,
    /// The kernel's function it slept in.
    pub wait: String,
    /// Its system call: number and arguments (proc_pid_syscall(5)), or `running`.
    pub syscall: String,
    /// The kernel's functions it was in, the innermost first; only root can see them.
    pub stack: Vec<String>,
    /// The message, place and thread of its last panic.
    pub panic: String,
    /// Its last log lines, the oldest first, each with its level.
    pub lines: Vec<String>,
    /// Where its core is; empty if there is none.
    pub core: String,
}

/// Log lines that a report shows in the log, the last of them; all are in [`Report::lines`].
const LINES_SHOWN: usize = 4;

impl fmt::Display for Report {
    /// On one line, the most telling first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {} (pid {}, {} place {}) ",
            self.worker, self.pid, self.pool, self.place
        )?;
        write!(f, "{}", self.cause)?;
        if !self.panic.is_empty() {
            write!(f, "; {}", self.panic)?;
        }
        if !self.core.is_empty() {
            write!(f, "; core {}", self.core)?;
        }
        write!(f, "; it was {}", self.activity)?;
        if !self.request.is_empty() {
            let last = if self.request_seconds > 0.0 { "" } else { ", last" };
            write!(f, "{last} {:?} of {}", self.request, self.client)?;
        }
        if self.request_seconds > 0.0 {
            write!(f, " for {:.1} s", self.request_seconds)?;
        }
        write!(f, "; generation {}, age {:.1} s", self.generation, self.age)?;
        if self.connections > 0 {
            write!(f, ", {} connections ({} open)", self.connections, self.open)?;
        }
        if self.requests > 0 {
            write!(f, ", {} requests", self.requests)?;
        }
        write!(f, ", CPU {:.2} s", self.cpu)?;
        let memory = self.memory.max(self.peak_memory);
        if memory > 0 {
            let at_most = if self.memory == 0 { " at most" } else { "" };
            write!(f, ", memory {}{at_most}", crate::Bytes(memory))?;
        }
        if !self.wait.is_empty() {
            write!(f, "; it waits in {}", self.wait)?;
        }
        if !self.syscall.is_empty() {
            write!(f, "; system call {}", self.syscall)?;
        }
        if !self.stack.is_empty() {
            write!(f, "; stack {}", self.stack.join(" < "))?;
        }
        let skip = self.lines.len().saturating_sub(LINES_SHOWN);
        for (index, line) in self.lines[skip..].iter().enumerate() {
            write!(f, "{} {line:?}", if index == 0 { "; last lines:" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let report = Report {
            cause: "was killed by SIGKILL (9)".into(),
            worker: 3,
            pid: 7,
            pool: "main".into(),
            activity: "idle".into(),
            ..Report::default()
        };
        let wanted = "worker 3 (pid 7, main place 0) was killed by SIGKILL (9); it was idle; generation 0, \
                      age 0.0 s, CPU 0.00 s";
        assert_eq!(report.to_string(), wanted);
    }

    #[test]
    fn all_that_is_known_stands_on_one_line() {
        let report = Report {
            request: "GET / HTTP/1.1".into(),
            client: "10.0.0.1:9".into(),
            request_seconds: 5.04,
            memory: 3 << 20,
            wait: "hrtimer_nanosleep".into(),
            stack: vec!["a+0x1/0x2".into(), "b".into()],
            lines: (0..6).map(|number| format!("info {number}")).collect(),
            ..Report::default()
        };
        let text = report.to_string();
        assert!(text.contains(r#""GET / HTTP/1.1" of 10.0.0.1:9 for 5.0 s;"#), "{text}");
        assert!(text.contains("memory 3.0 MiB; it waits in hrtimer_nanosleep"), "{text}");
        assert!(text.contains("stack a+0x1/0x2 < b; last lines: \"info 2\", \"info 3\""), "{text}");
    }
}
