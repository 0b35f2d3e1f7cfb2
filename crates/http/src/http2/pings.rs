//! Whether a silent HTTP/2 client is still there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use crate::connection_state::Progress;

/// A client that sends nothing for so long is asked by a ping.
const SILENCE: Duration = Duration::from_secs(30);
/// It has so long to send anything.
const ANSWER: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pings {
    line: Option<PingPong>,
    alarm: Pin<Box<Sleep>>,
    /// Bytes that had come when the alarm was set.
    read: u64,
    asked: bool,
}

impl Pings {
    pub(crate) fn new(line: Option<PingPong>) -> Self {
        Self { line, alarm: Box::pin(sleep(SILENCE)), read: 0, asked: false }
    }

    /// Ready when the client is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Poll<()> {
        let Some(line) = &mut self.line else { return Poll::Pending };
        while self.alarm.as_mut().poll(cx).is_ready() {
            let read = progress.read.get();
            let speaks = read != self.read;
            if !speaks && self.asked {
                return Poll::Ready(());
            }
            self.read = read;
            self.asked = !speaks;
            let mut pause = SILENCE;
            if self.asked {
                // The answer to the ping before may not have been looked at. If it has not come this one is refused, and
                // that one goes on being waited for.
                let _ = line.poll_pong(cx);
                let _ = line.send_ping(Ping::opaque());
                pause = ANSWER;
            }
            self.alarm.as_mut().reset(Instant::now() + pause);
        }
        Poll::Pending
    }
}
