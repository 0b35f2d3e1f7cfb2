//! What a path leads to, ready to be sent: a file and what is known of it, as it is and in each coding.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tine_http::FileBody;

use crate::coding::{Accepted, CODINGS, Coding};
use crate::gzip::{self, Gzipped};
use crate::kind::Kind;
use crate::validators::Validators;

/// A file up to this long is kept in memory, so that its answer is one write and nothing else; a longer
/// one is kept open, and sent by the kernel. Bytes.
pub(crate) const HELD: u64 = 16 * 1024;

/// An open file and what it was when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    /// By which it was found, beneath the root.
    pub(crate) path: PathBuf,
}

/// A file could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// What a look at the file system found.
#[derive(Debug)]
pub(crate) struct Looked {
    kind: Kind,
    plain: Opened,
    coded: Vec<(Coding, Opened)>,
}

/// What tells whether a file is the same, unchanged: device, inode, size, times of the last change of
/// content and of anything.
type Identity = [i128; 7];

/// A file as it was found, and what stands beside it.
#[derive(Debug)]
pub(crate) struct Resource {
    identities: Vec<(Option<Coding>, Identity)>,
    /// Whether it depends on `Accept-Encoding` what is sent.
    negotiated: bool,
    plain: Version,
    coded: Vec<(Coding, Version)>,
    /// Of a file that is held, made when it is first asked for; nothing if it would not be smaller.
    gzipped: OnceLock<Option<Version>>,
}

/// One representation: what is sent, and what is said of it.
#[derive(Debug)]
pub(crate) struct Version {
    /// Those of the answer to a GET.
    pub(crate) headers: HeaderMap,
    pub(crate) validators: Validators,
    /// Of the content.
    pub(crate) length: u64,
    content: Content,
    /// The content is compressed while it is sent.
    compress: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Held(Bytes),
    Open(Arc<File>),
}

impl Looked {
    /// Looks for what stands beside a file, by `open`.
    pub(crate) fn new(plain: Opened, open: impl Fn(&Path) -> Option<Opened>) -> Self {
        let kind = Kind::of(&plain.path);
        let mut coded = Vec::new();
        if kind.compresses() {
            for coding in CODINGS {
                let mut name = plain.path.as_os_str().to_owned();
                name.push(coding.suffix());
                // One older than the file is of an older version; some tools keep only whole seconds.
                let beside = open(Path::new(&name)).filter(|beside| {
                    beside.metadata.is_file() && beside.metadata.mtime() >= plain.metadata.mtime()
                });
                coded.extend(beside.map(|beside| (coding, beside)));
            }
        }
        Self { kind, plain, coded }
    }

    fn identities(&self) -> Vec<(Option<Coding>, Identity)> {
        let coded = self.coded.iter().map(|(coding, it)| (Some(*coding), identity(&it.metadata)));
        std::iter::once((None, identity(&self.plain.metadata))).chain(coded).collect()
    }
}

fn identity(file: &Metadata) -> Identity {
    [
        file.dev().into(),
        file.ino().into(),
        file.size().into(),
        file.mtime().into(),
        file.mtime_nsec().into(),
        file.ctime().into(),
        file.ctime_nsec().into(),
    ]
}

impl Resource {
    /// Reads what is to be held.
    ///
    /// # Errors
    /// The files'.
    pub(crate) fn new(looked: Looked, now: SystemTime) -> Result<Self, Unread> {
        let identities = looked.identities();
        let negotiated = looked.kind.compresses();
        let kind = looked.kind.content_type();
        let version = |opened, coding| Version::new(opened, &kind, coding, negotiated, now);
        let mut plain = version(looked.plain, None)?;
        if let Some(coding) = looked.kind.coded {
            plain.headers.insert(CONTENT_ENCODING, coding.name());
        }
        let mut coded = Vec::new();
        for (coding, opened) in looked.coded {
            coded.push((coding, version(opened, Some(coding))?));
        }
        Ok(Self { identities, negotiated, plain, coded, gzipped: OnceLock::new() })
    }

    /// Whether it is what was found now. What could have changed unnoticed is not.
    pub(crate) fn is(&self, looked: &Looked) -> bool {
        let mut versions = std::iter::once(&self.plain).chain(self.coded.iter().map(|it| &it.1));
        versions.all(|version| version.validators.is_settled())
            && self.identities == looked.identities()
    }

