//! What both kernels of tables do with bytes, with AVX2.

use super::super::tables::{self, Follow, TOGETHER};
use std::arch::x86_64::*;

/// Sums that are packed together.
const PIECE: usize = 16;
/// Results of a pool in a register.
const POOLED: usize = 32;
/// How far ahead bits are fetched.
const AHEAD: usize = 2048;

/// What follows the sums of a filter, as `tables::finish` computes it; packing clamps. The results start at `slots`, 16 for
/// each.
///
/// # Safety
/// The results reach from the first slot to 16 after the last.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn requantize<const N: usize, const PIECES: usize>(
    sums: &[i32; N],
    slots: [usize; PIECES],
    follow: Follow,
    results: *mut u8,
) {
    const { assert!(N == PIECE * PIECES) };
    for (sums, slot) in sums.as_chunks().0.iter().zip(slots) {
        // SAFETY: promised by the caller.
        unsafe { _mm_storeu_si128(results.add(slot).cast(), bytes(sums, follow)) };
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn bytes(sums: &[i32; PIECE], follow: Follow) -> __m128i {
    // The plan refuses layers where |y| could reach 2³¹, so every y has an integer.
    let words = _mm256_packs_epi32(rounded(sums, 0, follow), rounded(sums, 8, follow));
    let words = _mm256_adds_epi16(words, _mm256_set1_epi16(follow.zero_point as i16));
    // Packing works within halves of registers.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), order))
}

/// Scale, bias and activation of 8 sums from one on, to integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded(sums: &[i32; PIECE], first: usize, follow: Follow) -> __m256i {
    // SAFETY: 8 of 16 sums.
    let sums = unsafe { _mm256_loadu_si256(sums[first..first + 8].as_ptr().cast()) };
    let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(sums, _mm256_set1_epi32(follow.offset)));
    let y = _mm256_fmadd_ps(sums, _mm256_set1_ps(follow.scale), _mm256_set1_ps(follow.bias));
    _mm256_cvtps_epi32(_mm256_max_ps(y, _mm256_mul_ps(y, _mm256_set1_ps(follow.slope))))
}

/// `Products::pool` of bytes. The last register may overlap with the one before.
#[target_feature(enable = "avx2")]
pub(super) fn pool(top: &[u8], bottom: &[u8], largest: &mut [u8]) {
    if largest.len() < POOLED {
        return tables::pool(top, bottom, largest);
    }
    let (top, bottom) = (&top[..2 * largest.len()], &bottom[..2 * largest.len()]);
    for first in (0..largest.len()).step_by(POOLED) {
        let first = first.min(largest.len() - POOLED);
        // The larger one of two neighbours, as a word.
        let words = |at: usize| {
            // SAFETY: 32 bytes from `at` on are the neighbours of at most 16 results.
            let larger = unsafe {
                _mm256_max_epu8(
                    _mm256_loadu_si256(top.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(bottom.as_ptr().add(at).cast()),
                )
            };
            let larger = _mm256_max_epu8(larger, _mm256_srli_epi16::<8>(larger));
            _mm256_and_si256(larger, _mm256_set1_epi16(0xff))
        };
        // Packing works within halves of registers.
        let packed = _mm256_packus_epi16(words(2 * first), words(2 * first + POOLED));
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
        // SAFETY: 32 results from `first` on.
        unsafe { _mm256_storeu_si256(largest.as_mut_ptr().add(first).cast(), packed) };
    }
}

/// For `Apart::sum`.
#[target_feature(enable = "avx2")]
pub(super) fn sum_apart(inputs: &[u8], bits: &[u8]) -> i32 {
    // Byte i of a register looks at bit i % 8 of byte i / 8.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let none = _mm256_setzero_si256();
    let mut sums = none;
    for (inputs, bits) in inputs.as_chunks::<TOGETHER>().0.iter().zip(bits.as_chunks().0) {
        // The bits of the next filters come from afar.
        _mm_prefetch::<_MM_HINT_T0>(bits.as_ptr().wrapping_add(AHEAD).cast());
        let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(*bits)), spread);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
        // SAFETY: 32 bytes.
        let inputs = unsafe { _mm256_loadu_si256(inputs.as_ptr().cast()) };
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(_mm256_and_si256(set, inputs), none));
    }
    let halves = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    (_mm_cvtsi128_si64(halves) + _mm_extract_epi64::<1>(halves)) as i32
}
