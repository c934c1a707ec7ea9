//! Convolutions of full precision on planar maps, dense and depthwise; lanes are positions.
//!
//! An item is a run of lines. Each input of a window is a run of neighbours in the input map, one for each position of a
//! line, and is multiplied by one weight of each filter; the sums of a block of filters stay in registers.

use super::{
    Follow, Stored, Sum,
    lines::{Lines, part, store},
};
use crate::engine::{
    arithmetic::Weights,
    kernels::{Convolution, Work},
    layout::Map,
    memory::{Memory, Reader, Value},
};
use std::{marker::PhantomData, ops::Range};

/// Filters that are computed together.
pub(in super::super) const BLOCK: usize = 8;
/// Positions of a line.
pub(in super::super) const LANES: usize = 16;
/// Lines of an item, at most.
const LINES: usize = 16;

/// Products of inputs and weights, for one kind of values on one instruction set.
///
/// # Safety
/// Only a CPU that has the instructions may call any of its functions, and pointers must be valid for what they say.
pub(in super::super) trait Products: Send + Sync + 'static {
    /// A value of the input map.
    type Input: Value;
    type Weight: Copy + Default + Send + Sync;
    type Sum: Sum + Default;

    /// Inputs that are multiplied at once.
    const TOGETHER: usize;

    /// The weights that go with these inputs, `[filters, inputs]`.
    fn weights<'a>(weights: &'a Weights<'_>) -> &'a [Self::Weight];

    /// Sums of a block of filters. Input `i` of a position stands `offsets[i]` values after `line`, and that of the next
    /// position beside it. There is a multiple of [`Products::TOGETHER`] inputs, and as many are neighbours in `weights`:
    /// `[input / TOGETHER][filter][input % TOGETHER]`.
    unsafe fn multiply(line: *const Self::Input, offsets: &[usize], weights: &[Self::Weight]) -> [[Self::Sum; LANES]; BLOCK];

    /// Sums of one filter; `weights` are as many as inputs.
    unsafe fn multiply_one(line: *const Self::Input, offsets: &[usize], weights: &[Self::Weight]) -> [Self::Sum; LANES];

    /// What follows the sums of a filter.
    unsafe fn finish<O: Stored>(sums: &[Self::Sum; LANES], follow: Follow, results: &mut [O; LANES]);
}

/// What both kinds share.
struct Windows {
    input: Map,
    output: Map,
    /// From the corner of a window, in the order of a model: those of one channel, or of all.
    offsets: Vec<usize>,
    /// Values from the first to the last that a line reads.
    reach: usize,
    lines: Lines,
    /// Into how many items the lines are cut.
    runs: usize,
    follow: Vec<Follow>,
    pad: isize,
}

impl Windows {
    fn new(convolution: &Convolution<'_>, channels: usize) -> Self {
        let Convolution { kernel, stride, ref epilogue, ref input, ref output, .. } = *convolution;
        let pad = (kernel / 2) as isize;
        let corner = input.at(0, -pad, -pad);
        let taps = kernel * kernel;
        let offset = |i: usize| {
            let (ky, kx) = (i % taps / kernel, i % kernel);
            input.at(i / taps, ky as isize - pad, kx as isize - pad) - corner
        };
        let lines = Lines::new(input, output.shape, stride, LANES);
        let offsets: Vec<_> = (0..channels * taps).map(offset).collect();
        Self {
            reach: offsets.iter().max().map_or(0, |offset| offset + LANES),
            offsets,
            runs: lines.count().div_ceil(LINES),
            lines,
            follow: (0..output.shape.channels).map(|filter| Follow::new(epilogue, filter, output.element)).collect(),
            input: input.clone(),
            output: output.clone(),
            pad,
        }
    }

    fn run(&self, item: usize) -> Range<usize> {
        part(self.lines.count(), item, self.runs)
    }

    /// Where the windows of a line start in some channel.
    fn line<T: Value>(&self, input: &Reader<'_, T>, channel: usize, line: usize) -> *const T {
        input.start(self.input.at(channel, -self.pad, -self.pad) + self.lines.corner(line), self.reach)
    }

