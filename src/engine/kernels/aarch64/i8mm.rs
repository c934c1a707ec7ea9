//! Products of matrices of bytes: `usmmla` multiplies 2 positions × 8 inputs by 8 inputs × 2 filters and adds the 2 × 2
//! products to 32-bit sums, which nothing saturates. Four positions times 16 filters stay in registers.
//!
//! A 16-bit weight is a signed high byte and an unsigned low one, which `ummla` multiplies: half as many filters.
//!
//! The instructions are written as assembly because their intrinsics are not stable. No `map` of arrays here: it is a
//! function of its own, without the caller's instructions, so that the compiler may not put it in line.

use super::{
    super::{
        Convolution, Kernel, Work,
        dense::{self, Constants, Dot, Sums},
        moves,
        pack::{Group, LANES, Signs},
        portable::Portable,
        window::Run,
    },
    depthwise::{self, Depthwise},
    follow,
};
use crate::engine::{
    Mode,
    arithmetic::Weights,
    layout::{Layout, Map},
};
use std::{
    arch::{aarch64::*, asm, is_aarch64_feature_detected},
    mem::MaybeUninit,
    ptr,
};

/// Does this CPU have the instructions?
pub(super) fn available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("i8mm")
}

/// int8 mode by products of matrices.
pub(super) struct I8mm;

impl Kernel for I8mm {
    fn name(&self) -> &'static str {
        "neon-i8mm"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && available()
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match convolution.weights {
            Weights::Bits(_) => Bytes::convolution(convolution),
            _ => Words::convolution(convolution),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        if convolution.input.shape.channels < depthwise::LANES {
            return Portable.depthwise(convolution);
        }
        Box::new(Depthwise::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}

/// Positions in registers, as pairs.
const PAIRS: usize = 2;
const POSITIONS: usize = 2 * PAIRS;
/// Inputs that a register has of each position of a pair, or of each filter.
const DEPTH: usize = 8;
/// Inputs of a step: a register of each position.
const STEP: usize = 2 * DEPTH;
/// Pairs of filters of a block.
const COLUMNS: usize = LANES / 2;
/// Bytes of weights that are used again and again: they should stay in a first-level cache.
const CHUNK_BYTES: usize = 18 << 10;

/// Sums of two positions (rows) times two filters.
type Square = int32x4_t;

/// Bytes times ±1.
struct Bytes;

/// Bytes times 16-bit weights.
struct Words;

/// A product of matrices, by its instruction.
macro_rules! product {
    ($name:ident, $instruction:literal) => {
        #[inline]
        #[target_feature(enable = "neon,i8mm")]
        fn $name(mut sums: Square, inputs: uint8x16_t, weights: uint8x16_t) -> Square {
            // SAFETY: the instruction is there, and touches nothing but these registers.
            unsafe {
                asm!(
                    concat!($instruction, " {sums:v}.4s, {inputs:v}.16b, {weights:v}.16b"),
                    sums = inout(vreg) sums,
                    inputs = in(vreg) inputs,
                    weights = in(vreg) weights,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }
    };
}
product!(multiply_signed, "usmmla");
product!(multiply_unsigned, "ummla");

/// The parts that both kinds of weights share.
macro_rules! common {
    () => {
        const WIDTH: usize = 1;
        const STEP: usize = STEP;
        const PIXELS: usize = POSITIONS;
        const REGION: usize = 192;

        unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; dense::CHUNK], bytes: usize) {
            for (i, window) in windows.iter().enumerate() {
                let mut to = staged.wrapping_add(i).cast::<u8>();
                let end = to.wrapping_add(bytes);
                // SAFETY: the runs are as promised by the caller; a row holds all of them, and `bytes`.
                unsafe {
                    for run in runs {
                        ptr::copy_nonoverlapping(window.add(run.offset), to, run.len);
                        to = to.add(run.len);
                    }
                    to.write_bytes(0, end.addr() - to.addr());
                }
            }
        }

        unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
            follow(sums, &constants.scale, &constants.bias, slope, zero_point)
        }

        unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
            follow(sums, &constants.scale, &constants.bias, slope, 0)
        }
    };
}

