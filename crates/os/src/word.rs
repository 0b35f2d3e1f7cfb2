//! One word of memory that a process shares with those it forks.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A 64-bit atomic word, zero at first, that all processes forked after its making see as one. Costs a page of memory and no
/// descriptor. It does not survive `exec`.
///
/// Readers must expect nonsense in it: any of the processes may write anything at any time.
#[derive(Debug)]
pub struct SharedWord(NonNull<AtomicU64>);

impl SharedWord {
    /// A word of its own.
    ///
    /// # Errors
    /// `ENOMEM` (mmap(2)).
    pub fn new() -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let (anywhere, length) = (ptr::null_mut(), size_of::<AtomicU64>());
        // SAFETY: at an address of the kernel's choice, so no memory of anybody's is replaced.
        let start = unsafe { mmap_anonymous(anywhere, length, access, MapFlags::SHARED) }?;
        Ok(Self(NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?))
    }
}

impl Deref for SharedWord {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins at a page, is a page long, and lives as long as `self`; every bit pattern is an
        // AtomicU64, and other processes' writes are what atomics are for.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is unmapped once, by the only owner.
unsafe impl Send for SharedWord {}

// SAFETY: a shared reference gives out nothing but an atomic.
unsafe impl Sync for SharedWord {}

impl Drop for SharedWord {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; every reference into it has borrowed `self`, so none is left.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn words_begin_with_zero_and_are_apart() {
        let (one, other) = (SharedWord::new().expect("memory"), SharedWord::new().expect("memory"));
        assert_eq!(one.swap(7, Relaxed), 0);
        assert_eq!((one.load(Relaxed), other.load(Relaxed)), (7, 0));
    }
}
