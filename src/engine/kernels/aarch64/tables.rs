//! Tables with NEON: four registers hold the results of a line. Taps beside each other read the same entry, shifted by one
//! value; no load leaves its cache line.
//!
//! NEON belongs to every 64-bit ARM target of Rust, so what is common to all architectures is compiled for it as it is.

use super::{
    super::tables::{
        self, BLOCK, CHANNELS_1, CHANNELS_3, ENTRY_BYTES, Follow, LANES, Line, Lookup, PoolLines, Products, STEP_1, Step,
        Stored, TABLE_1, TABLE_3, offset,
    },
    dotprod,
};
use crate::engine::arithmetic::Weights;
use std::{
    arch::{aarch64::*, is_aarch64_feature_detected},
    array, mem,
};

/// Does this CPU have what the tables need?
pub(super) fn available() -> bool {
    is_aarch64_feature_detected!("neon")
}

/// Bytes of the tables of a chunk where a first-level cache has 64 KB.
pub(super) const LARGE: usize = 24 << 10;
/// And where it has 32 KB and only two places for a line (Cortex-A72): one group of channels, 3×3.
pub(super) const SMALL: usize = 16 << 10;

/// Floats.
pub(super) struct Floats<const TABLES: usize>;

/// Bytes, summed in words of 16 bits.
pub(super) struct Words<const TABLES: usize>;

impl<const TABLES: usize> PoolLines for Floats<TABLES> {}
impl<const TABLES: usize> PoolLines for Words<TABLES> {}

/// Bytes of a register.
const REGISTER: usize = 16;
/// Registers of an entry.
const REGISTERS: usize = ENTRY_BYTES / REGISTER;

/// Values of an entry in a register.
trait Register: Copy {
    /// # Safety
    /// A register is read.
    unsafe fn load(from: *const u8) -> Self;
    /// # Safety
    /// A register is written.
    unsafe fn store(self, to: *mut u8);
    fn add(self, other: Self) -> Self;
    /// Bytes of a value.
    const VALUE: usize;
}

