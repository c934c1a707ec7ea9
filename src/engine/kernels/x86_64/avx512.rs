//! AVX-512: `vpdpbusd` on bytes and ±1, `vpdpwssd` on 16-bit words. Twelve positions times 32 filters stay in registers.
//! Each product of a byte and ±1 is exact in 32 bits, where `vpdpbusd` sums four of them: nothing saturates.

use super::{
    super::{Convolution, Work, window::Run},
    avx512_image::Image,
    dense::{CHUNK, Constants, Dense, Dot, REGION, Sums, copy},
    pack::{Group, LANES, Signs},
};
use crate::engine::{
    layout::{Element, Map},
    memory::Memory,
};
use std::{
    arch::{asm, x86_64::*},
    mem::MaybeUninit,
};

/// Positions in registers.
const ROWS: usize = 12;

/// Does this CPU have what the kernels of this file need?
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Bytes times ±1.
pub(super) struct Bytes;

/// Bytes, widened to words, times 16-bit weights.
pub(super) struct Words;

/// The same loop for both: a group of inputs is four bytes in either case.
macro_rules! accumulate {
    ($dot:ident, $windows:ident, $runs:ident, $weights:ident, $sums:ident, $first:ident) => {{
        let windows: &[*const u8; ROWS] = $windows.try_into().expect("as many windows as it asks for");
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        // SAFETY: as promised by the caller; a `Sums` is two registers, a `Group` too.
        unsafe {
            let out = $sums.cast::<__m512i>();
            if !$first {
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = [_mm512_loadu_si512(out.add(2 * i)), _mm512_loadu_si512(out.add(2 * i + 1))];
                }
            }
            let mut weights = $weights.cast::<__m512i>();
            for run in $runs {
                for at in (run.offset..run.offset + run.len).step_by(4) {
                    let (low, high) = (_mm512_load_si512(weights), _mm512_load_si512(weights.add(1)));
                    weights = weights.add(2);
                    for i in 0..ROWS {
                        let input = _mm512_set1_epi32(windows[i].add(at).cast::<i32>().read_unaligned());
                        sums[i][0] = $dot(sums[i][0], input, low);
                        sums[i][1] = $dot(sums[i][1], input, high);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                _mm512_storeu_si512(out.add(2 * i), sums[0]);
                _mm512_storeu_si512(out.add(2 * i + 1), sums[1]);
            }
        }
    }};
}

impl Dot for Bytes {
    const WIDTH: usize = 1;
    const PIXELS: usize = ROWS;
    const REGION: usize = 192;
    const CHUNK: usize = CHUNK;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
        expand(signs, groups);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize) {
        // SAFETY: promised by the caller.
        unsafe { stage_bytes(windows, runs, staged, bytes) };
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        accumulate!(_mm512_dpbusd_epi32, windows, runs, weights, sums, first);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
        to_bytes(sums, constants, slope, zero_point)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
        to_floats(sums, constants, slope)
    }
}

impl Dot for Words {
    fn convolution(convolution: Convolution<'_>) -> Box<dyn Work> {
        match Image::fits(&convolution) {
            true => Box::new(Image::new(convolution)),
            false => Box::new(Dense::<Self>::new(convolution)),
        }
    }

    const WIDTH: usize = 2;
    const PIXELS: usize = ROWS;
    const REGION: usize = 192;
    const CHUNK: usize = CHUNK / 2;

    unsafe fn expand(_: &[Signs], _: &mut [MaybeUninit<Group>]) {
        unreachable!("words are not packed as bits");
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize) {
        for (i, window) in windows.iter().enumerate() {
            let mut to = staged.wrapping_add(i).cast::<u8>();
            let end = to.wrapping_add(bytes);
            for run in runs {
                for at in (0..run.len).step_by(32) {
                    let len = (run.len - at).min(32);
                    // SAFETY: only bytes of the run are read; all 64 bytes are written, of the stage or its slack.
                    unsafe {
                        let from = window.add(run.offset + at).cast();
                        let words = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(u32::MAX >> (32 - len), from));
                        _mm512_storeu_si512(to.cast(), words);
                        to = to.add(2 * len);
                    }
                }
            }
            // An odd number of words leaves room for one more.
            if to < end {
                // SAFETY: inside the row.
                unsafe { to.cast::<u16>().write_unaligned(0) };
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        accumulate!(_mm512_dpwssd_epi32, windows, runs, weights, sums, first);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
        to_bytes(sums, constants, slope, zero_point)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
        to_floats(sums, constants, slope)
    }
}

/// [`Dot::stage`] without widening.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn stage_bytes(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize) {
    for (i, window) in windows.iter().enumerate() {
        let mut to = staged.wrapping_add(i).cast::<u8>();
        let end = to.wrapping_add(bytes);
        for run in runs {
            for at in (0..run.len).step_by(64) {
                let len = (run.len - at).min(64);
                // SAFETY: only bytes of the run are read; all 64 bytes are written, of the stage or its slack.
                unsafe {
                    let values = _mm512_maskz_loadu_epi8(u64::MAX >> (64 - len), window.add(run.offset + at).cast());
                    _mm512_storeu_si512(to.cast(), values);
                    to = to.add(len);
                }
            }
        }
        let rest = end.addr() - to.addr();
        // SAFETY: inside the row; less than 64 bytes.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), (1 << rest) - 1, _mm512_setzero_si512()) };
    }
}

