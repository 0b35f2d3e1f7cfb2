//! Shared regions: memory that the supervisor and every worker see, made before the first fork.
//!
//! A region is a sealed `memfd` (it cannot shrink under a reader, so no `SIGBUS`) of plain atomic words
//! with a header that says what it is: name, version, length. Later images of the program find their
//! region by name and refuse one whose version they do not know. There is no lock in it, so a worker
//! that dies in the middle stalls nobody; what to make of half an update is decided by whoever gives
//! the words their meaning. Readers expect nonsense: any worker may write any word.
//!
//! Four views give the words a meaning: [`counter`], [`gauge`], [`limiter`] and [`cache`]. A region for one
//! is declared with the view's [`shape`], so that another's, or an older one's, is refused. Each says where
//! it is used, what it costs, and what is left when a worker dies in the middle of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tine_os::memory::SharedMemory;

use crate::counted::arc;
use crate::{Error, Result};

pub(crate) mod cache;
pub(crate) mod counter;
pub(crate) mod gauge;
mod hash;
pub(crate) mod limiter;
#[cfg(test)]
mod processes;
pub(crate) mod shape;
pub(crate) mod wanted;
mod ways;

/// "tine" and a format number, so that a foreign file is recognised.
const MAGIC: u64 = u64::from_be_bytes(*b"tine\0rg1");
/// Words before the content: magic, version, length, and the name in the rest.
const HEADER: usize = 8;
const NAME_BYTES: usize = (HEADER - 3) * 8;
/// The largest region, in words: 1 GiB.
const WORDS_MAX: usize = 1 << 27;

/// A named, versioned piece of memory shared by all processes of a service.
///
/// Cheap to clone; the mapping goes with the last clone.
#[derive(Clone, Debug)]
pub struct Region {
    memory: Arc<SharedMemory>,
}

impl Region {
    /// Makes a region of `words` 64-bit words, all zero. Call it in the supervisor's process, before
    /// the service runs.
    ///
    /// # Errors
    /// A configuration error if the name has more than 40 bytes or the length is 0 or over 1 GiB;
    /// otherwise what `memfd_create(2)` and `mmap(2)` say.
    pub fn create(name: &str, version: u32, words: usize) -> Result<Self> {
        if name.is_empty() || name.len() > NAME_BYTES {
            let limit = format!("1 to {NAME_BYTES} bytes");
            return Err(Error::config(format!("shared region {name:?}: a name has {limit}")));
        }
        if words == 0 || words > WORDS_MAX {
            let text =
                format!("shared region {name:?}: {words} words; it may have 1 to {WORDS_MAX}");
            return Err(Error::config(text));
        }
        let memory = SharedMemory::create(name, HEADER + words)
            .map_err(|error| Error::os(format!("cannot make the shared region {name:?}"), error))?;
        let header = memory.words();
        for (word, chunk) in header[3..HEADER].iter().zip(padded(name).chunks_exact(8)) {
            word.store(u64::from_le_bytes(chunk.try_into().unwrap_or_default()), Relaxed);
        }
        header[1].store(u64::from(version), Relaxed);
        header[2].store(words as u64, Relaxed);
        header[0].store(MAGIC, Relaxed);
        Ok(Self { memory: arc(memory) })
    }

    /// Takes over a region from its descriptor.
    ///
    /// # Errors
    /// A configuration error that says what differs, if it is not a region of this name and version or
    /// its seals are missing.
    pub fn adopt(descriptor: OwnedFd, name: &str, version: u32) -> Result<Self> {
        let wrong = |what: &str| Error::config(format!("shared region {name:?}: {what}"));
        let memory = SharedMemory::from_fd(descriptor)
            .map_err(|error| Error::os(format!("cannot map the shared region {name:?}"), error))?;
        let region = Self { memory: arc(memory) };
        let words = region.memory.words();
        if words.len() <= HEADER || words[0].load(Relaxed) != MAGIC {
            return Err(wrong("the descriptor is no region"));
        }
        if region.name() != name {
            return Err(wrong(&format!("the descriptor is the region {:?}", region.name())));
        }
        if region.version() != version {
            let found = region.version();
            return Err(wrong(&format!("it has version {found}, this program knows {version}")));
        }
        Ok(region)
    }

    /// The content; its length is fixed for ever.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        &self.memory.words()[HEADER..]
    }

    /// Keeps it out of this process's core dumps, and those of children forked later: for secrets.
    ///
    /// # Errors
    /// None is to be expected (madvise(2)).
    pub fn keep_out_of_cores(&self) -> Result<()> {
        let name = self.name();
        let told = self.memory.keep_out_of_cores();
        told.map_err(|error| Error::os(format!("cannot keep {name:?} out of core dumps"), error))
    }

    /// The version its maker gave it.
    #[must_use]
    pub fn version(&self) -> u32 {
        u32::try_from(self.memory.words()[1].load(Relaxed)).unwrap_or(u32::MAX)
    }

    /// The name its maker gave it.
    #[must_use]
    pub fn name(&self) -> String {
        let words = &self.memory.words()[3..HEADER];
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

fn padded(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_found_again_by_name_and_version_only() {
        let region = Region::create("counters", 3, 16).expect("a region");
        region.words()[15].store(7, Relaxed);
        let copy = || tine_os::fd::duplicate(&region).expect("a descriptor");
        let again = Region::adopt(copy(), "counters", 3).expect("the same region");
        assert_eq!((again.words().len(), again.words()[15].load(Relaxed)), (16, 7));
        let newer = Region::adopt(copy(), "counters", 4).expect_err("another version");
        assert!(newer.is_config() && newer.to_string().contains("version 3"), "{newer}");
        let other = Region::adopt(copy(), "gauges", 3).expect_err("another name");
        assert!(other.to_string().contains("\"counters\""), "{other}");
    }

    #[test]
    fn nonsense_lengths_and_names_are_refused() {
        for (name, words) in [("", 1), ("x", 0), ("x", usize::MAX)] {
            assert!(Region::create(name, 1, words).expect_err("refused").is_config());
        }
        let long = "n".repeat(NAME_BYTES + 1);
        assert!(Region::create(&long, 1, 1).expect_err("refused").is_config());
    }
}
