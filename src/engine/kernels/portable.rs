//! Plain Rust, for every CPU: the oracle of the other kernels, written so that the compiler can vectorise it.
//!
//! A direct convolution on interleaved maps. An item is [`REGION`] output positions times [`LANES`] filters. The window of
//! a position is a list of runs of neighbouring values; the runs are gathered into chunks of at most [`CHUNK`] inputs. For
//! each chunk, weight bits become ±1 once and serve all positions of the region; the innermost loop multiplies one input by
//! the weights of all lanes. 16-bit lanes hold the exact sum of a binary chunk over bytes: 128 · 255 < 2¹⁵.

use super::{
    Convolution, Kernel, Work, moves,
    window::{Chunk, Run, Window},
};
use crate::{
    engine::{
        Mode,
        arithmetic::{Epilogue, Weights, to_byte},
        layout::{Element, Layout, Map},
        memory::{Memory, Reader, Value},
    },
    network::Shape,
};
use std::{array, marker::PhantomData, ops::Range};

/// Filters that are computed together.
const LANES: usize = 32;
/// Inputs summed before the sum is widened.
const CHUNK: usize = 128;
/// Positions of an item.
const REGION: usize = 64;
/// Positions that share the loads of weights.
const PIXELS: usize = 2;

/// The portable kernel.
pub(super) struct Portable;

impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn runs(&self, _: Mode) -> bool {
        true
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        let bits = matches!(convolution.weights, Weights::Bits(_));
        match (convolution.input.element, convolution.output.element) {
            (Element::Float, _) => Box::new(Direct::<Floats, f32>::new(convolution)),
            (_, Element::Byte { .. }) if bits => Box::new(Direct::<SignedBytes, u8>::new(convolution)),
            (_, Element::Float) if bits => Box::new(Direct::<SignedBytes, f32>::new(convolution)),
            (_, Element::Byte { .. }) => Box::new(Direct::<WeightedBytes, u8>::new(convolution)),
            (_, Element::Float) => Box::new(Direct::<WeightedBytes, f32>::new(convolution)),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match (convolution.input.element, convolution.output.element) {
            (Element::Float, _) => Box::new(Depthwise::<Floats, f32>::new(convolution)),
            (_, Element::Byte { .. }) => Box::new(Depthwise::<WeightedBytes, u8>::new(convolution)),
            (_, Element::Float) => Box::new(Depthwise::<WeightedBytes, f32>::new(convolution)),
        }
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}

/// Kinds of numbers, and how products are summed.
trait Arithmetic: Send + Sync + 'static {
    /// A value of the input map.
    type Input: Value;
    /// A weight.
    type Weight: Copy + Default + Send + Sync;
    /// Sums of up to [`CHUNK`] products.
    type Partial: Copy + Default;
    /// Sums of all products.
    type Sum: Copy + Default;

    /// The weight that a bit stands for.
    fn sign(positive: bool) -> Self::Weight;
    /// Weights that are not bits, `[filters, inputs]`.
    fn values<'a>(weights: &'a Weights<'_>) -> &'a [Self::Weight];
    fn multiply_add(sum: Self::Partial, input: Self::Input, weight: Self::Weight) -> Self::Partial;
    fn widen(sum: Self::Sum, partial: Self::Partial) -> Self::Sum;
    fn to_float(sum: Self::Sum) -> f32;
}

/// Floats times floats.
struct Floats;

impl Arithmetic for Floats {
    type Input = f32;
    type Weight = f32;
    type Partial = f32;
    type Sum = f32;

    #[inline(always)]
    fn sign(positive: bool) -> f32 {
        if positive { 1.0 } else { -1.0 }
    }

    fn values<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
        match weights {
            Weights::Floats(values) => values,
            _ => unreachable!("floats are multiplied by floats"),
        }
    }

    #[inline(always)]
    fn multiply_add(sum: f32, input: f32, weight: f32) -> f32 {
        sum + input * weight
    }

    #[inline(always)]
    fn widen(sum: f32, partial: f32) -> f32 {
        sum + partial
    }

    #[inline(always)]
    fn to_float(sum: f32) -> f32 {
        sum
    }
}

