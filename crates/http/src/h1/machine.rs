//! What an HTTP/1 connection does next: a state machine of bytes that have come and answers that were made.
//!
//! It knows no socket, no clock and no service. Its driver reads, writes, calls and waits as it is told, and says
//! what came of it.

use http::response::Parts;
use http::{HeaderMap, HeaderValue};

use super::Refusal;
use super::decode::{Decoded, Decoder};
use super::encode::{self, Asked, CHUNK_END, Encoded, Framing, chunk_line, last_chunk};
use super::head::{BodyFraming, Bounds, Head, Parsed, Reader};
use crate::secured::Speaks;

/// How HTTP/2 begins (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is left of a body that its service does not want is read and thrown away up to so many bytes; beyond
/// that the connection ends.
const MOST_DISCARDED: u64 = 256 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A request is to come, or the rest of its head.
    Head,
    /// The service makes the answer.
    Making,
    /// The answer's body is sent.
    Sending,
    /// The answer is given, and the request's body is not at its end.
    Finishing,
    /// What was answered is sent, then the connection ends.
    Closing,
}

/// What came of reading a head.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost every request an allocation")]
pub(crate) enum Next {
    /// More must come.
    More,
    /// A request, of so many bytes.
    Call(Head, usize),
    /// It is no request that can be understood; the connection ends with this answer.
    Refuse(Refusal),
    /// The client speaks HTTP/2.
    Http2,
    /// The client does not begin with HTTP/2, and it was agreed on (RFC 7301, section 3.2).
    NotHttp2,
}

/// What becomes of a piece of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// So many bytes of it are sent; the service has promised no more.
    pub(crate) length: u64,
    /// `CHUNK_END` follows it.
    pub(crate) in_chunk: bool,
}

/// What is known of a request's body.
#[derive(Debug)]
enum Intake {
    /// It is at its end, or there is none.
    Done,
    Reading(Decoder),
    /// It cannot be read on: it has broken off, or its bytes are none of a body.
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    stage: Stage,
    speaks: Speaks,
    bounds: Bounds,
    reader: Reader,
    /// Requests so far.
    requests: u64,
    asked: Asked,
    intake: Intake,
    /// The client waits for 100 before it sends its body.
    expects: bool,
    /// Bytes that were thrown away of this body.
    discarded: u64,
    framing: Framing,
    /// The connection goes on after this answer.
    keeps: bool,
    /// A request was refused, so its client may be in the middle of sending.
    refused: bool,
    /// The client has not said that this request is its last.
    has_more: bool,
}

