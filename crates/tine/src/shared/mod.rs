//! Shared regions: memory that the supervisor and every worker see, made before the first fork.
//!
//! A region is a sealed `memfd` (it cannot shrink under a reader, so no `SIGBUS`) of plain atomic words. Any worker may
//! write any word of it, so each process keeps the region's name and version in memory of its own, and the kernel
//! keeps the length. The next image of the program gets name and version from the handover letter. A header in front
//! of the words repeats them for debuggers; a header that differs shows that the memory was written over. There is no
//! lock in a region, so a worker that dies in the middle stalls no other; what to make of half an update is decided by
//! the view that gives the words their meaning. Readers expect nonsense.
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

/// "tine" and a format number: the first word of each region.
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
    inner: Arc<Inner>,
}

/// What this process knows of a region. Name and version are never read from the shared words.
#[derive(Debug)]
struct Inner {
    memory: SharedMemory,
    name: String,
    version: u32,
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
        let region = Self::of(memory, name, version);
        for (word, value) in region.inner.memory.words().iter().zip(region.header()) {
            word.store(value, Relaxed);
        }
        Ok(region)
    }

    /// Maps a region from its descriptor. The caller knows its name and version; the header is not looked at, see
    /// [`is_intact`](Self::is_intact).
    ///
    /// # Errors
    /// What `mmap(2)` says; a configuration error if the seals are missing or there is no word in it.
    pub(crate) fn adopt(descriptor: OwnedFd, name: &str, version: u32) -> Result<Self> {
        let memory = SharedMemory::from_fd(descriptor)
            .map_err(|error| Error::os(format!("cannot map the shared region {name:?}"), error))?;
        if memory.words().len() <= HEADER {
            return Err(Error::config(format!("shared region {name:?}: it is too short")));
        }
        Ok(Self::of(memory, name, version))
    }

    fn of(memory: SharedMemory, name: &str, version: u32) -> Self {
        Self { inner: arc(Inner { memory, name: name.to_owned(), version }) }
    }

    /// Whether the header is as it was made. If not, some process has written over it, and so maybe over the content.
    pub(crate) fn is_intact(&self) -> bool {
        let header = self.inner.memory.words().iter().zip(self.header());
        header.into_iter().all(|(word, value)| word.load(Relaxed) == value)
    }

    /// The header that belongs to this name, version and length.
    fn header(&self) -> [u64; HEADER] {
        let mut header = [0; HEADER];
        header[..3].copy_from_slice(&[MAGIC, self.version().into(), self.words().len() as u64]);
        let mut bytes = [0; NAME_BYTES];
        bytes[..self.inner.name.len()].copy_from_slice(self.inner.name.as_bytes());
        for (word, chunk) in header[3..].iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        header
    }

    /// The content; its length is fixed for ever.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        &self.inner.memory.words()[HEADER..]
    }

    /// Keeps it out of this process's core dumps, and those of children forked later: for secrets.
    ///
    /// # Errors
    /// None is to be expected (madvise(2)).
    pub fn keep_out_of_cores(&self) -> Result<()> {
        let name = self.name();
        let told = self.inner.memory.keep_out_of_cores();
        told.map_err(|error| Error::os(format!("cannot keep {name:?} out of core dumps"), error))
    }

    /// The version its maker gave it.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// The name its maker gave it.
    #[must_use]
    pub fn name(&self) -> String {
        self.inner.name.clone()
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.memory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_knows_of_a_region_is_not_read_from_shared_words() {
        let region = Region::create("counters", 3, 16).expect("a region");
        region.words()[15].store(7, Relaxed);
        let copy = || tine_os::fd::duplicate(&region).expect("a descriptor");
        let again = Region::adopt(copy(), "counters", 3).expect("the same region");
        assert_eq!((again.words().len(), again.words()[15].load(Relaxed)), (16, 7));
        assert!(region.is_intact() && again.is_intact());
        for word in &region.inner.memory.words()[..HEADER] {
            let before = word.swap(0xdead_beef, Relaxed);
            assert!(!region.is_intact() && !again.is_intact());
            let anew = Region::adopt(copy(), "counters", 3).expect("it can still be mapped");
            for region in [&region, &again, &anew] {
                assert_eq!((region.name().as_str(), region.version()), ("counters", 3));
                assert_eq!(region.words().len(), 16);
            }
            word.store(before, Relaxed);
        }
        for (name, version) in [("gauges", 3), ("counters", 4)] {
            assert!(!Region::adopt(copy(), name, version).expect("a region").is_intact());
        }
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