/// Bytes times ±1.
struct SignedBytes;

impl Arithmetic for SignedBytes {
    type Input = u8;
    type Weight = i16;
    type Partial = i16;
    type Sum = i32;

    #[inline(always)]
    fn sign(positive: bool) -> i16 {
        if positive { 1 } else { -1 }
    }

    fn values<'a>(_: &'a Weights<'_>) -> &'a [i16] {
        unreachable!("these weights are bits")
    }

    #[inline(always)]
    fn multiply_add(sum: i16, input: u8, weight: i16) -> i16 {
        sum.wrapping_add(i16::from(input).wrapping_mul(weight))
    }

    #[inline(always)]
    fn widen(sum: i32, partial: i16) -> i32 {
        sum + i32::from(partial)
    }

    #[inline(always)]
    fn to_float(sum: i32) -> f32 {
        sum as f32
    }
}

/// Bytes times 16-bit weights.
struct WeightedBytes;

impl Arithmetic for WeightedBytes {
    type Input = u8;
    type Weight = i16;
    type Partial = i32;
    type Sum = i32;

    fn sign(_: bool) -> i16 {
        unreachable!("these weights are integers")
    }

    fn values<'a>(weights: &'a Weights<'_>) -> &'a [i16] {
        match weights {
            Weights::Integers(values) => values,
            _ => unreachable!("integers are multiplied by bytes"),
        }
    }

    #[inline(always)]
    fn multiply_add(sum: i32, input: u8, weight: i16) -> i32 {
        sum.wrapping_add(i32::from(input) * i32::from(weight))
    }

    #[inline(always)]
    fn widen(sum: i32, partial: i32) -> i32 {
        sum.wrapping_add(partial)
    }

    #[inline(always)]
    fn to_float(sum: i32) -> f32 {
        sum as f32
    }
}

/// How an output is stored.
trait Output: Value {
    fn store(y: f32, element: Element) -> Self;
}

impl Output for f32 {
    #[inline(always)]
    fn store(y: f32, _: Element) -> f32 {
        y
    }
}

impl Output for u8 {
    #[inline(always)]
    fn store(y: f32, element: Element) -> u8 {
        match element {
            Element::Byte { zero_point } => to_byte(y, zero_point),
            Element::Float => unreachable!("a map of floats is written as floats"),
        }
    }
}

/// A dense convolution.
struct Direct<A: Arithmetic, O> {
    input: Map,
    output: Map,
    kernel: usize,
    stride: usize,
    chunks: Vec<Chunk>,
    weights: Packed<A>,
    epilogue: Epilogue,
    stored: PhantomData<O>,
}

impl<A: Arithmetic, O: Output> Direct<A, O> {
    fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        let window = Window { kernel, channels: input.shape.channels };
        let weights = Packed::new(window, output.shape.channels, &weights);
        let chunks = window.chunks(&input, CHUNK);
        Self { input, output, kernel, stride, chunks, weights, epilogue, stored: PhantomData }
    }

    fn blocks(&self) -> usize {
        self.output.shape.channels.div_ceil(LANES)
    }

    /// Where the windows of a region start; the last one fills the rest.
    fn windows(&self, region: &Range<usize>) -> [usize; REGION] {
        let width = self.output.shape.width;
        array::from_fn(|i| {
            let position = (region.start + i).min(region.end - 1);
            let corner = |at: usize| (at * self.stride) as isize - (self.kernel / 2) as isize;
            self.input.at(0, corner(position / width), corner(position % width))
        })
    }
}

