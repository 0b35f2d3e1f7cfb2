//! A body that is a file, or parts of files, or just bytes.
//!
//! By itself it is a body like any other, read piece by piece: whoever wraps it, reads it or drops it
//! gets what he expects. Only where nothing stands between it and the connection does [`crate::send`]
//! take the files out of it and have the kernel send them.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tine_os::beneath::path_of;

use crate::piece::most_read;

/// A body made of files, bytes, or both. Its length is known, unless it was made by
/// [`wrap`](Self::wrap).
///
/// Returned as a response's body itself, on HTTP/1 without TLS, a file goes from the page cache to the
/// socket by sendfile(2) and is never copied. Behind anything else (a body that wraps this one, as axum's
/// routers and compressing middleware do; TLS) it is read, 64 KiB at a time, when the next piece is asked for.
/// Over HTTP/2, returned as it is, it is read as the client's window allows, 16 KiB at a time. Both happen on the worker's thread, which waits for its disk no longer than for a page of
/// memory.
///
/// Where the kernel refuses to send a file so (`EINVAL` on some file systems, `ENOSYS` or `EPERM` under a filter) it is read
/// and written.
///
/// A file that cannot be read to the end that was promised ends the body, and with it the connection, with an error that names
/// the file, and the log has it (`UnexpectedEof` where the file has become shorter). What a file has gained since is not
/// sent.
///
/// ```
/// use std::{fs::File, sync::Arc};
/// use tine_http::FileBody;
///
/// fn download(path: &str) -> std::io::Result<http::Response<FileBody>> {
///     let file = File::open(path)?;
///     let length = file.metadata()?.len();
///     Ok(http::Response::new(FileBody::file(Arc::new(file), 0, length)))
/// }
/// ```
#[derive(Debug, Default)]
pub struct FileBody(Content);

#[derive(Default)]
enum Content {
    /// At the end, too.
    #[default]
    Empty,
    Bytes(Bytes),
    File(Section),
    /// One after the other.
    Several(VecDeque<FileBody>),
    Other(Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>),
}

/// Part of a file; not empty.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    /// Where it begins.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) left: u64,
}

impl FileBody {
    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// `length` bytes of a file, from `offset` on. The file is not looked at before they are sent; its own
    /// position means nothing and stays.
    #[must_use]
    pub fn file(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self(match length {
            0 => Content::Empty,
            left => Content::File(Section { file, at: offset, left }),
        })
    }

    /// These bodies, one after the other.
    #[must_use]
    pub fn chain(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(Content::Several(parts.into_iter().collect()))
    }

    /// Another body behind the same type, for a service that mostly answers with files: one that is
    /// computed while it is sent.
    #[must_use]
    pub fn wrap(body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> Self {
        Self(Content::Other(Box::pin(body)))
    }

    /// The part that comes next, if that is of a file and there are `least` bytes of it.
    fn next_file(&mut self, least: u64) -> Option<&mut Self> {
        match self.0 {
            Content::Empty | Content::Bytes(_) | Content::Other(_) => None,
            Content::File(ref section) => (section.left >= least).then_some(self),
            Content::Several(ref mut parts) => {
                while parts.front().is_some_and(Body::is_end_stream) {
                    parts.pop_front();
                }
                parts.front_mut()?.next_file(least)
            }
        }
    }

    /// How much there is of a file that comes next, if one does.
    pub(crate) fn section_left(&mut self) -> Option<u64> {
        let Self(content) = self.next_file(1)?;
        let Content::File(section) = content else { return None };
        Some(section.left)
    }

    /// Reads at least one byte and at most `most` of a file that comes next, if one does.
    pub(crate) fn read_section(&mut self, most: usize) -> Option<io::Result<Bytes>> {
        let Self(content) = self.next_file(1)?;
        Some(content.read(most))
    }

    /// Takes up to `most` bytes of a file out, if that is what comes next and there are `least` of it.
    pub(crate) fn next_section(&mut self, least: u64, most: u64) -> Option<Section> {
        let Self(content) = self.next_file(least)?;
        let Content::File(section) = content else { return None };
        let first = Section { left: section.left.min(most), ..section.clone() };
        section.at = section.at.saturating_add(first.left);
        section.left -= first.left;
        if section.left == 0 {
            *content = Content::Empty;
        }
        Some(first)
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
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        match &mut body.0 {
            Content::Empty => Poll::Ready(None),
            Content::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                body.0 = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::File(_) => Poll::Ready(Some(body.0.read(most_read()).map(Frame::data))),
            Content::Several(parts) => {
                while let Some(part) = parts.front_mut() {
                    match Pin::new(part).poll_frame(cx) {
                        Poll::Ready(None) => drop(parts.pop_front()),
                        Poll::Ready(Some(Err(error))) => {
                            body.0 = Content::Empty;
                            return Poll::Ready(Some(Err(error)));
                        }
                        frame => return frame,
                    }
                }
                Poll::Ready(None)
            }
            Content::Other(other) => other.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Bytes(_) | Content::File(_) => false,
            Content::Several(parts) => parts.iter().all(Body::is_end_stream),
            Content::Other(other) => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::File(section) => SizeHint::with_exact(section.left),
            Content::Several(parts) => sum(parts.iter().map(Body::size_hint)),
            Content::Other(other) => other.size_hint(),
        }
    }
}

fn sum(parts: impl Iterator<Item = SizeHint>) -> SizeHint {
    let (mut lower, mut upper) = (0_u64, Some(0_u64));
    for part in parts {
        lower = lower.saturating_add(part.lower());
        upper = upper.zip(part.upper()).and_then(|(sum, part)| sum.checked_add(part));
    }
    let mut hint = SizeHint::new();
    hint.set_lower(lower);
    if let Some(upper) = upper {
        hint.set_upper(upper);
    }
    hint
}

impl Content {
    /// Reads at most so many bytes of the file that this is.
    fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let Self::File(section) = self else { return Ok(Bytes::new()) };
        let piece = section.read(most);
        if piece.is_err() || section.left == 0 {
            *self = Self::Empty;
        }
        piece
    }
}

