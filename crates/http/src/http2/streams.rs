//! A stream of HTTP/2 with something to do, and what it holds.

use std::rc::Rc;

use http::Request;

use crate::exchange::Connected;

/// What a stream holds while it is answered, beside its fields, in bytes; as it was measured.
const STREAM: usize = 4 * 1024;
/// What a field holds beside its text, in bytes (RFC 9113, section 6.5.2).
const FIELD: usize = 32;
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
        if !settings.streams.take(bytes, progress.streams.get() == 0) {
            return None;
        }
        progress.streams.add(1);
        Some(Self { connected: connected.clone(), bytes })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Connected { settings, progress, .. } = &*self.connected;
        if let Some(freed) = settings.streams.give_back(self.bytes) {
            settings.trim.add(freed);
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
