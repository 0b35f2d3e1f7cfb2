//! What a worker can be doing.

use serde::Serialize;

/// What a worker is doing, as Apache's scoreboard has it, letter by letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// There is no worker: `.`
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
    /// Writing its access log: `L`
    Logging,
    /// Waiting for the name of a client, which an access rule asks for: `D`
    Resolving,
    /// Closing a connection whose client goes on sending: `C`
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_letter_of_apache_and_is_read_back_from_its_word() {
        let letters: String = Activity::ALL.iter().map(|activity| activity.letter()).collect();
        assert_eq!(letters, ".S_RWKLDCGI");
        for (word, activity) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(Activity::from_word(word as u64), Some(activity));
        }
        assert_eq!([11, u64::MAX].map(Activity::from_word), [None; 2]);
    }

    #[test]
    fn a_record_without_a_worker_is_empty() {
        let board = crate::scoreboard::Scoreboard::create(1, 1).expect("a board");
        let record = board.record(0);
        let letter = || record.read().activity.map(Activity::letter);
        assert_eq!(letter(), Some('.'));
        record.begin(1, 0, 0, 1, 1);
        assert_eq!(letter(), Some('S'));
        record.meanwhile(Activity::Logging, || assert_eq!(letter(), Some('L')));
        assert_eq!(letter(), Some('S'), "it is at what it was at before");
        record.clear();
        assert_eq!(letter(), Some('.'));
    }
}
