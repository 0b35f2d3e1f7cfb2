//! An allocator that keeps what a forked child makes first in pages of its own.
//!
//! A child shares every page of its parent's heap until one of them writes there. The few small
//! allocations a worker makes while it boots would land in free chunks all over that heap, and each
//! would cost a copy of the page around it: a dozen pages for some 9 KiB. Between [`open`] and [`close`]
//! a [`Nursery`] takes them from one small area instead, front to back; everything else is the system
//! allocator's. With 256 idle HTTP workers that is about 30 KiB of 120 for each.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes a process can take from its nursery; what it gives back there is not used again. A worker of
/// `tine serve` takes about 22 KiB, most of which it never writes to.
const BYTES: usize = 64 * 1024;

/// The area: untouched pages of the program's zeroed data, which cost nothing.
#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; BYTES]>);

// SAFETY: no byte of it is read or written here; each is handed out once, to one owner.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; BYTES]));
/// Where the next piece begins; at [`BYTES`] or beyond, the nursery is closed.
static NEXT: AtomicUsize = AtomicUsize::new(BYTES);

/// From here on small allocations come from the nursery. Call it in a child right after its fork, once;
/// without a [`Nursery`] as the program's allocator it does nothing.
pub fn open() {
    NEXT.store(0, Relaxed);
}

/// From here on every allocation is the system allocator's again.
pub fn close() {
    NEXT.store(BYTES, Relaxed);
}

/// See the module. Install it with `#[global_allocator]`.
#[derive(Debug)]
pub struct Nursery;

/// Whether somebody was given this address here.
fn is_inside(pointer: *mut u8) -> bool {
    (pointer as usize).wrapping_sub(AREA.0.get() as usize) < BYTES
}

/// A piece of the area that nobody else has; `None` if the nursery is closed or has no room left.
fn piece(layout: Layout) -> Option<*mut u8> {
    let begin = |next: usize| next.checked_next_multiple_of(layout.align());
    let end = |next: usize| begin(next)?.checked_add(layout.size()).filter(|&end| end <= BYTES);
    if layout.align() > 4096 || NEXT.load(Relaxed) >= BYTES {
        return None;
    }
    let before = NEXT.fetch_update(Relaxed, Relaxed, end).ok()?;
    Some(AREA.0.get().cast::<u8>().wrapping_add(begin(before)?))
}

// SAFETY: pieces are disjoint, aligned as asked (the area is to 4096) and never handed out twice; what
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
            // Never used before, and zero since the program was loaded.
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
        open();
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
