//! A binary convolution by tables in registers.
//!
//! An item is a region times a part of the filters. For each chunk of channels its tiles are summed one after the other; the
//! tables of the positions that a tile sees are built before it and stay in a ring as long as the windows of later tiles see
//! them. What a tile has summed is kept in 32 bits from chunk to chunk.

use super::{
    super::{
        super::{Convolution, Work, window::Window},
        avx512,
        dense::{Constants, Sums},
        pack::LANES,
    },
    build::{self, GROUP, MIDDLE, TABLE},
    indexes::Indexes,
    lookup::{MOST_ROWS, REGISTERS, Shape},
    regions::{Chunk, Region, Regions, SUMS, TABLES},
};
use crate::engine::{
    arithmetic::Weights,
    layout::Map,
    memory::{Memory, Reader},
};
use std::{marker::PhantomData, mem::MaybeUninit, ops::Range, ptr};

/// What an item needs besides the maps, on the stack of its thread.
#[repr(C, align(64))]
struct Scratch {
    tables: [MaybeUninit<u8>; TABLES],
    sums: [MaybeUninit<Sums>; SUMS],
}

/// A binary convolution.
pub(super) struct Registers<S> {
    input: Map,
    output: Map,
    chunks: Vec<Chunk>,
    regions: Regions,
    /// Blocks of filters.
    blocks: usize,
    indexes: Indexes,
    /// Where the sums of each filter start, `[32 filters]`.
    starts: Vec<Sums>,
    constants: Vec<Constants>,
    slope: f32,
    shape: PhantomData<S>,
}

