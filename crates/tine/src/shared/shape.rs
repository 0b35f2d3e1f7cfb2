//! What a region must be like for a view: how long, and the same at both ends.

use super::Region;
use super::hash::plain;
use crate::{Error, Result};

/// What to declare a region with, so that a view of it can be opened: the two numbers that
/// [`crate::Prefork::region`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Hash of the kind of view, its layout, and what the layout depends on (the counters' names, the
    /// entries' sizes): a region of another one is refused.
    pub version: u32,
    /// The region's length, in 64-bit words. 0 for what makes no sense, which no region is made of.
    pub words: usize,
}

impl Shape {
    /// `kind` ends in the layout's number; `parts` is what it depends on.
    pub(super) fn new<'a>(
        kind: &str,
        parts: impl IntoIterator<Item = &'a [u8]>,
        words: usize,
    ) -> Self {
        let mut all = kind.as_bytes().to_vec();
        for part in parts {
            all.extend((part.len() as u64).to_le_bytes());
            all.extend(part);
        }
        let hash = plain(&all);
        Self { version: u32::try_from(hash >> 32).unwrap_or(0), words }
    }

    /// Refuses a region of another shape.
    pub(super) fn check(self, region: &Region, what: &str) -> Result<()> {
        let name = region.name();
        let found = Self { version: region.version(), words: region.words().len() };
        if found != self {
            return Err(Error::config(format!(
                "shared region {name:?} holds no such {what}: it has version {} and {} words, and \
                 they need version {} and {} words",
                found.version, found.words, self.version, self.words
            )));
        }
        Ok(())
    }
}
