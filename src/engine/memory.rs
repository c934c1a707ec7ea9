//! The memory of a plan: one allocation, read and written through [`Map`]s.

use super::{
    EngineError,
    layout::{Element, Map},
};
use crate::large_pages;
use memmap2::MmapRaw;
use std::{marker::PhantomData, slice};

/// All feature maps of a plan. Whoever writes to them promises that nobody else uses them meanwhile ([`Writer::run`]).
pub(super) struct Memory {
    pages: MmapRaw,
    /// Where the first map may start in the pages.
    start: usize,
    /// From there on. The pages may go on for longer, but no map does.
    bytes: usize,
}

/// The two kinds of value that a feature map can hold.
pub(super) trait Value: Copy + Send + Sync + 'static {
    /// What stands in the border of a map of this kind; `None` if the map holds the other kind.
    fn zero(element: Element) -> Option<Self>;
}

impl Value for u8 {
    fn zero(element: Element) -> Option<Self> {
        match element {
            Element::Byte { zero_point } => Some(zero_point),
            Element::Float => None,
        }
    }
}

impl Value for f32 {
    fn zero(element: Element) -> Option<Self> {
        (element == Element::Float).then_some(0.0)
    }
}

impl Memory {
    /// Where buffers may start.
    pub(super) const ALIGNMENT: usize = 64;

    /// Zeroed memory. Kernels that read whole registers may read up to [`Memory::ALIGNMENT`] bytes past its end.
    pub(super) fn new(bytes: usize) -> Result<Self, EngineError> {
        let whole = bytes.checked_next_multiple_of(Self::ALIGNMENT).and_then(|whole| whole.checked_add(Self::ALIGNMENT));
        let zeroed = whole.and_then(|whole| Some((whole, large_pages::zeroed(whole).ok()?)));
        let (whole, (pages, start)) = zeroed.ok_or(EngineError::Memory { bytes })?;
        Ok(Self { pages: pages.into(), start, bytes: whole - Self::ALIGNMENT })
    }

    /// A feature map to read.
    pub(super) fn read<T: Value>(&self, map: &Map) -> Reader<'_, T> {
        Reader { values: self.values(map), memory: PhantomData }
    }

    /// A feature map to write from several threads.
    pub(super) fn write<T: Value>(&self, map: &Map) -> Writer<'_, T> {
        Writer { values: self.values(map), memory: PhantomData }
    }

    /// `len` values of a map from an offset on, to be written by whoever owns the memory.
    pub(super) fn run_mut<T: Value>(&mut self, map: &Map, at: usize, len: usize) -> &mut [T] {
        // SAFETY: the memory is borrowed mutably, so nobody else uses it.
        unsafe { self.write(map).run(at, len) }
    }

    /// Writes zeros around a map.
    ///
    /// # Safety
    /// Meanwhile nobody else uses its border.
    pub(super) unsafe fn fill_border(&self, map: &Map) {
        match map.element {
            // SAFETY: promised by the caller.
            Element::Byte { .. } => unsafe { self.fill_border_with::<u8>(map) },
            // SAFETY: as above.
            Element::Float => unsafe { self.fill_border_with::<f32>(map) },
        }
    }

    /// # Safety
    /// As for [`Memory::fill_border`].
    unsafe fn fill_border_with<T: Value>(&self, map: &Map) {
        let zero = T::zero(map.element).expect("the kind of value was asked for");
        let writer = self.write::<T>(map);
        // SAFETY: promised by the caller.
        map.for_each_border_run(|start, len| unsafe { writer.run(start, len) }.fill(zero));
    }

    fn values<T: Value>(&self, map: &Map) -> Values<T> {
        assert!(T::zero(map.element).is_some(), "the plan gives each step maps of the kind that it was made for");
        let start = self.pages.as_mut_ptr().wrapping_add(self.start).cast();
        Values { start, len: self.bytes / size_of::<T>() }
    }
}

/// The whole memory as values of one kind.
struct Values<T> {
    start: *mut T,
    len: usize,
}

impl<T> Values<T> {
    /// Where `len` values from an offset on start.
    #[inline]
    fn run(&self, at: usize, len: usize) -> *mut T {
        assert!(at <= self.len && len <= self.len - at, "a map lies inside its plan's memory");
        // SAFETY: inside the memory.
        unsafe { self.start.add(at) }
    }
}

/// Reads a feature map; offsets come from its [`Map`].
pub(super) struct Reader<'a, T> {
    values: Values<T>,
    memory: PhantomData<&'a Memory>,
}

impl<'a, T> Reader<'a, T> {
    /// `len` values from an offset on.
    #[inline]
    pub(super) fn run(&self, at: usize, len: usize) -> &'a [T] {
        let start = self.values.run(at, len);
        // SAFETY: inside the memory, aligned, any bits are a value, and nobody writes there meanwhile (`Writer::run`).
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// Where `len` values from an offset on start, for kernels that read only some of them.
    #[inline]
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel reads slices")
    )]
    pub(super) fn start(&self, at: usize, len: usize) -> *const T {
        self.values.run(at, len)
    }
}

/// Writes a feature map; offsets come from its [`Map`].
pub(super) struct Writer<'a, T> {
    values: Values<T>,
    memory: PhantomData<&'a Memory>,
}

impl<'a, T> Writer<'a, T> {
    /// Where `len` values from an offset on start, for kernels that write only some of them.
    #[inline]
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel writes slices")
    )]
    pub(super) fn start(&self, at: usize, len: usize) -> *mut T {
        self.values.run(at, len)
    }

    /// `len` values from an offset on.
    ///
    /// # Safety
    /// While the slice lives, nobody else reads or writes these values.
    #[inline]
    pub(super) unsafe fn run(&self, at: usize, len: usize) -> &'a mut [T] {
        let start = self.values.run(at, len);
        // SAFETY: inside the memory, aligned, any bits are a value, and nobody else uses them (promised by the caller).
        unsafe { slice::from_raw_parts_mut(start, len) }
    }
}
