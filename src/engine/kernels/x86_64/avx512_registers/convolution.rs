//! A binary convolution by tables in registers.
//!
//! An item is a region times a part of the filters. For each chunk of channels it goes down the rows of the input that the
//! region sees: the tables of a row are built in the first-level cache, and looked up for all outputs of the three rows whose
//! windows see it. What a tile of outputs has summed is kept from row to row and from chunk to chunk, in 16 bits as long as
//! these suffice. Rows past the map hold nothing but zero points, whose tables are 0: they are passed over.

use super::{
    super::{
        super::{Convolution, Work},
        avx512,
        dense::{Constants, Sums},
        pack::LANES,
    },
    build::{self, GROUP, Middle, TABLE},
    indexes::Indexes,
    lookup::{Groups, REGISTERS, Shape},
    regions::{Region, Regions, SUMS, TABLES, extent, tiles},
    sums::{self, Kept, Narrow, State, ZEROS},
};
use crate::engine::{
    arithmetic::Weights,
    layout::{Element, Map},
    memory::{Memory, Reader},
};
use std::{marker::PhantomData, mem::MaybeUninit, ops::Range, ptr};

/// Positions of a row of tables, at most.
const POSITIONS: usize = TABLES / TABLE;
/// Tiles whose sums are kept, at most: the smallest has sums in ten registers.
const STATES: usize = SUMS / 10;

/// What an item needs besides the maps, on the stack of its thread.
#[repr(C, align(64))]
struct Scratch {
    tables: [MaybeUninit<u8>; TABLES],
    narrow: [MaybeUninit<Narrow>; SUMS],
    wide: [MaybeUninit<Sums>; SUMS],
}

/// What an item has at hand.
struct Hand<'a> {
    scratch: &'a mut MaybeUninit<Scratch>,
    /// Of each tile, row after row.
    states: [State; STATES],
    /// For each position of the row of tables, the sum of all `|x − middle|` of the chunk; more are read than there are.
    deviations: [u16; POSITIONS + REGISTERS],
}

/// A binary convolution.
pub(super) struct Registers<S> {
    input: Map,
    output: Map,
    /// Groups of channels whose tables are at hand together.
    chunks: Vec<Range<usize>>,
    regions: Regions,
    /// Blocks of filters.
    blocks: usize,
    indexes: Indexes,
    middle: Middle,
    /// Where the sums of each filter start, `[32 filters]`.
    starts: Vec<Sums>,
    constants: Vec<Constants>,
    slope: f32,
    shape: PhantomData<S>,
}

