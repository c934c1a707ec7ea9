//! What follows the sums: pooling, scale, bias, activation, bytes or floats.

use super::{
    super::{
        dense::{Constants, Sums},
        pack::LANES,
    },
    convolution::Tiled,
    grid::Strip,
};
use crate::engine::{layout::Element, memory::Memory};
use std::arch::x86_64::*;

/// The sums of a position.
type Registers = [__m512i; 2];

/// Writes the outputs of a strip and a block of filters. `WORDS` says that sums are in two parts.
///
/// # Safety
/// The sums were written, and nobody else uses the outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn finish<const WORDS: bool>(
    convolution: &Tiled,
    strip: &Strip,
    block: usize,
    sums: *const Sums,
    memory: &Memory,
) {
    let Tiled { output, pool, grid, constants, slope, .. } = convolution;
    let below = grid.strip_columns();
    // SAFETY: one of the strip's positions.
    let load = |at: usize| unsafe {
        let sums = sums.add(at).cast();
        [_mm512_load_si512(sums), _mm512_load_si512(sums.add(1))]
    };
    let sum = |at: usize| match WORDS {
        false => load(at),
        true => {
            let (high, low) = (load(at), load(at + 2 * below));
            [0, 1].map(|half| _mm512_add_epi32(_mm512_slli_epi32::<8>(high[half]), low[half]))
        }
    };
    let larger = |a: Registers, b: Registers| [_mm512_max_epi32(a[0], b[0]), _mm512_max_epi32(a[1], b[1])];

    let side = if *pool { 2 } else { 1 };
    let columns = strip.columns.start / side..strip.columns.end / side;
    let first = block * LANES;
    let count = LANES.min(output.shape.channels - first);
    let follow = Follow::new(&constants[block], *slope);
    for (row, y) in (strip.rows.start / side..strip.rows.end / side).enumerate() {
        let sums = columns.clone().map(|x| {
            let place = |column| row * below + strip.place(column);
            match pool {
                false => sum(place(x)),
                true => {
                    let (left, right) = (place(2 * x), place(2 * x + 1));
                    larger(larger(sum(left), sum(right)), larger(sum(left + below), sum(right + below)))
                }
            }
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
                    // SAFETY: as above.
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
    fn half(&self, sums: [__m512i; 2], half: usize) -> __m512 {
        let y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[half]), self.scale[half], self.bias[half]);
        _mm512_max_ps(y, _mm512_mul_ps(y, self.slope))
    }

    /// The outputs as bytes, of the first `count` filters.
    ///
    /// # Safety
    /// They can be written.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn bytes(&self, sums: [__m512i; 2], zero_point: u8, to: *mut u8, count: usize) {
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
    pub(super) unsafe fn floats(&self, sums: [__m512i; 2], to: *mut f32, count: usize) {
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
