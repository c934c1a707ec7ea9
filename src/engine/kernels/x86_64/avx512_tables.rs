//! Tables with AVX-512: one register holds an entry. The taps beside each other are summed apart, from whole entries, and
//! shifted only when a chunk is done, so that no load leaves its cache line.

use super::super::tables::{self, BLOCK, Follow, LANES, Line, Lookup, Products, STEP_1, Step, Stored};
use crate::engine::arithmetic::Weights;
use std::arch::x86_64::*;

/// Does this CPU have what the tables need?
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")
}

/// Floats.
pub(super) struct Floats;

/// Adds entries of one group of a 3×3 kernel to the sums of its taps, one for each column of the kernel. `$pair(i)` gives
/// the group's `i`-th pair of offsets; with `$second`, the group starts with the second half of a pair.
macro_rules! lookups {
    ($add:expr, $sums:ident, $at:expr, $offset:expr) => {{
        $sums[0] = $add($sums[0], $at(0, $offset(0)));
        $sums[1] = $add($sums[1], $at(0, $offset(1)));
        $sums[2] = $add($sums[2], $at(0, $offset(2)));
        $sums[0] = $add($sums[0], $at(1, $offset(3)));
        $sums[1] = $add($sums[1], $at(1, $offset(4)));
        $sums[2] = $add($sums[2], $at(1, $offset(5)));
        $sums[0] = $add($sums[0], $at(2, $offset(6)));
        $sums[1] = $add($sums[1], $at(2, $offset(7)));
        $sums[2] = $add($sums[2], $at(2, $offset(8)));
    }};
}

/// Bytes of a table of a 3×3 kernel.
const TABLE_3: usize = 64 * 64;
/// Bytes of a table of a 1×1 kernel.
const TABLE_1: usize = 32 * 64;

impl Lookup for Floats {
    type Input = f32;
    type Line = Line<f32, 16>;
    type Sums = Line<f32, 16>;

    const LANES: usize = 16;
    const NOTHING: f32 = 0.0;
    const SPAN: usize = 0;
    const OFFSET: i32 = 0;

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn build(inputs: &[*const f32], table: *mut Self::Line) {
        // SAFETY: promised by the caller.
        unsafe { tables::build::<f32, 16>(inputs, table) };
    }

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn add(step: Step, tables: *const Self::Line, pairs: &[u32], _: *mut Self::Line, sums: &mut [Self::Sums]) {
        let tables = tables.cast::<u8>();
        // SAFETY: promised by the caller.
        unsafe {
            match (step.kernel, step.groups) {
                (1, groups) => add_1(groups, tables, pairs, sums),
                (_, 1) => add_3::<1, 5>(tables, pairs, sums),
                _ => add_3::<2, 9>(tables, pairs, sums),
            }
        }
    }

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn finish<O: Stored>(_: usize, sums: &Self::Sums, follow: Follow, results: *mut O) {
        // SAFETY: promised by the caller.
        unsafe { tables::finish(&sums.0, [0], follow, results) };
    }
}

/// [`Lookup::add`] of a 3×3 kernel.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
unsafe fn add_3<const GROUPS: usize, const PAIRS: usize>(tables: *const u8, pairs: &[u32], sums: &mut [Line<f32, 16>]) {
    let (pairs, _) = pairs.as_chunks::<PAIRS>();
    for (pairs, sums) in pairs.iter().zip(sums) {
        let mut taps = [_mm512_setzero_ps(); 3];
        // SAFETY: offsets lead into the tables of the chunk.
        unsafe {
            let offset = |i: usize| (pairs[i / 2] >> (i % 2 * 16) & 0xffff) as usize;
            let first = |ky: usize, offset: usize| _mm512_load_ps(tables.add(ky * TABLE_3 + offset).cast());
            lookups!(|a, b| _mm512_add_ps(a, b), taps, first, |i: usize| offset(i));
            if GROUPS == 2 {
                let second = |ky: usize, offset: usize| _mm512_load_ps(tables.add((3 + ky) * TABLE_3 + offset).cast());
                lookups!(|a, b| _mm512_add_ps(a, b), taps, second, |i: usize| offset(9 + i));
            }
        }
        let shift_1 = _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(_mm512_castps_si512(taps[1]), _mm512_castps_si512(taps[1])));
        let shift_2 = _mm512_castsi512_ps(_mm512_alignr_epi32::<2>(_mm512_castps_si512(taps[2]), _mm512_castps_si512(taps[2])));
        let sum = _mm512_add_ps(_mm512_add_ps(taps[0], shift_1), shift_2);
        // SAFETY: a line is one register and aligned like one.
        unsafe { _mm512_store_ps(sums.0.as_mut_ptr(), _mm512_add_ps(_mm512_load_ps(sums.0.as_ptr()), sum)) };
    }
}

/// [`Lookup::add`] of a 1×1 kernel.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
unsafe fn add_1(groups: usize, tables: *const u8, pairs: &[u32], sums: &mut [Line<f32, 16>]) {
    for (pairs, sums) in pairs.chunks_exact(groups / 2).zip(sums) {
        let out = sums.0.as_mut_ptr();
        let (steps, _) = pairs.as_chunks::<{ STEP_1 / 2 }>();
        // SAFETY: offsets lead into the tables of the chunk; a line is one register and aligned like one.
        unsafe {
            let mut sum = [_mm512_load_ps(out), _mm512_setzero_ps()];
            for (step, &[a, b]) in steps.iter().enumerate() {
                let table = tables.add(step * STEP_1 * TABLE_1);
                let at = |group: usize, offset: u32| _mm512_load_ps(table.add(group * TABLE_1 + offset as usize).cast());
                sum[0] = _mm512_add_ps(sum[0], at(0, a & 0xffff));
                sum[1] = _mm512_add_ps(sum[1], at(1, a >> 16));
                sum[0] = _mm512_add_ps(sum[0], at(2, b & 0xffff));
                sum[1] = _mm512_add_ps(sum[1], at(3, b >> 16));
            }
            _mm512_store_ps(out, _mm512_add_ps(sum[0], sum[1]));
        }
    }
}

impl Products for Floats {
    type Input = f32;
    type Weight = f32;
    type Sum = f32;

    const TOGETHER: usize = 1;

    fn weights<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
        tables::floats(weights)
    }

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
        sums.map(|sum| unsafe { std::mem::transmute::<__m512, [f32; LANES]>(sum) })
    }

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn multiply_one(line: *const f32, offsets: &[usize], weights: &[f32]) -> [f32; LANES] {
        // SAFETY: promised by the caller.
        unsafe { tables::multiply_one(line, offsets, weights) }
    }

    #[target_feature(enable = "avx512f,fma")]
    unsafe fn finish<O: Stored>(sums: &[f32; LANES], follow: Follow, results: &mut [O; LANES]) {
        // SAFETY: there is room for 16 results.
        unsafe { tables::finish(sums, [0], follow, results.as_mut_ptr()) };
    }
}
