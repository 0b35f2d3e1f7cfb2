//! What becomes of an answer that was gathered, and that the socket would not take.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::*;
use crate::fresh::Fresh;
use crate::outbox::Present;
use crate::secured::Speaks;
use crate::wire::Wire;

const ANSWER: &[u8] = b"an answer";

/// A connection whose answer was gathered and has come back, and its client.
struct Returned {
    io: Heard<Wire<Fresh<UnixStream>>>,
    client: UnixStream,
    _company: [Present; 2],
}

impl Returned {
    async fn new() -> Self {
        let (client, server) = UnixStream::pair().expect("sockets");
        client.set_nonblocking(true).expect("a socket");
        server.set_nonblocking(true).expect("a socket");
        let mut other = server.try_clone().expect("a descriptor");
        let progress = Arc::new(Progress::new(1));
        let wire = Wire::new(Fresh::new(server, false), Speaks::Either, progress.clone());
        let (io, _company) = (Heard::new(wire, progress), [Present::new(), Present::new()]);
        let mut returned = Self { io, client, _company };
        // It is the runtime's from now on, which learns that it can be written to.
        assert!(returned.reads_nothing());
        yield_now().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut returned.io).poll_write(&mut cx, ANSWER).is_ready());
        assert!(Pin::new(&mut returned.io).poll_flush(&mut cx).is_ready());
        assert!(returned.reads_nothing() && returned.progress().gathered.get());
        while other.write(&[0; 4096]).is_ok() {}
        outbox::send_all();
        assert!(returned.progress().is_writing());
        returned
    }

    fn progress(&self) -> &Progress {
        &self.io.progress
    }

    fn reads_nothing(&mut self) -> bool {
        let mut room = [0; 8];
        let mut buffer = hyper::rt::ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, buffer.unfilled()).is_pending()
    }

    /// What has come to the client, less what filled the socket.
    fn received(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It ends with an error: there is no more for now.
        let _ = self.client.read_to_end(&mut bytes);
        bytes.into_iter().skip_while(|&byte| byte == 0).collect()
    }
}

fn block_on(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

/// As hyper does while a handler is at work.
#[test]
fn it_is_written_by_who_flushes_and_does_not_read() {
    block_on(async {
        let mut returned = Returned::new().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut returned.io).poll_flush(&mut cx).is_pending());
        assert!(returned.progress().is_writing() && returned.received().is_empty());
        poll_fn(|cx| Pin::new(&mut returned.io).poll_flush(cx)).await.expect("there is room");
        assert_eq!(returned.received(), ANSWER);
        assert!(!returned.progress().is_writing() && !returned.progress().held.get());
    });
}

#[test]
fn an_upgrade_comes_behind_it() {
    block_on(async {
        let mut returned = Returned::new().await;
        assert!(returned.received().is_empty());
        yield_now().await;
        returned.progress().upgrades.set(true);
        let write = poll_fn(|cx| Pin::new(&mut returned.io).poll_write(cx, b", and more"));
        assert_eq!(write.await.expect("there is room"), 10);
        assert_eq!(returned.received(), b"an answer, and more");
    });
}
