//! Convolutions of full precision on planar maps, dense and depthwise, and pooling; lanes are positions.
//!
//! An item is a run of lines. Each input of a window is a run of neighbours in the input map, one for each position of a
//! line, and is multiplied by one weight of each filter; the sums of a block of filters stay in registers.

use super::{
    Follow, PoolLines, Stored, Sum,
    lines::{Lines, Run},
};
use crate::engine::{
    arithmetic::Weights,
    kernels::{Convolution, Work},
    layout::Map,
    memory::{Memory, Reader, Value},
};
use std::marker::PhantomData;

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
pub(in super::super) trait Products: PoolLines {
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
    unsafe fn multiply(line: *const Self::Input, offsets: &[usize], weights: &[Self::Weight])
    -> [[Self::Sum; LANES]; BLOCK];

    /// Sums of one filter; `weights` are as many as inputs.
    unsafe fn multiply_one(line: *const Self::Input, offsets: &[usize], weights: &[Self::Weight]) -> [Self::Sum; LANES];

    /// Maxima over 2×2 windows: one row of a channel from two, both twice as long.
    unsafe fn pool(top: &[Self::Input], bottom: &[Self::Input], largest: &mut [Self::Input]);

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
    /// Are two lines pooled to one?
    pool: bool,
    follow: Vec<Follow>,
    pad: isize,
}

impl Windows {
    fn new(convolution: &Convolution<'_>, channels: usize) -> Self {
        let Convolution { kernel, stride, pool, ref epilogue, ref input, ref output, threads, .. } = *convolution;
        let pad = (kernel / 2) as isize;
        let corner = input.at(0, -pad, -pad);
        let taps = kernel * kernel;
        let offset = |i: usize| {
            let (ky, kx) = (i % taps / kernel, i % kernel);
            input.at(i / taps, ky as isize - pad, kx as isize - pad) - corner
        };
        let offsets: Vec<_> = (0..channels * taps).map(offset).collect();
        let lines = match pool {
            true => Lines::pooled(input, output.shape, LANES, 2, LINES / 2),
            false => {
                let lines = Lines::new(input, output.shape, stride, LANES, 0);
                let runs = lines.count().div_ceil(LINES).next_multiple_of(threads).min(lines.count());
                lines.in_runs(runs)
            }
        };
        Self {
            reach: offsets.iter().max().map_or(0, |offset| offset + LANES),
            offsets,
            lines,
            pool,
            follow: (0..output.shape.channels).map(|filter| Follow::new(epilogue, filter, output.element)).collect(),
            input: input.clone(),
            output: output.clone(),
            pad,
        }
    }

    /// Where the windows of a line start in some channel.
    fn line<T: Value>(&self, input: &Reader<'_, T>, channel: usize, line: usize) -> *const T {
        input.start(self.input.at(channel, -self.pad, -self.pad) + self.lines.corner(line), self.reach)
    }

    fn store<O: Value>(&self, filter: usize, run: &Run, results: &[[O; LANES]; LINES], memory: &Memory) {
        self.lines.store(run, results[..run.lines.len()].as_flattened(), &self.output, filter, memory);
    }
}

/// A dense convolution.
pub(super) struct Dense<P: Products, O> {
    windows: Windows,
    /// `[block][input / TOGETHER][filter][input % TOGETHER]`; what does not exist is 0.
    weights: Vec<P::Weight>,
    stored: PhantomData<O>,
}

impl<P: Products, O: Stored> Dense<P, O> {
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

impl<P: Products, O: Stored> Work for Dense<P, O> {
    fn items(&self) -> usize {
        self.windows.lines.runs().len()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let windows = &self.windows;
        let run = &windows.lines.runs()[item];
        let input = memory.read::<P::Input>(&windows.input);
        let mut results = [[[O::default(); LANES]; LINES]; BLOCK];
        let blocks = self.weights.chunks_exact(windows.offsets.len() * BLOCK);
        for (block, weights) in blocks.enumerate() {
            let filters = block * BLOCK..((block + 1) * BLOCK).min(windows.follow.len());
            for (place, line) in run.lines.clone().enumerate() {
                let line = windows.line(&input, 0, line);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked.
                let sums = unsafe { P::multiply(line, &windows.offsets, weights) };
                for ((filter, sums), results) in filters.clone().zip(&sums).zip(&mut results) {
                    // SAFETY: as above.
                    unsafe { P::finish(sums, windows.follow[filter], &mut results[place]) };
                }
            }
            for (filter, results) in filters.zip(&mut results) {
                if windows.pool {
                    // SAFETY: as above; these are the lines of the run.
                    unsafe { P::pool_lines(results.as_flattened_mut().as_mut_ptr(), LANES, run.lines.len() / 2) };
                }
                windows.store(filter, run, results, memory);
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

impl<P: Products, O: Stored> Depthwise<P, O> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let weights = P::weights(&convolution.weights).to_vec();
        Self { windows: Windows::new(&convolution, 1), weights, stored: PhantomData }
    }
}

impl<P: Products, O: Stored> Work for Depthwise<P, O> {
    fn items(&self) -> usize {
        self.windows.lines.runs().len()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let windows = &self.windows;
        let run = &windows.lines.runs()[item];
        let input = memory.read::<P::Input>(&windows.input);
        let mut results = [[O::default(); LANES]; LINES];
        for (channel, weights) in self.weights.chunks_exact(windows.offsets.len()).enumerate() {
            for (line, results) in run.lines.clone().zip(&mut results) {
                let line = windows.line(&input, channel, line);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked.
                unsafe {
                    let sums = P::multiply_one(line, &windows.offsets, weights);
                    P::finish(&sums, windows.follow[channel], results);
                }
            }
            windows.store(channel, run, &results, memory);
        }
    }
}

/// Maximum over 2×2 windows, stride 2. An item is one channel, whose rows stand one after the other.
pub(super) struct Pool<P> {
    input: Map,
    output: Map,
    products: PhantomData<P>,
}

impl<P: Products> Pool<P> {
    pub(super) fn new(input: Map, output: Map) -> Self {
        Self { input, output, products: PhantomData }
    }
}

impl<P: Products> Work for Pool<P> {
    fn items(&self) -> usize {
        self.output.shape.channels
    }

    fn run(&self, channel: usize, memory: &Memory) {
        let width = self.output.shape.width;
        let input = memory.read::<P::Input>(&self.input);
        let output = memory.write::<P::Input>(&self.output);
        for y in 0..self.output.shape.height {
            let row = |y: usize| input.run(self.input.at(channel, y as isize, 0), 2 * width);
            // SAFETY: only this item uses this channel; a layer never reads where it writes.
            let largest = unsafe { output.run(self.output.at(channel, y as isize, 0), width) };
            // SAFETY: a kernel is only used where its instructions are.
            unsafe { P::pool(row(2 * y), row(2 * y + 1), largest) };
        }
    }
}
