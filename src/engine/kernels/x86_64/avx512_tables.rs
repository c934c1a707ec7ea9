//! Tables with AVX-512: one register holds an entry. The taps beside each other are summed apart, from whole entries, and
//! shifted only when a chunk is done, so that no load leaves its cache line.

use super::{
    super::tables::{
        self, Apart, BLOCK, CHANNELS_1, CHANNELS_3, Follow, LANES, Line, Lookup, PoolLines, Products, STEP_1, Step, Stored,
        TABLE_1, TABLE_3, offset,
    },
    avx2_tables::fetch,
    build::build,
    bytes::{pool, requantize, sum_apart},
    shared::{lookup_floats, lookup_words, pool_lines, products_floats, products_words},
    steps::{by_shape, by_shape_and_span, each_table},
};
use crate::engine::arithmetic::Weights;
use std::{arch::x86_64::*, array, mem};

/// Does this CPU have what the tables need?
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("fma")
}

/// Floats.
pub(super) struct Floats;

/// Bytes, summed in words of 16 bits.
pub(super) struct Words;

pool_lines!(Floats, "avx512f,avx512bw,fma");
pool_lines!(Words, "avx512f,avx512bw,fma");

/// The sums of a filter over the tables of a chunk, 3×3: one register for each column of the kernel.
macro_rules! sum_3 {
    ($count:ident, $tables:ident, $words:ident, $zero:expr, $add:ident, $load:ident) => {{
        let offset = |i: usize| offset::<CHANNELS_3>(&$words[..], i);
        let mut sums = [$zero; 3];
        macro_rules! row {
            ($table:literal) => {
                if $count > $table {
                    let table = $tables.add($table * TABLE_3);
                    for (column, sum) in sums.iter_mut().enumerate() {
                        *sum = $add(*sum, $load(table.add(offset(3 * $table + column)).cast()));
                    }
                }
            };
        }
        each_table!(row);
        sums
    }};
}

/// The sums of a filter over the tables of a chunk, 1×1.
macro_rules! sum_1 {
    ($steps:ident, $tables:ident, $word:ident, $zero:expr, $add:ident, $load:ident) => {{
        let mut sums = [$zero; 2];
        for step in 0..$steps {
            let table = $tables.add(step * STEP_1 * TABLE_1);
            macro_rules! add {
                ($chain:literal, $group:literal) => {{
                    let entry = table.add($group * TABLE_1 + offset::<CHANNELS_1>(&[*$word], step * STEP_1 + $group));
                    sums[$chain] = $add(sums[$chain], $load(entry.cast()));
                }};
            }
            add!(0, 0);
            add!(1, 1);
            add!(0, 2);
            add!(1, 3);
        }
        $add(sums[0], sums[1])
    }};
}

impl Lookup for Floats {
    lookup_floats!("avx512f,avx512bw,fma");

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], _: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        // SAFETY: promised by the caller.
        unsafe { by_shape!(step, add_floats_1, add_floats_3, [], (tables, entries, step.first, sums)) }
    }

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn finish<O: Stored>(_: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        // SAFETY: promised by the caller.
        unsafe { tables::finish(&sums.0, [0], follow, results) };
    }
}

/// [`Lookup::add`] of floats, 3×3.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
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
        let [a, b, c] = unsafe { sum_3!(TABLES, tables, words, _mm512_setzero_ps(), _mm512_add_ps, _mm512_load_ps) };
        let (b, c) = (_mm512_castps_si512(b), _mm512_castps_si512(c));
        let b = _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(b, b));
        let c = _mm512_castsi512_ps(_mm512_alignr_epi32::<2>(c, c));
        // SAFETY: there are sums for each filter.
        unsafe { join_floats(_mm512_add_ps(_mm512_add_ps(a, b), c), first, sums.add(filter)) };
    }
}

/// [`Lookup::add`] of floats, 1×1.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
unsafe fn add_floats_1<const STEPS: usize>(tables: *const u8, entries: &[u64], first: bool, sums: *mut Line<f32, 16>) {
    let ahead = entries.len();
    for (filter, word) in entries.iter().enumerate() {
        fetch(word, ahead);
        // SAFETY: offsets lead into the tables of the chunk.
        let sum = unsafe { sum_1!(STEPS, tables, word, _mm512_setzero_ps(), _mm512_add_ps, _mm512_load_ps) };
        // SAFETY: there are sums for each filter.
        unsafe { join_floats(sum, first, sums.add(filter)) };
    }
}

/// Adds a register to the sums of a filter, or starts them.
///
/// # Safety
/// `sums` is a line.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn join_floats(sum: __m512, first: bool, sums: *mut Line<f32, 16>) {
    let sums = sums.cast::<f32>();
    // SAFETY: a line is one register and aligned like one.
    unsafe { _mm512_store_ps(sums, if first { sum } else { _mm512_add_ps(_mm512_load_ps(sums), sum) }) };
}

impl Lookup for Words {
    lookup_words!("avx512f,avx512bw,fma");

    // A position takes nearly half a line.
    const APART: Option<Apart> = Some(Apart { positions: 1, sum: sum_apart });

    #[target_feature(enable = "avx512f,avx512bw,fma")]
    unsafe fn add(step: Step, tables: *const Self::Line, entries: &[u64], partial: *mut Self::Line, sums: *mut Self::Sums) {
        let tables = tables.cast::<u8>();
        // SAFETY: promised by the caller.
        unsafe { by_shape_and_span!(step, add_words_1, add_words_3, (tables, entries, step.first, (partial, sums))) }
    }

