//! How much a line matters, and how that is written.

use std::fmt;
use std::str::FromStr;

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

impl Level {
    /// A letter for it, where there is little room.
    pub(crate) fn letter(self) -> char {
        ['e', 'w', 'i', 'd'][self as usize]
    }
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