impl Register for float32x4_t {
    const VALUE: usize = size_of::<f32>();

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: promised by the caller.
        unsafe { vld1q_f32(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: promised by the caller.
        unsafe { vst1q_f32(to.cast(), self) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { vaddq_f32(self, other) }
    }
}

impl Register for int16x8_t {
    const VALUE: usize = size_of::<i16>();

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: promised by the caller.
        unsafe { vld1q_s16(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: promised by the caller.
        unsafe { vst1q_s16(to.cast(), self) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { vaddq_s16(self, other) }
    }
}

/// Values of the results of a line that the registers start with. Where the kernel is 3 wide, the last two overlap: two
/// values less are results.
const fn slots(kernel: usize, register: usize) -> [usize; REGISTERS] {
    [0, register, 2 * register, 3 * register - (kernel - 1)]
}

/// The part of an entry that a tap in some column of the kernel adds to the results.
///
/// # Safety
/// There is an entry.
#[inline(always)]
unsafe fn entry<R: Register, const KERNEL: usize>(entry: *const u8, column: usize) -> [R; REGISTERS] {
    let slots = const { slots(KERNEL, REGISTER / R::VALUE) };
    // SAFETY: the last register of the last column ends with the entry.
    array::from_fn(|i| unsafe { R::load(entry.add((slots[i] + column) * R::VALUE)) })
}

#[inline(always)]
fn add<R: Register>(a: [R; REGISTERS], b: [R; REGISTERS]) -> [R; REGISTERS] {
    array::from_fn(|i| a[i].add(b[i]))
}

/// The sums of a filter over the tables of a chunk, 3×3.
///
/// # Safety
/// The offsets lead into the tables.
#[inline(always)]
unsafe fn sum_3<R: Register, const COUNT: usize>(tables: *const u8, words: &[u64]) -> [R; REGISTERS] {
    macro_rules! tap {
        ($i:expr) => {{
            let i: usize = $i;
            // SAFETY: promised by the caller.
            unsafe { entry::<R, 3>(tables.add(i / 3 * TABLE_3 + offset::<CHANNELS_3>(words, i)), i % 3) }
        }};
    }
    let mut sum = add(add(tap!(0), tap!(1)), tap!(2));
    macro_rules! row {
        ($table:literal) => {
            if COUNT > $table {
                sum = add(add(add(sum, tap!(3 * $table)), tap!(3 * $table + 1)), tap!(3 * $table + 2));
            }
        };
    }
    row!(1);
    row!(2);
    row!(3);
    row!(4);
    row!(5);
    sum
}

/// The sums of a filter over the tables of a chunk, 1×1.
///
/// # Safety
/// The offsets lead into the tables.
#[inline(always)]
unsafe fn sum_1<R: Register, const STEPS: usize>(tables: *const u8, words: &[u64]) -> [R; REGISTERS] {
    macro_rules! step {
        ($first:expr) => {{
            macro_rules! group {
                ($i:literal) => {
                    // SAFETY: promised by the caller.
                    unsafe {
                        entry::<R, 1>(tables.add(($first + $i) * TABLE_1 + offset::<CHANNELS_1>(words, $first + $i)), 0)
                    }
                };
            }
            add(add(add(group!(0), group!(1)), group!(2)), group!(3))
        }};
    }
    let mut sum = step!(0);
    for step in 1..STEPS {
        sum = add(sum, step!(step * STEP_1));
    }
    sum
}

/// Calls the loop for a step's tables: the sum of a filter, its number of tables (or of [`STEP_1`] tables) and its words.
macro_rules! by_shape {
    ($step:ident, $filters:ident) => {
        match ($step.kernel, $step.tables) {
            (1, 4) => $filters!(sum_1, 1, 1),
            (1, 8) => $filters!(sum_1, 2, 1),
            (1, _) => $filters!(sum_1, 3, 1),
            (_, 1) => $filters!(sum_3, 1, 1),
            (_, 2) => $filters!(sum_3, 2, 1),
            (_, 3) => $filters!(sum_3, 3, 1),
            (_, 4) => $filters!(sum_3, 4, 2),
            (_, 5) => $filters!(sum_3, 5, 2),
            _ => $filters!(sum_3, 6, 2),
        }
    };
}

impl<const TABLES: usize> Lookup for Floats<TABLES> {
    type Input = f32;
    type Line = Line<f32, 16>;
    type Sums = Line<f32, 16>;

    const LANES: usize = 16;
    const NOTHING: f32 = 0.0;
    const SPAN: usize = 0;
    const OFFSET: i32 = 0;
    const TABLES: usize = TABLES;

    unsafe fn build(inputs: &[*const f32], table: *mut Self::Line) {
        // SAFETY: promised by the caller.
        unsafe { tables::build::<f32, 16>(inputs, table) };
    }

    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], _: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        macro_rules! filters {
            ($sum:ident, $count:literal, $words:literal) => {
                for (filter, words) in entries.as_chunks::<$words>().0.iter().enumerate() {
                    // SAFETY: promised by the caller.
                    unsafe { join_floats(step, $sum::<_, $count>(tables, words), sums.add(filter)) };
                }
            };
        }
        by_shape!(step, filters);
    }

    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        // SAFETY: promised by the caller.
        unsafe { tables::finish(&sums.0, slots(kernel, 4), follow, results) };
    }
}

/// Adds to the sums of a filter, or starts them.
///
/// # Safety
/// `sums` is a line.
#[inline(always)]
unsafe fn join_floats(step: Step, sum: [float32x4_t; REGISTERS], sums: *mut Line<f32, 16>) {
    for (i, sum) in sum.into_iter().enumerate() {
        // SAFETY: a line is four registers.
        unsafe {
            let at = sums.cast::<u8>().add(i * REGISTER);
            if step.first { sum } else { float32x4_t::load(at).add(sum) }.store(at);
        }
    }
}

impl<const TABLES: usize> Lookup for Words<TABLES> {
    type Input = u8;
    type Line = Line<i16, 32>;
    type Sums = Line<i32, 32>;

