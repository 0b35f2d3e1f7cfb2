//! A client's stream, and what is noted of what passes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection_state::Progress;
use crate::socket::Watched;

/// A stream of bytes to a client, whatever carries it.
pub(crate) trait Channel: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Whether what is written to the descriptor is what the client reads, so that the kernel can send
    /// files.
    const SENDS_FILES: bool;

    /// Does `write` to the descriptor as soon as it can be written to, and again when it could not.
    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>>;

    /// The socket, if what is written to it is what the client reads, and once the runtime watches it.
    fn socket(&self) -> Option<Arc<dyn Watched>>;
}

/// Something was to be written: whether it has to wait for the client.
pub(crate) fn note_writing(stream: &impl AsFd, progress: &Progress, waits: bool) {
    progress.writing.set(waits);
    if waits {
        // A socket asks for more when a good part of it is free, which may be minutes after a slow client has
        // begun to take something.
        progress.unsent.set(tine::bytes_unsent(stream).unwrap_or(0) as u64);
    }
    note_receiving(stream, progress);
}

/// While the worker leaves, a client that still receives is not silent, however quiet it is.
pub(crate) fn note_receiving(stream: &impl AsFd, progress: &Progress) {
    if progress.leaving.get() {
        let unsent = || tine::bytes_unsent(stream).unwrap_or(0) > 0;
        progress.receiving.set(progress.writing.get() || unsent());
    }
}
