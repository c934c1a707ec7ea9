//! Floats as sums of bytes, so that their sums with weights of ±1 are exact.
//!
//! A map is written as fixed point, `x ≈ q · unit`, with one unit for the whole map in this frame: the power of two with
//! which the largest magnitude takes 23 bits. The 24 bits of `q`, in two's complement, are three bytes: two unsigned and
//! a signed one. Each makes a plane, a map of bytes, and the sum over floats is that of three sums over bytes, which are
//! exact: `unit · (S₀ + 2⁸ · S₁ + 2¹⁶ · S₂)`.
//!
//! # Error
//! `|x − q · unit| ≤ unit / 2 ≤ 2⁻²³ · largest`, the largest magnitude of the map, and no less than 2⁻¹²⁷. For the sum of
//! `K` inputs that makes `K · 2⁻²³ · largest`, besides which rounding the three sums to floats and adding them up counts
//! little. If a value is not finite there is no unit, and all outputs of the layer are NaN.

use super::super::super::{Convolution, Work};
use crate::{
    engine::{
        layout::{Buffer, Element, Layout, Map},
        memory::Memory,
    },
    network::Shape,
};
use std::{arch::x86_64::*, array};

/// Bytes of a value.
pub(super) const PLANES: usize = 3;
/// The plane of the signed bytes.
pub(super) const SIGNED: usize = PLANES - 1;

/// Where the bytes of a map of floats stand.
#[derive(Clone)]
pub(super) struct Planes {
    /// The largest magnitude of each row of the map, in a row.
    largest: Map,
    /// Least significant first.
    planes: [Map; PLANES],
    /// Bytes from a plane to the next.
    pub(super) distance: usize,
}

impl Planes {
    /// Bytes that they take.
    pub(super) fn bytes(shape: Shape, border: usize) -> usize {
        let (largest, plane) = Self::sizes(shape, border);
        largest + PLANES * plane
    }

    /// The planes of a map of this shape, from a place in memory on.
    fn new(shape: Shape, border: usize, start: usize) -> Self {
        let (first, distance) = Self::sizes(shape, border);
        let planes = array::from_fn(|plane| Self::plane(shape, border).map(start + first + plane * distance));
        Self { largest: Self::largest(shape).map(start), planes, distance }
    }

    /// Those of a convolution of floats.
    pub(super) fn of(convolution: &Convolution<'_>) -> Self {
        Self::new(convolution.input.shape, convolution.kernel / 2, convolution.scratch)
    }

    fn sizes(shape: Shape, border: usize) -> (usize, usize) {
        let size = |buffer: Buffer| buffer.bytes().next_multiple_of(Memory::ALIGNMENT);
        (size(Self::largest(shape)), size(Self::plane(shape, border)))
    }

    fn largest(shape: Shape) -> Buffer {
        let shape = Shape { channels: shape.height, height: 1, width: 1 };
        Buffer { shape, element: Element::Float, layout: Layout::Interleaved, border: 0 }
    }

    fn plane(shape: Shape, border: usize) -> Buffer {
        Buffer { shape, element: Element::Byte { zero_point: 0 }, layout: Layout::Interleaved, border }
    }

    /// The plane of the least significant bytes.
    pub(super) fn lowest(&self) -> &Map {
        &self.planes[0]
    }

    /// What has to be done before the planes are read: to find the largest magnitudes, then to write the planes.
    pub(super) fn works(&self, input: &Map) -> Vec<Box<dyn Work>> {
        let (planes, input) = (self.clone(), input.clone());
        vec![Box::new(Largest { planes: planes.clone(), input: input.clone() }), Box::new(Split { planes, input })]
    }

    /// The unit, once the largest magnitudes are known.
    pub(super) fn unit(&self, memory: &Memory) -> Unit {
        let rows = memory.read::<f32>(&self.largest).run(self.largest.at(0, 0, 0), self.largest.shape.channels);
        Unit::new(rows.iter().fold(0, |largest, row| largest.max(row.to_bits())))
    }
}