    const LANES: usize = 32;
    const NOTHING: u8 = tables::MIDDLE;
    const SPAN: usize = tables::WORD_SPAN;
    const OFFSET: i32 = tables::MIDDLE as i32;
    const TABLES: usize = TABLES;

    unsafe fn build(inputs: &[*const u8], table: *mut Self::Line) {
        // SAFETY: promised by the caller.
        unsafe { tables::build::<i16, 32>(inputs, table) };
    }

    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], partial: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        macro_rules! filters {
            ($sum:ident, $count:literal, $words:literal) => {
                for (filter, words) in entries.as_chunks::<$words>().0.iter().enumerate() {
                    let (partial, sums) = (partial.wrapping_add(filter), sums.wrapping_add(filter));
                    // SAFETY: promised by the caller.
                    unsafe { join_words(step, $sum::<_, $count>(tables, words), partial, sums) };
                }
            };
        }
        by_shape!(step, filters);
    }

    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        // SAFETY: promised by the caller.
        unsafe { tables::finish(&sums.0, slots(kernel, 8), follow, results) };
    }
}

/// Adds to the partial sums of a filter and, at the end of a span, these to its sums, or starts them.
///
/// # Safety
/// Both are lines.
#[inline(always)]
unsafe fn join_words(step: Step, sum: [int16x8_t; REGISTERS], partial: *mut Line<i16, 32>, sums: *mut Line<i32, 32>) {
    let mut sum = sum;
    let partial = partial.cast::<u8>();
    // SAFETY: a line of words is four registers, a line of sums eight.
    unsafe {
        if !step.starts {
            sum = add(sum, array::from_fn(|i| int16x8_t::load(partial.add(i * REGISTER))));
        }
        if step.ends {
            for (i, sum) in sum.into_iter().enumerate() {
                let at = sums.cast::<i32>().add(8 * i);
                let joined = match step.first {
                    true => [vmovl_s16(vget_low_s16(sum)), vmovl_high_s16(sum)],
                    false => [vaddw_s16(vld1q_s32(at), vget_low_s16(sum)), vaddw_high_s16(vld1q_s32(at.add(4)), sum)],
                };
                vst1q_s32(at, joined[0]);
                vst1q_s32(at.add(4), joined[1]);
            }
        } else {
            for (i, sum) in sum.into_iter().enumerate() {
                sum.store(partial.add(i * REGISTER));
            }
        }
    }
}

/// Filters whose sums for a line are in registers together.
const TOGETHER: usize = 4;

impl<const TABLES: usize> Products for Floats<TABLES> {
    type Input = f32;
    type Weight = f32;
    type Sum = f32;

    const TOGETHER: usize = 1;