impl<S: Shape> Registers<S> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { weights, epilogue, input, output, threads, .. } = convolution;
        let Weights::Bits(bits) = weights else { unreachable!("tables are looked up by bits") };
        let window = Window { kernel: S::KERNEL, channels: input.shape.channels };
        let chunks = Chunk::all::<S>(window.channels);
        let blocks = bits.filters().div_ceil(LANES * S::COLUMNS);
        let regions = Regions::new::<S>(&output, &chunks, blocks, threads);
        let indexes = Indexes::new::<S>(bits, &chunks);
        // Tables sum `x − MIDDLE`, over inputs that do not exist too: 0 times −1.
        let missing = (window.channels.next_multiple_of(GROUP) * S::KERNEL * S::KERNEL - window.inputs()) as i32;
        let mut starts = vec![[0; LANES]; blocks * S::COLUMNS];
        for (filter, start) in starts.as_flattened_mut()[..bits.filters()].iter_mut().enumerate() {
            *start = MIDDLE * (bits.sign_sum(filter) - missing);
        }
        let (constants, slope) = (Constants::blocks(&epilogue), epilogue.slope);
        Self { input, output, chunks, regions, blocks, indexes, starts, constants, slope, shape: PhantomData }
    }

    /// The tables of one position that a region sees, in a place of the ring.
    ///
    /// # Safety
    /// `tables` is that place.
    unsafe fn build(&self, (y, x): (isize, isize), chunk: &Chunk, input: &Reader<'_, u8>, tables: *mut u8) {
        let first = chunk.groups.start * GROUP;
        let channels = (self.input.shape.channels - first).min(chunk.groups.len() * GROUP);
        let from = input.start(self.input.at(first, y, x), channels);
        // SAFETY: the channels lie in the map, and the ring has room for each group; a kernel is only used where its
        // instructions are.
        unsafe { build::build(from, channels, chunk.groups.len(), tables, self.regions.stride) };
    }

    /// Sums a chunk, whose first span is `span`, for all tiles of a region.
    fn sum(
        &self,
        region: &Region,
        (index, span): (usize, usize),
        blocks: Range<usize>,
        memory: &Memory,
        scratch: &mut MaybeUninit<Scratch>,
    ) {
        let scratch = scratch.as_mut_ptr();
        // SAFETY: in bounds of the scratch; each part of it may be uninitialised.
        let (tables, sums) =
            unsafe { ((&raw mut (*scratch).tables).cast::<u8>(), (&raw mut (*scratch).sums).cast::<Sums>()) };
        let input = memory.read(&self.input);
        let chunk = &self.chunks[index];
        let (first, last) = (index == 0, index + 1 == self.chunks.len());
        let (ring, halo) = (self.regions.ring, S::KERNEL - 1);
        let corner = |at: usize| at as isize - (S::KERNEL / 2) as isize;
        let (mut y, mut x) = (corner(region.rows.start), corner(region.columns.start));
        let (mut built, mut place) = (0, 0);
        for (number, tile) in region.tiles::<S>().enumerate() {
            let len = if tile.short { S::SHORT } else { S::TILE };
            let seen = region.seen.min(tile.start + len + halo * region.pitch + halo);
            while built < seen {
                // SAFETY: inside the ring. Its first places are there once more at its end, so that no run is cut.
                unsafe {
                    self.build((y, x), chunk, &input, tables.add(place * TABLE));
                    if S::KERNEL > 1 && region.seen > ring && place < halo + S::TILE - 1 {
                        self.build((y, x), chunk, &input, tables.add((ring + place) * TABLE));
                    }
                }
                (built, place, x) = (built + 1, place + 1, x + 1);
                if place == ring {
                    place = 0;
                }
                if x == corner(region.columns.start + region.pitch) {
                    (y, x) = (y + 1, corner(region.columns.start));
                }
            }
            // With one chunk, sums are only kept while a tile is summed.
            let kept = if first && last { 0 } else { number };
            let sums = sums.wrapping_add(kept * blocks.len() * REGISTERS);
            let mut rows_of_tables = [tables.cast_const(); 3];
            for (y, row) in rows_of_tables[..S::KERNEL].iter_mut().enumerate() {
                *row = row.wrapping_add((tile.start + y * region.pitch) % ring * TABLE);
            }
            for (i, rows) in chunk.spans.iter().enumerate() {
                let mut places = [ptr::null(); MOST_ROWS];
                let places = &mut places[..rows.len()];
                for (place, &(y, group)) in places.iter_mut().zip(rows) {
                    *place = rows_of_tables[y].wrapping_add(group * self.regions.stride);
                }
                for block in blocks.clone() {
                    let to = sums.wrapping_add((block - blocks.start) * REGISTERS);
                    let (from, step) = match first && i == 0 {
                        true => (self.starts[block * S::COLUMNS..].as_ptr(), 0),
                        false => (to.cast_const(), S::COLUMNS),
                    };
                    let indexes = self.indexes.of(span + i, block);
                    // SAFETY: a kernel is only used where its instructions are; the tables of the tile were built, as far
                    // as there are positions, and the scratch has room for the sums of all tiles.
                    unsafe {
                        match tile.short {
                            true => S::short_span(places, indexes, from, step, to),
                            false => S::span(places, indexes, from, step, to),
                        }
                    }
                }
            }
            if last {
                let (mut y, mut x) = (tile.start / region.pitch, tile.start % region.pitch);
                for i in 0..tile.outputs {
                    let at = (region.rows.start + y, region.columns.start + x);
                    // SAFETY: the sums of the tile were written; a kernel is only used where its instructions are.
                    unsafe { self.finish(at, blocks.clone(), sums.wrapping_add(i * S::COLUMNS), memory) };
                    x += 1;
                    if x == region.columns.len() {
                        (y, x) = (y + 1, 0);
                    }
                }
            }
        }
    }

    /// What follows the sums of a position.
    ///
    /// # Safety
    /// `sums` are those of the position in the first block. Only this item uses these filters at this position.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn finish(&self, (y, x): (usize, usize), blocks: Range<usize>, sums: *const Sums, memory: &Memory) {
        let columns = blocks.start * S::COLUMNS..self.constants.len().min(blocks.end * S::COLUMNS);
        let at = self.output.at(columns.start * LANES, y as isize, x as isize);
        let filters = self.output.shape.channels.min(columns.end * LANES) - columns.start * LANES;
        for (i, constants) in self.constants[columns].iter().enumerate() {
            let (first, count) = (i * LANES, LANES.min(filters - i * LANES));
            // SAFETY: promised by the caller.
            let sums = unsafe { &*sums.add(i / S::COLUMNS * REGISTERS + i % S::COLUMNS) };
            // SAFETY: promised by the caller.
            unsafe { avx512::write(sums, (constants, self.slope), &self.output, (at + first, count), memory) };
        }
    }
}

impl<S: Shape> Work for Registers<S> {
    fn items(&self) -> usize {
        self.regions.count() * self.regions.parts
    }

    fn run(&self, item: usize, memory: &Memory) {
        let region = self.regions.get::<S>(item / self.regions.parts);
        let first = item % self.regions.parts * self.regions.blocks;
        let blocks = first..self.blocks.min(first + self.regions.blocks);
        let mut scratch = MaybeUninit::<Scratch>::uninit();
        let mut span = 0;
        for (index, chunk) in self.chunks.iter().enumerate() {
            self.sum(&region, (index, span), blocks.clone(), memory, &mut scratch);
            span += chunk.spans.len();
        }
    }
}
