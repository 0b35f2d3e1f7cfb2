//! What a worker can be doing.

use serde::Serialize;

/// What a worker is doing. Apache's scoreboard letters map onto it (row A30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Nobody: `.`
    Empty,
    /// Booting: `S`
    Starting,
    /// Waiting for a connection: `_`
    Idle,
    /// Reading a request: `R`
    Reading,
    /// Handling a request or sending its answer: `W`
    Working,
    /// Keeping a connection for the next request: `K`
    KeepAlive,
    /// Writing its log: `L`
    Logging,
    /// Looking up a name: `D`
    Resolving,
    /// Closing a connection: `C`
    Closing,
    /// Finishing what it has, taking nothing new: `G`
    Draining,
    /// Leaving while idle: `I`
    Leaving,
}

impl Activity {
    const ALL: [Self; 11] = [
        Self::Empty,
        Self::Starting,
        Self::Idle,
        Self::Reading,
        Self::Working,
        Self::KeepAlive,
        Self::Logging,
        Self::Resolving,
        Self::Closing,
        Self::Draining,
        Self::Leaving,
    ];

    /// Apache's letter for it.
    #[must_use]
    pub fn letter(self) -> char {
        ['.', 'S', '_', 'R', 'W', 'K', 'L', 'D', 'C', 'G', 'I'][self as usize]
    }

    pub(super) fn from_word(word: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(word).ok()?).copied()
    }
}

impl std::fmt::Display for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Empty => "empty",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Reading => "reading",
            Self::Working => "working",
            Self::KeepAlive => "keepalive",
            Self::Logging => "logging",
            Self::Resolving => "resolving",
            Self::Closing => "closing",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        })
    }
}