/// Where the signs of a pair of filters stand, for each of the 2 × 8 weights, if half a block's signs of four inputs and
/// those of the next four take turns: a byte has four signs of either filter.
const PLACES: [[u8; 2 * DEPTH]; DEPTH] = {
    let mut places = [[0; 2 * DEPTH]; DEPTH];
    let mut i = 0;
    while i < 2 * DEPTH * DEPTH {
        places[i / (2 * DEPTH)][i % (2 * DEPTH)] = (i / (2 * DEPTH) * 2 + i % DEPTH / 4) as u8;
        i += 1;
    }
    places
};
/// And which bit it is there.
const BITS: [u8; 2 * DEPTH] = [1, 2, 4, 8, 1, 2, 4, 8, 16, 32, 64, 128, 16, 32, 64, 128];

/// Weights of a step: `[half of the step][pair of filters]`.
impl Dot for Bytes {
    common!();
    const CHUNK: usize = CHUNK_BYTES / LANES;

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
        let one = vdupq_n_u8(1);
        // SAFETY: 16 bytes.
        let bit = unsafe { vld1q_u8(BITS.as_ptr()) };
        for (signs, groups) in signs.as_chunks::<2>().0.iter().zip(groups.as_chunks_mut::<2>().0) {
            // SAFETY: signs and places are 16 bytes, and two groups are a register for each pair of filters.
            unsafe {
                let (first, second) = (vld1q_u8(signs[0].as_ptr()), vld1q_u8(signs[1].as_ptr()));
                let halves = [vzip1q_u8(first, second), vzip2q_u8(first, second)];
                let to = groups.as_mut_ptr().cast::<u8>();
                for (half, signs) in halves.into_iter().enumerate() {
                    for (column, places) in PLACES.iter().enumerate() {
                        let positive = vtstq_u8(vqtbl1q_u8(signs, vld1q_u8(places.as_ptr())), bit);
                        vst1q_u8(to.add(16 * (DEPTH * half + column)), vornq_u8(one, positive));
                    }
                }
            }
        }
    }

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        const TOGETHER: usize = COLUMNS / 2;
        for column in (0..COLUMNS).step_by(TOGETHER) {
            let mut squares = [[vdupq_n_s32(0); TOGETHER]; PAIRS];
            let mut weights = weights.cast::<[uint8x16_t; COLUMNS]>();
            for run in runs {
                for at in (run.offset..run.offset + run.len).step_by(STEP) {
                    // SAFETY: promised by the caller.
                    for pairs in unsafe { pairs(windows, at) } {
                        for i in 0..TOGETHER {
                            // SAFETY: as above.
                            let weights = unsafe { (*weights)[column + i] };
                            for (squares, inputs) in squares.iter_mut().zip(pairs) {
                                squares[i] = multiply_signed(squares[i], inputs, weights);
                            }
                        }
                        weights = weights.wrapping_add(1);
                    }
                }
            }
            // SAFETY: as above.
            unsafe { join(&squares, column, sums, first) };
        }
    }
}

/// Weights of a step: `[half of the step][pair of filters][low, high byte]`.
impl Dot for Words {
    common!();
    const WEIGHT: usize = 2;
    const CHUNK: usize = CHUNK_BYTES / LANES / Self::WEIGHT;

    fn arrange(words: &mut [Group]) {
        for groups in words.as_chunks_mut::<{ DEPTH / 2 }>().0 {
            let mut arranged = [[[[0; DEPTH]; 2]; 2]; COLUMNS];
            for (two_inputs, group) in groups.iter().enumerate() {
                for (filter, words) in group.0.iter().enumerate() {
                    for (i, byte) in words.iter().enumerate() {
                        arranged[filter / 2][i % 2][filter % 2][2 * two_inputs + i / 2] = *byte;
                    }
                }
            }
            let bytes = arranged.as_flattened().as_flattened().as_flattened();
            for (group, bytes) in groups.iter_mut().zip(bytes.chunks_exact(size_of::<Group>())) {
                group.0.as_flattened_mut().copy_from_slice(bytes);
            }
        }
    }

