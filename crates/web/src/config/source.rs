//! The files of a configuration, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in one of the files: where a key or a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
}

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As it is shown: as it was typed, or as the `include` says.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// The line of a byte, from 1.
    pub(crate) fn line(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().get(..byte).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The directory that relative paths in the file start from.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// The files that were read, in order: the first is the one that was named.
#[derive(Clone, Debug, Default)]
pub struct Sources(pub(crate) Vec<Source>);

impl Sources {
    /// `FILE:LINE` of a place.
    #[must_use]
    pub fn line(&self, place: &Place) -> String {
        let source = &self.0[place.file];
        format!("{}:{}", source.path.display(), source.line(place.span.start))
    }

    /// A path from a file: a relative one is relative to that file's directory.
    #[must_use]
    pub fn resolve(&self, place: &Place, path: &str) -> PathBuf {
        self.0[place.file].directory().join(path)
    }
}
