//! How the workers of a pool share its listeners: what can be asked for.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// How the workers of a pool share its listeners. Sockets are made by the supervisor, and kept for the
/// pool's whole life whatever becomes of its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// One socket an address, and all workers take from it. The default: a connection waits for no worker
    /// in particular.
    #[default]
    Shared,
    /// A socket with `SO_REUSEPORT` an address and place, at most [`Accept::SOCKETS`]: the kernel deals
    /// connections out by a hash of their addresses. A place without a healthy worker is served by its
    /// siblings (row F3). One that lives, serves many at once and is stuck or full keeps its own: see
    /// [`crate::PoolConfig::request_timeout`]. TCP alone: Unix, adopted and datagram sockets are shared all the same.
    Sharded,
    /// The same with so many sockets, each for the places whose number leaves the same rest; the pool's
    /// minimum is raised to that number (row A14).
    Buckets(u32),
    /// The same with a socket for every so many CPUs this process may use (Apache's
    /// `ListenCoresBucketsRatio`); one that all share if there are not twice as many.
    CoresPerBucket(u32),
    /// One socket an address, and one worker at a time waits at it, holding a lock (Net::Server's
    /// `serialize`, row N34); for isolated workers, since others take unevenly this way. The lock outlives
    /// whoever holds it; so its names there (`flock`, `semaphore`, `pipe`) all mean this one.
    Serialized,
}

impl Accept {
    /// Most sockets an address is sharded over.
    pub const SOCKETS: u32 = 256;

    /// Sockets an address is bound with, in a pool of at most `places` workers on `cpus` CPUs.
    pub(crate) fn sockets(self, places: u32, cpus: u32) -> u32 {
        let wanted = match self {
            Self::Shared | Self::Serialized => 1,
            Self::Sharded => places,
            Self::Buckets(sockets) => sockets,
            Self::CoresPerBucket(cores) => cpus / cores.max(1),
        };
        wanted.clamp(1, Self::SOCKETS)
    }

    /// Workers the pool needs at least, so that every bucket has one.
    pub(crate) fn least_workers(self, cpus: u32) -> u32 {
        match self {
            Self::Shared | Self::Sharded | Self::Serialized => 0,
            Self::Buckets(_) | Self::CoresPerBucket(_) => self.sockets(0, cpus),
        }
    }

    /// What makes no sense.
    pub(crate) fn check(self) -> std::result::Result<(), String> {
        let (what, number) = match self {
            Self::Buckets(number) => ("buckets", number),
            Self::CoresPerBucket(number) => ("cores per bucket", number),
            Self::Shared | Self::Sharded | Self::Serialized => return Ok(()),
        };
        if (1..=Self::SOCKETS).contains(&number) {
            return Ok(());
        }
        Err(format!("accept: {number} {what}: it is 1 to {}", Self::SOCKETS))
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("shared"),
            Self::Sharded => f.write_str("sharded"),
            Self::Buckets(sockets) => write!(f, "buckets={sockets}"),
            Self::CoresPerBucket(cores) => write!(f, "cores/{cores}"),
            Self::Serialized => f.write_str("serialized"),
        }
    }
}

impl FromStr for Accept {
    type Err = Error;

    /// `shared`, `sharded`, `buckets=N`, `cores/N`, `serialized`, in any case; and the names of others:
    /// `none`, `reuseport`, `flock`, `semaphore`, `pipe`.
    fn from_str(text: &str) -> Result<Self> {
        let name = text.to_ascii_lowercase();
        let number = |text: &str| text.parse().ok();
        let mode = match name.as_str() {
            "shared" | "none" => Some(Self::Shared),
            "sharded" | "reuseport" => Some(Self::Sharded),
            "serialized" | "flock" | "semaphore" | "pipe" => Some(Self::Serialized),
            _ => match (name.strip_prefix("buckets="), name.strip_prefix("cores/")) {
                (Some(sockets), _) => number(sockets).map(Self::Buckets),
                (_, Some(cores)) => number(cores).map(Self::CoresPerBucket),
                _ => None,
            },
        };
        let known = "it is shared, sharded, serialized, buckets=N or cores/N";
        let mode = mode.ok_or_else(|| Error::config(format!("accept {text:?}: {known}")))?;
        mode.check().map_err(Error::config)?;
        Ok(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_read_as_it_is_written_and_by_the_names_others_give_it() {
        for mode in ["shared", "sharded", "serialized", "buckets=4", "cores/2"] {
            assert_eq!(mode.parse::<Accept>().expect(mode).to_string(), mode);
        }
        for name in ["flock", "Semaphore", "pipe"] {
            assert_eq!(name.parse::<Accept>().expect(name), Accept::Serialized);
        }
        assert_eq!("none".parse::<Accept>().expect("a name"), Accept::Shared);
    }

    #[test]
    fn nonsense_is_refused_with_what_there_is() {
        for nonsense in ["", "some", "buckets", "buckets=", "buckets=-1", "cores/x"] {
            let error = nonsense.parse::<Accept>().expect_err(nonsense);
            assert!(error.is_config() && error.to_string().contains("sharded"), "{error}");
        }
        for none in ["buckets=0", "buckets=257", "cores/0"] {
            let error = none.parse::<Accept>().expect_err(none);
            assert!(error.to_string().contains("1 to 256"), "{error}");
        }
    }

    #[test]
    fn sockets_follow_the_places_the_number_or_the_cpus() {
        assert_eq!(Accept::Sharded.sockets(8, 2), 8);
        assert_eq!(Accept::Sharded.sockets(4000, 2), Accept::SOCKETS);
        assert_eq!(Accept::Buckets(3).sockets(8, 2), 3);
        assert_eq!(
            [8, 4, 3].map(|cpus| Accept::CoresPerBucket(4).sockets(8, cpus)),
            [2, 1, 1],
            "as many as fit, and never none"
        );
        assert_eq!(Accept::Serialized.sockets(8, 2), 1);
        assert_eq!((Accept::Buckets(3).least_workers(2), Accept::Sharded.least_workers(2)), (3, 0));
    }
}