    fn weights<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
        tables::floats(weights)
    }

    unsafe fn multiply(line: *const f32, offsets: &[usize], weights: &[f32]) -> [[f32; LANES]; BLOCK] {
        // SAFETY: NEON is there; inputs are as promised by the caller; four registers are 16 floats.
        unsafe {
            let mut all = [[vdupq_n_f32(0.0); 4]; BLOCK];
            for (part, all) in all.chunks_exact_mut(TOGETHER).enumerate() {
                let mut sums = [[vdupq_n_f32(0.0); 4]; TOGETHER];
                for (&offset, weights) in offsets.iter().zip(weights.as_chunks::<BLOCK>().0) {
                    let inputs: [_; 4] = array::from_fn(|i| vld1q_f32(line.add(offset + 4 * i)));
                    for (sums, &weight) in sums.iter_mut().zip(&weights[part * TOGETHER..]) {
                        *sums = array::from_fn(|i| vfmaq_n_f32(sums[i], inputs[i], weight));
                    }
                }
                all.copy_from_slice(&sums);
            }
            mem::transmute::<[[float32x4_t; 4]; BLOCK], [[f32; LANES]; BLOCK]>(all)
        }
    }

    unsafe fn multiply_one(line: *const f32, offsets: &[usize], weights: &[f32]) -> [f32; LANES] {
        // SAFETY: promised by the caller.
        unsafe { tables::multiply_one_float(line, offsets, weights) }
    }

    unsafe fn pool(top: &[f32], bottom: &[f32], largest: &mut [f32]) {
        tables::pool(top, bottom, largest);
    }

    unsafe fn finish<O: Stored>(sums: &[f32; LANES], follow: Follow, results: &mut [O; LANES]) {
        // SAFETY: there is room for 16 results.
        unsafe { tables::finish(sums, [0], follow, results.as_mut_ptr()) };
    }
}

impl<const TABLES: usize> Products for Words<TABLES> {
    type Input = u8;
    type Weight = i16;
    type Sum = i32;

    const TOGETHER: usize = dotprod::TOGETHER;

    fn weights<'a>(weights: &'a Weights<'_>) -> &'a [i16] {
        tables::integers(weights)
    }

    unsafe fn multiply(line: *const u8, offsets: &[usize], weights: &[i16]) -> [[i32; LANES]; BLOCK] {
        if dotprod::available() {
            // SAFETY: the instructions are there; inputs are as promised by the caller.
            return unsafe { dotprod::multiply(line, offsets, weights) };
        }
        // SAFETY: NEON is there; inputs are as promised by the caller; four registers are 16 sums.
        unsafe {
            let mut all = [[vdupq_n_s32(0); 4]; BLOCK];
            for (part, all) in all.chunks_exact_mut(TOGETHER).enumerate() {
                let mut sums = [[vdupq_n_s32(0); 4]; TOGETHER];
                let weights = weights.as_chunks::<{ dotprod::TOGETHER }>().0.chunks_exact(BLOCK);
                for (offsets, weights) in offsets.as_chunks::<{ dotprod::TOGETHER }>().0.iter().zip(weights) {
                    let weights: &[_; TOGETHER] = weights[part * TOGETHER..].first_chunk().expect("parts of a block");
                    for (input, &offset) in offsets.iter().enumerate() {
                        let bytes = vld1q_u8(line.add(offset));
                        let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
                        let high = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
                        for (sums, weights) in sums.iter_mut().zip(weights) {
                            sums[0] = vmlal_n_s16(sums[0], vget_low_s16(low), weights[input]);
                            sums[1] = vmlal_high_n_s16(sums[1], low, weights[input]);
                            sums[2] = vmlal_n_s16(sums[2], vget_low_s16(high), weights[input]);
                            sums[3] = vmlal_high_n_s16(sums[3], high, weights[input]);
                        }
                    }
                }
                all.copy_from_slice(&sums);
            }
            mem::transmute::<[[int32x4_t; 4]; BLOCK], [[i32; LANES]; BLOCK]>(all)
        }
    }

    unsafe fn multiply_one(line: *const u8, offsets: &[usize], weights: &[i16]) -> [i32; LANES] {
        // SAFETY: promised by the caller.
        unsafe { tables::multiply_one_byte(line, offsets, weights) }
    }

    unsafe fn pool(top: &[u8], bottom: &[u8], largest: &mut [u8]) {
        tables::pool(top, bottom, largest);
    }

    unsafe fn finish<O: Stored>(sums: &[i32; LANES], follow: Follow, results: &mut [O; LANES]) {
        // SAFETY: there is room for 16 results.
        unsafe { tables::finish(sums, [0], follow, results.as_mut_ptr()) };
    }
}