impl<S: Shape> Registers<S> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { weights, epilogue, input, output, threads, arena, .. } = convolution;
        let Weights::Bits(bits) = weights else { unreachable!("tables are looked up by bits") };
        let Element::Byte { zero_point } = input.element else { unreachable!("tables are made of bytes") };
        let middle = Middle::new(zero_point);
        let groups = input.shape.channels.div_ceil(GROUP);
        let blocks = bits.filters().div_ceil(LANES * S::COLUMNS);
        let regions = Regions::new::<S>(&output, groups, blocks, threads);
        let chunks = regions.chunks(groups);
        let indexes = Indexes::new::<S>(bits, &chunks, arena);
        // Tables sum `x − middle`.
        let mut starts = vec![[0; LANES]; blocks * S::COLUMNS];
        for (filter, start) in starts.as_flattened_mut()[..bits.filters()].iter_mut().enumerate() {
            *start = i32::from(zero_point) * bits.sign_sum(filter);
        }
        let (constants, slope) = (Constants::blocks(&epilogue), epilogue.slope);
        Self { input, output, chunks, regions, blocks, indexes, middle, starts, constants, slope, shape: PhantomData }
    }

    /// Where a position of a row of regions lies in the maps.
    fn place(&self, y: usize, x: isize) -> (isize, isize) {
        match S::KERNEL {
            1 => {
                let at = y * S::TILE + x as usize;
                let width = self.output.shape.width;
                ((at / width) as isize, (at % width) as isize)
            }
            _ => (y as isize, x),
        }
    }

    /// Builds the tables of a row of a region for a chunk.
    ///
    /// # Safety
    /// There is room for them.
    unsafe fn build(
        &self,
        (y, columns): (usize, &Range<usize>),
        chunk: &Range<usize>,
        input: &Reader<'_, u8>,
        tables: *mut u8,
        deviations: &mut [u16],
    ) {
        let first = chunk.start * GROUP;
        let channels = (self.input.shape.channels - first).min(chunk.len() * GROUP);
        let corner = columns.start as isize - (S::KERNEL / 2) as isize;
        let mut starts = [ptr::null(); POSITIONS];
        let starts = &mut starts[..columns.len() + S::KERNEL - 1];
        for (start, x) in starts.iter_mut().zip(corner..) {
            let (y, x) = self.place(y, x);
            *start = input.start(self.input.at(first, y, x), channels);
        }
        // SAFETY: the channels lie in the map; a kernel is only used where its instructions are.
        unsafe {
            build::build(starts, (channels, chunk.len()), &self.middle, (tables, self.regions.stride), deviations);
        }
    }

    /// Sums a chunk for all tiles of a region.
    fn sum(&self, region: &Region, chunk: usize, blocks: &Range<usize>, memory: &Memory, hand: &mut Hand<'_>) {
        // SAFETY: in bounds of the scratch; each part of it may be uninitialised.
        let (tables, narrow, wide) = unsafe {
            let Scratch { tables, narrow, wide } = &mut *hand.scratch.as_mut_ptr();
            (tables.as_mut_ptr().cast::<u8>(), narrow.as_mut_ptr().cast::<Narrow>(), wide.as_mut_ptr().cast::<Sums>())
        };
        let starts = &self.starts[blocks.start * S::COLUMNS..blocks.end * S::COLUMNS];
        let input = memory.read(&self.input);
        let (regions, groups) = (&self.regions, &self.chunks[chunk]);
        let half = S::KERNEL / 2;
        let tiles = tiles::<S>(region.columns.len());
        let (in_row, room) = extent(tiles.clone());
        for row in region.rows.start.saturating_sub(half)..regions.height.min(region.rows.end + half) {
            let columns = regions.columns(row, region);
            // SAFETY: regions are cut such that the tables of a row fit.
            unsafe { self.build((row, &columns), groups, &input, tables, &mut hand.deviations) };
            let windows = region.rows.start.max(row.saturating_sub(half))..region.rows.end.min(row + half + 1);
            for (number, tile) in tiles.clone().enumerate() {
                let outputs = tile.positions.min(columns.len() - tile.start);
                let bound = sums::bound::<S>(&hand.deviations[tile.start..], outputs);
                let tables = tables.wrapping_add(tile.start * TABLE);
                let groups = Groups { tables, stride: regions.stride, count: groups.len() };
                for y in windows.clone() {
                    let state = &mut hand.states[y % regions.kept * in_row + number];
                    if chunk == 0 && row == y.saturating_sub(half) {
                        *state = State::default();
                    }
                    let register = (y % regions.kept * room + tile.start) * S::COLUMNS * blocks.len();
                    let (narrow, wide) = (narrow.wrapping_add(register), wide.wrapping_add(register));
                    let mut kept = Kept { state, narrow, wide, positions: tile.positions, starts };
                    // SAFETY: the tables of the row were built, as far as there are positions, and the scratch has room for
                    // the sums of all rows that are kept; a kernel is only used where its instructions are.
                    unsafe { self.look_up((chunk, row + half - y), groups, (bound, tile.short), blocks, &mut kept) };
                    if chunk + 1 == self.chunks.len() && row == (regions.height - 1).min(y + half) {
                        let first = columns.start + tile.start;
                        // SAFETY: all sums of the tile were written; a kernel is only used where its instructions are.
                        unsafe { self.finish(y, first..first + outputs, blocks, &kept, memory) };
                    }
                }
            }
        }
    }

    /// Adds what is found in the tables of a row, a chunk and a row of the kernel, to the sums of a tile.
    ///
    /// # Safety
    /// The tables are those of the positions that the tile sees.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn look_up(
        &self,
        row: (usize, usize),
        groups: Groups,
        (bound, short): (usize, bool),
        blocks: &Range<usize>,
        kept: &mut Kept<'_>,
    ) {
        let (most, bound) = sums::fitting::<S>(self.middle.value, groups.count, bound);
        for first in (0..groups.count).step_by(most) {
            // SAFETY: the scratch has room.
            unsafe { kept.make_room::<S>(bound) };
            let tables = groups.tables.wrapping_add(first * groups.stride);
            let groups = Groups { tables, count: most.min(groups.count - first), ..groups };
            for (number, block) in blocks.clone().enumerate() {
                let to = kept.narrow.wrapping_add(number * kept.positions * S::COLUMNS);
                let from = if kept.state.narrow { to.cast_const() } else { ZEROS.0.as_ptr() };
                let indexes = self.indexes.of::<S>(row, block, first);
                // SAFETY: promised by the caller; there are indexes for all groups.
                unsafe {
                    match short {
                        true => S::short_span(groups, indexes, from, to),
                        false => S::span(groups, indexes, from, to),
                    }
                }
            }
            kept.state.narrow = true;
        }
    }

    /// What follows the sums of a tile, some outputs of a row.
    ///
    /// # Safety
    /// Only this item uses these filters of these outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn finish(&self, y: usize, columns: Range<usize>, blocks: &Range<usize>, kept: &Kept<'_>, memory: &Memory) {
        let mut places = [0; REGISTERS];
        let places = &mut places[..columns.len()];
        for (place, x) in places.iter_mut().zip(columns) {
            let (y, x) = self.place(y, x as isize);
            *place = self.output.at(0, y, x);
        }
        let last = self.constants.len().min(blocks.end * S::COLUMNS);
        for (column, number) in (blocks.start * S::COLUMNS..last).enumerate() {
            let filter = number * LANES;
            let filters = LANES.min(self.output.shape.channels - filter);
            for (position, place) in places.iter().enumerate() {
                // SAFETY: promised by the caller.
                unsafe {
                    let sums = kept.sums::<S>(position, column);
                    let constants = (&self.constants[number], self.slope);
                    avx512::write(sums, constants, &self.output, (place + filter, filters), memory);
                }
            }
        }
    }
}

impl<S: Shape> Work for Registers<S> {
    fn items(&self) -> usize {
        self.regions.items()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let Regions { parts, blocks, .. } = self.regions;
        let region = self.regions.region(item / parts);
        let first = item % parts * blocks;
        let blocks = first..self.blocks.min(first + blocks);
        let mut scratch = MaybeUninit::uninit();
        let mut hand =
            Hand { scratch: &mut scratch, states: [State::default(); STATES], deviations: [0; POSITIONS + REGISTERS] };
        for chunk in 0..self.chunks.len() {
            self.sum(&region, chunk, &blocks, memory, &mut hand);
        }
    }
}