    fn store<O: Value>(&self, filter: usize, lines: &Range<usize>, results: &[[O; LANES]], memory: &Memory) {
        store(&self.output, filter, &self.lines, lines.clone(), results.as_flattened(), memory);
    }
}

/// A dense convolution.
pub(super) struct Dense<P: Products, O> {
    windows: Windows,
    /// `[block][input / TOGETHER][filter][input % TOGETHER]`; what does not exist is 0.
    weights: Vec<P::Weight>,
    stored: PhantomData<O>,
}

impl<P: Products, O: Stored + Default> Dense<P, O> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let mut windows = Windows::new(&convolution, convolution.input.shape.channels);
        let inputs = windows.offsets.len();
        windows.offsets.resize(inputs.next_multiple_of(P::TOGETHER), 0);
        let values = P::weights(&convolution.weights);
        let block = windows.offsets.len() * BLOCK;
        let mut weights = vec![P::Weight::default(); windows.follow.len().div_ceil(BLOCK) * block];
        for (filter, row) in values.chunks_exact(inputs).enumerate() {
            for (input, &weight) in row.iter().enumerate() {
                let group = filter / BLOCK * block + input / P::TOGETHER * P::TOGETHER * BLOCK;
                weights[group + filter % BLOCK * P::TOGETHER + input % P::TOGETHER] = weight;
            }
        }
        Self { windows, weights, stored: PhantomData }
    }
}

impl<P: Products, O: Stored + Default> Work for Dense<P, O> {
    fn items(&self) -> usize {
        self.windows.runs
    }

    fn run(&self, item: usize, memory: &Memory) {
        let windows = &self.windows;
        let lines = windows.run(item);
        let input = memory.read::<P::Input>(&windows.input);
        let mut results = [[[O::default(); LANES]; LINES]; BLOCK];
        let blocks = self.weights.chunks_exact(windows.offsets.len() * BLOCK);
        for (block, weights) in blocks.enumerate() {
            let filters = block * BLOCK..((block + 1) * BLOCK).min(windows.follow.len());
            for (place, line) in lines.clone().enumerate() {
                let line = windows.line(&input, 0, line);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked.
                let sums = unsafe { P::multiply(line, &windows.offsets, weights) };
                for ((filter, sums), results) in filters.clone().zip(&sums).zip(&mut results) {
                    // SAFETY: as above.
                    unsafe { P::finish(sums, windows.follow[filter], &mut results[place]) };
                }
            }
            for (filter, results) in filters.zip(&results) {
                windows.store(filter, &lines, &results[..lines.len()], memory);
            }
        }
    }
}

/// A depthwise convolution.
pub(super) struct Depthwise<P: Products, O> {
    windows: Windows,
    /// `[channel][input]`.
    weights: Vec<P::Weight>,
    stored: PhantomData<O>,
}

impl<P: Products, O: Stored + Default> Depthwise<P, O> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let weights = P::weights(&convolution.weights).to_vec();
        Self { windows: Windows::new(&convolution, 1), weights, stored: PhantomData }
    }
}

impl<P: Products, O: Stored + Default> Work for Depthwise<P, O> {
    fn items(&self) -> usize {
        self.windows.runs
    }

    fn run(&self, item: usize, memory: &Memory) {
        let windows = &self.windows;
        let lines = windows.run(item);
        let input = memory.read::<P::Input>(&windows.input);
        let mut results = [[O::default(); LANES]; LINES];
        for (channel, weights) in self.weights.chunks_exact(windows.offsets.len()).enumerate() {
            for (line, results) in lines.clone().zip(&mut results) {
                let line = windows.line(&input, channel, line);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked.
                unsafe {
                    let sums = P::multiply_one(line, &windows.offsets, weights);
                    P::finish(&sums, windows.follow[channel], results);
                }
            }
            windows.store(channel, &lines, &results[..lines.len()], memory);
        }
    }
}
