//! Layers of full precision beside the tables, where the core has dot products: `udot` multiplies four bytes of four
//! positions by four bytes of a filter, a 16-bit weight being two of them. Without it a 16-bit product takes a multiplier
//! that most cores have one of, for a quarter of the products.
//!
//! The instruction is written as assembly because its intrinsics are not stable.

use super::super::tables::{BLOCK, LANES};
use std::{
    arch::{aarch64::*, asm, is_aarch64_feature_detected},
    mem::{self, MaybeUninit},
};

/// Does this CPU have the instruction?
pub(super) fn available() -> bool {
    is_aarch64_feature_detected!("dotprod")
}

/// Inputs that are multiplied at once.
pub(super) const TOGETHER: usize = 4;
/// So many inputs of a line are transposed, then multiplied by the weights of all filters: 2 KB.
const CHUNK: usize = 32;
/// Registers of a line.
const REGISTERS: usize = LANES / 4;
/// Filters whose sums are in registers together.
const FILTERS: usize = 2;
/// Turns signed words into unsigned ones, larger by as much.
const SIGN: u16 = 1 << 15;

/// Four inputs of the positions of a line.
type Inputs = [uint8x16_t; REGISTERS];

/// [`Products::multiply`](super::super::tables::Products::multiply) of bytes.
///
/// # Safety
/// As there, and the core has the instruction.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn multiply(line: *const u8, offsets: &[usize], weights: &[i16]) -> [[i32; LANES]; BLOCK] {
    let mut sums = [[vdupq_n_u32(0); REGISTERS]; BLOCK];
    let (offsets, weights) = (offsets.as_chunks::<TOGETHER>().0, weights.as_chunks::<{ TOGETHER * BLOCK }>().0);
    for (offsets, weights) in offsets.chunks(CHUNK).zip(weights.chunks(CHUNK)) {
        let mut inputs = [const { MaybeUninit::<Inputs>::uninit() }; CHUNK];
        let mut totals = [vdupq_n_u32(0); REGISTERS];
        for (inputs, offsets) in inputs.iter_mut().zip(offsets) {
            // SAFETY: promised by the caller.
            let transposed = inputs.write(unsafe { transpose(line, offsets) });
            for (total, &inputs) in totals.iter_mut().zip(&*transposed) {
                *total = dot::<0>(*total, inputs, vdupq_n_u8(1));
            }
        }
        // SAFETY: so many were written.
        let inputs = unsafe { mem::transmute::<&[MaybeUninit<Inputs>], &[Inputs]>(&inputs[..offsets.len()]) };
        for (pair, sums) in sums.as_chunks_mut::<FILTERS>().0.iter_mut().enumerate() {
            let products = products(inputs, weights, pair);
            for (sums, products) in sums.iter_mut().zip(products) {
                for ((sum, product), &total) in sums.iter_mut().zip(products).zip(&totals) {
                    // The weights were larger by 2¹⁵.
                    *sum = vaddq_u32(*sum, vsubq_u32(product, vshlq_n_u32::<15>(total)));
                }
            }
        }
    }
    // SAFETY: four registers are 16 sums; all are exact modulo 2³², and so are their differences.
    unsafe { mem::transmute::<[[uint32x4_t; REGISTERS]; BLOCK], [[i32; LANES]; BLOCK]>(sums) }
}

/// Products of a pair of filters with weights that are larger by 2¹⁵.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn products(inputs: &[Inputs], weights: &[[i16; TOGETHER * BLOCK]], pair: usize) -> [[uint32x4_t; REGISTERS]; FILTERS] {
    let mut low = [[vdupq_n_u32(0); REGISTERS]; FILTERS];
    let mut high = low;
    for (inputs, weights) in inputs.iter().zip(weights) {
        let words = &weights[pair * FILTERS * TOGETHER..][..FILTERS * TOGETHER];
        // SAFETY: eight words.
        let words = veorq_u16(unsafe { vreinterpretq_u16_s16(vld1q_s16(words.as_ptr())) }, vdupq_n_u16(SIGN));
        let bytes = vreinterpretq_u8_u16(words);
        let (low_bytes, high_bytes) = (vuzp1q_u8(bytes, bytes), vuzp2q_u8(bytes, bytes));
        for (i, &inputs) in inputs.iter().enumerate() {
            low[0][i] = dot::<0>(low[0][i], inputs, low_bytes);
            low[1][i] = dot::<1>(low[1][i], inputs, low_bytes);
            high[0][i] = dot::<0>(high[0][i], inputs, high_bytes);
            high[1][i] = dot::<1>(high[1][i], inputs, high_bytes);
        }
    }
    for (low, high) in low.as_flattened_mut().iter_mut().zip(high.as_flattened()) {
        *low = vaddq_u32(*low, vshlq_n_u32::<8>(*high));
    }
    low
}

/// Four inputs of a line, so that those of a position stand together. No `map` of arrays here: it is a function of its own,
/// without the caller's instructions.
///
/// # Safety
/// There are 16 bytes at each offset.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn transpose(line: *const u8, offsets: &[usize; TOGETHER]) -> Inputs {
    let load = |input: usize| {
        // SAFETY: promised by the caller.
        unsafe { vld1q_u8(line.add(offsets[input])) }
    };
    let (a, b, c, d) = (load(0), load(1), load(2), load(3));
    let (even, odd) = (vzip1q_u8(a, c), vzip1q_u8(b, d));
    let (next_even, next_odd) = (vzip2q_u8(a, c), vzip2q_u8(b, d));
    [vzip1q_u8(even, odd), vzip2q_u8(even, odd), vzip1q_u8(next_even, next_odd), vzip2q_u8(next_even, next_odd)]
}

/// Adds to each of four sums the products of its four inputs and four weights, the same for all.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const QUARTER: i32>(mut sums: uint32x4_t, inputs: uint8x16_t, weights: uint8x16_t) -> uint32x4_t {
    // SAFETY: the instruction is there, and touches nothing but these registers.
    unsafe {
        asm!(
            "udot {sums:v}.4s, {inputs:v}.16b, {weights:v}.4b[{quarter}]",
            sums = inout(vreg) sums,
            inputs = in(vreg) inputs,
            weights = in(vreg) weights,
            quarter = const QUARTER,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}
