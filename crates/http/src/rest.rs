//! Memory that a worker has freed, given back to the system.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::connection::Settings;

/// When connections have freed so many bytes they are given back to the system: a moment later, for others follow, and
/// after a hundred times as long as it took the last time, for it walks the whole heap.
const TRIM_AFTER: usize = 256 * REST;
/// What a connection frees when it comes to rest, in bytes.
const REST: usize = 16 * 1024;
const TRIM_PAUSE: Duration = Duration::from_millis(100);
const TRIM_SHARE: u32 = 100;

/// What the connections of a worker have freed.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    /// Bytes since memory was last given back.
    freed: Cell<usize>,
    /// A task waits to give memory back.
    waits: Cell<bool>,
    took: Cell<Duration>,
}

impl Rests {
    /// So many bytes more were freed.
    pub(crate) fn add(settings: &Rc<Settings>, bytes: usize) {
        let rests = &settings.rests;
        rests.freed.set(rests.freed.get().saturating_add(bytes));
        if rests.freed.get() < TRIM_AFTER || rests.waits.replace(true) {
            return;
        }
        let settings = settings.clone();
        tokio::task::spawn_local(async move {
            let rests = &settings.rests;
            sleep(rests.took.get().saturating_mul(TRIM_SHARE).max(TRIM_PAUSE)).await;
            let began = Instant::now();
            tine::trim();
            rests.took.set(began.elapsed());
            rests.freed.set(0);
            rests.waits.set(false);
        });
    }
}
