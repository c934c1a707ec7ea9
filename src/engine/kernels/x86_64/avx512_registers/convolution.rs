//! A binary convolution by tables in registers.
//!
//! An item is a region times a part of the filters. For each chunk of channels its tiles are summed one after the other; the
//! tables of the positions that a tile sees are built before it and stay in a ring as long as the windows of later tiles see
//! them. What a tile has summed is kept from chunk to chunk, in 16 bits as long as these suffice.

use super::{
    super::{
        super::{Convolution, Work, window::Window},
        avx512,
        dense::{Constants, Sums},
        pack::LANES,
    },
    build::{self, GROUP, Middle, TABLE},
    indexes::Indexes,
    lookup::{MOST_ROWS, REGISTERS, Shape},
    regions::{Chunk, LINE, Region, Regions, SUMS, TABLES},
    sums::{self, Kept, Narrow, State, ZEROS},
};
use crate::engine::{
    arithmetic::Weights,
    layout::{Element, Map},
    memory::{Memory, Reader},
};
use std::{
    arch::x86_64::{_MM_HINT_T0, _mm_prefetch},
    iter,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Range,
    ptr,
};

/// Positions whose inputs are fetched before they are needed.
const AHEAD: usize = 8;

/// What an item needs besides the maps, on the stack of its thread.
#[repr(C, align(64))]
struct Scratch {
    tables: [MaybeUninit<u8>; TABLES],
    narrow: [MaybeUninit<Narrow>; SUMS],
    wide: [MaybeUninit<Sums>; SUMS],
}

