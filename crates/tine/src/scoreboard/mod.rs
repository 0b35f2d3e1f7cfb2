//! The scoreboard: what every worker is doing, in shared memory, one record a worker process.
//!
//! A record has one writer, its worker; the supervisor clears it before the fork. Counters and times are
//! plain stores, so a request costs no system call and no lock. The supervisor, `tine status` and anyone
//! else only read, and expect nonsense: a worker can be made to write anything here, so nothing read is
//! ever used as a pid to signal or as an index (row A30).
//!
//! | words | content |
//! |---|---|
//! | a line a pool | spare workers left before the supervisor must be told, and whether it is told; what is posted for all; the bell |
//! | a record a worker | see `Field`; then the current request and its client as text |
//!
//! Behind them stand each worker's last lines, see `tail`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

mod activity;
mod bell;
mod record;
mod signpost;
mod tail;
mod text;

pub use activity::Activity;
pub(crate) use bell::Bell;
use record::RECORD;
pub(crate) use record::Stamps;
pub use record::{Record, Snapshot};
pub(crate) use signpost::Signpost;
pub(crate) use tail::{Line as TailLine, Tail};
pub use text::RequestLine;

use crate::shared::Region;
use crate::spares::Line;
use crate::{Error, Result};

/// Layout version of the region.
const VERSION: u32 = 3;
/// Most worker processes, draining ones included: as many as fit into the largest region.
const RECORDS_MAX: usize = 400_000;
/// Words of a pool's line: a cache line pair, so that pools do not share one.
const LINE: usize = 16;
/// The whole board; each process of the service has it mapped.
#[derive(Clone, Debug)]
pub struct Scoreboard {
    region: Region,
    pools: usize,
    records: usize,
}

impl Scoreboard {
    /// A board for so many pools and worker processes, draining ones included.
    ///
    /// # Errors
    /// What making a [`Region`] can fail with.
    pub fn create(pools: usize, records: usize) -> Result<Self> {
        if records > RECORDS_MAX {
            return Err(Error::config(format!(
                "{records} workers are more than a scoreboard holds"
            )));
        }
        let region = Region::create("scoreboard", VERSION, Self::words(pools, records))?;
        Ok(Self { region, pools, records })
    }

    /// The board of another process of the service.
    ///
    /// # Errors
    /// As [`Region::adopt`]; a configuration error if it is not of this size.
    pub(crate) fn adopt(descriptor: OwnedFd, pools: usize, records: usize) -> Result<Self> {
        let region = Region::adopt(descriptor, "scoreboard", VERSION)?;
        if region.words().len() != Self::words(pools, records) {
            return Err(Error::config("the scoreboard is not of this service"));
        }
        Ok(Self { region, pools, records })
    }

    /// Whether its header is as it was made, see [`Region::is_intact`].
    pub(crate) fn is_intact(&self) -> bool {
        self.region.is_intact()
    }

    fn words(pools: usize, records: usize) -> usize {
        pools * LINE + records * (RECORD + tail::RING)
    }

    /// How many pools have a line.
    #[must_use]
    pub(crate) fn pools(&self) -> usize {
        self.pools
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// A worker's record, for its owner to write and anyone to read.
    ///
    /// # Panics
    /// If there is no such record.
    #[must_use]
    pub fn record(&self, index: usize) -> Record {
        assert!(index < self.records, "record {index} of {}", self.records);
        Record { region: self.region.clone(), base: self.pools * LINE + index * RECORD }
    }

    /// A worker's last lines.
    ///
    /// # Panics
    /// If there is no such record.
    #[must_use]
    pub(crate) fn tail(&self, index: usize) -> Tail {
        let base = Self::words(self.pools, 0) + self.records * RECORD + index * tail::RING;
        Tail { region: self.region.clone(), base, record: self.record(index) }
    }

    /// The workers of a pool, as they see one another.
    pub(crate) fn siblings(&self, pool: usize) -> Siblings {
        Siblings { board: self.clone(), pool }
    }

    /// A pool's line.
    ///
    /// # Panics
    /// If there is no such pool.
    #[must_use]
    pub(crate) fn line(&self, pool: usize) -> Line {
        assert!(pool < self.pools, "pool {pool} of {}", self.pools);
        Line { region: self.region.clone(), base: pool * LINE }
    }

    /// What is posted for a pool.
    ///
    /// # Panics
    /// If there is no such pool.
    #[must_use]
    pub(crate) fn signpost(&self, pool: usize) -> Signpost {
        assert!(pool < self.pools, "pool {pool} of {}", self.pools);
        Signpost { region: self.region.clone(), line: pool * LINE }
    }

    /// A pool's bell.
    ///
    /// # Panics
    /// If there is no such pool.
    #[must_use]
    pub(crate) fn bell(&self, pool: usize) -> Bell {
        assert!(pool < self.pools, "pool {pool} of {}", self.pools);
        Bell { region: self.region.clone(), line: pool * LINE }
    }
}

impl AsFd for Scoreboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.region.as_fd()
    }
}

/// The records of a pool's workers, for one of them to look at.
#[derive(Clone, Debug)]
pub(crate) struct Siblings {
    board: Scoreboard,
    pool: usize,
}

impl Siblings {
    /// Whether anyone says that it waits for a connection. Looks at every record: for now and then.
    pub(crate) fn any_idle(&self) -> bool {
        (0..self.board.records).any(|index| self.board.record(index).waits_in(self.pool))
    }

    /// What is posted for them.
    pub(crate) fn signpost(&self) -> Signpost {
        self.board.signpost(self.pool)
    }
}
