//! Binary convolutions by tables of partial sums (the "method of four Russians"), on planar maps; lanes are positions.
//!
//! A few channels with one weight bit each can be summed in only so many ways. All of these sums are computed once for a
//! line of positions, and each filter looks its own up: one load and one addition do what one multiply-add for each channel
//! would. The table depends on the input alone, so it serves all filters and, as the taps beside each other read the same
//! positions shifted by one, all taps of a kernel's row.
//!
//! An entry of a table is one cache line: 16 floats, or 32 words of 16 bits. Where the kernel is 3 wide, two positions of
//! a line have neighbours in the next line only, so that a line gives two results less than it has positions.
//!
//! Shared by all architectures: [`lines`] (which positions), [`index`] (which entries), [`binary`] (in which order),
//! [`dense`] (layers of full precision), and in this file the tables and what follows the sums, which the
//! compiler vectorises. An instruction set adds a [`Lookup`] for each kind of value: the loop over the filters.

mod binary;
mod dense;
mod index;
mod lines;

use super::{Convolution, Kernel, Work};
use crate::engine::{
    Mode,
    arithmetic::{Epilogue, Weights},
    layout::{Element, Layout},
    memory::Value,
};
use std::marker::PhantomData;

pub(super) use self::{
    dense::{BLOCK, LANES, Products},
    index::STEP_1,
};

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 64;

/// One entry of a table, or the sums of a filter: values of neighbouring positions.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<T, const N: usize>(pub(super) [T; N]);

/// What an entry holds at one position.
pub(super) trait Lane: Copy + 'static {
    /// A value of the input map.
    type Input: Value;

    /// The input that adds nothing.
    const NOTHING: Self::Input;

    fn from_input(input: Self::Input) -> Self;
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
}

impl Lane for f32 {
    type Input = f32;

    const NOTHING: f32 = 0.0;

    #[inline(always)]
    fn from_input(input: f32) -> f32 {
        input
    }

    #[inline(always)]
    fn add(self, other: f32) -> f32 {
        self + other
    }

    #[inline(always)]
    fn subtract(self, other: f32) -> f32 {
        self - other
    }
}

/// What the epilogue reads.
pub(super) trait Sum: Copy + 'static {
    fn to_float(self, offset: i32) -> f32;
}

impl Sum for f32 {
    #[inline(always)]
    fn to_float(self, _: i32) -> f32 {
        self
    }
}

/// What an output map holds.
pub(super) trait Stored: Value {
    fn from_float(y: f32, zero_point: f32) -> Self;
}

impl Stored for f32 {
    #[inline(always)]
    fn from_float(y: f32, _: f32) -> f32 {
        y
    }
}

/// Scale, bias and activation of one filter.
#[derive(Clone, Copy)]
pub(super) struct Follow {
    /// What the sum lacks.
    pub(super) offset: i32,
    pub(super) scale: f32,
    pub(super) bias: f32,
    pub(super) slope: f32,
    /// Of bytes.
    pub(super) zero_point: f32,
}

impl Follow {
    fn new(epilogue: &Epilogue, filter: usize, output: Element) -> Self {
        let zero_point = match output {
            Element::Byte { zero_point } => zero_point.into(),
            Element::Float => 0.0,
        };
        let (scale, bias) = (epilogue.scale[filter], epilogue.bias[filter]);
        Self { offset: 0, scale, bias, slope: epilogue.slope, zero_point }
    }
}

/// One chunk for one line.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Side of the kernel.
    pub(super) kernel: usize,
    pub(super) groups: usize,
    /// Do the chunk's sums start a new span, or go on from `partial`?
    pub(super) starts: bool,
    /// Do they end it and join the sums, or stay in `partial`?
    pub(super) ends: bool,
}

/// Looks sums up and adds them, for one kind of values on one instruction set.
///
/// # Safety
/// Only a CPU that has the instructions may call any of its functions, and pointers must be valid for what they say.
pub(super) trait Lookup: Send + Sync + 'static {
    /// A value of the input map.
    type Input: Value;
    /// One entry of a table.
    type Line: Copy;
    /// All that is known of a filter over a line.
    type Sums: Copy;

    /// Positions of a line.
    const LANES: usize;
    /// The input that adds nothing.
    const NOTHING: Self::Input;
    /// Inputs whose sum is sure to fit an entry; chunks are gathered into spans of no more. 0 if every chunk joins the sums.
    const SPAN: usize;
    /// What the sums of a filter lack for each of its weights.
    const OFFSET: i32;

    /// Fills the table of some channels: `inputs` are where their lines start.
    unsafe fn build(inputs: &[*const Self::Input], table: *mut Self::Line);

    /// Adds the entries of each filter. `tables` are those of the chunk, `[group][ky]`, and `pairs` its offsets for the
    /// filters ([`index::Grouping::offsets`]). Sums start as zeros.
    unsafe fn add(step: Step, tables: *const Self::Line, pairs: &[u32], partial: *mut Self::Line, sums: &mut [Self::Sums]);

    /// What follows the sums of a filter: writes the results of a line, and may write up to [`Lookup::LANES`] values.
    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O);
}

