//! The end of a connection whose client may still be sending: it is listened to, so that it reads its answer.
//!
//! A socket that is closed with unread bytes in it takes back what was written (RFC 9112, section 9.6), and many clients
//! send all of a request before they read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Waker;

use tine::Activity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::channel::Channel;
use crate::connected::Connected;
use crate::connection::Settings;
use crate::limits::{
    LINGER_LEAST, LINGER_LEAVING, LINGER_PAUSE, LINGER_READS, LINGER_SILENCE, TICK,
};
use crate::progress::{Progress, nanos};
use crate::wire::Wire;

/// Lets a client that is still sending read its answer: gives it, if it is not sent yet, ends our side, and
/// listens to it for a while (RFC 9112, section 9.6), which is shorter where others wait for this worker.
pub(crate) async fn linger<I: Channel>(mut wire: Wire<I>, answer: &[u8], connected: &Connected) {
    let Connected { settings, progress, .. } = connected;
    settings.context.record().set(Activity::Closing);
    // What makes room counts it among those that go, and notes here that it is to go now.
    progress.unwanted.set(true);
    progress.wanted.set(0);
    let _member = settings.crowd.join(progress.clone(), Waker::noop().clone());
    let listen = async {
        if !answer.is_empty() {
            poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, answer)).await?;
        }
        poll_fn(|cx| wire.poll_end_writing(cx)).await?;
        let mut unwanted = vec![0; 16 * 1024];
        let mut pause = LINGER_PAUSE;
        for read in 1_u32.. {
            if read.is_multiple_of(LINGER_READS) {
                // A client that sends without a pause would keep the thread to itself.
                yield_now().await;
            }
            let mut buffer = ReadBuf::new(&mut unwanted);
            let read = poll_fn(|cx| Pin::new(&mut wire).poll_read(cx, &mut buffer));
            match timeout(LINGER_SILENCE, read).await {
                Ok(read) => read?,
                Err(_) => break,
            }
            if buffer.filled().is_empty() {
                break;
            }
            // A client that does not take its answers is read from slowly: more of what it sends is good for nothing. One that is
            // about to acknowledge them, and to close, need not be waited for.
            if tine::bytes_unsent(&wire).unwrap_or(0) > 0 {
                sleep(pause).await;
                pause = TICK.min(2 * pause);
            }
        }
        io::Result::Ok(())
    };
    // Whatever goes wrong now, nobody is there to be told.
    tokio::select! {
        _ = timeout(settings.limits.linger_timeout, listen) => {}
        () = until_wanted(settings, progress) => {}
    }
}

/// Waits until a connection that is only listened to is to end: another client waits for what it holds, or its worker leaves.
async fn until_wanted(settings: &Settings, progress: &Progress) {
    let began = tine::now();
    let (mut read, mut silent_since) = (progress.read.get(), began);
    loop {
        sleep(TICK).await;
        let now = tine::now();
        if read != progress.read.get() {
            (read, silent_since) = (progress.read.get(), now);
        }
        let lasts = |since: u64, least: u64| now >= since.saturating_add(least);
        let wanted = match settings.context.is_isolated() {
            true => settings.context.is_wanted_elsewhere(),
            false => progress.wanted.get() > 0,
        };
        if wanted && lasts(began, nanos(LINGER_LEAST).max(progress.patience(now))) {
            return;
        }
        let drained = lasts(silent_since, nanos(settings.limits.drain_idle))
            || lasts(began, nanos(LINGER_LEAVING));
        if settings.context.is_leaving() && drained {
            return;
        }
    }
}