/// The unit of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// NaN if there is none.
    pub(super) value: f32,
    /// One over the unit.
    inverse: f32,
}

impl Unit {
    /// For magnitudes up to this one, given as the bits of a float: these are ordered like magnitudes, NaN above all.
    fn new(largest: u32) -> Self {
        let power = |exponent: i32| f32::from_bits(((exponent + 127) << 23) as u32);
        let exponent = (largest >> 23) as i32 - 127;
        // Neither the unit nor its inverse may be too small for a normal float.
        let bits = (22 - exponent).min(126);
        let value = if f32::from_bits(largest).is_finite() { power(-bits) } else { f32::NAN };
        Self { value, inverse: power(bits) }
    }
}

/// Finds the largest magnitude of each row. An item is one row.
struct Largest {
    planes: Planes,
    input: Map,
}

impl Work for Largest {
    fn items(&self) -> usize {
        self.input.shape.height
    }

    fn run(&self, y: usize, memory: &Memory) {
        let input = memory.read::<f32>(&self.input);
        let pixels = together(&[&self.input]);
        let mut largest = 0;
        for x in (0..self.input.shape.width).step_by(pixels) {
            let values = input.run(self.input.at(0, y as isize, x as isize), pixels * self.input.shape.channels);
            // SAFETY: a kernel is only used where its instructions are.
            largest = largest.max(unsafe { largest_magnitude(values) });
        }
        let largest_of_row = memory.write::<f32>(&self.planes.largest);
        // SAFETY: only this item uses this place; a layer never reads where it writes.
        unsafe { largest_of_row.run(self.planes.largest.at(y, 0, 0), 1) }.fill(f32::from_bits(largest));
    }
}

/// Writes the planes. An item is one row, the last one the borders.
struct Split {
    planes: Planes,
    input: Map,
}

impl Work for Split {
    fn items(&self) -> usize {
        self.input.shape.height + 1
    }

    fn run(&self, y: usize, memory: &Memory) {
        let (planes, Shape { channels, height, width }) = (&self.planes.planes, self.input.shape);
        if y == height {
            // SAFETY: only this item uses the borders.
            planes.iter().for_each(|plane| unsafe { memory.fill_border(plane) });
            return;
        }
        let inverse = self.planes.unit(memory).inverse;
        let input = memory.read::<f32>(&self.input);
        let pixels = together(&[&self.input, &planes[0]]);
        for x in (0..width).step_by(pixels) {
            let (y, x) = (y as isize, x as isize);
            let values = input.run(self.input.at(0, y, x), pixels * channels);
            let bytes = planes.each_ref().map(|plane| memory.write::<u8>(plane).start(plane.at(0, y, x), values.len()));
            // SAFETY: a kernel is only used where its instructions are; only this item uses this row.
            unsafe { split(values, inverse, bytes) };
        }
    }
}

/// Pixels of a row that stand side by side in all of some maps of one shape.
fn together(maps: &[&Map]) -> usize {
    let dense = maps.iter().all(|map| map.pixel_stride == map.shape.channels);
    if dense { maps[0].shape.width } else { 1 }
}

/// The largest magnitude, as the bits of a float.
#[target_feature(enable = "avx512f")]
fn largest_magnitude(values: &[f32]) -> u32 {
    let mut largest = [_mm512_setzero_si512(); 4];
    let magnitude = |values: __m512| _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(i32::MAX));
    for values in values.chunks(64) {
        for (part, largest) in largest.iter_mut().enumerate() {
            let used = first(values.len().saturating_sub(16 * part));
            // SAFETY: only values of the chunk are read.
            let values = unsafe { _mm512_maskz_loadu_ps(used, values.as_ptr().wrapping_add(16 * part)) };
            *largest = _mm512_max_epu32(*largest, magnitude(values));
        }
    }
    let pairs = [_mm512_max_epu32(largest[0], largest[1]), _mm512_max_epu32(largest[2], largest[3])];
    _mm512_reduce_max_epu32(_mm512_max_epu32(pairs[0], pairs[1]))
}