/// Fills the table of some channels.
///
/// # Safety
/// `N` values are read at each input, and the table has an entry for each choice of signs.
#[inline(always)]
pub(super) unsafe fn build<T: Lane, const N: usize>(inputs: &[*const T::Input], table: *mut Line<T, N>) {
    // SAFETY: promised by the caller.
    let load = |input: *const T::Input| unsafe { input.cast::<[T::Input; N]>().read_unaligned() }.map(T::from_input);
    let (&first, others) = inputs.split_first().expect("a group has channels");
    // All −.
    let first = load(first);
    let mut line = first.map(|lane| lane.subtract(lane).subtract(lane));
    for &input in others {
        let lanes = load(input);
        (0..N).for_each(|i| line[i] = line[i].subtract(lanes[i]));
    }
    // SAFETY: entry 0.
    unsafe { table.write(Line(line)) };
    for (bit, &input) in inputs.iter().enumerate() {
        let lanes = load(input).map(|lane| lane.add(lane));
        for entry in 0..1 << bit {
            // SAFETY: entries below 2^(bit + 1).
            unsafe {
                let Line(mut line) = table.add(entry).read();
                (0..N).for_each(|i| line[i] = line[i].add(lanes[i]));
                table.add(entry | 1 << bit).write(Line(line));
            }
        }
    }
}

/// What follows the sums of a filter. They come in pieces of equal length, the results of which start at `slots`.
///
/// # Safety
/// The results reach from the first slot to the end of the last piece.
#[inline(always)]
pub(super) unsafe fn finish<S: Sum, O: Stored, const N: usize, const PIECES: usize>(
    sums: &[S; N],
    slots: [usize; PIECES],
    follow: Follow,
    results: *mut O,
) {
    let values = sums.map(|sum| {
        let y = sum.to_float(follow.offset).mul_add(follow.scale, follow.bias);
        O::from_float(y.max(follow.slope * y), follow.zero_point)
    });
    for (piece, slot) in values.chunks_exact(N / PIECES).zip(slots) {
        // SAFETY: promised by the caller.
        unsafe { piece.as_ptr().copy_to_nonoverlapping(results.add(slot), piece.len()) };
    }
}

/// Sums of one filter over floats.
///
/// # Safety
/// A line of values is read at each offset.
#[inline(always)]
pub(super) unsafe fn multiply_one(line: *const f32, offsets: &[usize], weights: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (&offset, &weight) in offsets.iter().zip(weights) {
        // SAFETY: promised by the caller.
        let inputs = unsafe { line.add(offset).cast::<[f32; LANES]>().read_unaligned() };
        (0..LANES).for_each(|i| sums[i] = inputs[i].mul_add(weight, sums[i]));
    }
    sums
}

/// The weights that are multiplied by floats.
pub(super) fn floats<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
    match weights {
        Weights::Floats(values) => values,
        _ => unreachable!("floats are multiplied by floats"),
    }
}

/// Tables for binary weights, products for full-precision ones.
pub(super) struct TableKernel<Floats> {
    name: &'static str,
    available: fn() -> bool,
    lookups: PhantomData<Floats>,
}

impl<Floats> TableKernel<Floats> {
    pub(super) const fn new(name: &'static str, available: fn() -> bool) -> Self {
        Self { name, available, lookups: PhantomData }
    }
}

impl<Floats: Lookup<Input = f32> + Products<Input = f32>> Kernel for TableKernel<Floats> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::F32 && (self.available)()
    }

    fn layout(&self) -> Layout {
        Layout::Planar
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match convolution.weights {
            Weights::Bits(_) => Box::new(binary::Binary::<Floats, f32>::new(convolution)),
            _ => Box::new(dense::Dense::<Floats, f32>::new(convolution)),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(dense::Depthwise::<Floats, f32>::new(convolution))
    }
}
