//! An idle connection at rest.
//!
//! hyper keeps room for a request's head from the first one on, 8 KiB, and a state of its own. Of thousands of connections
//! most are silent most of the time: each of them gives all of that back after a moment, and its task waits for
//! the socket alone. HTTP begins anew with the first byte that is heard.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::connection::{End, Settings, drive_until};
use crate::io::Channel;
use crate::watch::Watch;
use crate::wire::Wire;

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

/// Waits for the client's next word, in as little room as there is: whether there is one.
pub(crate) async fn rest<I: Channel>(
    wire: &mut Wire<I>,
    watch: &mut Watch,
    settings: &Rc<Settings>,
) -> bool {
    Rests::add(settings, REST);
    watch.may_rest(false);
    // Whatever is wrong with the socket, nobody is there to be told.
    let mut heard = poll_fn(|cx| wire.poll_heard(cx).map(|heard| heard.unwrap_or(false)));
    let mut end = drive_until(&mut heard, watch, settings.leaving()).await;
    if matches!(end, End::Other) {
        // As long as any that is silent; and if it speaks, HTTP tells it that this is its last answer.
        let silence = Box::pin(sleep(settings.limits.drain_idle));
        end = drive_until(&mut heard, watch, silence).await;
    }
    watch.may_rest(true);
    matches!(end, End::Done(true))
}
