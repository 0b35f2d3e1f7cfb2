//! Frames of HTTP/2 that ask for nothing: pings, settings, priorities, and whatever else is neither a request nor data.
//!
//! The `h2` crate answers them, or reads over them, as many as come. So they are counted as they pass, and held against what the
//! client is served meanwhile: one that lives from its answers has reason to send some, and one that sends nothing else
//! costs a worker time for nothing (CVE-2019-9512, 9515).

use crate::limits::{CONTROL_FRAMES, CONTROL_PER_SECOND};

/// How HTTP/2 begins (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header: three bytes of length, its kind, flags, four bytes of stream (RFC 9113, section 4.1).
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;

const SECOND: u64 = 1_000_000_000;

/// Where in a frame the bytes are that come.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; HEADER],
    /// As much of it as has come.
    begun: usize,
    /// Bytes to come before the next header.
    skip: usize,
}

impl Frames {
    /// The first frame comes behind so many bytes.
    pub(crate) fn behind(preface: usize) -> Self {
        Self { header: [0; HEADER], begun: 0, skip: preface }
    }

    /// How many frames that ask for nothing these bytes begin, the next there are.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut idle = 0;
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let part = (HEADER - self.begun).min(bytes.len());
            self.header[self.begun..self.begun + part].copy_from_slice(&bytes[..part]);
            self.begun += part;
            bytes = &bytes[part..];
            if self.begun == HEADER {
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.begun = 0;
                let asks = kind == HEADERS || (kind == DATA && self.skip > 0);
                idle += u64::from(!asks);
            }
        }
        idle
    }
}

/// How far a client is ahead with them.
#[derive(Debug)]
pub(crate) struct Account {
    /// As many as there were, and as much as it was served, when last seen.
    idle: u64,
    served: u64,
    /// Those beyond what it was served and what any client may send with time.
    ahead: i64,
    /// Until when time was counted; monotonic nanoseconds.
    until: u64,
}

impl Account {
    pub(crate) fn new(now: u64) -> Self {
        Self { idle: 0, served: 0, ahead: 0, until: now }
    }

    /// Whether it is too far ahead: there were `idle` in all, and it was served enough for `served`.
    pub(crate) fn is_overdrawn(&mut self, idle: u64, served: u64, now: u64) -> bool {
        let more = idle.saturating_sub(self.idle);
        let less = served.saturating_sub(self.served);
        (self.idle, self.served) = (idle, served);
        // Whole ones, so that none is lost however often this is asked.
        let rests = now.saturating_sub(self.until) / (SECOND / CONTROL_PER_SECOND);
        self.until += rests * (SECOND / CONTROL_PER_SECOND);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let ahead = self.ahead.saturating_add(signed(more));
        let ahead = ahead.saturating_sub(signed(less.saturating_add(rests)));
        // What was not used is kept within the same bound: pings and windows come a while after what they are for.
        self.ahead = ahead.max(-CONTROL_FRAMES);
        self.ahead > CONTROL_FRAMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).expect("short"), kind, 0, 0, 0, 0, 0];
        frame.resize(HEADER + payload, 6);
        frame
    }

    #[test]
    fn frames_are_told_apart_however_their_bytes_come() {
        let mut bytes = vec![6; 24];
        for (kind, payload) in [(4, 6), (6, 8), (1, 30), (0, 9), (2, 5), (0, 0), (8, 4)] {
            bytes.extend(frame(kind, payload));
        }
        for piece in 1..bytes.len() {
            let mut frames = Frames::behind(24);
            let idle: u64 = bytes.chunks(piece).map(|piece| frames.count(piece)).sum();
            assert_eq!(idle, 5, "in pieces of {piece}: all but a request and some data");
        }
    }

    #[test]
    fn who_pings_now_and_then_may_do_so_for_days_and_who_does_nothing_else_may_not() {
        let mut account = Account::new(0);
        for ping in 1..100_000 {
            assert!(!account.is_overdrawn(ping, 0, ping * SECOND / CONTROL_PER_SECOND));
        }
        let mut account = Account::new(0);
        let (most, second) = (CONTROL_FRAMES.unsigned_abs(), SECOND);
        assert!(!account.is_overdrawn(most, 0, second / 1000));
        assert!(account.is_overdrawn(most + 1, 0, second / 1000));
    }

    #[test]
    fn who_is_served_may_send_as_many_as_go_with_it_and_not_save_them_up() {
        let mut account = Account::new(0);
        for round in 1..1000 {
            assert!(!account.is_overdrawn(round * 5000, round * 5000, 1));
        }
        let most = CONTROL_FRAMES.unsigned_abs();
        let (idle, served) = (999 * 5000, 1_000_000_000);
        assert!(!account.is_overdrawn(idle, served, 1));
        assert!(!account.is_overdrawn(idle + 2 * most, served, 1));
        assert!(account.is_overdrawn(idle + 2 * most + 1, served, 1));
    }
}
