//! The service's own log: a line an event, to standard error or to a function of the program's.
//!
//! The supervisor must never wait for whoever reads its log: a line that a full pipe would not take at
//! once is dropped, and the next one that gets through says how many were.

use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::str::FromStr;
use std::time::SystemTime;

use tine_os::poll::writable_now;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The service, or a part of it, does not work.
    Error,
    /// It works, and somebody should look.
    Warn,
    /// What an operator wants to know of a healthy service.
    Info,
    /// What helps to find a fault.
    Debug,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl FromStr for Level {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(crate::Error::config(format!(
                "log level {text:?}: it is one of error, warn, info, debug"
            ))),
        }
    }
}

/// Where lines go.
type Sink = Rc<dyn Fn(Level, &str)>;

/// A log; cheap to clone, and shared by the supervisor and the workers forked from it.
#[derive(Clone)]
pub struct Log {
    level: Level,
    sink: Option<Sink>,
    dropped: Rc<Cell<u64>>,
}

impl Default for Log {
    /// Standard error, [`Level::Info`].
    fn default() -> Self {
        Self { level: Level::Info, sink: None, dropped: Rc::default() }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Log {
    /// The same log that shows lines up to this level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Lines go to a function, without time and level. It runs in the supervisor for the supervisor's
    /// lines and in the worker for a worker's, and must not block.
    #[must_use]
    pub fn to_function(mut self, sink: impl Fn(Level, &str) + 'static) -> Self {
        self.sink = Some(Rc::new(sink));
        self
    }

    /// Whether a line of this level is shown.
    #[must_use]
    pub fn shows(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes one line; control characters in it are shown, not sent.
    pub fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if !self.shows(level) {
            return;
        }
        let text = escaped(&text.to_string());
        match &self.sink {
            Some(sink) => sink(level, &text),
            None => self.to_stderr(level, &text),
        }
    }

    fn to_stderr(&self, level: Level, text: &str) {
        let stderr = std::io::stderr();
        if !writable_now(&stderr) {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let pid = std::process::id();
        let mut line = match self.dropped.replace(0) {
            0 => String::new(),
            lost => format!("{time} warn  tine[{pid}]: {lost} lines were lost: nobody read them\n"),
        };
        line.push_str(&format!("{time} {level:<5} tine[{pid}]: {text}\n"));
        // One write a line, so that lines of several processes do not mix; a reader that is gone is no
        // reason to stop serving.
        let _ = stderr.lock().write_all(line.as_bytes());
    }
}

/// The text with control characters made visible, so that a client's bytes cannot forge a line.
fn escaped(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let escape =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

macro_rules! error { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Error, format_args!($($text)*)) } }
macro_rules! warning { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Warn, format_args!($($text)*)) } }
macro_rules! info { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Info, format_args!($($text)*)) } }
macro_rules! debug { ($log:expr, $($text:tt)*) => { $log.line($crate::log::Level::Debug, format_args!($($text)*)) } }
pub(crate) use {debug, error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        let lines = Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = lines.clone();
        let log =
            Log::default().to_function(move |_, text| seen.borrow_mut().push(text.to_owned()));
        info!(log, "GET /\r\nroot logged in\u{1b}[0m");
        debug!(log, "not shown");
        assert_eq!(*lines.borrow(), ["GET /\\r\\nroot logged in\\u{1b}[0m"]);
    }
}
