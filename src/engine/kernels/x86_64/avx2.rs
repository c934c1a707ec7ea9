//! AVX2: `vpmaddubsw` on bytes and ±1, `vpmaddwd` on 16-bit words; AVX-VNNI: `vpdpbusd` on 256-bit registers. A few
//! positions times 32 filters stay in registers: three where a product is added at once, two where it takes a register.
//!
//! `vpmaddubsw` sums two products, at most 510 in magnitude, in 16 bits. [`GROUPS`] of these sums fit 16 bits again.

use super::{
    super::window::Run,
    dense::{CHUNK, Constants, Dot, REGION, Sums},
    pack::{Group, LANES, Signs},
};
use std::{arch::x86_64::*, mem::MaybeUninit, ptr};

/// Positions in registers where multiplying and adding are two instructions.
const ROWS: usize = 2;
/// Positions in registers where they are one.
const VNNI_ROWS: usize = 3;
/// Registers of a group, or of the sums of a position.
const COLUMNS: usize = 4;
/// Groups that are summed in 16 bits: 64 · 510 < 2¹⁵.
const GROUPS: usize = 64;

/// Does this CPU have AVX2 and FMA?
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// And AVX-VNNI?
pub(super) fn vnni_available() -> bool {
    available() && is_x86_feature_detected!("avxvnni")
}

/// Bytes times ±1.
pub(super) struct Bytes;

/// Bytes times ±1, with AVX-VNNI.
pub(super) struct VnniBytes;

/// Bytes, widened to words, times 16-bit weights.
pub(super) struct Words;

/// Adds groups to sums that start as `$start` and grow by `$dot(sum, input, weight)`. Returns them and the next weights.
macro_rules! products {
    ($dot:expr, $start:expr, $windows:expr, $range:expr, $weights:expr) => {{
        let mut sums = $start;
        let mut weights: *const __m256i = $weights;
        for at in $range.step_by(4) {
            let inputs = $windows.map(|window| _mm256_set1_epi32(window.add(at).cast::<i32>().read_unaligned()));
            for column in 0..COLUMNS {
                let weight = _mm256_load_si256(weights.add(column));
                for (sums, input) in sums.iter_mut().zip(inputs) {
                    sums[column] = $dot(sums[column], input, weight);
                }
            }
            weights = weights.add(COLUMNS);
        }
        (sums, weights)
    }};
}

/// [`Dot::accumulate`] with 32-bit sums in registers.
macro_rules! accumulate {
    ($rows:ident, $dot:expr, $windows:ident, $runs:ident, $weights:ident, $sums:ident, $first:ident) => {{
        let windows: &[*const u8; $rows] = $windows.try_into().expect("as many windows as it asks for");
        let mut sums = [[_mm256_setzero_si256(); COLUMNS]; $rows];
        // SAFETY: promised by the caller; a `Sums` is four registers, a `Group` too.
        unsafe {
            let out = $sums.cast::<[__m256i; COLUMNS]>();
            if !$first {
                sums = out.cast::<[[__m256i; COLUMNS]; $rows]>().read_unaligned();
            }
            let mut weights = $weights.cast::<__m256i>();
            for run in $runs {
                (sums, weights) = products!($dot, sums, windows, (run.offset..run.offset + run.len), weights);
            }
            out.cast::<[[__m256i; COLUMNS]; $rows]>().write_unaligned(sums);
        }
    }};
}

/// The parts that all of this file share.
macro_rules! common {
    ($rows:ident) => {
        const PIXELS: usize = $rows;
        const REGION: usize = 192;

        #[target_feature(enable = "avx2,fma")]
        unsafe fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
            expand(signs, groups);
        }

        #[target_feature(enable = "avx2,fma")]
        unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize) {
            for (i, window) in windows.iter().enumerate() {
                let row = staged.wrapping_add(i).cast::<u8>();
                let mut filled = 0;
                for run in runs {
                    // SAFETY: promised by the caller; the row holds all runs.
                    unsafe { copy_widened::<{ Self::WIDTH }>(window.add(run.offset), run.len, row.add(filled)) };
                    filled += run.len * Self::WIDTH;
                }
                // SAFETY: inside the row.
                unsafe { row.add(filled).write_bytes(0, bytes - filled) };
            }
        }

        #[target_feature(enable = "avx2,fma")]
        unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
            to_bytes(sums, constants, slope, zero_point)
        }

        #[target_feature(enable = "avx2,fma")]
        unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
            to_floats(sums, constants, slope)
        }
    };
}

impl Dot for Bytes {
    const WIDTH: usize = 1;
    const CHUNK: usize = CHUNK / 4;
    common!(ROWS);

