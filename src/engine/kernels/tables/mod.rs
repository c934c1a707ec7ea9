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
//! [`rest`] (what is left over), [`dense`] (layers of full precision), and in this file what follows the sums and, where an
//! architecture has no way of its own, the tables, which the compiler vectorises. An instruction set adds a [`Lookup`] for
//! each kind of value: the loop over the filters.

mod binary;
mod dense;
mod index;
mod lines;
mod rest;

use super::{Convolution, Family, Kernel, Work};
use crate::{
    engine::{
        Mode,
        arithmetic::{Epilogue, Weights},
        layout::{Element, Layout, Map},
        memory::Value,
    },
    network::{self, Precision, Source},
};
use binary::Binary;
use dense::{Dense, Depthwise, Pool};
use std::marker::PhantomData;

pub(super) use self::{
    dense::{BLOCK, LANES, Products},
    index::{CHANNELS_1, CHANNELS_3, STEP_1, offset},
    rest::Apart,
};
#[cfg(target_arch = "x86_64")]
pub(super) use rest::TOGETHER;

/// Bytes of a table whose kernel is 3 wide.
pub(super) const TABLE_3: usize = ENTRY_BYTES << index::CHANNELS_3;
/// Bytes of a table whose kernel is 1 wide.
pub(super) const TABLE_1: usize = ENTRY_BYTES << index::CHANNELS_1;

/// Bytes are counted from here in tables of words, which makes their sums as small as they can be.
pub(super) const MIDDLE: u8 = 128;
/// Inputs whose sum fits a word of 16 bits, whatever their signs.
pub(super) const WORD_SPAN: usize = (1 << 15) / MIDDLE as usize - 1;

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 64;

/// One entry of a table, or the sums of a filter: values of neighbouring positions.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<T, const N: usize>(pub(super) [T; N]);

/// Channels of a group, at most.
const MAX_CHANNELS: usize = 6;

/// What an entry holds at one position.
pub(super) trait Lane: Copy + Default + 'static {
    /// A value of the input map.
    type Input: Value;

    fn from_input(input: Self::Input) -> Self;
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
}

impl Lane for f32 {
    type Input = f32;

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

/// A byte, counted from [`MIDDLE`]. Sums may wrap where their results are not used.
impl Lane for i16 {
    type Input = u8;

    #[inline(always)]
    fn from_input(input: u8) -> i16 {
        i16::from(input) - i16::from(MIDDLE)
    }

