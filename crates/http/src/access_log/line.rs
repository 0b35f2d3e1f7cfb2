//! One request's line, from the request to the last byte of the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Buf;

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;

use super::User;
use super::field::{Asked, End, Head, Outcome};
use super::sent::Sent;
use super::writer::Writer;
use crate::client::{Client, Origin};
use crate::file::Section;

/// What is known of a line before its end. Used again and again.
#[derive(Debug, Default)]
pub(super) struct Slip {
    /// The values of its earlier phases, one run after the other; behind them who has asked, if the service says so.
    pub(super) bytes: Vec<u8>,
    /// Where each run ends: those of the request, then those of the answer.
    pub(super) ends: Vec<u32>,
    /// Monotonic nanoseconds.
    began: u64,
    /// A HEAD request, whose answer has no body.
    head: bool,
    version: Version,
    /// Somebody asks whether the connection goes on.
    asks_end: bool,
    /// The client would go on.
    keeps: bool,
    status: Option<u16>,
    sent: Sent,
    /// Bytes of the body that were handed over to be sent.
    given: u64,
    /// Bytes of it that were taken: by the socket, or by a buffer together with other answers.
    body: u64,
    around: u64,
    /// How many bytes the body has, if that is known.
    expected: Option<u64>,
    /// The body was handed over to its end.
    whole: bool,
}

/// See the module. The answer holds it, and so does each piece of its body until it is sent. Written when the last of them
/// is dropped, so that every request has one, whatever becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    writer: Rc<Writer>,
    /// There until the end. Small, for every connection has room for it.
    slip: Option<Rc<RefCell<Slip>>>,
}

/// A piece of an answer's body whose bytes are counted when they are taken to be sent.
#[derive(Debug)]
pub(crate) struct Counted<D> {
    data: D,
    line: Option<Line>,
}

impl<D> Counted<D> {
    /// A piece of an answer that has no line.
    pub(crate) fn nowhere(data: D) -> Self {
        Self { data, line: None }
    }
}

impl Counted<Section> {
    /// What is still to be sent.
    pub(crate) fn section(&self) -> &Section {
        &self.data
    }

    /// No more than so many bytes of it are sent.
    pub(crate) fn cut(&mut self, most: u64) {
        self.data.left = self.data.left.min(most);
    }

    /// So many bytes of it were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.data.at = self.data.at.saturating_add(count as u64);
        self.data.left = self.data.left.saturating_sub(count as u64);
        self.line.iter().for_each(|line| line.taken(count));
    }
}

impl<D: Buf> Buf for Counted<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, parts: &mut [std::io::IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(parts)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        self.line.iter().for_each(|line| line.taken(count));
    }
}

impl Line {
    /// A request has come; `now` is monotonic nanoseconds.
    pub(crate) fn begin<B>(
        writer: &Rc<Writer>,
        request: &Request<B>,
        client: &Client,
        origin: &Origin,
        now: u64,
    ) -> Self {
        let head = Some(Head::of(request));
        let shared = writer.begin(&Asked { client, origin, head, first_line: b"", now });
        let mut slip = shared.borrow_mut();
        slip.began = now;
        slip.head = request.method() == Method::HEAD;
        slip.version = request.version();
        slip.asks_end = writer.asks_end();
        slip.keeps = !slip.asks_end || keeps(request.version(), request.headers());
        drop(slip);
        Self { writer: writer.clone(), slip: Some(shared) }
    }

    /// It is answered: the header is made.
    pub(crate) fn answered<B: Body>(&self, response: &Response<B>) {
        let Some(slip) = &self.slip else { return };
        let slip = &mut *slip.borrow_mut();
        slip.status = Some(response.status().as_u16());
        if self.writer.asks_sent() && slip.version == Version::HTTP_2 {
            slip.sent = Sent::of(response, slip.head, slip.version, slip.keeps);
        }
        slip.keeps &= !slip.asks_end || !says(response.headers(), "close");
        self.writer.answer(slip, Some(response.headers()));
        if let Some(User(name)) = response.extensions().get() {
            slip.bytes.extend_from_slice(name.as_bytes());
        }
        // Nobody asks for a body that must not be sent.
        slip.whole = slip.head || response.body().is_end_stream();
        // hyper does not ask for the end of a body whose length it knows.
        slip.expected = response.body().size_hint().exact().or_else(|| length(response.headers()));
    }

    /// The header is written over HTTP/1, in so many bytes; whether the body is sent in chunks.
    pub(crate) fn written(&self, head: usize, chunked: bool) {
        if let Some(slip) = &self.slip {
            slip.borrow_mut().sent = Sent { head: head as u64, chunked };
        }
    }

    /// Part of a file is handed over, to be sent by the kernel.
    pub(crate) fn file(&self, section: Section) -> Counted<Section> {
        self.given(section.left);
        Counted { data: section, line: Some(self.clone()) }
    }

    fn given(&self, bytes: u64) {
        if let Some(slip) = &self.slip {
            let mut slip = slip.borrow_mut();
            slip.given += bytes;
            slip.around += slip.sent.around(bytes);
        }
    }

    /// A piece of the body is handed over, to be sent.
    pub(crate) fn piece<D: Buf>(&self, data: D) -> Counted<D> {
        self.given(data.remaining() as u64);
        Counted { data, line: Some(self.clone()) }
    }

    /// So many bytes of a piece were taken to be sent.
    fn taken(&self, bytes: usize) {
        if let Some(slip) = &self.slip {
            slip.borrow_mut().body += bytes as u64;
        }
    }

    /// The body is handed over to its end.
    pub(crate) fn whole(&self) {
        if let Some(slip) = &self.slip {
            slip.borrow_mut().whole = true;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(shared) = self.slip.take().filter(|slip| Rc::strong_count(slip) == 1) else {
            return;
        };
        {
            let mut slip = shared.borrow_mut();
            if slip.status.is_none() {
                self.writer.answer(&mut slip, None);
            }
            let outcome = slip.outcome(self.writer.asks_time());
            self.writer.end(&slip, &outcome);
        }
        self.writer.keep(shared);
    }
}

impl Slip {
    fn outcome(&self, timed: bool) -> Outcome<'_> {
        let given = self.whole || self.expected.is_some_and(|expected| self.given >= expected);
        let whole = given && self.body >= self.given;
        let end = match (whole && self.status.is_some(), self.keeps) {
            (false, _) => End::Aborted,
            (true, true) => End::Kept,
            (true, false) => End::Closed,
        };
        let now = if timed { tine::now() } else { self.began };
        // An answer that breaks off has no last chunk.
        let behind = if given { self.sent.end() } else { 0 };
        let around = self.sent.head + self.around + behind;
        Outcome {
            user: &self.bytes[self.ends.last().map_or(0, |&end| end as usize)..],
            status: self.status,
            body: self.body,
            sent: around + self.body,
            took: Duration::from_nanos(now.saturating_sub(self.began)),
            end,
        }
    }

    /// As new, with its room.
    pub(super) fn clear(&mut self) {
        let (mut bytes, mut ends) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends));
        bytes.clear();
        ends.clear();
        *self = Self { bytes, ends, ..Self::default() };
    }
}

/// Whether a client that sent this would send more (RFC 9112, section 9.3).
fn keeps(version: Version, headers: &HeaderMap) -> bool {
    match version {
        Version::HTTP_09 => false,
        Version::HTTP_10 => says(headers, "keep-alive"),
        _ => !says(headers, "close"),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn says(headers: &HeaderMap, what: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut words = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    words.any(|word| word.trim().eq_ignore_ascii_case(what))
}
