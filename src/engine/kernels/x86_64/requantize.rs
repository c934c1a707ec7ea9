//! From the sums of a filter to bytes, for both kernels of tables: what `tables::finish` computes, with AVX2. Packing clamps.

use super::super::tables::Follow;
use std::arch::x86_64::*;

/// Sums that are packed together.
const PIECE: usize = 16;

/// What follows the sums of a filter, the results of which start at `slots`, 16 for each.
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