    #[target_feature(enable = "avx512f,avx512bw,fma")]
    unsafe fn finish<O: Stored>(_: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        // SAFETY: promised by the caller; a CPU with AVX-512 has AVX2.
        unsafe {
            match O::bytes(results) {
                Some(bytes) => requantize(&sums.0, [0, 16], follow, bytes),
                None => tables::finish(&sums.0, [0], follow, results),
            }
        }
    }
}

/// [`Lookup::add`] of words, 3×3.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_words_3<const TABLES: usize, const WORDS: usize, const STARTS: bool, const ENDS: bool>(
    tables: *const u8,
    entries: &[u64],
    first: bool,
    (partial, sums): (*mut Line<i16, 32>, *mut Line<i32, 32>),
) {
    let next: [i16; 32] = array::from_fn(|i| (i as i16 + 1) % 32);
    // SAFETY: 32 words.
    let next = unsafe { _mm512_loadu_si512(next.as_ptr().cast()) };
    let after_next = _mm512_permutexvar_epi16(next, next);
    let (entries, _) = entries.as_chunks::<WORDS>();
    for (filter, words) in entries.iter().enumerate() {
        // SAFETY: offsets lead into the tables of the chunk, and there is a partial sum for each filter.
        unsafe {
            let load = |at| _mm512_load_si512(at);
            let [a, b, c] = sum_3!(TABLES, tables, words, _mm512_setzero_si512(), _mm512_add_epi16, load);
            let (b, c) = (_mm512_permutexvar_epi16(next, b), _mm512_permutexvar_epi16(after_next, c));
            join_words::<STARTS, ENDS>(
                _mm512_add_epi16(_mm512_add_epi16(a, b), c),
                first,
                partial.add(filter),
                sums.add(filter),
            );
        }
    }
}

/// [`Lookup::add`] of words, 1×1.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_words_1<const STEPS: usize, const STARTS: bool, const ENDS: bool>(
    tables: *const u8,
    entries: &[u64],
    first: bool,
    (partial, sums): (*mut Line<i16, 32>, *mut Line<i32, 32>),
) {
    for (filter, word) in entries.iter().enumerate() {
        // SAFETY: offsets lead into the tables of the chunk, and there is a partial sum for each filter.
        unsafe {
            let load = |at| _mm512_load_si512(at);
            let sum = sum_1!(STEPS, tables, word, _mm512_setzero_si512(), _mm512_add_epi16, load);
            join_words::<STARTS, ENDS>(sum, first, partial.add(filter), sums.add(filter));
        }
    }
}

/// Adds a register to the partial sums of a filter and, at the end of a span, these to its sums, or starts them.
///
/// # Safety
/// Both are lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn join_words<const STARTS: bool, const ENDS: bool>(
    mut sum: __m512i,
    first: bool,
    partial: *mut Line<i16, 32>,
    sums: *mut Line<i32, 32>,
) {
    // SAFETY: a line of words is one register, a line of sums two, both aligned like one.
    unsafe {
        if !STARTS {
            sum = _mm512_add_epi16(sum, _mm512_load_si512(partial.cast()));
        }
        if ENDS {
            let to = sums.cast::<__m512i>();
            let halves = [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)];
            for (i, half) in halves.into_iter().enumerate() {
                let (half, to) = (_mm512_cvtepi16_epi32(half), to.add(i));
                _mm512_store_si512(to, if first { half } else { _mm512_add_epi32(_mm512_load_si512(to), half) });
            }
        } else {
            _mm512_store_si512(partial.cast(), sum);
        }
    }
}

impl Products for Floats {
    products_floats!("avx512f,avx512bw,fma");

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn multiply(line: *const f32, offsets: &[usize], weights: &[f32]) -> [[f32; LANES]; BLOCK] {
        let mut sums = [_mm512_setzero_ps(); BLOCK];
        let (weights, _) = weights.as_chunks::<BLOCK>();
        for (&offset, weights) in offsets.iter().zip(weights) {
            // SAFETY: promised by the caller.
            let input = unsafe { _mm512_loadu_ps(line.add(offset)) };
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = _mm512_fmadd_ps(input, _mm512_set1_ps(weight), *sum);
            }
        }
        // SAFETY: a register is 16 floats.
        unsafe { mem::transmute::<[__m512; BLOCK], [[f32; LANES]; BLOCK]>(sums) }
    }
}

impl Products for Words {
    products_words!("avx512f,avx512bw,fma");

    #[target_feature(enable = "avx512f,avx512bw,fma")]
    unsafe fn multiply(line: *const u8, offsets: &[usize], weights: &[i16]) -> [[i32; LANES]; BLOCK] {
        let mut sums = [_mm512_setzero_si512(); BLOCK];
        let (offsets, _) = offsets.as_chunks::<2>();
        let (weights, _) = weights.as_chunks::<{ 2 * BLOCK }>();
        for (offsets, weights) in offsets.iter().zip(weights) {
            // SAFETY: promised by the caller.
            let [a, b] =
                unsafe { [_mm_loadu_si128(line.add(offsets[0]).cast()), _mm_loadu_si128(line.add(offsets[1]).cast())] };
            let inputs = _mm512_or_si512(_mm512_cvtepu8_epi32(a), _mm512_slli_epi32::<16>(_mm512_cvtepu8_epi32(b)));
            for (sum, &weight) in sums.iter_mut().zip(weights.as_chunks::<2>().0) {
                let product = _mm512_madd_epi16(inputs, _mm512_set1_epi32(tables::pair(weight)));
                *sum = _mm512_add_epi32(*sum, product);
            }
        }
        // SAFETY: a register is 16 sums.
        unsafe { mem::transmute::<[__m512i; BLOCK], [[i32; LANES]; BLOCK]>(sums) }
    }
}