/// Writes the bytes of each value to the planes.
///
/// # Safety
/// As many bytes as values can be written to each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn split(values: &[f32], inverse: f32, planes: [*mut u8; PLANES]) {
    let inverse = _mm512_set1_ps(inverse);
    let most = _mm512_set1_epi32((1 << 23) - 1);
    let order: [u8; 64] = array::from_fn(|at| (at % 16 * 4 + at / 16) as u8);
    // SAFETY: 64 bytes.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    for (index, values) in values.chunks(16).enumerate() {
        let used = first(values.len());
        // SAFETY: only values of the chunk are read, and their bytes written.
        unsafe {
            let values = _mm512_maskz_loadu_ps(used, values.as_ptr());
            // What is rounded up to 2²³ is not to change its sign.
            let fixed = _mm512_min_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(values, inverse)), most);
            let bytes = _mm512_permutexvar_epi8(order, fixed);
            _mm_mask_storeu_epi8(planes[0].add(16 * index).cast(), used, _mm512_castsi512_si128(bytes));
            _mm_mask_storeu_epi8(planes[1].add(16 * index).cast(), used, _mm512_extracti32x4_epi32::<1>(bytes));
            _mm_mask_storeu_epi8(planes[2].add(16 * index).cast(), used, _mm512_extracti32x4_epi32::<2>(bytes));
        }
    }
}

/// A bit for each of the first `count` of 16 values.
fn first(count: usize) -> u16 {
    u16::MAX.checked_shr(16u32.saturating_sub(count as u32)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planes(values: &[f32]) -> Option<(Unit, Vec<i32>)> {
        if !super::super::available() {
            return None;
        }
        let mut bytes = [(); PLANES].map(|()| vec![0u8; values.len()]);
        // SAFETY: the instructions are there, and so are the bytes.
        unsafe {
            let unit = Unit::new(largest_magnitude(values));
            split(values, unit.inverse, bytes.each_mut().map(|bytes| bytes.as_mut_ptr()));
            let fixed = |i: usize| i32::from_le_bytes([0, bytes[0][i], bytes[1][i], bytes[2][i]]) >> 8;
            Some((unit, (0..values.len()).map(fixed).collect()))
        }
    }

    fn check(values: &[f32]) {
        let Some((unit, fixed)) = planes(values) else { return };
        let largest = values.iter().fold(0.0f64, |largest, &x| largest.max(f64::from(x).abs()));
        let bound = (largest * 0.5f64.powi(23)).max(0.5f64.powi(127));
        assert!(f64::from(unit.value) * f64::from(unit.inverse) == 1.0);
        for (&x, &q) in values.iter().zip(&fixed) {
            let error = (f64::from(x) - f64::from(q) * f64::from(unit.value)).abs();
            assert!(error <= f64::from(unit.value) / 2.0 && error <= bound, "{x} of {largest}: {q}, {unit:?}");
        }
    }

    proptest! {
        #[test]
        fn values_are_near_their_bytes(bits in proptest::collection::vec(any::<u32>(), 1..200), small: bool) {
            let value = |bits: u32| f32::from_bits(if small { bits & 0x83ff_ffff } else { bits });
            let values: Vec<f32> = bits.into_iter().map(value).filter(|x| x.is_finite()).collect();
            check(&values);
        }
    }

    #[test]
    fn extremes_are_near_their_bytes() {
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        for x in [f32::MAX, f32::MIN_POSITIVE, 1.0, below(1.0), below(4.0), f32::from_bits(1), 0.0, 0.5f32.powi(104)] {
            check(&[x]);
            check(&[-x, x, x / 3.0, -x / 1e7]);
        }
    }

    #[test]
    fn what_is_not_finite_has_no_unit() {
        for x in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(planes(&[1.0, x, f32::MAX]).is_none_or(|(unit, _)| unit.value.is_nan()));
        }
    }
}
