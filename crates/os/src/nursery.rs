//! An allocator that keeps together what a forked child writes to.
//!
//! A child shares every page of its parent's heap until one of them writes there. The few small
//! allocations a worker makes while it boots, and for its first connection, would land in free chunks all over that heap, and
//! each would cost a copy of the page around it; so would each reference count of its parent's that it counts
//! up. Four dozen pages for some 60 KiB. A [`Nursery`] has one small area for both, filled front to back: in the
//! parent with what is made in [`gather`], in the child, between [`open`] and [`close`], with everything there is room for.
//! All else is the system allocator's.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// Bytes a process can take from its nursery; what it gives back there is not used again. A worker of
/// `tine serve` takes about 22 KiB until it is ready, most of which it never writes to, and the rest with its first request.
const BYTES: usize = 64 * 1024;
/// How many of them may be gathered before a fork.
const GATHERED: usize = 16 * 1024;

/// The area; null until it is first needed. A mapping of its own, because a large static would push the
/// program's other variables, which a child writes to as well, into one page more.
static AREA: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Where the next piece begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Where the last piece must end; 0 = the nursery is closed.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// From here on allocations come from the nursery, while it has room. Call it in a child right after its fork, once; the end of
/// its first connection closes it again, or nobody does. Without a [`Nursery`] as the program's allocator it does nothing.
pub fn open() {
    make_area();
    LIMIT.store(BYTES, Relaxed);
}

/// From here on every allocation is the system allocator's again.
pub fn close() {
    LIMIT.store(0, Relaxed);
}

/// What `make` allocates comes from the nursery, up to 16 KiB in the life of the program: for what a
/// process makes before it forks, and its children will write to. That is above all anything whose
/// references they count.
pub fn gather<T>(make: impl FnOnce() -> T) -> T {
    /// Puts the limit back, in a panic too.
    struct Limit(usize);
    impl Drop for Limit {
        fn drop(&mut self) {
            LIMIT.store(self.0, Relaxed);
        }
    }
    make_area();
    let _before = Limit(LIMIT.load(Relaxed));
    let _ = LIMIT.compare_exchange(0, GATHERED, Relaxed, Relaxed);
    make()
}

/// Without the memory for it there is no nursery, and everything is the system allocator's.
fn make_area() {
    if !AREA.load(Relaxed).is_null() {
        return;
    }
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at a place the kernel chooses; it takes nothing from anybody.
    let area = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, kind, -1, 0) };
    if area == libc::MAP_FAILED {
        return;
    }
    let area = area.cast::<u8>();
    if AREA.compare_exchange(ptr::null_mut(), area, Relaxed, Relaxed).is_err() {
        // SAFETY: mapped just now, and nobody else knows of it: another thread was faster.
        unsafe { libc::munmap(area.cast(), BYTES) };
    }
}

/// See the module. Install it with `#[global_allocator]`.
#[derive(Debug)]
pub struct Nursery;

impl Nursery {
    /// Calls `make`, and places what it allocates where workers write anyway, up to 16 KiB in the life of the
    /// program. For what is made before [`run`](https://docs.rs/tine) and cloned in every worker: a reference
    /// that is counted up costs each of them a copy of the page around it, elsewhere. In the program's main
    /// function; it does nothing without a `Nursery` as the program's allocator.
    pub fn gather<T>(make: impl FnOnce() -> T) -> T {
        gather(make)
    }
}

/// Whether somebody was given this address here.
fn is_inside(pointer: *mut u8) -> bool {
    (pointer as usize).wrapping_sub(AREA.load(Relaxed) as usize) < BYTES
}

/// A piece of the area that nobody else has; `None` if the nursery is closed or has no room left.
fn piece(layout: Layout) -> Option<*mut u8> {
    let (limit, area) = (LIMIT.load(Relaxed), AREA.load(Relaxed));
    if limit == 0 || area.is_null() {
        return None;
    }
    let base = area as usize;
    let begin = |next: usize| Some((base + next).checked_next_multiple_of(layout.align())? - base);
    let end = |next: usize| begin(next)?.checked_add(layout.size()).filter(|&end| end <= limit);
    let before = NEXT.fetch_update(Relaxed, Relaxed, end).ok()?;
    Some(area.wrapping_add(begin(before)?))
}

// SAFETY: pieces are disjoint, aligned as asked and never handed out twice; what
// is not a piece is the system allocator's from its beginning to its end.
unsafe impl GlobalAlloc for Nursery {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match piece(layout) {
            Some(piece) => piece,
            // SAFETY: the caller keeps `alloc`'s contract.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match piece(layout) {
            // Never used before, and zero since it was mapped.
            Some(piece) => piece,
            // SAFETY: the caller keeps `alloc_zeroed`'s contract.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_inside(pointer) {
            // SAFETY: not a piece, so the system allocator gave it, for this layout.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if !is_inside(pointer) {
            // SAFETY: as in `dealloc`; the caller keeps `realloc`'s contract.
            return unsafe { System.realloc(pointer, layout, bytes) };
        }
        // SAFETY: the caller promises that `bytes`, rounded up to this alignment, is no overflow.
        let larger = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        // SAFETY: `bytes` is not zero, says the caller.
        let new = unsafe { self.alloc(larger) };
        if !new.is_null() {
            // SAFETY: both are at least so long, and a fresh allocation overlaps nothing.
            unsafe { ptr::copy_nonoverlapping(pointer, new, layout.size().min(bytes)) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: the nursery is the process's.
    #[test]
    fn what_is_made_while_it_is_open_lies_together_and_what_comes_later_does_not() {
        let layout = Layout::from_size_align(100, 64).expect("a layout");
        assert!(piece(layout).is_none(), "closed until somebody opens it");
        let gathered = gather(|| piece(layout)).expect("room");
        assert!(is_inside(gathered) && piece(layout).is_none(), "and closed again");
        let much = Layout::from_size_align(GATHERED, 8).expect("a layout");
        assert!(gather(|| piece(much)).is_none(), "only so much is gathered");
        open();
        assert!(gather(|| piece(much)).is_some(), "where it is open it stays so");
        let (first, second) = (piece(layout).expect("room"), piece(layout).expect("room"));
        assert!(is_inside(first) && is_inside(second));
        assert_eq!(second as usize - first as usize, 128, "front to back, aligned");
        let large = Layout::from_size_align(BYTES, 8).expect("a layout");
        assert!(piece(large).is_none(), "what has no room goes elsewhere");
        assert!(piece(layout).is_some(), "and leaves the room there is");
        // SAFETY: the layout's size is not zero.
        let grown = unsafe { Nursery.realloc(first, layout, 2 * BYTES) };
        assert!(!grown.is_null() && !is_inside(grown));
        let grown_layout = Layout::from_size_align(2 * BYTES, 64).expect("a layout");
        // SAFETY: allocated just now, with this layout.
        unsafe { Nursery.dealloc(grown, grown_layout) };
        close();
        assert!(piece(layout).is_none());
    }
}