    #[inline(always)]
    fn add(self, other: i16) -> i16 {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn subtract(self, other: i16) -> i16 {
        self.wrapping_sub(other)
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

impl Sum for i32 {
    #[inline(always)]
    fn to_float(self, offset: i32) -> f32 {
        self.wrapping_add(offset) as f32
    }
}

/// What an output map holds.
pub(super) trait Stored: Value + Default + PartialOrd {
    fn from_float(y: f32, zero_point: f32) -> Self;

    /// Results that are bytes, for kernels that have a quicker way to them.
    #[cfg(target_arch = "x86_64")]
    fn bytes(results: *mut Self) -> Option<*mut u8>;
}

impl Stored for f32 {
    #[inline(always)]
    fn from_float(y: f32, _: f32) -> f32 {
        y
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn bytes(_: *mut f32) -> Option<*mut u8> {
        None
    }
}

impl Stored for u8 {
    #[inline(always)]
    fn from_float(y: f32, zero_point: f32) -> u8 {
        let byte = (y.round_ties_even() + zero_point).clamp(0.0, 255.0);
        // SAFETY: between 0 and 255; sums of bytes are finite, and the plan refuses layers where |y| could reach 2³¹.
        unsafe { byte.to_int_unchecked::<i32>() as u8 }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn bytes(results: *mut u8) -> Option<*mut u8> {
        Some(results)
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
    /// Number of tables: 1 to 6 if the kernel is 3 wide, else a multiple of [`STEP_1`], up to 12.
    pub(super) tables: usize,
    /// Do the chunk's sums start a new span, or go on from `partial`?
    pub(super) starts: bool,
    /// Do they end it and join the sums, or stay in `partial`?
    pub(super) ends: bool,
    /// Are they the first to join the sums, which hold anything until then?
    pub(super) first: bool,
}

/// Pools what a convolution gives, on one instruction set: by itself on that which every CPU of the architecture has.
pub(super) trait PoolLines: Send + Sync + 'static {
    /// Maxima over 2×2 windows of pairs of lines of `len` results. All stand one behind the other, and so do the maxima that
    /// take their place.
    ///
    /// # Safety
    /// Only a CPU that has the instructions may call it. From each line on there are as many values as a line has positions.
    unsafe fn pool_lines<O: Stored>(lines: *mut O, len: usize, pairs: usize) {
        // SAFETY: promised by the caller.
        unsafe { pool_lines(lines, len, pairs) };
    }
}

/// Looks sums up and adds them, for one kind of values on one instruction set.
///
/// # Safety
/// Only a CPU that has the instructions may call any of its functions, and pointers must be valid for what they say.
pub(super) trait Lookup: PoolLines {
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
    /// Bytes of the tables of a chunk, at most: they should stay in a first-level cache, with room for what passes through.
    const TABLES: usize = index::TABLES;
    /// How a few positions are summed without a line of their own, if inputs are bytes.
    const APART: Option<Apart> = None;

    /// Fills the table of some channels: `inputs` are where their lines start.
    unsafe fn build(inputs: &[*const Self::Input], table: *mut Self::Line);

    /// Adds the entries of each filter. `tables` are those of the chunk, `[group][ky]`, and `entries` what the filters find
    /// there ([`index::Grouping::entries`]).
    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], partial: *mut Self::Line, sums: *mut Self::Sums);

    /// What follows the sums of a filter: writes the results of a line, and may write up to [`Lookup::LANES`] values.
    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O);
}

/// Brings what stands at an address into the second-level cache.
#[inline(always)]
fn prefetch<T>(at: *const T) {
    // SAFETY: any address may be prefetched.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
}

/// Fills the table of some channels.
///
/// # Safety
/// `N` values are read at each input, and the table has an entry for each choice of signs.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) unsafe fn build<T: Lane, const N: usize>(inputs: &[*const T::Input], table: *mut Line<T, N>) {
    let mut lanes = [[T::default(); N]; MAX_CHANNELS];
    for (lanes, &input) in lanes.iter_mut().zip(inputs) {
        // SAFETY: promised by the caller.
        let values = unsafe { input.cast::<[T::Input; N]>().read_unaligned() };
        (0..N).for_each(|i| lanes[i] = T::from_input(values[i]));
    }
    let lanes = &mut lanes[..inputs.len()];
    let mut negative = [T::default(); N];
    for lanes in lanes.iter() {
        (0..N).for_each(|i| negative[i] = negative[i].subtract(lanes[i]));
    }
    // SAFETY: entry 0.
    unsafe { table.write(Line(negative)) };
    for (bit, lanes) in lanes.iter_mut().enumerate() {
        (0..N).for_each(|i| lanes[i] = lanes[i].add(lanes[i]));
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
    // A loop, not `map`: that one is a function of its own, without the caller's instructions.
    let mut values = [O::default(); N];
    for (value, &sum) in values.iter_mut().zip(sums) {
        let y = sum.to_float(follow.offset).mul_add(follow.scale, follow.bias);
        let scaled = follow.slope * y;
        // Not `max`, which looks for NaN.
        *value = O::from_float(if y > scaled { y } else { scaled }, follow.zero_point);
    }
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
pub(super) unsafe fn multiply_one_float(line: *const f32, offsets: &[usize], weights: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (&offset, &weight) in offsets.iter().zip(weights) {
        // SAFETY: promised by the caller.
        let inputs = unsafe { line.add(offset).cast::<[f32; LANES]>().read_unaligned() };
        (0..LANES).for_each(|i| sums[i] = inputs[i].mul_add(weight, sums[i]));
    }
    sums
}

/// Sums of one filter over bytes.
///
/// # Safety
/// A line of values is read at each offset.
#[inline(always)]
pub(super) unsafe fn multiply_one_byte(line: *const u8, offsets: &[usize], weights: &[i16]) -> [i32; LANES] {
    let mut sums = [0; LANES];
    for (&offset, &weight) in offsets.iter().zip(weights) {
        // SAFETY: promised by the caller.
        let inputs = unsafe { line.add(offset).cast::<[u8; LANES]>().read_unaligned() };
        (0..LANES).for_each(|i| sums[i] += i32::from(inputs[i]) * i32::from(weight));
    }
    sums
}

/// Maxima over 2×2 windows: one row from two.
#[inline(always)]
pub(super) fn pool<T: Copy + PartialOrd>(top: &[T], bottom: &[T], largest: &mut [T]) {
    let max = |a, b| if b > a { b } else { a };
    let (top, bottom) = (&top[..2 * largest.len()], &bottom[..2 * largest.len()]);
    for (x, largest) in largest.iter_mut().enumerate() {
        *largest = max(max(top[2 * x], top[2 * x + 1]), max(bottom[2 * x], bottom[2 * x + 1]));
    }
}

/// Maxima over 2×2 windows of pairs of lines.
///
/// # Safety
/// As [`PoolLines::pool_lines`].
#[inline(always)]
pub(super) unsafe fn pool_lines<T: Stored>(lines: *mut T, len: usize, pairs: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        match len <= LANES {
            true => pool_registers::<T, LANES>(lines, len, pairs),
            false => pool_registers::<T, { 2 * LANES }>(lines, len, pairs),
        }
    }
}

/// [`pool_lines`] of no more than so many values each.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn pool_registers<T: Stored, const N: usize>(lines: *mut T, len: usize, pairs: usize) {
    for pair in 0..pairs {
        let top = lines.wrapping_add(2 * pair * len);
        // SAFETY: promised by the caller.
        let [top, bottom] = unsafe { [top, top.add(len)].map(|line| line.cast::<[T; N]>().read_unaligned()) };
        let mut largest = [T::default(); N];
        pool(&top, &bottom, &mut largest[..N / 2]);
        // SAFETY: what is written past the maxima is a part of these lines, and theirs are the next maxima.
        unsafe { lines.add(pair * len / 2).copy_from_nonoverlapping(largest.as_ptr(), N / 2) };
    }
}

/// The weights that are multiplied by floats.
pub(super) fn floats<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
    match weights {
        Weights::Floats(values) => values,
        _ => unreachable!("floats are multiplied by floats"),
    }
}

/// The weights that are multiplied by bytes.
pub(super) fn integers<'a>(weights: &'a Weights<'_>) -> &'a [i16] {
    match weights {
        Weights::Integers(values) => values,
        _ => unreachable!("bytes are multiplied by integers"),
    }
}

/// Two weights as one word, the first in its lower half.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn pair([first, second]: [i16; 2]) -> i32 {
    i32::from(second) << 16 | i32::from(first) & 0xffff
}

