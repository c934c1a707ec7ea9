//! Tables with AVX2: two registers hold the results of a line. Taps beside each other read the same entry, shifted by one
//! value; no load leaves its cache line.

use super::{
    super::tables::{
        self, Apart, BLOCK, CHANNELS_1, CHANNELS_3, Follow, LANES, Line, Lookup, PoolLines, Products, STEP_1, Step, Stored,
        TABLE_1, TABLE_3, offset,
    },
    build::build,
    bytes::{pool, requantize, sum_apart},
    shared::{lookup_floats, lookup_words, pool_lines, products_floats, products_words},
    steps::{by_shape, by_shape_and_span, each_table},
};
use crate::engine::arithmetic::Weights;
use std::{arch::x86_64::*, mem};

/// Floats.
pub(super) struct Floats;

/// Bytes, summed in words of 16 bits.
pub(super) struct Words;

pool_lines!(Floats, "avx2,fma");
pool_lines!(Words, "avx2,fma");

/// The sums of a filter over the tables of a chunk, 3×3: two registers.
macro_rules! sum_3 {
    ($count:ident, $tables:ident, $words:ident, $zero:expr, $add:ident, $load:ident, $value:ty, $second:literal) => {{
        let offset = |i: usize| offset::<CHANNELS_3>(&$words[..], i);
        let (mut low, mut high) = ([$zero; 3], [$zero; 3]);
        macro_rules! row {
            ($table:literal) => {
                if $count > $table {
                    for column in 0..3 {
                        let entry = $tables.add($table * TABLE_3 + offset(3 * $table + column)).cast::<$value>().add(column);
                        low[column] = $add(low[column], $load(entry.cast()));
                        high[column] = $add(high[column], $load(entry.add($second).cast()));
                    }
                }
            };
        }
        each_table!(row);
        [$add($add(low[0], low[1]), low[2]), $add($add(high[0], high[1]), high[2])]
    }};
}

/// The sums of a filter over the tables of a chunk, 1×1: two registers.
macro_rules! sum_1 {
    ($steps:ident, $tables:ident, $word:ident, $zero:expr, $add:ident, $load:ident, $value:ty, $second:literal) => {{
        let (mut low, mut high) = ([$zero; 2], [$zero; 2]);
        for step in 0..$steps {
            let table = $tables.add(step * STEP_1 * TABLE_1);
            macro_rules! add {
                ($chain:literal, $group:literal) => {{
                    let entry = table
                        .add($group * TABLE_1 + offset::<CHANNELS_1>(&[*$word], step * STEP_1 + $group))
                        .cast::<$value>();
                    low[$chain] = $add(low[$chain], $load(entry.cast()));
                    high[$chain] = $add(high[$chain], $load(entry.add($second).cast()));
                }};
            }
            add!(0, 0);
            add!(1, 1);
            add!(0, 2);
            add!(1, 3);
        }
        [$add(low[0], low[1]), $add(high[0], high[1])]
    }};
}

impl Lookup for Floats {
    lookup_floats!("avx2,fma");

    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], _: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        // SAFETY: promised by the caller.
        unsafe { by_shape!(step, add_floats_1, add_floats_3, [], (tables, entries, step.first, sums)) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        let slots = if kernel == 1 { [0, 8] } else { [0, 6] };
        // SAFETY: promised by the caller.
        unsafe { tables::finish(&sums.0, slots, follow, results) };
    }
}

/// Fetches the entries that stand so far after a filter's: those of the next chunk, which come from far away.
#[inline(always)]
pub(super) fn fetch<T>(entries: &T, ahead: usize) {
    // SAFETY: any address may be prefetched.
    unsafe { _mm_prefetch::<_MM_HINT_T1>((&raw const *entries).cast::<u64>().wrapping_add(ahead).cast()) };
}

