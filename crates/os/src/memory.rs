//! Memory that several processes see: an array of atomic words in a sealed memfd.
#![allow(unsafe_code)]

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Neither its size nor its content changes any more, nor this.
const SEALED: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);
/// Bytes in a word.
const WORD: usize = size_of::<AtomicU64>();

/// An array of 64-bit atomics, zero at first, that other processes may have mapped too.
///
/// The mapping survives `fork` (parent and child see each other's writes; it is `MAP_SHARED`) and
/// not `exec`: there the descriptor is passed on and [`from_fd`](Self::from_fd) maps it again. The
/// size is sealed, so no process that has the descriptor can cut the memory away from under the
/// others.
///
/// Readers must expect nonsense in it: whoever has it mapped may write anything at any time.
#[derive(Debug)]
pub struct SharedMemory {
    words: NonNull<AtomicU64>,
    length: usize,
    fd: OwnedFd,
}

impl SharedMemory {
    /// `words` words, all zero. The name is for people: `/proc/PID/maps` shows it as `memfd:NAME`.
    ///
    /// Pages are taken from memory as they are first written to.
    ///
    /// # Errors
    /// `InvalidInput` for no words at all, for more than fit into an address space, or for a name
    /// with a zero byte or longer than 249 bytes; `EMFILE` or `ENOMEM` (memfd_create(2), mmap(2)).
    pub fn create(name: &str, words: usize) -> io::Result<Self> {
        let bytes = words.checked_mul(WORD).filter(|&bytes| bytes > 0);
        let bytes = bytes.ok_or_else(|| refused(&format!("{words} words of shared memory")))?;
        let fd = memory_file(name)?;
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(fd, words)
    }

    /// Maps what another process [created](Self::create).
    ///
    /// # Errors
    /// `InvalidInput` unless it is sealed against shrinking and growing (a write to memory that was
    /// cut away is a SIGBUS) and a whole number of words, at least one; `EINVAL` if it cannot be
    /// sealed at all, so is no memfd.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let size_is_fixed = SealFlags::SHRINK | SealFlags::GROW;
        if !fcntl_get_seals(&fd)?.contains(size_is_fixed) {
            return Err(refused("shared memory whose size is not sealed"));
        }
        let bytes = rustix::fs::fstat(&fd)?.st_size;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes > 0 && bytes % WORD == 0 => Self::map(fd, bytes / WORD),
            _ => Err(refused(&format!("shared memory of {bytes} bytes"))),
        }
    }

    /// `fd` is a memfd of exactly `length` words whose size is sealed.
    fn map(fd: OwnedFd, length: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: at an address of the kernel's choice, so no memory of anybody's is replaced.
        let start =
            unsafe { mmap(ptr::null_mut(), length * WORD, access, MapFlags::SHARED, &fd, 0) }?;
        let words = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { words, length, fd })
    }

    /// Keeps this mapping out of core dumps (`MADV_DONTDUMP`, madvise(2)): for secrets. Children that are
    /// forked later have the mapping, and this with it.
    ///
    /// # Errors
    /// None is to be expected (madvise(2)).
    pub fn keep_out_of_cores(&self) -> io::Result<()> {
        let start = self.words.as_ptr().cast();
        // SAFETY: exactly what `map` mapped, and what is said of it changes no byte.
        unsafe { madvise(start, self.length * WORD, Advice::LinuxDontDump) }?;
        Ok(())
    }

    /// The words. Every process that has this memory mapped sees the same.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `length` words long, sealed against shrinking and
        // lives as long as `self`; every bit pattern is an AtomicU64, and other processes' writes
        // are what atomics are for.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.length) }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is unmapped once, by the only
// owner.
unsafe impl Send for SharedMemory {}

// SAFETY: a shared reference gives out nothing but atomics and a borrowed descriptor.
unsafe impl Sync for SharedMemory {}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; every reference into it has borrowed `self`, so none
        // is left.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), self.length * WORD) };
    }
}

/// A file in memory with these bytes, which nobody can change any more; close-on-exec.
///
/// # Errors
/// As [`SharedMemory::create`]; `ENOSPC`, `ENOMEM`.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memory_file(name)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SEALED)?;
    Ok(file.into())
}

/// What is in a file that [`sealed`] has made.
///
/// # Errors
/// `InvalidInput` if it could still change; `EINVAL` if it is no such file at all.
pub fn read_sealed(fd: impl AsFd) -> io::Result<Vec<u8>> {
    if !fcntl_get_seals(&fd)?.contains(SEALED) {
        return Err(refused("a file that is not sealed"));
    }
    read_from_start(fd)
}

/// A page to write on: so many zero bytes in memory that become neither more nor fewer, whoever writes. Close-on-exec.
///
/// # Errors
/// As [`SharedMemory::create`].
pub fn page(name: &str, bytes: usize) -> io::Result<OwnedFd> {
    let fd = memory_file(name)?;
    rustix::fs::ftruncate(&fd, bytes as u64)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// What was written on a [`page`], up to the first zero byte; as far as it is text.
///
/// # Errors
/// None is to be expected (pread(2)).
pub fn read_page(fd: impl AsFd) -> io::Result<String> {
    let bytes = read_from_start(fd)?;
    let written = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(written).into_owned())
}

/// Wherever others, who share the file, have stopped to read or write.
fn read_from_start(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let length = usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::retry_on_intr(|| rustix::io::pread(&fd, &mut bytes[done..], done as u64))?
        {
            0 => break,
            more => done += more,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Gives memory that this process has freed back to the system (malloc_trim(3)); walks the whole heap, so a
/// large one takes milliseconds. Only the GNU C library has it; elsewhere nothing is done.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer, how much to keep at the top of the heap.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn memory_file(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 don't know the flag; later ones may insist on it (sysctl
        // vm.memfd_noexec).
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        other => Ok(other?),
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("refused: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_again_and_again_and_what_is_not_is_refused() {
        let file = sealed("state", b"all there is").unwrap();
        for _ in 0..2 {
            assert_eq!(read_sealed(&file).unwrap(), b"all there is");
        }
        assert!(std::fs::File::from(file).write_all(b"more").is_err());
        let page = page("page", 8).unwrap();
        assert_eq!(read_sealed(&page).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let mut file = std::fs::File::from(page.try_clone().unwrap());
        file.write_all(b"why").unwrap();
        assert_eq!(read_page(&page).unwrap(), "why");
        assert!(file.write_all(b"longer than there is room").is_err());
    }
}
