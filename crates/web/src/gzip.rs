//! Compressing what nobody has compressed beforehand.
//!
//! Only gzip: everybody who takes another coding takes this one, and it is the cheapest. Whoever wants
//! his site smaller than that puts `.br` or `.zst` beside his files, once.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame};
use tine_http::FileBody;

/// Less than this is sent as it is: it fits into a packet or two either way. Bytes.
pub(crate) const LEAST: u64 = 1024;
/// More than this is sent as it is, by the kernel: a worker would be busy with one client for too long.
/// Bytes.
pub(crate) const MOST: u64 = 8 << 20;
/// Of 1 (fast) to 9 (small).
const LEVEL: Compression = Compression::new(4);

/// All of `content` at once. Meant for what is short and kept.
pub(crate) fn compress(content: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
    encoder.write_all(content)?;
    Ok(encoder.finish()?.into())
}

/// A body, compressed piece by piece as it is sent.
#[derive(Debug)]
pub(crate) struct Gzipped {
    source: FileBody,
    /// `None` at the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// A piece was compressed since others were last let in.
    worked: bool,
}

impl Gzipped {
    pub(crate) fn new(source: FileBody) -> Self {
        Self { source, encoder: Some(GzEncoder::new(Vec::new(), LEVEL)), worked: false }
    }
}

impl Body for Gzipped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        // A piece is about a millisecond's work: the worker's other connections come in between.
        if std::mem::take(&mut body.worked) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(encoder) = &mut body.encoder else { return Poll::Ready(None) };
        let written = match ready!(Pin::new(&mut body.source).poll_frame(cx)) {
            Some(Ok(frame)) => frame.data_ref().map_or(Ok(()), |data| encoder.write_all(data)),
            Some(Err(error)) => Err(error),
            None => {
                let last = encoder.try_finish().map(|()| std::mem::take(encoder.get_mut()));
                body.encoder = None;
                return Poll::Ready(Some(last.map(|last| Frame::data(last.into()))));
            }
        };
        if let Err(error) = written {
            body.encoder = None;
            return Poll::Ready(Some(Err(error)));
        }
        body.worked = true;
        let made = std::mem::take(encoder.get_mut());
        // It may keep what is short to itself; an empty frame is none.
        Poll::Ready(Some(Ok(Frame::data(made.into()))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::io::Read as _;
    use std::pin::pin;
    use std::task::Waker;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    fn expand(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut all).expect("it is whole");
        all
    }

    /// The body's bytes, and how often it let others in.
    fn collect(body: Gzipped) -> (io::Result<Bytes>, usize) {
        let mut collected = pin!(body.collect());
        let mut waits = 0;
        loop {
            match collected.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(all) => return (all.map(|all| all.to_bytes()), waits),
                Poll::Pending => waits += 1,
            }
        }
    }

    #[test]
    fn what_is_compressed_expands_to_the_same() {
        let text = "the same words again and again; ".repeat(20_000).into_bytes();
        for length in [0, 1, 1000, text.len()] {
            let text = &text[..length];
            assert_eq!(expand(&compress(text).expect("memory")), text);
            let file = tempfile::tempfile().expect("a file");
            (&file).write_all(text).expect("it can be written");
            let body = Gzipped::new(FileBody::file(file.into(), 0, length as u64));
            let (bytes, waits) = collect(body);
            let bytes = bytes.expect("it can be read");
            assert_eq!(expand(&bytes), text);
            assert!(length < 1000 || bytes.len() < length / 10, "{} bytes", bytes.len());
            assert_eq!(waits, length.div_ceil(64 * 1024), "others come in after each piece");
        }
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_no_end() {
        let file = tempfile::tempfile().expect("a file");
        let (bytes, _) = collect(Gzipped::new(FileBody::file(file.into(), 0, 1)));
        assert_eq!(bytes.expect_err("it is empty").kind(), io::ErrorKind::UnexpectedEof);
    }
}