/// [`Lookup::add`] of floats, 3×3.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
unsafe fn add_floats_3<const TABLES: usize, const WORDS: usize>(
    tables: *const u8,
    entries: &[u64],
    first: bool,
    sums: *mut Line<f32, 16>,
) {
    let ahead = entries.len();
    let (entries, _) = entries.as_chunks::<WORDS>();
    for (filter, words) in entries.iter().enumerate() {
        fetch(words, ahead);
        // SAFETY: offsets lead into the tables of the chunk.
        let sum = unsafe { sum_3!(TABLES, tables, words, _mm256_setzero_ps(), _mm256_add_ps, _mm256_loadu_ps, f32, 6) };
        // SAFETY: there are sums for each filter.
        unsafe { join_floats(sum, first, sums.add(filter)) };
    }
}

/// [`Lookup::add`] of floats, 1×1.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
unsafe fn add_floats_1<const STEPS: usize>(tables: *const u8, entries: &[u64], first: bool, sums: *mut Line<f32, 16>) {
    let ahead = entries.len();
    for (filter, word) in entries.iter().enumerate() {
        fetch(word, ahead);
        // SAFETY: offsets lead into the tables of the chunk.
        let sum = unsafe { sum_1!(STEPS, tables, word, _mm256_setzero_ps(), _mm256_add_ps, _mm256_loadu_ps, f32, 8) };
        // SAFETY: there are sums for each filter.
        unsafe { join_floats(sum, first, sums.add(filter)) };
    }
}

/// Adds two registers to the sums of a filter, or starts them.
///
/// # Safety
/// `sums` is a line.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn join_floats(sum: [__m256; 2], first: bool, sums: *mut Line<f32, 16>) {
    for (half, sum) in sum.into_iter().enumerate() {
        // SAFETY: a line is two registers and aligned like one.
        unsafe {
            let sums = sums.cast::<f32>().add(8 * half);
            _mm256_store_ps(sums, if first { sum } else { _mm256_add_ps(_mm256_load_ps(sums), sum) });
        }
    }
}

impl Lookup for Words {
    lookup_words!("avx2,fma");

    // A position takes about a quarter of a line.
    const APART: Option<Apart> = Some(Apart { positions: 2, sum: sum_apart });

    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], partial: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        // SAFETY: promised by the caller.
        unsafe { by_shape_and_span!(step, add_words_1, add_words_3, (tables, entries, step.first, (partial, sums))) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn finish<O: Stored>(kernel: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        let slots = if kernel == 1 { [0, 16] } else { [0, 14] };
        // SAFETY: promised by the caller.
        unsafe {
            match O::bytes(results) {
                Some(bytes) => requantize(&sums.0, slots, follow, bytes),
                None => tables::finish(&sums.0, slots, follow, results),
            }
        }
    }
}

/// [`Lookup::add`] of words, 3×3.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
unsafe fn add_words_3<const TABLES: usize, const WORDS: usize, const STARTS: bool, const ENDS: bool>(
    tables: *const u8,
    entries: &[u64],
    first: bool,
    (partial, sums): (*mut Line<i16, 32>, *mut Line<i32, 32>),
) {
    let (entries, _) = entries.as_chunks::<WORDS>();
    for (filter, words) in entries.iter().enumerate() {
        // SAFETY: offsets lead into the tables of the chunk, and there is a partial sum for each filter.
        unsafe {
            let load = |at| _mm256_loadu_si256(at);
            let sum = sum_3!(TABLES, tables, words, _mm256_setzero_si256(), _mm256_add_epi16, load, i16, 14);
            join_words::<STARTS, ENDS>(sum, first, partial.add(filter), sums.add(filter));
        }
    }
}

/// [`Lookup::add`] of words, 1×1.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
unsafe fn add_words_1<const STEPS: usize, const STARTS: bool, const ENDS: bool>(
    tables: *const u8,
    entries: &[u64],
    first: bool,
    (partial, sums): (*mut Line<i16, 32>, *mut Line<i32, 32>),
) {
    for (filter, word) in entries.iter().enumerate() {
        // SAFETY: offsets lead into the tables of the chunk, and there is a partial sum for each filter.
        unsafe {
            let load = |at| _mm256_loadu_si256(at);
            let sum = sum_1!(STEPS, tables, word, _mm256_setzero_si256(), _mm256_add_epi16, load, i16, 16);
            join_words::<STARTS, ENDS>(sum, first, partial.add(filter), sums.add(filter));
        }
    }
}

