//! The body of a response: nothing, some bytes, or what a file holds, piece by piece.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes a file is read in at once. A file no longer than this is read before the response begins.
pub(crate) const PIECE: usize = 64 * 1024;

/// The body of an answer from [`Files`](crate::Files). Its length is always known.
///
/// A file is read when the next piece is asked for, in the thread that asks: a worker has one, and
/// waits for its disk no longer than for a page of memory. A file that has become shorter than it
/// was when the response began ends the body with an error (`UnexpectedEof`), for the length is
/// already promised; one that has grown is sent up to the length it had.
#[derive(Debug)]
pub struct FileBody(Content);

#[derive(Debug)]
enum Content {
    /// At the end, too.
    Empty,
    Bytes(Bytes),
    /// Where the file stands, there are this many bytes to come; more than none.
    File(File, u64),
}

impl FileBody {
    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(Content::Empty)
    }

    /// The next `length` bytes of a file; read here and now if they are few.
    ///
    /// # Errors
    /// The file's; `UnexpectedEof` if it is shorter.
    pub(crate) fn file(mut file: File, length: u64) -> io::Result<Self> {
        match usize::try_from(length) {
            Ok(short) if short <= PIECE => {
                let mut bytes = vec![0; short];
                file.read_exact(&mut bytes)?;
                Ok(Self::from(Bytes::from(bytes)))
            }
            _ => Ok(Self(Content::File(file, length))),
        }
    }

    fn left(&self) -> u64 {
        match &self.0 {
            Content::Empty => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, left) => *left,
        }
    }
}

impl From<Bytes> for FileBody {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Content::Empty } else { Content::Bytes(bytes) })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        // An error is the end, so the next call finds nothing.
        let piece = match std::mem::replace(&mut body.0, Content::Empty) {
            Content::Empty => return Poll::Ready(None),
            Content::Bytes(bytes) => Ok(bytes),
            Content::File(mut file, left) => next_piece(&mut file, left).inspect(|piece| {
                let left = left - piece.len() as u64;
                if left > 0 {
                    body.0 = Content::File(file, left);
                }
            }),
        };
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

/// At least one byte, at most `left` and [`PIECE`].
fn next_piece(file: &mut File, left: u64) -> io::Result<Bytes> {
    let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
    let mut bytes = vec![0; most];
    let count = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if count == 0 {
        let text = format!("the file is {left} bytes shorter than it was");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    bytes.truncate(count);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn file(length: usize) -> (tempfile::NamedTempFile, File) {
        let named = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(named.path(), pattern(length)).expect("it can be written");
        let file = named.reopen().expect("it can be read");
        (named, file)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    /// The next piece; a file body never waits.
    fn next(body: &mut FileBody) -> Option<io::Result<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Ready(frame) => {
                frame.map(|frame| frame.map(|frame| frame.into_data().expect("no trailers")))
            }
            Poll::Pending => panic!("a file body never waits"),
        }
    }

    #[test]
    fn a_body_has_the_bytes_of_its_file_and_knows_how_many() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let (_named, file) = file(length);
            let mut body = FileBody::file(file, length as u64).expect("it can be read");
            let mut all = Vec::new();
            loop {
                assert_eq!(body.size_hint().exact(), Some((length - all.len()) as u64));
                assert_eq!(body.is_end_stream(), all.len() == length);
                let Some(piece) = next(&mut body) else { break };
                let piece = piece.expect("it can be read");
                assert!((1..=PIECE).contains(&piece.len()));
                all.extend_from_slice(&piece);
            }
            assert_eq!(all, pattern(length));
            assert!(next(&mut body).is_none());
        }
    }

    #[test]
    fn a_file_that_shrinks_ends_the_body_with_an_error() {
        let length = 3 * PIECE;
        let (named, file) = file(length);
        let mut body = FileBody::file(file, length as u64).expect("it can be read");
        assert_eq!(next(&mut body).expect("a piece").expect("it can be read").len(), PIECE);
        named.as_file().set_len(PIECE as u64 + 5).expect("it can be cut");
        assert_eq!(next(&mut body).expect("a piece").expect("it can be read").len(), 5);
        let error = next(&mut body).expect("an error").expect_err("it is too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(next(&mut body).is_none() && body.is_end_stream());
    }

    #[test]
    fn a_file_that_grows_is_sent_as_long_as_it_was() {
        for length in [10, PIECE + 10] {
            let (_named, file) = file(length + 1000);
            let mut body = FileBody::file(file, length as u64).expect("it can be read");
            let pieces = std::iter::from_fn(|| next(&mut body));
            let sent: usize = pieces.map(|piece| piece.expect("it can be read").len()).sum();
            assert_eq!(sent, length);
        }
    }

    #[test]
    fn a_short_file_that_is_shorter_still_is_refused_before_the_response_begins() {
        let (_named, file) = file(10);
        let error = FileBody::file(file, 11).expect_err("there are ten");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
