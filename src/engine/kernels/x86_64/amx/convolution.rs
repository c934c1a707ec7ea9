//! A dense convolution in tiles.

use super::{
    super::{
        super::{Convolution, Work, window::Window},
        dense::{Constants, Sums},
        pack::{Group, Signs},
    },
    finish::{Units, finish, load, words},
    fold::{self, Fold},
    grid::{Grid, Strip},
    planes::{PLANES, Planes, SIGNED},
    steps::{self, Step},
    tiles::{Configuration, GROUPS, Operands},
    weights,
};
use crate::engine::{
    arena::ArenaSlice,
    arithmetic::Weights,
    layout::{Element, Map},
    memory::Memory,
};
use std::{
    arch::x86_64::{_MM_HINT_T1, _mm_prefetch},
    mem::MaybeUninit,
    ops::Range,
};

/// Steps whose weights are expanded together, at most: 36 KiB, which the first-level cache holds.
const CHUNK: usize = 18;
/// The same where there are more chunks than one, whose sums want to stay there as well.
const PART: usize = 9;
/// Sums of a strip, at most.
pub(super) const STRIP: usize = 128;
/// Sums of an item that keeps those of a block of filters from chunk to chunk, at most.
const SUMS: usize = 1024;
/// The same for each block of an item with several.
const BLOCK_SUMS: usize = 512;
/// Blocks of an item, at most.
const BLOCKS: usize = 4;
/// Bytes of an input map that stay in the second-level cache while the weights of one block after the other pass by.
const RESIDENT: usize = 1 << 20;
/// Sums of an item that does not, at most.
pub(super) const ITEM: usize = 2048;

/// A dense convolution, and the pool behind it.
pub(super) struct Tiled {
    /// Of bytes: if that of the convolution holds floats, the lowest of their planes.
    input: Map,
    planes: Option<Planes>,
    pub(super) output: Map,
    kernel: usize,
    stride: usize,
    pub(super) pool: bool,
    fold: Option<Fold>,
    steps: Vec<Step>,
    /// Of the steps.
    offsets: Vec<usize>,
    pub(super) grid: Grid,
    /// Blocks of filters of an item: they share what a chunk reads of an input that is too large to stay in the cache.
    item_blocks: usize,
    tiles: Configuration,
    weights: Packed,
    pub(super) constants: Vec<Constants>,
    pub(super) slope: f32,
}

enum Packed {
    /// `[block][step][group]`.
    Signs(ArenaSlice<Signs>),
    /// `[block][high, low][step][group]`.
    Words(Vec<Group>),
}

/// What an item needs besides the maps, on the stack of its thread.
#[repr(C, align(64))]
struct Scratch {
    weights: [MaybeUninit<Group>; CHUNK * GROUPS],
    sums: [MaybeUninit<Sums>; BLOCKS * BLOCK_SUMS],
    /// Two rows.
    woven: [[MaybeUninit<u8>; WOVEN]; 2],
}

/// The parts of the scratch.
fn parts(
    scratch: &mut MaybeUninit<Scratch>,
) -> (&mut [MaybeUninit<Group>; CHUNK * GROUPS], *mut Sums, *mut [MaybeUninit<u8>; WOVEN]) {
    let scratch = scratch.as_mut_ptr();
    // SAFETY: in bounds of the scratch; each part of it may be uninitialised.
    unsafe { (&mut (*scratch).weights, (&raw mut (*scratch).sums).cast(), (&raw mut (*scratch).woven).cast()) }
}

/// A woven row of a strip.
const WOVEN: usize = fold::bytes(STRIP / 2);