/// Adds two registers to the partial sums of a filter and, at the end of a span, these to its sums, or starts them.
///
/// # Safety
/// Both are lines.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn join_words<const STARTS: bool, const ENDS: bool>(
    sum: [__m256i; 2],
    first: bool,
    partial: *mut Line<i16, 32>,
    sums: *mut Line<i32, 32>,
) {
    for (half, mut sum) in sum.into_iter().enumerate() {
        // SAFETY: a line of words is two registers, a line of sums four, both aligned like one.
        unsafe {
            let partial = partial.cast::<__m256i>().add(half);
            let sums = sums.cast::<__m256i>().add(2 * half);
            if !STARTS {
                sum = _mm256_add_epi16(sum, _mm256_load_si256(partial));
            }
            if ENDS {
                let parts = [_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum)];
                for (i, part) in parts.into_iter().enumerate() {
                    let (part, sums) = (_mm256_cvtepi16_epi32(part), sums.add(i));
                    _mm256_store_si256(sums, if first { part } else { _mm256_add_epi32(_mm256_load_si256(sums), part) });
                }
            } else {
                _mm256_store_si256(partial, sum);
            }
        }
    }
}

impl Products for Floats {
    products_floats!("avx2,fma");

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply(line: *const f32, offsets: &[usize], weights: &[f32]) -> [[f32; LANES]; BLOCK] {
        let mut all = [[_mm256_setzero_ps(); 2]; BLOCK];
        let (weights, _) = weights.as_chunks::<BLOCK>();
        for (half, all) in all.chunks_exact_mut(BLOCK / 2).enumerate() {
            let mut sums = [[_mm256_setzero_ps(); 2]; BLOCK / 2];
            for (&offset, weights) in offsets.iter().zip(weights) {
                // SAFETY: promised by the caller.
                let inputs = unsafe { [_mm256_loadu_ps(line.add(offset)), _mm256_loadu_ps(line.add(offset + 8))] };
                for (sums, &weight) in sums.iter_mut().zip(&weights[half * BLOCK / 2..]) {
                    let weight = _mm256_set1_ps(weight);
                    sums[0] = _mm256_fmadd_ps(inputs[0], weight, sums[0]);
                    sums[1] = _mm256_fmadd_ps(inputs[1], weight, sums[1]);
                }
            }
            all.copy_from_slice(&sums);
        }
        // SAFETY: two registers are 16 floats.
        unsafe { mem::transmute::<[[__m256; 2]; BLOCK], [[f32; LANES]; BLOCK]>(all) }
    }
}

impl Products for Words {
    products_words!("avx2,fma");

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply(line: *const u8, offsets: &[usize], weights: &[i16]) -> [[i32; LANES]; BLOCK] {
        let mut all = [[_mm256_setzero_si256(); 2]; BLOCK];
        let (offsets, _) = offsets.as_chunks::<2>();
        let (weights, _) = weights.as_chunks::<{ 2 * BLOCK }>();
        for (half, all) in all.chunks_exact_mut(BLOCK / 2).enumerate() {
            let mut sums = [[_mm256_setzero_si256(); 2]; BLOCK / 2];
            for (offsets, weights) in offsets.iter().zip(weights) {
                // SAFETY: promised by the caller.
                let [a, b] =
                    unsafe { [_mm_loadu_si128(line.add(offsets[0]).cast()), _mm_loadu_si128(line.add(offsets[1]).cast())] };
                let (low, high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
                let inputs = [_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high)];
                for (sums, weight) in sums.iter_mut().zip(weights[half * BLOCK..].as_chunks::<2>().0) {
                    let weight = _mm256_set1_epi32(tables::pair(*weight));
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(inputs[0], weight));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(inputs[1], weight));
                }
            }
            all.copy_from_slice(&sums);
        }
        // SAFETY: two registers are 16 sums.
        unsafe { mem::transmute::<[[__m256i; 2]; BLOCK], [[i32; LANES]; BLOCK]>(all) }
    }
}
