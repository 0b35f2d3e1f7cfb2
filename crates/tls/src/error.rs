//! What can go wrong before a handshake.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why TLS cannot be served with what was given: always the configuration's fault, found before anybody
/// connects. The text names the file, and what to do about it.
#[derive(Debug)]
pub struct Error {
    text: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    pub(crate) fn because(
        text: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { text: text.into(), source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Where something came from, as errors say it.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    File(PathBuf),
    /// Which of the pairs that were given as text, from 1.
    Memory(usize),
}

impl Origin {
    pub(crate) fn file(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory(number) => write!(f, "(the text of pair {number})"),
        }
    }
}
