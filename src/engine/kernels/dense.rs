//! Dense convolutions over bytes by dot products of a few bytes or 16-bit words, on interleaved maps.
//!
//! An item is a region of output positions times [`LANES`] filters. For each chunk of inputs the weights become bytes or
//! words once and serve all positions. Where the inputs of a window cannot be read as they stand (runs that are no multiple
//! of a group, inputs to be widened), they are staged: copied side by side.

use super::{
    Convolution, Work,
    pack::{self, Group, LANES, Signs},
    window::{Chunk, Run, Window},
};
use crate::engine::{
    arena::ArenaSlice,
    arithmetic::{Epilogue, Weights},
    layout::{Element, Map},
    memory::{Memory, Reader},
};
use std::{marker::PhantomData, mem::MaybeUninit, ops::Range, ptr};

/// Bytes of a window's inputs that are summed in one go, at most.
pub(super) const CHUNK: usize = 2304;
/// Windows that are computed together, at most.
pub(super) const PIXELS: usize = 12;
/// Positions of an item, at most.
pub(super) const REGION: usize = 192;

/// The sums of one position.
pub(super) type Sums = [i32; LANES];

/// The parts of a dense convolution that differ between instruction sets.
///
/// # Safety
/// Only a CPU that has the instructions may call any of its functions, and pointers must be valid for what they say.
pub(super) trait Dot: Send + Sync + 'static {
    /// Bytes of a staged input: 1, or 2 for words.
    const WIDTH: usize;
    /// Bytes of a weight.
    const WEIGHT: usize = Self::WIDTH;
    /// Inputs that are multiplied at once; no chunk but the last has a part of so many.
    const STEP: usize = 4 / Self::WIDTH;
    /// Windows that are computed together.
    const PIXELS: usize;
    /// Positions of an item, a multiple of [`Dot::PIXELS`].
    const REGION: usize;
    /// Inputs of a chunk.
    const CHUNK: usize;

    /// A convolution by these instructions.
    fn convolution(convolution: Convolution<'_>) -> Box<dyn Work>
    where
        Self: Sized,
    {
        Box::new(Dense::<Self>::new(convolution))
    }

    /// Brings weights from the order of [`pack::words`] into the one that [`Dot::accumulate`] wants.
    fn arrange(_: &mut [Group]) {}

    /// Bits to bytes of ±1.
    unsafe fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]);

    /// Copies the runs of each window side by side, widened to [`Dot::WIDTH`], into one of the rows of `staged`, and fills
    /// up to `bytes` with 0. It may write a little past that: rows are filled in order.
    unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize);

    /// Adds the products of [`Dot::PIXELS`] windows and some groups of weights to `sums`; the first chunk finds none there.
    /// Runs count bytes from each window's start.
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool);

    /// What follows the sum, to bytes.
    unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES];

    /// What follows the sum, to floats.
    unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES];
}

/// Scales and biases of a block.
#[repr(C, align(64))]
pub(super) struct Constants {
    pub(super) scale: [f32; LANES],
    pub(super) bias: [f32; LANES],
}

impl Constants {
    /// Those of every block; lanes that do not exist hold 0.
    pub(super) fn blocks(epilogue: &Epilogue) -> Vec<Self> {
        let pad = |values: &[f32]| {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            lanes
        };
        let block = |(scale, bias)| Self { scale: pad(scale), bias: pad(bias) };
        epilogue.scale.chunks(LANES).zip(epilogue.bias.chunks(LANES)).map(block).collect()
    }
}

/// What an item needs besides the maps, on the stack of its thread.
#[repr(C, align(64))]
struct Scratch {
    weights: [MaybeUninit<Group>; CHUNK / 4],
    staged: [MaybeUninit<[u8; CHUNK]>; PIXELS],
    /// What staging may write past the last row.
    slack: [MaybeUninit<u8>; 64],
    sums: [MaybeUninit<Sums>; REGION],
}

enum Packed {
    Signs(ArenaSlice<Signs>),
    Words(Vec<Group>),
}

/// A dense convolution.
pub(super) struct Dense<D> {
    input: Map,
    output: Map,
    kernel: usize,
    stride: usize,
    chunks: Vec<Piece>,
    weights: Packed,
    /// Groups of a block.
    groups: usize,
    constants: Vec<Constants>,
    slope: f32,
    dot: PhantomData<D>,
}

/// A chunk and where its weights stand in a block.
struct Piece {
    chunk: Chunk,
    groups: Range<usize>,
    in_place: bool,
}

