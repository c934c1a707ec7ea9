//! Where packed weights stand: those of all layers together, in large pages.
//!
//! A layer's weights are a megabyte or two, less than one large page. Alone they would stand in hundreds of small ones, each
//! made when it is first touched, which takes longer than packing the weights; and a CPU that walks through them for every
//! image knows the addresses of few small pages at a time.

use super::memory::Memory;
use crate::large_pages;
use bytemuck::Zeroable;
use memmap2::MmapRaw;
use std::{
    alloc::{Layout, handle_alloc_error},
    marker::PhantomData,
    ops::{Deref, DerefMut},
    slice,
    sync::{Arc, Mutex, PoisonError},
};

/// What is asked of the system at once, at least. What nobody touches takes addresses and no memory.
const PIECE: usize = 16 << 20;

/// Gives out memory from pieces that live as long as anything in them.
#[derive(Default)]
pub(super) struct Arena(Mutex<Option<Piece>>);

/// A piece and where what is not given out starts.
struct Piece {
    pages: Arc<MmapRaw>,
    next: usize,
}

/// Some values in an arena.
pub(super) struct ArenaSlice<T> {
    pages: Arc<MmapRaw>,
    /// In bytes.
    start: usize,
    len: usize,
    values: PhantomData<T>,
}

impl Arena {
    /// Values that are 0. Ends the program as `vec!` does if there is no memory.
    pub(super) fn zeroed<T: Zeroable + Copy>(&self, len: usize) -> ArenaSlice<T> {
        const { assert!(align_of::<T>() <= Memory::ALIGNMENT, "all values start where maps do") };
        let layout = Layout::array::<T>(len).expect("packed weights are as long as a model's");
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |piece: &Piece| piece.pages.len() - piece.next >= layout.size();
        let mut piece = match current.take().filter(fits) {
            Some(piece) => piece,
            None => Piece::new(layout.size()).unwrap_or_else(|| handle_alloc_error(layout)),
        };
        let (pages, start) = (Arc::clone(&piece.pages), piece.next);
        piece.next = (start + layout.size()).next_multiple_of(Memory::ALIGNMENT).min(pages.len());
        *current = Some(piece);
        ArenaSlice { pages, start, len, values: PhantomData }
    }
}

impl Piece {
    /// A piece with so many bytes or more, the first in a large page; none if the system has no memory.
    fn new(bytes: usize) -> Option<Self> {
        let (pages, next) = large_pages::zeroed(bytes.max(PIECE)).ok()?;
        Some(Self { pages: Arc::new(pages.into()), next })
    }
}

impl<T> ArenaSlice<T> {
    fn first(&self) -> *mut T {
        self.pages.as_mut_ptr().wrapping_add(self.start).cast()
    }
}

impl<T> Deref for ArenaSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: aligned, inside the piece, which lives; at first 0, which is a value; given out to no other slice.
        unsafe { slice::from_raw_parts(self.first(), self.len) }
    }
}

impl<T> DerefMut for ArenaSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and this slice is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.first(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn slices_are_zero_aligned_and_apart() {
        let arena = Arena::default();
        let fill = |mark: u64| {
            // A few that share a piece, one that has a piece of its own, and one that is empty.
            let lengths = [1, 100, PIECE / 8 + 1, 0, PIECE / 16, 3];
            let mut slices = lengths.map(|len| arena.zeroed::<u64>(len));
            for (slice, len) in slices.iter_mut().zip(lengths) {
                assert_eq!((slice.len(), slice.as_ptr().addr() % Memory::ALIGNMENT), (len, 0));
                assert!(slice.iter().all(|&value| value == 0));
                slice.fill(mark);
            }
            slices
        };
        let all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (1..=4).map(|mark| scope.spawn(move || fill(mark))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        drop(arena);
        for (mark, slices) in (1..).zip(&all) {
            assert!(slices.iter().all(|slice| slice.iter().all(|&value| value == mark)));
        }
    }
}