impl<A: Arithmetic, O: Output> Work for Direct<A, O> {
    fn items(&self) -> usize {
        self.output.shape.positions().div_ceil(REGION) * self.blocks()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let (region, block) = (item / self.blocks(), item % self.blocks());
        let region = region * REGION..((region + 1) * REGION).min(self.output.shape.positions());
        let windows = self.windows(&region);
        let input = memory.read::<A::Input>(&self.input);

        let mut sums = [[A::Sum::default(); LANES]; REGION];
        let mut expanded = [[A::Weight::default(); LANES]; CHUNK];
        let used = region.len().next_multiple_of(PIXELS);
        for chunk in &self.chunks {
            let weights = self.weights.numbers(block, &chunk.inputs, &mut expanded);
            let (windows, _) = windows[..used].as_chunks::<PIXELS>();
            let (sums, _) = sums[..used].as_chunks_mut::<PIXELS>();
            for (windows, sums) in windows.iter().zip(sums) {
                accumulate::<A>(&input, windows, &chunk.runs, weights, sums);
            }
        }

        let output = memory.write::<O>(&self.output);
        let filters = block * LANES..((block + 1) * LANES).min(self.output.shape.channels);
        let width = self.output.shape.width;
        for (position, sums) in region.zip(&sums) {
            let at = self.output.at(filters.start, (position / width) as isize, (position % width) as isize);
            // SAFETY: only this item uses these filters at these positions; a layer never reads where it writes.
            let values = unsafe { output.run(at, filters.len()) };
            for ((value, filter), &sum) in values.iter_mut().zip(filters.clone()).zip(sums) {
                *value = O::store(self.epilogue.apply(filter, A::to_float(sum)), self.output.element);
            }
        }
    }
}

/// Adds one chunk of [`PIXELS`] windows to their sums.
#[inline(always)]
fn accumulate<A: Arithmetic>(
    input: &Reader<'_, A::Input>,
    windows: &[usize; PIXELS],
    runs: &[Run],
    weights: &[[A::Weight; LANES]],
    sums: &mut [[A::Sum; LANES]; PIXELS],
) {
    let mut partial = [[A::Partial::default(); LANES]; PIXELS];
    let mut weights = weights.iter();
    for run in runs {
        let [first, second] = windows.map(|window| input.run(window + run.offset, run.len));
        for ((&x, &y), lanes) in first.iter().zip(second).zip(&mut weights) {
            for (lane, &weight) in lanes.iter().enumerate() {
                partial[0][lane] = A::multiply_add(partial[0][lane], x, weight);
                partial[1][lane] = A::multiply_add(partial[1][lane], y, weight);
            }
        }
    }
    for (sums, partial) in sums.iter_mut().zip(&partial) {
        for (sum, &partial) in sums.iter_mut().zip(partial) {
            *sum = A::widen(*sum, partial);
        }
    }
}

/// Weights `[block of filters][ky, kx, channel][lane]`; lanes past the last filter hold anything.
struct Packed<A: Arithmetic> {
    /// Weights of one filter.
    inputs: usize,
    lanes: Lanes<A>,
}

enum Lanes<A: Arithmetic> {
    /// One bit for each lane.
    Bits(Vec<u32>),
    Values(Vec<[A::Weight; LANES]>),
}

impl<A: Arithmetic> Packed<A> {
    fn new(window: Window, filters: usize, weights: &Weights<'_>) -> Self {
        let inputs = window.inputs();
        let places = filters.div_ceil(LANES) * inputs;
        let place = |filter: usize, input: usize| (filter / LANES * inputs + input, filter % LANES);
        let lanes = match weights {
            Weights::Bits(bits) => {
                let mut words = vec![0u32; places];
                for filter in 0..filters {
                    for input in 0..inputs {
                        let (word, lane) = place(filter, input);
                        words[word] |= u32::from(bits.is_positive(filter, window.in_model(input))) << lane;
                    }
                }
                Lanes::Bits(words)
            }
            Weights::Floats(_) | Weights::Integers(_) => {
                let values = A::values(weights);
                let mut packed = vec![[A::Weight::default(); LANES]; places];
                for (filter, values) in values.chunks_exact(inputs).enumerate() {
                    for input in 0..inputs {
                        let (row, lane) = place(filter, input);
                        packed[row][lane] = values[window.in_model(input)];
                    }
                }
                Lanes::Values(packed)
            }
        };
        Self { inputs, lanes }
    }