impl Machine {
    /// `speaks`: which HTTP the client may begin with.
    pub(crate) fn new(bounds: Bounds, speaks: Speaks) -> Self {
        Self {
            stage: Stage::Head,
            speaks,
            bounds,
            reader: Reader::default(),
            requests: 0,
            asked: Asked::default(),
            intake: Intake::Done,
            expects: false,
            discarded: 0,
            framing: Framing::Empty,
            keeps: true,
            refused: false,
            has_more: true,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Reads a request's head from all that has come of it.
    pub(crate) fn read(&mut self, input: &[u8]) -> Next {
        if input.is_empty() {
            return Next::More;
        }
        if self.requests == 0 && self.speaks != Speaks::Http1 {
            let common = input.len().min(PREFACE.len());
            match (input[..common] == PREFACE[..common], self.speaks) {
                (true, _) if common == PREFACE.len() => return Next::Http2,
                (true, _) => return Next::More,
                (false, Speaks::Http2) => return Next::NotHttp2,
                (false, _) => {}
            }
        }
        match self.reader.read(input, &self.bounds) {
            Parsed::Partial => Next::More,
            Parsed::Head(head, used) => {
                self.begin(&head);
                Next::Call(head, used)
            }
            Parsed::Refused(refusal) => {
                (self.requests, self.refused) = (self.requests + 1, true);
                (self.asked, self.intake, self.keeps) = (Asked::default(), Intake::Done, false);
                self.stage = Stage::Making;
                Next::Refuse(refusal)
            }
        }
    }

    fn begin(&mut self, head: &Head) {
        self.requests += 1;
        self.asked = Asked::of(head);
        self.intake = match head.body {
            BodyFraming::Empty => Intake::Done,
            framing => Intake::Reading(Decoder::new(framing, self.bounds.body)),
        };
        self.expects = head.expects;
        self.discarded = 0;
        self.has_more = head.keeps;
        self.keeps = head.keeps && head.refused.is_none();
        self.refused = head.refused.is_some();
        self.stage = Stage::Making;
    }

    /// Looks at what has come of a chunked body: why the request must not reach the service, if two readers could understand
    /// two things of it. Nothing is used up.
    pub(crate) fn look_ahead(&mut self, mut input: &[u8]) -> Option<Refusal> {
        let Intake::Reading(decoder) = &self.intake else { return None };
        if decoder.exact().is_some() {
            return None;
        }
        let mut decoder = decoder.clone();
        loop {
            match decoder.decode(input) {
                Decoded::Data { skip, data } => input = &input[skip + data..],
                Decoded::Refused(refusal) => {
                    (self.keeps, self.refused) = (false, true);
                    return Some(refusal);
                }
                Decoded::More { .. } | Decoded::End { .. } => return None,
            }
        }
    }

    /// How many bytes of the request's body are still to come, if that was said.
    pub(crate) fn body_left(&self) -> Option<u64> {
        match &self.intake {
            Intake::Done => Some(0),
            Intake::Reading(decoder) => decoder.exact(),
            Intake::Broken => None,
        }
    }

    /// Whether more of the request's body is to come.
    pub(crate) fn reads_body(&self) -> bool {
        matches!(self.intake, Intake::Reading(_))
    }

    /// Whether the client must be told to send the body before more of it is read. Says so once.
    pub(crate) fn must_continue(&mut self) -> bool {
        self.reads_body() && std::mem::take(&mut self.expects)
    }

    /// Reads the request's body on. `Data` and `End` are what they say; behind a refusal nothing is read any more.
    pub(crate) fn body(&mut self, input: &[u8]) -> Decoded {
        let Intake::Reading(decoder) = &mut self.intake else {
            return Decoded::End { used: 0, trailers: None };
        };
        if !input.is_empty() {
            // Who sends it does not wait for leave to do so.
            self.expects = false;
        }
        let decoded = decoder.decode(input);
        match decoded {
            Decoded::End { .. } => self.intake = Intake::Done,
            Decoded::Refused(_) => self.break_off(),
            _ => {}
        }
        decoded
    }

    /// The client sends nothing more, and its request's body is not at its end.
    pub(crate) fn break_off(&mut self) {
        (self.intake, self.keeps) = (Intake::Broken, false);
    }

    /// An answer is made: writes its head. `exact`: the length of its body, if known. `keeps`: the server lets the
    /// connection be kept.
    pub(crate) fn answer(
        &mut self,
        out: &mut Vec<u8>,
        answer: &Parts,
        exact: Option<u64>,
        keeps: bool,
        date: &HeaderValue,
    ) -> Encoded {
        // RFC 9110, section 10.1.1: a client that still waits for 100 may or may not send its body now.
        let keeps = keeps && self.keeps && !(self.expects && self.reads_body());
        // RFC 9110, section 15.2: no interim answer follows the final one, also if the body is read only now.
        self.expects = false;
        let encoded = encode::head(out, answer, exact, self.asked, keeps, date);
        (self.framing, self.keeps) = (encoded.framing, encoded.keeps);
        self.stage = Stage::Sending;
        encoded
    }

    /// Whether the answer's body has more to give, as far as its framing goes.
    pub(crate) fn wants_piece(&self) -> bool {
        !matches!(self.framing, Framing::Empty | Framing::Length(0) | Framing::Upgraded)
    }

    /// Whether an answer is being sent whose end nothing but the end of the connection says.
    pub(crate) fn is_endless(&self) -> bool {
        self.stage == Stage::Sending && self.framing == Framing::UntilClose
    }

    /// The connection is another protocol's, as soon as the answer's head is sent.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.framing == Framing::Upgraded
    }

    /// The answer's body has a piece of this length, which is not empty: writes what stands before it.
    pub(crate) fn piece(&mut self, out: &mut Vec<u8>, length: u64) -> Piece {
        match &mut self.framing {
            Framing::Length(left) => {
                let length = length.min(*left);
                *left -= length;
                Piece { length, in_chunk: false }
            }
            Framing::Chunked { .. } => {
                chunk_line(out, length);
                Piece { length, in_chunk: true }
            }
            Framing::UntilClose => Piece { length, in_chunk: false },
            Framing::Empty | Framing::Upgraded => Piece { length: 0, in_chunk: false },
        }
    }

    /// Writes what stands behind a piece of a chunk.
    pub(crate) fn end_piece(&self, out: &mut Vec<u8>, piece: Piece) {
        if piece.in_chunk {
            out.extend_from_slice(CHUNK_END);
        }
    }

    /// The answer's body is at its end: writes what says so. False if it has promised more: then the client must see
    /// that it is not whole, by the end of the connection.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>, trailers: Option<HeaderMap>) -> bool {
        match self.framing {
            Framing::Length(1..) => {
                self.keeps = false;
                return false;
            }
            Framing::Chunked { trailers: takes } => {
                last_chunk(out, trailers.filter(|_| takes));
            }
            _ => {}
        }
        true
    }

    /// The answer is given. What comes next is the next request, or the rest of this one, or the end.
    /// `is_wanted`: the service may still read the rest of this one, which the end of the connection waits for.
    pub(crate) fn finish(&mut self, is_wanted: bool) {
        let is_bearable = |rest: &Decoder| rest.exact().is_none_or(|left| left <= MOST_DISCARDED);
        self.stage = match (&self.intake, self.keeps) {
            (Intake::Reading(rest), keeps) if is_wanted || keeps && is_bearable(rest) => {
                Stage::Finishing
            }
            (Intake::Done, true) => Stage::Head,
            _ => Stage::Closing,
        };
    }

    /// So many bytes of a body that nothing wants any more were thrown away. The connection ends if they are too many.
    pub(crate) fn discard(&mut self, bytes: usize) {
        self.discarded += bytes as u64;
        if self.discarded > MOST_DISCARDED {
            self.close();
        }
    }

    /// What is answered is sent, and then the connection ends.
    pub(crate) fn close(&mut self) {
        (self.keeps, self.stage) = (false, Stage::Closing);
    }

    /// Whether the client may be in the middle of sending something that will not be read: a socket that is closed
    /// then takes back the answer (RFC 9112, section 9.6).
    pub(crate) fn may_be_sending(&self) -> bool {
        self.refused || !matches!(self.intake, Intake::Done)
    }

    /// Whether the client may have sent another request, for all it knew.
    pub(crate) fn may_have_more(&self) -> bool {
        self.has_more
    }
}