impl Section {
    /// At least one byte, at most `most`, and the section begins after it.
    pub(crate) fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let most = usize::try_from(self.left).map_or(most, |left| left.min(most));
        let mut bytes = vec![0; most];
        let count = loop {
            match self.file.read_at(&mut bytes, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| broken(&self.file, &error))?,
            }
        };
        if count == 0 {
            return Err(self.shrunk());
        }
        bytes.truncate(count);
        self.at = self.at.saturating_add(count as u64);
        self.left -= count as u64;
        Ok(bytes.into())
    }

    /// The length of an answer was promised, and the file ends before this section.
    pub(crate) fn shrunk(&self) -> io::Error {
        let text = format!("it is {} bytes shorter than it was", self.left);
        broken(&self.file, &io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }
}

/// Why a file could not be sent to its end, with its path.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl Broken {
    /// It, if that is what an error goes back to.
    pub(crate) fn below<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let mut errors = causes.filter_map(|error| error.downcast_ref::<io::Error>());
        errors.find_map(|error| error.get_ref()?.downcast_ref())
    }
}

fn broken(file: &File, error: &io::Error) -> io::Error {
    let path = path_of(file).map_or_else(|_| "a file".to_owned(), |it| it.display().to_string());
    io::Error::new(error.kind(), Broken(format!("{path}: {error}")))
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(section) => section.fmt(f),
            Self::Several(parts) => parts.fmt(f),
            Self::Other(_) => f.write_str("Other(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::piece::PIECE;

    fn file(length: usize) -> Arc<File> {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&pattern(length), 0).expect("it can be written");
        Arc::new(file)
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

    /// All of it, while it keeps its word about how much is left.
    fn collect(mut body: FileBody, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            assert_eq!(body.size_hint().exact(), Some((length - all.len()) as u64));
            assert_eq!(body.is_end_stream(), all.len() == length);
            let Some(piece) = next(&mut body) else { break };
            let piece = piece.expect("it can be read");
            assert!((1..=PIECE).contains(&piece.len()));
            all.extend_from_slice(&piece);
        }
        assert!(next(&mut body).is_none());
        all
    }

    #[test]
    fn a_body_has_the_bytes_of_its_file_and_knows_how_many() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let body = FileBody::file(file(length), 0, length as u64);
            assert_eq!(collect(body, length), pattern(length));
        }
    }

    #[test]
    fn parts_of_files_and_bytes_come_in_order() {
        let file = file(PIECE + 100);
        let part = |offset, length| FileBody::file(file.clone(), offset, length);
        let several = FileBody::chain([
            FileBody::empty(),
            FileBody::from(Bytes::from_static(b"<")),
            part(PIECE as u64 + 90, 10),
            FileBody::chain([]),
            FileBody::chain([part(5, 0), part(0, 3)]),
            FileBody::from(Bytes::from_static(b">")),
        ]);
        let all = pattern(PIECE + 100);
        assert_eq!(collect(several, 15), [b"<", &all[PIECE + 90..], &all[..3], b">"].concat());
    }

    #[test]
    fn sections_are_taken_out_only_where_they_come_next() {
        let bytes = || FileBody::from(Bytes::from_static(b"x"));
        assert!(
            bytes().next_section(1, 9).is_none() && FileBody::empty().next_section(1, 9).is_none()
        );
        let file = file(10);
        assert!(FileBody::file(file.clone(), 0, 5).next_section(6, 9).is_none(), "it is too short");
        let mut body = FileBody::chain([bytes(), FileBody::file(file.clone(), 2, 5), bytes()]);
        assert!(body.next_section(1, 4).is_none(), "bytes come first");
        assert_eq!(next(&mut body).expect("a piece").expect("bytes"), "x");
        let places = std::iter::from_fn(|| body.next_section(1, 4));
        assert_eq!(places.map(|it| (it.at, it.left)).collect::<Vec<_>>(), [(2, 4), (6, 1)]);
        assert_eq!(collect(body, 1), b"x");
        assert_eq!(Arc::strong_count(&file), 1, "who has sent a file does not keep it");
    }

    #[test]
    fn a_file_that_shrinks_ends_the_body_with_an_error() {
        let length = 3 * PIECE;
        let file = file(length);
        let whole = FileBody::file(file.clone(), 0, length as u64);
        let mut body = FileBody::chain([whole, FileBody::from(Bytes::from_static(b"x"))]);
        assert_eq!(next(&mut body).expect("a piece").expect("it can be read").len(), PIECE);
        file.set_len(PIECE as u64 + 5).expect("it can be cut");
        assert_eq!(next(&mut body).expect("a piece").expect("it can be read").len(), 5);
        let error = next(&mut body).expect("an error").expect_err("it is too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(next(&mut body).is_none() && body.is_end_stream());
    }

    #[test]
    fn a_file_that_grows_is_sent_as_long_as_it_was() {
        for length in [10, PIECE + 10] {
            let body = FileBody::file(file(length + 1000), 0, length as u64);
            assert_eq!(collect(body, length), pattern(length));
        }
    }
}