    /// What keeping it costs: bytes of memory, open files.
    pub(crate) fn cost(&self) -> (usize, usize) {
        let versions = std::iter::once(&self.plain).chain(self.coded.iter().map(|it| &it.1));
        let costs = versions.map(|version| match &version.content {
            // As much again when it is compressed.
            Content::Held(bytes) => (bytes.len() * (1 + usize::from(self.negotiated)), 0),
            Content::Open(_) => (0, 1),
        });
        costs.fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1))
    }

    /// Hands the version that suits the request to `answer`.
    pub(crate) fn with_version<T>(
        &self,
        request: &HeaderMap,
        answer: impl FnOnce(&Version) -> T,
    ) -> T {
        if !self.negotiated || !request.contains_key(ACCEPT_ENCODING) {
            return answer(&self.plain);
        }
        // What is compressed now has no bytes that could be counted.
        let compressible =
            (gzip::LEAST..=gzip::MOST).contains(&self.plain.length) && !request.contains_key(RANGE);
        let beside = |coding| self.coded.iter().find(|(it, _)| *it == coding);
        let is_there =
            |coding| beside(coding).is_some() || (coding == Coding::Gzip && compressible);
        let Some(coding) = Accepted::of(request).best(is_there) else { return answer(&self.plain) };
        if let Some((_, version)) = beside(coding) {
            return answer(version);
        }
        match &self.plain.content {
            Content::Held(bytes) => {
                let made = self.gzipped.get_or_init(|| self.plain.gzipped_now(bytes));
                answer(made.as_ref().unwrap_or(&self.plain))
            }
            Content::Open(_) => answer(&Version { compress: true, ..self.plain.gzipped() }),
        }
    }
}

impl Version {
    fn new(
        opened: Opened,
        kind: &HeaderValue,
        coding: Option<Coding>,
        negotiated: bool,
        now: SystemTime,
    ) -> Result<Self, Unread> {
        let length = opened.metadata.len();
        let validators = Validators::new(&opened.metadata, coding, now);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.clone());
        headers.insert(CONTENT_LENGTH, length.into());
        validators.insert(&mut headers);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, coding.name());
        }
        if negotiated {
            headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        }
        let content = if length <= HELD {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            let Opened { file, path, .. } = opened;
            file.read_exact_at(&mut bytes, 0).map_err(|error| Unread { path, error })?;
            Content::Held(bytes.into())
        } else {
            Content::Open(Arc::new(opened.file))
        };
        Ok(Self { headers, validators, length, content, compress: false })
    }

    /// This version compressed; nothing if that would not make it smaller.
    fn gzipped_now(&self, bytes: &[u8]) -> Option<Self> {
        let smaller = gzip::compress(bytes).ok().filter(|smaller| smaller.len() < bytes.len())?;
        let length = smaller.len() as u64;
        let mut version = Self { length, content: Content::Held(smaller), ..self.gzipped() };
        version.headers.insert(CONTENT_LENGTH, length.into());
        Some(version)
    }

    /// The same behind gzip. How it is compressed may change with the program: so its tag is weak, and
    /// ranges are not offered.
    fn gzipped(&self) -> Self {
        let validators = self.validators.weakened();
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_LENGTH);
        headers.remove(ACCEPT_RANGES);
        headers.insert(CONTENT_ENCODING, Coding::Gzip.name());
        validators.insert(&mut headers);
        let content = self.content.clone();
        Self { headers, validators, length: self.length, content, compress: false }
    }

    /// Whether its bytes can be counted.
    pub(crate) fn has_ranges(&self) -> bool {
        self.headers.contains_key(ACCEPT_RANGES)
    }

    /// What is worth saying with an answer that has no content (RFC 9110, 15.4.5).
    pub(crate) fn headers_without_content(&self) -> HeaderMap {
        let content = [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, ACCEPT_RANGES];
        let mut headers = self.headers.clone();
        content.into_iter().for_each(|name: HeaderName| drop(headers.remove(name)));
        headers
    }

    /// All of it.
    pub(crate) fn body(&self) -> FileBody {
        let content = self.part(&(0..self.length));
        if self.compress { FileBody::wrap(Gzipped::new(content)) } else { content }
    }

    /// Part of the content, which must be there.
    pub(crate) fn part(&self, range: &Range<u64>) -> FileBody {
        match &self.content {
            Content::Held(bytes) => {
                let at = |place| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                FileBody::from(bytes.slice(at(range.start)..at(range.end)))
            }
            Content::Open(file) => {
                FileBody::file(file.clone(), range.start, range.end.saturating_sub(range.start))
            }
        }
    }
}