/// Bits to bytes of ±1.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
    let (minus, plus) = (_mm512_set1_epi8(-1), _mm512_set1_epi8(1));
    for (signs, group) in signs.iter().zip(groups) {
        expand_to(minus, plus, signs, group);
    }
}

/// The bits of a group to bytes: of `plus` where they are set, else of `minus`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn expand_to(minus: __m512i, plus: __m512i, signs: &Signs, group: &mut MaybeUninit<Group>) {
    let bits = u128::from_le_bytes(*signs);
    let to = group.as_mut_ptr().cast::<__m512i>();
    // SAFETY: a group is two registers and aligned like one.
    unsafe {
        _mm512_store_si512(to, _mm512_mask_blend_epi8(bits as u64, minus, plus));
        _mm512_store_si512(to.add(1), _mm512_mask_blend_epi8((bits >> 64) as u64, minus, plus));
    }
}

/// `vpdpwssd`, as assembly because compilers make two instructions of it where they know the factors or several products of
/// one sum.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn dot_words(mut sum: __m512i, words: __m512i, factors: __m512i) -> __m512i {
    // SAFETY: nothing but registers.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {words}, {factors}",
            sum = inout(zmm_reg) sum,
            words = in(zmm_reg) words,
            factors = in(zmm_reg) factors,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// 32 sums in registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(sums: &Sums) -> [__m512i; 2] {
    // SAFETY: two registers of 16 sums each.
    unsafe { [_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_si512(sums.as_ptr().add(16).cast())] }
}

/// Scale, bias and activation of 32 sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn follow(sums: [__m512i; 2], constants: &Constants, slope: f32) -> [__m512; 2] {
    let half = |half: usize| {
        // SAFETY: `half` is 0 or 1, of 32 values.
        let [scale, bias] =
            [&constants.scale, &constants.bias].map(|values| unsafe { _mm512_loadu_ps(values.as_ptr().add(16 * half)) });
        let y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[half]), scale, bias);
        _mm512_max_ps(y, _mm512_mul_ps(y, _mm512_set1_ps(slope)))
    };
    [half(0), half(1)]
}

/// What follows 32 sums, as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn bytes(sums: [__m512i; 2], constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
    // The plan refuses layers where |y| could reach 2³¹, so every y has an integer; packing clamps.
    let [low, high] = follow(sums, constants, slope);
    let words = _mm512_packs_epi32(_mm512_cvtps_epi32(low), _mm512_cvtps_epi32(high));
    let words = _mm512_adds_epi16(words, _mm512_set1_epi16(zero_point.into()));
    // Packing works within quarters of registers.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
    let packed = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(words, words));
    let mut bytes = [0; LANES];
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm512_castsi512_si256(packed)) };
    bytes
}

/// What follows 32 sums, as floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(sums: [__m512i; 2], constants: &Constants, slope: f32) -> [f32; LANES] {
    let mut floats = [0.0; LANES];
    for (to, values) in floats.as_chunks_mut::<16>().0.iter_mut().zip(follow(sums, constants, slope)) {
        // SAFETY: 16 floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) };
    }
    floats
}

/// What follows 32 sums, to bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
    bytes(load(sums), constants, slope, zero_point)
}

/// What follows 32 sums, to floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
    floats(load(sums), constants, slope)
}

/// Writes what follows 32 sums, the first `count` of them, to a map from `at` on.
///
/// # Safety
/// Nobody else uses these values of the map.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn write(
    sums: [__m512i; 2],
    (constants, slope): (&Constants, f32),
    output: &Map,
    (at, count): (usize, usize),
    memory: &Memory,
) {
    match output.element {
        Element::Byte { zero_point } => {
            let bytes = bytes(sums, constants, slope, zero_point);
            // SAFETY: promised by the caller.
            copy(unsafe { memory.write(output).run(at, count) }, &bytes);
        }
        Element::Float => {
            let floats = floats(sums, constants, slope);
            // SAFETY: promised by the caller.
            copy(unsafe { memory.write(output).run(at, count) }, &floats);
        }
    }
}

const _: () = assert!(Bytes::REGION <= REGION && Bytes::REGION.is_multiple_of(ROWS));