impl Tiled {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let planes = (convolution.input.element == Element::Float).then(|| Planes::of(&convolution));
        let Convolution { kernel, stride, pool, weights, epilogue, input, output, arena, .. } = convolution;
        let input = planes.as_ref().map_or(input, |planes| planes.lowest().clone());
        let window = Window { kernel, channels: input.shape.channels };
        let fold = Fold::new(window, &input);
        let steps = match &fold {
            Some(fold) => vec![fold.step()],
            None => steps::steps(window, &input),
        };
        let folded = fold.is_some();
        let weights = match weights {
            Weights::Bits(bits) => Packed::Signs(weights::signs(bits, window, &steps, folded, arena)),
            Weights::Integers(values) => {
                Packed::Words(weights::words(&values, window, output.shape.channels, &steps, folded))
            }
            Weights::Floats(_) => unreachable!("bytes are multiplied by bits or integers"),
        };
        let scale = if pool { 2 } else { 1 };
        let size = (output.shape.width * scale, output.shape.height * scale);
        let whole = matches!(weights, Packed::Signs(_)) && steps.len() > CHUNK;
        let parts = if planes.is_some() { PLANES } else { 1 };
        let (item_blocks, kept) = match planes {
            _ if parts * input.shape.values() <= RESIDENT => (1, SUMS),
            None => (2, BLOCK_SUMS),
            Some(_) => (BLOCKS, BLOCK_SUMS),
        };
        let item_blocks = if whole { item_blocks } else { 1 };
        let grid = match weights {
            Packed::Signs(_) => Grid::new(size, parts, pool, whole.then_some(kept)),
            Packed::Words(_) => Grid::new(size, 2, pool, None),
        };
        // Where no step is full, less is read and multiplied.
        let groups = steps.iter().map(|step| step.inputs.len().div_ceil(4)).max().expect("there is a step");
        Self {
            kernel,
            stride,
            pool,
            fold,
            offsets: steps.iter().map(|step| step.offset).collect(),
            steps,
            tiles: Configuration::new(grid.tile, groups),
            grid,
            item_blocks,
            weights,
            slope: epilogue.slope,
            constants: weights::constants(epilogue),
            input,
            planes,
            output,
        }
    }

    /// Computes the strips of an item, chunk after chunk.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    fn signs(
        &self,
        signs: &[Signs],
        item: usize,
        blocks: Range<usize>,
        memory: &Memory,
        scratch: &mut MaybeUninit<Scratch>,
    ) {
        let (expanded, sums, woven) = parts(scratch);
        let units = self.planes.as_ref().map(|planes| Units::new(planes.unit(memory).value));
        // SAFETY: a kernel is only used where its instructions are, and nothing else on this thread uses tiles.
        let tiles = unsafe { self.tiles.load() };
        let size = if self.steps.len() > CHUNK { PART } else { CHUNK };
        let last = (self.steps.len() - 1) / size;
        let block_sums = self.grid.item(item).len() * self.grid.strip_sums();
        for (chunk, (steps, offsets)) in self.steps.chunks(size).zip(self.offsets.chunks(size)).enumerate() {
            for (place, block) in blocks.clone().enumerate() {
                let signs = &signs[(block * self.steps.len() + chunk * size) * GROUPS..][..steps.len() * GROUPS];
                weights::expand(signs, steps, expanded);
                let weights = expanded.as_ptr().cast();
                let mut next = Ahead::new(signs, self.grid.item(item).len());
                for (index, strip) in self.grid.item(item).enumerate() {
                    next.prefetch();
                    // With one chunk every strip can use the same sums.
                    let kept = if last > 0 { place * block_sums + index * self.grid.strip_sums() } else { 0 };
                    let sums = sums.wrapping_add(kept);
                    for plane in 0..self.grid.parts {
                        let sums = sums.wrapping_add(plane * self.grid.part_sums());
                        for operands in self.operands(&strip, plane, memory, woven, sums) {
                            // SAFETY: `operands` says where windows and sums are; the weights were expanded.
                            unsafe {
                                match strip.rows.len() {
                                    2 => tiles.add_two(operands, offsets, weights, chunk == 0),
                                    _ => tiles.add_one(operands, offsets, weights, chunk == 0),
                                }
                            }
                        }
                    }
                    if chunk == last {
                        // SAFETY: the sums of the strip are complete, and only this item uses its outputs.
                        unsafe {
                            match units {
                                None => finish(self, &strip, block, |at| load(sums.add(at)), memory),
                                Some(units) => {
                                    let middle = sums.add(self.grid.part_sums());
                                    let high = middle.add(self.grid.part_sums());
                                    let sum = |at| units.sum(load(sums.add(at)), load(middle.add(at)), load(high.add(at)));
                                    finish(self, &strip, block, sum, memory);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Computes the strips of an item, one after another.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    fn words(&self, weights: &[Group], (item, block): (usize, usize), memory: &Memory, scratch: &mut MaybeUninit<Scratch>) {
        let (_, sums, woven) = parts(scratch);
        // SAFETY: as for signs.
        let tiles = unsafe { self.tiles.load() };
        let weights = weights[block * self.steps.len() * 2 * GROUPS..][..self.steps.len() * 2 * GROUPS].as_ptr();
        let low = self.grid.part_sums();
        for strip in self.grid.item(item) {
            let mut last_low = sums.wrapping_add(low);
            for operands in self.operands(&strip, 0, memory, woven, sums) {
                for row in 0..strip.rows.len() {
                    let window = operands.window.wrapping_add(row * operands.below);
                    let sums = operands.sums.wrapping_add(row * operands.sums_below);
                    // SAFETY: as for signs; the sums of low bytes follow those of high bytes.
                    unsafe { tiles.words(Operands { window, sums, ..operands }, &self.offsets, weights, last_low) };
                    last_low = sums.wrapping_add(low);
                }
            }
            // SAFETY: as above.
            unsafe { tiles.store_low(last_low) };
            // SAFETY: as for signs.
            unsafe { finish(self, &strip, block, |at| words(load(sums.add(at)), load(sums.add(at + low))), memory) };
        }
    }

    /// The tiles of a strip, of one of the planes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    fn operands<'a>(
        &'a self,
        strip: &'a Strip,
        plane: usize,
        memory: &Memory,
        woven: *mut [MaybeUninit<u8>; WOVEN],
        sums: *mut Sums,
    ) -> impl Iterator<Item = Operands> + use<'a> {
        let origin = strip.origin();
        let corner = |at: usize| (at * self.stride) as isize - (self.kernel / 2) as isize;
        let first = self.input.at(0, corner(strip.rows.start), corner(origin));
        let last = self.input.at(0, corner(strip.rows.end - 1), corner(strip.columns.end - 1));
        let reach = match &self.fold {
            Some(_) => self.input.at(self.input.shape.channels, 2, 2) - self.input.at(0, 0, 0),
            None => self.offsets[self.offsets.len() - 1] + self.steps[self.steps.len() - 1].inputs.len(),
        };
        // A last step may read up to 63 bytes past that, which are the memory's or its slack. Whatever stands there, and
        // whoever writes it meanwhile, it is multiplied by 0.
        let (signed, start) = match &self.planes {
            Some(planes) => (plane == SIGNED, first + plane * planes.distance),
            None => (false, first),
        };
        let inputs = memory.read::<u8>(&self.input).start(start, last - first + reach);
        let below = self.stride * self.input.row_stride;
        let (window, distance, below) = match &self.fold {
            None => (inputs, self.stride * self.input.pixel_stride, below),
            Some(fold) => {
                let pixels = Fold::pixels(strip.columns.end - origin, self.stride);
                for row in 0..strip.rows.len() {
                    // SAFETY: the windows of the strip lie in the memory, and a strip has at most half a `STRIP` columns.
                    unsafe {
                        let rows = inputs.add(row * below);
                        fold.weave(rows, self.input.row_stride, pixels, woven.add(row).cast());
                    }
                }
                (woven.cast_const().cast(), self.stride * fold.pixel_stride(), WOVEN)
            }
        };
        let sums_below = self.grid.strip_columns();
        strip.starts().enumerate().map(move |(index, start)| {
            let window = window.wrapping_add((start - origin) * distance);
            Operands { window, distance, below, sums: sums.wrapping_add(index * self.grid.tile), sums_below, signed }
        })
    }
}

/// The signs after those of a chunk, which come from far away: fetched little by little while the chunk is computed, so that
/// they keep no other load waiting.
struct Ahead {
    next: *const u8,
    /// Cache lines at a time.
    lines: usize,
}

impl Ahead {
    fn new(signs: &[Signs], times: usize) -> Self {
        Self { next: signs.as_ptr_range().end.cast(), lines: size_of_val(signs).div_ceil(Memory::ALIGNMENT * times) }
    }

    #[inline]
    fn prefetch(&mut self) {
        for _ in 0..self.lines {
            // SAFETY: any address may be prefetched.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.next.cast()) };
            self.next = self.next.wrapping_add(Memory::ALIGNMENT);
        }
    }
}

impl Work for Tiled {
    fn items(&self) -> usize {
        self.grid.items() * self.constants.len().div_ceil(self.item_blocks)
    }

    fn run(&self, item: usize, memory: &Memory) {
        let blocks = self.constants.len();
        let (item, first) = (item / blocks.div_ceil(self.item_blocks), item % blocks.div_ceil(self.item_blocks));
        let first = first * self.item_blocks;
        let mut scratch = MaybeUninit::<Scratch>::uninit();
        // SAFETY: a kernel is only used where its instructions are.
        unsafe {
            match &self.weights {
                Packed::Signs(signs) => {
                    self.signs(signs, item, first..(first + self.item_blocks).min(blocks), memory, &mut scratch)
                }
                Packed::Words(words) => self.words(words, (item, first), memory, &mut scratch),
            }
        }
    }
}

const _: () = assert!(SUMS <= BLOCKS * BLOCK_SUMS);