    #[target_feature(enable = "avx2,fma")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        let windows: &[*const u8; ROWS] = windows.try_into().expect("as many windows as it asks for");
        let (none, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
        // SAFETY: promised by the caller; a `Sums` is four registers, a `Group` too.
        unsafe {
            let out = sums.cast::<[__m256i; COLUMNS]>();
            if first {
                sums.write_bytes(0, ROWS);
            }
            let mut weights = weights.cast::<__m256i>();
            for run in runs {
                let end = run.offset + run.len;
                for start in (run.offset..end).step_by(4 * GROUPS) {
                    let dot = |sum, input, weight| _mm256_add_epi16(sum, _mm256_maddubs_epi16(input, weight));
                    let range = start..end.min(start + 4 * GROUPS);
                    let partial;
                    (partial, weights) = products!(dot, [[none; COLUMNS]; ROWS], windows, range, weights);
                    for (row, partial) in partial.iter().enumerate() {
                        for (column, &partial) in partial.iter().enumerate() {
                            let sum = (&raw mut (*out.add(row))[column]).cast();
                            let wide = _mm256_madd_epi16(partial, ones);
                            _mm256_storeu_si256(sum, _mm256_add_epi32(_mm256_loadu_si256(sum), wide));
                        }
                    }
                }
            }
        }
    }
}

impl Dot for VnniBytes {
    const WIDTH: usize = 1;
    const CHUNK: usize = CHUNK / 4;
    common!(VNNI_ROWS);

    #[target_feature(enable = "avx2,fma,avxvnni")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        accumulate!(
            VNNI_ROWS,
            |sum, input, weight| _mm256_dpbusd_avx_epi32(sum, input, weight),
            windows,
            runs,
            weights,
            sums,
            first
        );
    }
}

impl Dot for Words {
    const WIDTH: usize = 2;
    const CHUNK: usize = CHUNK / 4;
    common!(ROWS);

    #[target_feature(enable = "avx2,fma")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        let dot = |sum, input, weight| _mm256_add_epi32(sum, _mm256_madd_epi16(input, weight));
        accumulate!(ROWS, dot, windows, runs, weights, sums, first);
    }
}

/// Copies bytes, as words if `WIDTH` is 2.
///
/// # Safety
/// `len` bytes are read and `len * WIDTH` written.
#[inline(always)]
unsafe fn copy_widened<const WIDTH: usize>(from: *const u8, len: usize, to: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        match WIDTH {
            1 => ptr::copy_nonoverlapping(from, to, len),
            _ => (0..len).for_each(|i| to.cast::<u16>().add(i).write_unaligned(u16::from(*from.add(i)))),
        }
    }
}

/// Bits to bytes of ±1.
#[target_feature(enable = "avx2")]
fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
    // Byte i of a register looks at bit i % 8 of byte i / 8.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let (none, one) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
    for (signs, group) in signs.iter().zip(groups) {
        let to = group.as_mut_ptr().cast::<__m256i>();
        let (words, _) = signs.as_chunks::<4>();
        for (column, word) in words.iter().enumerate() {
            let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(*word)), spread);
            let negative = _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), none);
            // SAFETY: a group is four registers and aligned like one.
            unsafe { _mm256_store_si256(to.add(column), _mm256_or_si256(negative, one)) };
        }
    }
}

/// Scale, bias and activation of 8 sums.
#[target_feature(enable = "avx2,fma")]
fn follow(sums: &Sums, constants: &Constants, slope: f32, column: usize) -> __m256 {
    // SAFETY: four registers of 8 values each; `column` is 0 to 3.
    unsafe {
        let sums = _mm256_cvtepi32_ps(_mm256_loadu_si256(sums.as_ptr().add(8 * column).cast()));
        let scale = _mm256_loadu_ps(constants.scale.as_ptr().add(8 * column));
        let bias = _mm256_loadu_ps(constants.bias.as_ptr().add(8 * column));
        let y = _mm256_fmadd_ps(sums, scale, bias);
        _mm256_max_ps(y, _mm256_mul_ps(y, _mm256_set1_ps(slope)))
    }
}

/// What follows 32 sums, to bytes.
#[target_feature(enable = "avx2,fma")]
pub(super) fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
    // The plan refuses layers where |y| could reach 2³¹, so every y has an integer; packing clamps.
    let rounded = |column| _mm256_cvtps_epi32(follow(sums, constants, slope, column));
    let zero_point = _mm256_set1_epi16(zero_point.into());
    let low = _mm256_adds_epi16(_mm256_packs_epi32(rounded(0), rounded(1)), zero_point);
    let high = _mm256_adds_epi16(_mm256_packs_epi32(rounded(2), rounded(3)), zero_point);
    // Packing works within halves of registers.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let packed = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
    let mut bytes = [0; LANES];
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed) };
    bytes
}

/// What follows 32 sums, to floats.
#[target_feature(enable = "avx2,fma")]
pub(super) fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
    let mut floats = [0.0; LANES];
    for column in 0..COLUMNS {
        // SAFETY: 8 of 32 floats.
        unsafe { _mm256_storeu_ps(floats.as_mut_ptr().add(8 * column), follow(sums, constants, slope, column)) };
    }
    floats
}

const _: () = assert!(Bytes::REGION <= REGION && Bytes::REGION.is_multiple_of(ROWS * VNNI_ROWS));
