//! Memory that a worker has freed, given back to the system.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// When connections have freed so many bytes they are given back to the system: a moment later, for others follow, and
/// after a hundred times as long as it took the last time, for it walks the whole heap.
const TRIM_AFTER: usize = 256 * REST;
/// What a connection frees when it comes to rest, in bytes.
const REST: usize = 16 * 1024;
const TRIM_PAUSE: Duration = Duration::from_millis(100);
const TRIM_SHARE: u32 = 100;

/// What the connections of a worker have freed. One a worker.
#[derive(Debug, Default)]
pub(crate) struct Trim {
    /// Bytes since memory was last given back.
    freed: Cell<usize>,
    /// A task waits to give memory back.
    waits: Cell<bool>,
    took: Cell<Duration>,
}

impl Trim {
    /// So many bytes more were freed.
    pub(crate) fn add(self: &Rc<Self>, bytes: usize) {
        self.freed.set(self.freed.get().saturating_add(bytes));
        if self.freed.get() < TRIM_AFTER || self.waits.replace(true) {
            return;
        }
        let trim = self.clone();
        tokio::task::spawn_local(async move {
            sleep(trim.took.get().saturating_mul(TRIM_SHARE).max(TRIM_PAUSE)).await;
            let began = Instant::now();
            tine::trim();
            trim.took.set(began.elapsed());
            trim.freed.set(0);
            trim.waits.set(false);
        });
    }
}
