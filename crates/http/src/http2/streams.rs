//! What the streams of HTTP/2 of a worker hold together, bounded.

use std::cell::Cell;
use std::rc::Rc;

use http::Request;

use crate::connected::Connected;
use crate::rest::Rests;

/// What all streams of a worker may hold, in bytes: 16,000 with small headers. One that finds no room is refused before
/// it is looked at (REFUSED_STREAM), so its client may send it again. A connection without another stream is never refused.
const HELD: usize = 64 << 20;
/// What a stream holds while it is answered, beside its fields, in bytes; as it was measured.
const STREAM: usize = 4 * 1024;
/// What a field holds beside its text, in bytes (RFC 9113, section 6.5.2).
const FIELD: usize = 32;
/// When so many bytes were given back since there were most, the freed memory goes back to the system.
const FREED: usize = 1 << 20;

/// See the module. One a worker.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    held: Cell<usize>,
    /// The most that was held since memory last went back.
    peak: Cell<usize>,
}

/// A stream with something to do, until this is dropped.
pub(crate) struct Stream {
    connected: Rc<Connected>,
    bytes: usize,
}

impl Stream {
    /// Begins one for this request, if there is room for it.
    pub(crate) fn begin<B>(connected: &Rc<Connected>, request: &Request<B>) -> Option<Self> {
        let Connected { settings, progress, .. } = &**connected;
        let fields = request.headers().iter();
        let fields: usize =
            fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let bytes = STREAM + fields + target;
        let Streams { held, peak } = &settings.streams;
        let sum = held.get() + bytes;
        if sum > HELD && progress.streams.get() > 0 {
            return None;
        }
        held.set(sum);
        peak.set(peak.get().max(sum));
        progress.streams.add(1);
        Some(Self { connected: connected.clone(), bytes })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Connected { settings, progress, .. } = &*self.connected;
        let Streams { held, peak } = &settings.streams;
        held.set(held.get() - self.bytes);
        let freed = peak.get() - held.get();
        if freed >= FREED {
            peak.set(held.get());
            Rests::add(settings, freed);
        }
        progress.streams.take_one();
        // A request's end was noted when it was answered.
        if progress.upgrades.get() {
            progress.since.set(progress.look());
        }
        if std::thread::panicking() {
            // The runtime catches it. The other streams go on, unless nothing does in this worker.
            match settings.context.is_isolated() {
                true => progress.panicked.set(true),
                false => settings.context.panicked(),
            }
        }
    }
}