impl<D: Dot> Dense<D> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, arena, .. } = convolution;
        let window = Window { kernel, channels: input.shape.channels };
        let mut groups = 0;
        let piece = |chunk: Chunk| {
            let count = chunk.inputs.len().next_multiple_of(D::STEP) * D::WEIGHT / 4;
            let first = groups;
            groups += count;
            let in_place = D::WIDTH == 1 && chunk.runs.iter().all(|run| run.len.is_multiple_of(D::STEP));
            Piece { chunk, groups: first..groups, in_place }
        };
        let chunks: Vec<_> = window.chunks(&input, D::CHUNK).into_iter().map(piece).collect();
        let weights = match &weights {
            Weights::Bits(bits) => Packed::Signs(pack::signs(bits, window, groups, arena)),
            Weights::Integers(values) => {
                let mut words = pack::words(values, window, output.shape.channels, groups);
                D::arrange(&mut words);
                Packed::Words(words)
            }
            Weights::Floats(_) => unreachable!("bytes are multiplied by bits or integers"),
        };
        let constants = Constants::blocks(&epilogue);
        let slope = epilogue.slope;
        Self { input, output, kernel, stride, chunks, weights, groups, constants, slope, dot: PhantomData }
    }

    /// Sums of some positions, the last repeated to fill the last windows.
    fn sum(&self, region: Range<usize>, block: usize, input: &Reader<'_, u8>, scratch: &mut MaybeUninit<Scratch>) {
        let scratch = scratch.as_mut_ptr();
        // SAFETY: in bounds of the scratch; each part of it may be uninitialised.
        let (expanded, staged, sums) = unsafe {
            (
                &mut (*scratch).weights,
                (&raw mut (*scratch).staged).cast::<[u8; CHUNK]>(),
                (&raw mut (*scratch).sums).cast::<Sums>(),
            )
        };
        for (index, Piece { chunk, groups, in_place }) in self.chunks.iter().enumerate() {
            let first = block * self.groups;
            let range = first + groups.start..first + groups.end;
            let weights: *const Group = match &self.weights {
                Packed::Words(words) => words[range].as_ptr(),
                Packed::Signs(signs) => {
                    // SAFETY: a kernel is only used where its instructions are.
                    unsafe { D::expand(&signs[range.clone()], &mut expanded[..range.len()]) };
                    expanded.as_ptr().cast()
                }
            };
            let end = chunk.runs.last().map_or(0, |run| run.offset + run.len);
            let bytes = groups.len() * 4 / D::WEIGHT * D::WIDTH;
            for group in 0..region.len().div_ceil(D::PIXELS) {
                let mut windows = [ptr::null(); PIXELS];
                let windows = &mut windows[..D::PIXELS];
                self.windows(start_of::<D>(&region, group)..region.end, input, end, windows);
                let one_run = [Run { offset: 0, len: bytes }];
                let runs = if *in_place {
                    &chunk.runs[..]
                } else {
                    // SAFETY: the runs of a window lie in the memory, a row of the stage holds a chunk and there is one
                    // for each window.
                    unsafe { D::stage(windows, &chunk.runs, staged, bytes) };
                    for (i, window) in windows.iter_mut().enumerate() {
                        *window = staged.wrapping_add(i).cast();
                    }
                    &one_run[..]
                };
                // SAFETY: windows and runs are as checked or staged, there are as many weights as inputs, and the sums
                // hold a region.
                unsafe { D::accumulate(windows, runs, weights, sums.add(group * D::PIXELS), index == 0) };
            }
        }
    }

    /// Where the windows of the first of some positions start; the last position's fills the rest.
    fn windows(&self, positions: Range<usize>, input: &Reader<'_, u8>, len: usize, windows: &mut [*const u8]) {
        let corner = |at: usize| (at * self.stride) as isize - (self.kernel / 2) as isize;
        let width = self.output.shape.width;
        let (mut y, mut x) = (positions.start / width, positions.start % width);
        let count = positions.len().min(windows.len());
        let (used, rest) = windows.split_at_mut(count);
        for window in used.iter_mut() {
            *window = input.start(self.input.at(0, corner(y), corner(x)), len);
            x += 1;
            if x == width {
                (y, x) = (y + 1, 0);
            }
        }
        rest.fill(used[count - 1]);
    }
}

/// The first position of a group. The last group ends with the region and may repeat positions of the one before.
fn start_of<D: Dot>(region: &Range<usize>, group: usize) -> usize {
    (region.start + group * D::PIXELS).min(region.end.saturating_sub(D::PIXELS).max(region.start))
}

impl<D: Dot> Work for Dense<D> {
    fn items(&self) -> usize {
        self.output.shape.positions().div_ceil(D::REGION) * self.constants.len()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let (region, block) = (item / self.constants.len(), item % self.constants.len());
        let region = region * D::REGION..((region + 1) * D::REGION).min(self.output.shape.positions());
        let mut scratch = MaybeUninit::<Scratch>::uninit();
        self.sum(region.clone(), block, &memory.read(&self.input), &mut scratch);

        let first = block * LANES;
        let count = LANES.min(self.output.shape.channels - first);
        let constants = &self.constants[block];
        let width = self.output.shape.width;
        let (mut y, mut x) = (region.start / width, region.start % width);
        let last = (region.len() - 1) / D::PIXELS;
        let last_start = start_of::<D>(&region, last);
        for position in region.clone() {
            let row = if position < last_start { position - region.start } else { last * D::PIXELS + position - last_start };
            // SAFETY: the sums of all groups of the region were written.
            let sums = unsafe { &*(&raw const (*scratch.as_ptr()).sums).cast::<Sums>().add(row) };
            let at = self.output.at(first, y as isize, x as isize);
            match self.output.element {
                Element::Byte { zero_point } => {
                    // SAFETY: a kernel is only used where its instructions are.
                    let bytes = unsafe { D::to_bytes(sums, constants, self.slope, zero_point) };
                    // SAFETY: only this item uses these filters at these positions.
                    copy(unsafe { memory.write(&self.output).run(at, count) }, &bytes);
                }
                Element::Float => {
                    // SAFETY: as above.
                    let floats = unsafe { D::to_floats(sums, constants, self.slope) };
                    // SAFETY: as above.
                    copy(unsafe { memory.write(&self.output).run(at, count) }, &floats);
                }
            }
            x += 1;
            if x == width {
                (y, x) = (y + 1, 0);
            }
        }
    }
}

/// Copies what fits; whole blocks without a loop.
#[inline(always)]
pub(super) fn copy<T: Copy>(to: &mut [T], from: &[T; LANES]) {
    match to.first_chunk_mut() {
        Some(all) => *all = *from,
        // A loop, since two copies would become one of any length.
        None => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
    }
}
