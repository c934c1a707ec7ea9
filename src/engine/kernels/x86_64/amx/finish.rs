//! What follows the sums: pooling, scale, bias, activation, bytes or floats.

use super::{
    super::{
        dense::{Constants, Sums},
        pack::LANES,
    },
    convolution::Tiled,
    grid::Strip,
    planes::PLANES,
};
use crate::engine::{layout::Element, memory::Memory};
use std::arch::x86_64::*;

/// 16 sums: integers or floats.
///
/// # Safety
/// Only a CPU with AVX-512 may call any of its functions.
pub(super) trait Value: Copy {
    unsafe fn larger(self, other: Self) -> Self;
    unsafe fn to_float(self) -> __m512;
}

impl Value for __m512i {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn larger(self, other: Self) -> Self {
        _mm512_max_epi32(self, other)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn to_float(self) -> __m512 {
        _mm512_cvtepi32_ps(self)
    }
}

impl Value for __m512 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn larger(self, other: Self) -> Self {
        _mm512_max_ps(self, other)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn to_float(self) -> __m512 {
        self
    }
}

/// The sums of a position.
///
/// # Safety
/// They were written.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(sums: *const Sums) -> [__m512i; 2] {
    // SAFETY: two registers, aligned like them.
    unsafe { [_mm512_load_si512(sums.cast()), _mm512_load_si512(sums.cast::<__m512i>().add(1))] }
}

/// The sums of 16-bit weights, from those of their high and of their low bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn words(high: [__m512i; 2], low: [__m512i; 2]) -> [__m512i; 2] {
    [_mm512_add_epi32(_mm512_slli_epi32::<8>(high[0]), low[0]), _mm512_add_epi32(_mm512_slli_epi32::<8>(high[1]), low[1])]
}

/// What 1 stands for in each plane.
#[derive(Clone, Copy)]
pub(super) struct Units([__m512; PLANES]);

impl Units {
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(unit: f32) -> Self {
        Self([_mm512_set1_ps(unit), _mm512_set1_ps(256.0 * unit), _mm512_set1_ps(65536.0 * unit)])
    }

    /// The sums over floats, from those over their planes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn sum(self, low: [__m512i; 2], middle: [__m512i; 2], high: [__m512i; 2]) -> [__m512; 2] {
        [self.half(low[0], middle[0], high[0]), self.half(low[1], middle[1], high[1])]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn half(self, low: __m512i, middle: __m512i, high: __m512i) -> __m512 {
        let low = _mm512_mul_ps(_mm512_cvtepi32_ps(low), self.0[0]);
        let lower = _mm512_fmadd_ps(_mm512_cvtepi32_ps(middle), self.0[1], low);
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), self.0[2], lower)
    }
}

/// Writes the outputs of a strip and a block of filters. `sum` gives the sums of a position by its place.
///
/// # Safety
/// Nobody else uses the outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) unsafe fn finish<V: Value>(
    convolution: &Tiled,
    strip: &Strip,
    block: usize,
    sum: impl Fn(usize) -> [V; 2],
    memory: &Memory,
) {
    let Tiled { output, pool, grid, constants, slope, .. } = convolution;
    let below = grid.strip_columns();
    // SAFETY: a kernel is only used where its instructions are.
    let larger = |a: [V; 2], b: [V; 2]| unsafe { [a[0].larger(b[0]), a[1].larger(b[1])] };

    let side = if *pool { 2 } else { 1 };
    let columns = strip.columns.start / side..strip.columns.end / side;
    let first = block * LANES;
    let count = LANES.min(output.shape.channels - first);
    let follow = Follow::new(&constants[block], *slope);
    for (row, y) in (strip.rows.start / side..strip.rows.end / side).enumerate() {
        let sums = columns.clone().map(|x| {
            let place = |column| row * below + strip.place(column);
            let sums = match pool {
                false => sum(place(x)),
                true => {
                    let (left, right) = (place(2 * x), place(2 * x + 1));
                    larger(larger(sum(left), sum(right)), larger(sum(left + below), sum(right + below)))
                }
            };
            // SAFETY: as above.
            unsafe { [sums[0].to_float(), sums[1].to_float()] }
        });
        let at = output.at(first, y as isize, columns.start as isize);
        let reach = (columns.len() - 1) * output.pixel_stride + count;
        match output.element {
            Element::Byte { zero_point } => {
                let mut to = memory.write::<u8>(output).start(at, reach);
                for sums in sums {
                    // SAFETY: outputs of the strip and the block.
                    unsafe { follow.bytes(sums, zero_point, to, count) };
                    to = to.wrapping_add(output.pixel_stride);
                }
            }
            Element::Float => {
                let mut to = memory.write::<f32>(output).start(at, reach);
                for sums in sums {
                    // SAFETY: as for bytes.
                    unsafe { follow.floats(sums, to, count) };
                    to = to.wrapping_add(output.pixel_stride);
                }
            }
        }
    }
}

/// Scales, biases and slope in registers.
#[derive(Clone, Copy)]
pub(super) struct Follow {
    scale: [__m512; 2],
    bias: [__m512; 2],
    slope: __m512,
}

impl Follow {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(constants: &Constants, slope: f32) -> Self {
        // SAFETY: two registers of 16 values.
        let load =
            |values: &[f32; LANES]| unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16))] };
        Self { scale: load(&constants.scale), bias: load(&constants.bias), slope: _mm512_set1_ps(slope) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn half(&self, sums: [__m512; 2], half: usize) -> __m512 {
        let y = _mm512_fmadd_ps(sums[half], self.scale[half], self.bias[half]);
        _mm512_max_ps(y, _mm512_mul_ps(y, self.slope))
    }

    /// The outputs as bytes, of the first `count` filters.
    ///
    /// # Safety
    /// They can be written.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn bytes(&self, sums: [__m512; 2], zero_point: u8, to: *mut u8, count: usize) {
        // The plan refuses layers where |y| could reach 2³¹, so every y has an integer. Saturating at 16 bits before the
        // zero point is added changes no byte.
        let round = |half| _mm512_cvtps_epi32(self.half(sums, half));
        let words = _mm512_packs_epi32(round(0), round(1));
        let words = _mm512_adds_epi16(words, _mm512_set1_epi16(zero_point.into()));
        let bytes = _mm512_cvtusepi16_epi8(_mm512_max_epi16(words, _mm512_setzero_si512()));
        // SAFETY: promised by the caller.
        unsafe { _mm256_mask_storeu_epi8(to.cast(), first(count), bytes) };
    }

    /// The outputs as floats, of the first `count` filters.
    ///
    /// # Safety
    /// They can be written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn floats(&self, sums: [__m512; 2], to: *mut f32, count: usize) {
        let y = [self.half(sums, 0), self.half(sums, 1)];
        for half in 0..2 {
            // Filter by filter from the columns that they stand in: four of the one register, four of the other.
            let order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
            let order = _mm512_add_epi32(order, _mm512_set1_epi32(8 * half));
            let values = _mm512_permutex2var_ps(y[0], order, y[1]);
            // SAFETY: promised by the caller.
            unsafe {
                _mm512_mask_storeu_ps(to.wrapping_add(16 * half as usize), (first(count) >> (16 * half)) as u16, values)
            };
        }
    }
}

/// A bit for each of the first `count` filters.
fn first(count: usize) -> u32 {
    u32::MAX >> (LANES - count)
}
