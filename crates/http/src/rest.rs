//! An idle connection at rest.
//!
//! hyper keeps room for a request's head from the first one on, 8 KiB, and a state of its own. Of thousands of connections
//! most are silent most of the time: each of them gives all of that back after a moment, and its task waits for
//! the socket alone. HTTP begins anew with the first byte that is heard.

use std::cell::Cell;
use std::future::poll_fn;

use tokio::time::sleep;

use crate::connection::{End, Settings, drive_until};
use crate::io::Channel;
use crate::watch::Watch;
use crate::wire::Wire;

/// After so many rests freed memory is given back to the system, or after a quarter of those at rest, if that is more;
/// and not before a hundred times as long has passed as the last time took, for it walks the whole heap.
const TRIM_AFTER: usize = 256;
const TRIM_SHARE: u64 = 100;

/// The connections of a worker that are at rest.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    now: Cell<usize>,
    since_trim: Cell<usize>,
    /// When memory may be given back again; monotonic nanoseconds.
    next_trim: Cell<u64>,
}

impl Rests {
    fn begin(&self) -> Resting<'_> {
        let (now, since_trim) = (self.now.get() + 1, self.since_trim.get() + 1);
        self.now.set(now);
        self.since_trim.set(since_trim);
        if since_trim >= TRIM_AFTER.max(now / 4) {
            self.trim();
        }
        Resting(self)
    }

    fn trim(&self) {
        let began = tine::now();
        if began < self.next_trim.get() {
            return;
        }
        tine::trim();
        let ended = tine::now();
        self.next_trim.set(ended + TRIM_SHARE * (ended - began));
        self.since_trim.set(0);
    }
}

/// One of them.
struct Resting<'a>(&'a Rests);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.now.set(self.0.now.get() - 1);
    }
}

/// Waits for the client's next word, in as little room as there is: whether there is one.
pub(crate) async fn rest<I: Channel>(
    wire: &mut Wire<I>,
    watch: &mut Watch,
    settings: &Settings,
) -> bool {
    let _resting = settings.rests.begin();
    watch.may_rest(false);
    // Whatever is wrong with the socket, nobody is there to be told.
    let mut heard = poll_fn(|cx| wire.poll_heard(cx).map(|heard| heard.unwrap_or(false)));
    let mut end = drive_until(&mut heard, watch, settings.leaving()).await;
    if matches!(end, End::Other) {
        // As long as one that was not at rest; and if it speaks, HTTP tells it that this is its last answer.
        let silence = Box::pin(sleep(2 * settings.limits.drain_idle));
        end = drive_until(&mut heard, watch, silence).await;
    }
    watch.may_rest(true);
    matches!(end, End::Done(true))
}
