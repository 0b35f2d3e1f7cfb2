//! What a child says: both of its streams, read all the time so that it never blocks, kept as
//! lines.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

/// Bytes read at once, and how often under one hold of the lock: together more than a pipe can have
/// in it (1 MiB, pipe(7)), so that one look sees all that was written before it, and a child that
/// never stops writing cannot hold it up.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 32;

/// The lines of one child. Shared by the thread that reads and those who wait.
#[derive(Debug)]
pub(crate) struct Log {
    streams: [OwnedFd; 2],
    text: Mutex<Text>,
    news: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) lines: Vec<String>,
    /// Where the next search begins: after the last match.
    pub(crate) cursor: usize,
    partial: [Vec<u8>; 2],
    ended: [bool; 2],
}

impl Log {
    /// Reads `streams` in a thread of its own until nobody holds their other ends.
    pub(crate) fn follow(streams: [OwnedFd; 2]) -> Arc<Self> {
        let log = Arc::new(Self { streams, text: Mutex::default(), news: Condvar::new() });
        let reader = Arc::clone(&log);
        // Not joined: a process that escaped the kit may hold the streams for ever.
        thread::spawn(move || reader.read_all());
        log
    }

    fn read_all(&self) {
        loop {
            let ended = self.text().ended;
            let open = (0..2).filter(|&index| !ended[index]);
            let mut fds: Vec<_> =
                open.map(|index| PollFd::new(&self.streams[index], PollFlags::IN)).collect();
            if fds.is_empty() {
                return;
            }
            // The result does not matter: whatever is ready is read under the lock, by the first
            // who holds it.
            let _ = poll(&mut fds, None);
            drop(self.caught_up());
        }
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        // A test that panics with the lock held has only read.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text with everything in it that was written before this call.
    pub(crate) fn caught_up(&self) -> MutexGuard<'_, Text> {
        let mut text = self.text();
        let mut grew = false;
        for (index, stream) in self.streams.iter().enumerate() {
            grew |= text.pump(index, stream);
        }
        if grew {
            self.news.notify_all();
        }
        text
    }

    /// Waits until `find` finds, within `deadline`; `Err` with the reason when it does not, or when
    /// nobody can write any more.
    pub(crate) fn wait<T>(
        &self,
        deadline: Duration,
        find: impl Fn(&mut Text) -> Option<T>,
    ) -> Result<T, String> {
        let end = Instant::now() + deadline;
        let mut text = self.caught_up();
        loop {
            if let Some(found) = find(&mut text) {
                return Ok(found);
            }
            if text.ended == [true; 2] {
                return Err("its output has ended".to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("not within {deadline:?}"));
            }
            text = self.news.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Text {
    /// Reads what stream `index` has now; whether there was something, be it the end.
    fn pump(&mut self, index: usize, stream: &OwnedFd) -> bool {
        let mut grew = false;
        let mut chunk = vec![0; CHUNK];
        for _ in 0..CHUNKS {
            if self.ended[index] {
                break;
            }
            // Asked first: a named pipe nobody has opened yet reads as ended, and is not.
            let mut fds = [PollFd::new(stream, PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(0) => return grew,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => panic!("poll: {error}"),
            }
            match read(stream, &mut chunk) {
                Ok(0) => self.end(index),
                Ok(count) => self.take(index, &chunk[..count]),
                Err(Errno::AGAIN) => return grew,
                Err(Errno::INTR) => continue,
                Err(_) => self.end(index),
            }
            grew = true;
        }
        grew
    }

    fn take(&mut self, index: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.partial[index].extend_from_slice(&rest[..end]);
            self.end_line(index);
            rest = &rest[end + 1..];
        }
        self.partial[index].extend_from_slice(rest);
    }

    fn end(&mut self, index: usize) {
        self.ended[index] = true;
        if !self.partial[index].is_empty() {
            self.end_line(index);
        }
    }

    fn end_line(&mut self, index: usize) {
        let line = std::mem::take(&mut self.partial[index]);
        self.lines.push(String::from_utf8_lossy(&line).into_owned());
    }

    /// The next line with `pattern` in it, from the cursor on, which then stands behind it.
    pub(crate) fn next_match(&mut self, pattern: &str) -> Option<String> {
        let found = self.lines.iter().skip(self.cursor).position(|line| line.contains(pattern))?;
        self.cursor += found + 1;
        Some(self.lines[self.cursor - 1].clone())
    }

    /// All of it, unfinished lines too, for a person to read.
    pub(crate) fn transcript(&self) -> String {
        let mut lines = self.lines.clone();
        lines.extend(
            self.partial
                .iter()
                .filter(|partial| !partial.is_empty())
                .map(|partial| format!("{} (no end of line)", String::from_utf8_lossy(partial))),
        );
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::*;
    use crate::DEADLINE;

    #[test]
    fn what_was_written_before_a_look_is_seen_by_it() -> std::io::Result<()> {
        let (first, mut writer) = pipe()?;
        let (second, other) = pipe()?;
        let streams = [first.into(), second.into()];
        for stream in &streams {
            rustix::io::ioctl_fionbio(stream, true)?;
        }
        let log = Log::follow(streams);
        writer.write_all(b"one\ntwo\nthr")?;
        assert_eq!(log.caught_up().lines, ["one", "two"]);
        assert!(log.caught_up().transcript().contains("thr (no end of line)"));
        writer.write_all(b"ee\n\xff")?;
        assert_eq!(log.wait(DEADLINE, |text| text.next_match("t")).as_deref(), Ok("two"));
        assert_eq!(log.wait(DEADLINE, |text| text.next_match("t")).as_deref(), Ok("three"));
        drop((writer, other));
        assert_eq!(
            log.wait(DEADLINE, |text| text.next_match("t")),
            Err("its output has ended".to_owned())
        );
        assert_eq!(log.caught_up().lines.last().map(String::as_str), Some("\u{fffd}"));
        Ok(())
    }
}