    unsafe fn expand(_: &[Signs], _: &mut [MaybeUninit<Group>]) {
        unreachable!("words are not packed as bits");
    }

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        const TOGETHER: usize = COLUMNS / 4;
        for column in (0..COLUMNS).step_by(TOGETHER) {
            let mut parts = [[[vdupq_n_s32(0); 2]; TOGETHER]; PAIRS];
            let mut weights = weights.cast::<[[uint8x16_t; 2]; COLUMNS]>();
            for run in runs {
                for at in (run.offset..run.offset + run.len).step_by(STEP) {
                    // SAFETY: promised by the caller.
                    for pairs in unsafe { pairs(windows, at) } {
                        for i in 0..TOGETHER {
                            // SAFETY: as above.
                            let [low_bytes, high_bytes] = unsafe { (*weights)[column + i] };
                            for (parts, inputs) in parts.iter_mut().zip(pairs) {
                                let [low, high] = parts[i];
                                let low = multiply_unsigned(low, inputs, low_bytes);
                                parts[i] = [low, multiply_signed(high, inputs, high_bytes)];
                            }
                        }
                        weights = weights.wrapping_add(1);
                    }
                }
            }
            let mut squares = [[vdupq_n_s32(0); TOGETHER]; PAIRS];
            for (square, [low, high]) in squares.as_flattened_mut().iter_mut().zip(parts.as_flattened()) {
                *square = vaddq_s32(*low, vshlq_n_s32::<8>(*high));
            }
            // SAFETY: as above.
            unsafe { join(&squares, column, sums, first) };
        }
    }
}

/// The inputs of a step of four positions: for each half of the step two pairs.
///
/// # Safety
/// There are so many inputs at this place of each window.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn pairs(windows: &[*const u8], at: usize) -> [[uint8x16_t; PAIRS]; 2] {
    let windows: &[_; POSITIONS] = windows.try_into().expect("as many windows as it asks for");
    let load = |position: usize| {
        // SAFETY: promised by the caller.
        unsafe { vreinterpretq_u64_u8(vld1q_u8(windows[position].add(at))) }
    };
    let (a, b, c, d) = (load(0), load(1), load(2), load(3));
    let first = |a, b| vreinterpretq_u8_u64(vzip1q_u64(a, b));
    let second = |a, b| vreinterpretq_u8_u64(vzip2q_u64(a, b));
    [[first(a, b), first(c, d)], [second(a, b), second(c, d)]]
}

/// Adds products to the sums of four positions, from a pair of filters on; the first chunk finds none there.
///
/// # Safety
/// There are the sums of four positions.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn join<const N: usize>(squares: &[[Square; N]; PAIRS], column: usize, sums: *mut Sums, first: bool) {
    for (pair, squares) in squares.iter().enumerate() {
        for (i, &[left, right]) in squares.as_chunks::<2>().0.iter().enumerate() {
            let (left, right) = (vreinterpretq_s64_s32(left), vreinterpretq_s64_s32(right));
            let rows = [vzip1q_s64(left, right), vzip2q_s64(left, right)];
            for (row, new) in rows.into_iter().enumerate() {
                let new = vreinterpretq_s32_s64(new);
                // SAFETY: promised by the caller; two pairs are four filters.
                unsafe {
                    let to = sums.add(2 * pair + row).cast::<i32>().add(2 * column + 4 * i);
                    vst1q_s32(to, if first { new } else { vaddq_s32(vld1q_s32(to), new) });
                }
            }
        }
    }
}

const _: () = assert!(Bytes::CHUNK.is_multiple_of(STEP) && Words::CHUNK.is_multiple_of(STEP));