/// Tables for binary weights, products for full-precision ones; `Floats` in f32 mode, `Words` in int8 mode.
pub(super) struct TableKernel<Floats, Words> {
    name: &'static str,
    family: Family,
    available: fn() -> bool,
    lookups: PhantomData<(Floats, Words)>,
}

impl<Floats, Words> TableKernel<Floats, Words> {
    pub(super) const fn new(name: &'static str, family: Family, available: fn() -> bool) -> Self {
        Self { name, family, available, lookups: PhantomData }
    }
}

impl<Floats, Words> Kernel for TableKernel<Floats, Words>
where
    Floats: Lookup<Input = f32> + Products<Input = f32>,
    Words: Lookup<Input = u8> + Products<Input = u8>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, _: Mode) -> bool {
        (self.available)()
    }

    fn family(&self) -> Family {
        self.family
    }

    fn layout(&self) -> Layout {
        Layout::Planar
    }

    fn pools(&self, convolution: &network::Convolution, _: Source, mode: Mode) -> bool {
        let network::Convolution { filters, kernel, stride, precision, .. } = *convolution;
        // Where filters are few, building tables once for three rows and sparing the larger map is worth that some positions
        // of a column lie outside the map and that words are widened twice as often.
        let few = match mode {
            Mode::F32 => 256,
            Mode::Int8 => 64,
        };
        stride == 1 && (precision == Precision::Full || kernel == 3 && filters <= few)
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        let bits = matches!(convolution.weights, Weights::Bits(_));
        match (convolution.input.element, convolution.output.element) {
            (Element::Float, _) if bits => Box::new(Binary::<Floats, f32>::new(convolution)),
            (Element::Float, _) => Box::new(Dense::<Floats, f32>::new(convolution)),
            (_, Element::Byte { .. }) if bits => Box::new(Binary::<Words, u8>::new(convolution)),
            (_, Element::Float) if bits => Box::new(Binary::<Words, f32>::new(convolution)),
            (_, Element::Byte { .. }) => Box::new(Dense::<Words, u8>::new(convolution)),
            (_, Element::Float) => Box::new(Dense::<Words, f32>::new(convolution)),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match (convolution.input.element, convolution.output.element) {
            (Element::Float, _) => Box::new(Depthwise::<Floats, f32>::new(convolution)),
            (_, Element::Byte { .. }) => Box::new(Depthwise::<Words, u8>::new(convolution)),
            (_, Element::Float) => Box::new(Depthwise::<Words, f32>::new(convolution)),
        }
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        match input.element {
            Element::Float => Box::new(Pool::<Floats>::new(input, output)),
            Element::Byte { .. } => Box::new(Pool::<Words>::new(input, output)),
        }
    }
}