/// What an item has at hand.
struct Hand {
    scratch: MaybeUninit<Scratch>,
    /// For each position of the ring, the sum of all `|x − middle|` of the chunk.
    deviations: [u16; TABLES / TABLE],
    /// Of each tile.
    states: [State; SUMS / REGISTERS],
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
    middle: Middle,
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
        let Element::Byte { zero_point } = input.element else { unreachable!("tables are made of bytes") };
        let middle = Middle::new(zero_point);
        let window = Window { kernel: S::KERNEL, channels: input.shape.channels };
        let chunks = Chunk::all::<S>(window.channels);
        let blocks = bits.filters().div_ceil(LANES * S::COLUMNS);
        let regions = Regions::new::<S>(&output, &chunks, blocks, threads);
        let indexes = Indexes::new::<S>(bits, &chunks);
        // Tables sum `x − middle`, over inputs that do not exist too: 0 times −1.
        let missing = (window.channels.next_multiple_of(GROUP) * S::KERNEL * S::KERNEL - window.inputs()) as i32;
        let mut starts = vec![[0; LANES]; blocks * S::COLUMNS];
        for (filter, start) in starts.as_flattened_mut()[..bits.filters()].iter_mut().enumerate() {
            *start = i32::from(zero_point) * (bits.sign_sum(filter) - missing);
        }
        let (constants, slope) = (Constants::blocks(&epilogue), epilogue.slope);
        Self { input, output, chunks, regions, blocks, indexes, middle, starts, constants, slope, shape: PhantomData }
    }

    /// The tables of one position that a region sees, in a place of the ring.
    ///
    /// # Safety
    /// `tables` is that place.
    unsafe fn build(&self, (y, x): (isize, isize), chunk: &Chunk, input: &Reader<'_, u8>, tables: *mut u8) -> u16 {
        let first = chunk.groups.start * GROUP;
        let channels = (self.input.shape.channels - first).min(chunk.groups.len() * GROUP);
        let from = input.start(self.input.at(first, y, x), channels);
        for line in 0..2 {
            // SAFETY: any address may be prefetched.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD * self.input.pixel_stride + 64 * line).cast()) };
        }
        // SAFETY: the channels lie in the map, and the ring has room for each group; a kernel is only used where its
        // instructions are.
        unsafe { build::build(from, (channels, chunk.groups.len()), &self.middle, (tables, self.regions.stride)) }
    }

    /// Sums a chunk, whose first span is `span`, for all tiles of a region.
    fn sum(&self, region: &Region, (index, span): (usize, usize), blocks: Range<usize>, memory: &Memory, hand: &mut Hand) {
        // SAFETY: in bounds of the scratch; each part of it may be uninitialised.
        let (tables, narrow, wide) = unsafe {
            let Scratch { tables, narrow, wide } = &mut *hand.scratch.as_mut_ptr();
            (tables.as_mut_ptr().cast::<u8>(), narrow.as_mut_ptr().cast::<Narrow>(), wide.as_mut_ptr().cast::<Sums>())
        };
        let starts = &self.starts[blocks.start * S::COLUMNS..blocks.end * S::COLUMNS];
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
                // The first places of the ring are there once more at its end, so that no run is cut.
                let again = S::KERNEL > 1 && region.seen > ring && place < halo + S::TILE - 1;
                for place in iter::once(place).chain(again.then_some(ring + place)) {
                    // SAFETY: inside the ring.
                    hand.deviations[place] = unsafe { self.build((y, x), chunk, &input, tables.add(place * TABLE)) };
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
            let number = if first && last { 0 } else { number };
            if first {
                hand.states[number] = State::default();
            }
            let register = number * blocks.len() * REGISTERS;
            let mut kept = Kept {
                state: &mut hand.states[number],
                narrow: narrow.wrapping_add(register),
                wide: wide.wrapping_add(register),
                positions: len,
                starts,
            };
            let places = [0, 1, 2].map(|y| (tile.start + y * region.pitch) % ring);
            let bounds = sums::bounds::<S>(places.map(|place| &hand.deviations[place..]), tile.outputs);
            // SAFETY: the tables of the tile were built, as far as there are positions, and the scratch has room for the sums
            // of all tiles; a kernel is only used where its instructions are.
            unsafe {
                let rows = places.map(|place| tables.wrapping_add(place * TABLE).cast_const());
                self.look_up((chunk, span), (rows, tile.short), bounds, blocks.clone(), &mut kept);
            }
            if last {
                let (mut y, mut x) = (tile.start / region.pitch, tile.start % region.pitch);
                let mut outputs = [0; REGISTERS];
                let outputs = &mut outputs[..tile.outputs];
                for output in &mut *outputs {
                    let at = (region.rows.start + y, region.columns.start + x);
                    *output = self.output.at(blocks.start * S::COLUMNS * LANES, at.0 as isize, at.1 as isize);
                    x += 1;
                    if x == region.columns.len() {
                        (y, x) = (y + 1, 0);
                    }
                }
                // SAFETY: the sums of the tile were written; a kernel is only used where its instructions are.
                unsafe { self.finish(outputs, blocks.clone(), &kept, memory) };
            }
        }
    }

    /// Adds what is found in the tables of a chunk to the sums of a tile.
    ///
    /// # Safety
    /// `tables` are those of the first positions that the tile sees, in each row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn look_up(
        &self,
        (chunk, span): (&Chunk, usize),
        (tables, short): ([*const u8; 3], bool),
        bounds: [usize; 3],
        blocks: Range<usize>,
        kept: &mut Kept<'_>,
    ) {
        for (i, rows) in chunk.spans.iter().enumerate() {
            let seen = rows[0].0..=rows[rows.len() - 1].0;
            let (most, bound) = sums::fitting::<S>(self.middle.value, rows.len(), bounds[seen].iter().sum());
            for (part, rows) in rows.chunks(most).enumerate() {
                // SAFETY: the scratch has room.
                unsafe { kept.make_room::<S>(bound) };
                let mut places = [ptr::null(); MOST_ROWS];
                let places = &mut places[..rows.len()];
                for (place, &(y, group)) in places.iter_mut().zip(rows) {
                    *place = tables[y].wrapping_add(group * self.regions.stride);
                }
                for (number, block) in blocks.clone().enumerate() {
                    let to = kept.narrow.wrapping_add(number * REGISTERS);
                    let from = if kept.state.narrow { to.cast_const() } else { ZEROS.0.as_ptr() };
                    let indexes = self.indexes.of(span + i, block).wrapping_add(part * most / 2 * S::INDEXES * LINE);
                    // SAFETY: promised by the caller; there are indexes for all rows.
                    unsafe {
                        match short {
                            true => S::short_span(places, indexes, from, to),
                            false => S::span(places, indexes, from, to),
                        }
                    }
                }
                kept.state.narrow = true;
            }
        }
    }

    /// What follows the sums of a tile, whose outputs start at some places of the map.
    ///
    /// # Safety
    /// Only this item uses these filters of these outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn finish(&self, outputs: &[usize], blocks: Range<usize>, kept: &Kept<'_>, memory: &Memory) {
        let columns = blocks.start * S::COLUMNS..self.constants.len().min(blocks.end * S::COLUMNS);
        let filters = self.output.shape.channels.min(columns.end * LANES) - columns.start * LANES;
        for (i, constants) in self.constants[columns].iter().enumerate() {
            let (first, count) = (i * LANES, LANES.min(filters - i * LANES));
            let mut number = i / S::COLUMNS * REGISTERS + i % S::COLUMNS;
            for at in outputs {
                // SAFETY: promised by the caller.
                unsafe {
                    let sums = kept.sums::<S>(number);
                    avx512::write(&sums, (constants, self.slope), &self.output, (at + first, count), memory);
                }
                number += S::COLUMNS;
            }
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
        let mut hand = Hand {
            scratch: MaybeUninit::uninit(),
            deviations: [0; TABLES / TABLE],
            states: [State::default(); SUMS / REGISTERS],
        };
        let mut span = 0;
        for (index, chunk) in self.chunks.iter().enumerate() {
            self.sum(&region, (index, span), blocks.clone(), memory, &mut hand);
            span += chunk.spans.len();
        }
    }
}