    /// The weights of some inputs as numbers; in `expanded` if they are kept as bits.
    fn numbers<'a>(
        &'a self,
        block: usize,
        inputs: &Range<usize>,
        expanded: &'a mut [[A::Weight; LANES]; CHUNK],
    ) -> &'a [[A::Weight; LANES]] {
        let first = block * self.inputs;
        let range = first + inputs.start..first + inputs.end;
        match &self.lanes {
            Lanes::Values(values) => &values[range],
            Lanes::Bits(words) => {
                let expanded = &mut expanded[..range.len()];
                for (lanes, &word) in expanded.iter_mut().zip(&words[range]) {
                    for (lane, weight) in lanes.iter_mut().enumerate() {
                        *weight = A::sign(word & 1 << lane != 0);
                    }
                }
                expanded
            }
        }
    }
}

/// A depthwise convolution. An item is [`REGION`] positions, all channels.
struct Depthwise<A: Arithmetic, O> {
    input: Map,
    output: Map,
    kernel: usize,
    stride: usize,
    /// `[ky, kx, channel]`.
    weights: Vec<A::Weight>,
    epilogue: Epilogue,
    stored: PhantomData<O>,
}

impl<A: Arithmetic, O: Output> Depthwise<A, O> {
    fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        let window = Window { kernel, channels: input.shape.channels };
        let values = A::values(&weights);
        let weights = (0..window.inputs()).map(|i| values[window.in_model(i)]).collect();
        Self { input, output, kernel, stride, weights, epilogue, stored: PhantomData }
    }

    /// The sums of some channels at one position.
    fn sums(&self, input: &Reader<'_, A::Input>, (y, x): (usize, usize), channels: &Range<usize>) -> [A::Partial; LANES] {
        let mut sums = [A::Partial::default(); LANES];
        let corner = |at: usize| (at * self.stride) as isize - (self.kernel / 2) as isize;
        for tap in 0..self.kernel * self.kernel {
            let (ky, kx) = ((tap / self.kernel) as isize, (tap % self.kernel) as isize);
            let values = input.run(self.input.at(channels.start, corner(y) + ky, corner(x) + kx), channels.len());
            let weights = &self.weights[tap * self.input.shape.channels..][channels.clone()];
            for ((sum, &value), &weight) in sums.iter_mut().zip(values).zip(weights) {
                *sum = A::multiply_add(*sum, value, weight);
            }
        }
        sums
    }
}

impl<A: Arithmetic, O: Output> Work for Depthwise<A, O> {
    fn items(&self) -> usize {
        self.output.shape.positions().div_ceil(REGION)
    }

    fn run(&self, item: usize, memory: &Memory) {
        let Shape { channels, width, .. } = self.output.shape;
        let input = memory.read::<A::Input>(&self.input);
        let output = memory.write::<O>(&self.output);
        for position in item * REGION..((item + 1) * REGION).min(self.output.shape.positions()) {
            let (y, x) = (position / width, position % width);
            for first in (0..channels).step_by(LANES) {
                let block = first..(first + LANES).min(channels);
                let sums = self.sums(&input, (y, x), &block);
                // SAFETY: only this item uses these positions; a layer never reads where it writes.
                let values = unsafe { output.run(self.output.at(first, y as isize, x as isize), block.len()) };
                for ((value, channel), &sum) in values.iter_mut().zip(block).zip(&sums) {
                    let sum = A::to_float(A::widen(A::Sum::default(), sum));
                    *value = O::store(self.epilogue.apply(channel, sum), self.output.element);
                }
            }
        }
    }
}
