//! Depthwise 3×3 convolutions over bytes with 16-bit weights, with AVX2 or AVX-512; lanes are channels.
//!
//! The bytes of two taps are interleaved and widened, so that `vpmaddwd` or `vpdpwssd` multiplies and sums both: five pairs,
//! the last tap's partner being 0.

use super::{
    super::{Convolution, Work, window::Window},
    avx2, avx512,
    dense::{Constants, Sums, copy},
    pack::{self, Group, LANES},
};
use crate::{
    engine::{
        arithmetic::Weights,
        layout::{Element, Map},
        memory::Memory,
    },
    network,
};
use std::{arch::x86_64::*, array, marker::PhantomData};

const TAPS: usize = network::Depthwise::KERNEL * network::Depthwise::KERNEL;
const PAIRS: usize = TAPS.div_ceil(2);

/// The instructions that a depthwise convolution uses.
pub(super) trait Instructions: Send + Sync + Sized + 'static {
    /// Computes a row of the output.
    ///
    /// # Safety
    /// The CPU has the instructions; nobody else uses the row.
    unsafe fn row(depthwise: &Depthwise<Self>, y: usize, memory: &Memory);
}

/// AVX2.
pub(super) struct Avx2;

/// AVX-512 with VNNI.
pub(super) struct Avx512;

/// A depthwise convolution. An item is one row of the output.
pub(super) struct Depthwise<I> {
    input: Map,
    output: Map,
    stride: usize,
    /// From a window's first value.
    taps: [usize; TAPS],
    /// `[block of channels]`.
    weights: Vec<[Group; PAIRS]>,
    constants: Vec<Constants>,
    slope: f32,
    instructions: PhantomData<I>,
}

impl<I> Depthwise<I> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        let Weights::Integers(integers) = weights else { unreachable!("bytes are multiplied by integers here") };
        let corner = input.at(0, 0, 0);
        let taps = array::from_fn(|tap| input.at(0, (tap / kernel) as isize, (tap % kernel) as isize) - corner);
        // Each channel is a filter with one input channel.
        let groups = pack::words(&integers, Window { kernel, channels: 1 }, input.shape.channels, PAIRS);
        let (weights, _) = groups.as_chunks::<PAIRS>();
        let (weights, constants) = (weights.to_vec(), Constants::blocks(&epilogue));
        Self { input, output, stride, taps, weights, constants, slope: epilogue.slope, instructions: PhantomData }
    }
}

/// [`Instructions::row`] with some instructions: what sums a block, of how many bytes at once it can leave out those after
/// the last channel, and who turns sums into results.
macro_rules! row {
    ($depthwise:ident, $y:ident, $memory:ident, $sum:ident, $unit:literal, $results:ident) => {{
        let Depthwise { input: map, output, stride, taps, weights, constants, slope, .. } = $depthwise;
        let channels = output.shape.channels;
        let input = $memory.read::<u8>(map);
        for x in 0..output.shape.width {
            let corner = |at: usize| (at * stride) as isize - 1;
            let window = map.at(0, corner($y), corner(x));
            for (block, (weights, constants)) in weights.iter().zip(constants).enumerate() {
                let first = block * LANES;
                let count = LANES.min(channels - first);
                let mut sums = [0; LANES];
                let place = |tap: usize| window + first + tap;
                if count == LANES {
                    let taps = taps.map(|tap| input.start(place(tap), LANES));
                    // SAFETY: there are 32 bytes at each tap.
                    unsafe { $sum::<true>(&taps, LANES, weights, &mut sums) };
                } else if count.is_multiple_of($unit) {
                    let taps = taps.map(|tap| input.start(place(tap), count));
                    // SAFETY: there are `count` bytes at each tap.
                    unsafe { $sum::<false>(&taps, count, weights, &mut sums) };
                } else {
                    let copies = taps.map(|tap| {
                        let mut copy = [0; LANES];
                        copy[..count].copy_from_slice(input.run(place(tap), count));
                        copy
                    });
                    // SAFETY: there are 32 bytes in each copy.
                    unsafe { $sum::<true>(&copies.each_ref().map(|copy| copy.as_ptr()), LANES, weights, &mut sums) };
                }
                let at = output.at(first, $y as isize, x as isize);
                match output.element {
                    Element::Byte { zero_point } => {
                        let bytes = $results::to_bytes(&sums, constants, *slope, zero_point);
                        // SAFETY: only this item uses this row; a layer never reads where it writes.
                        copy(unsafe { $memory.write(output).run(at, count) }, &bytes);
                    }
                    Element::Float => {
                        let floats = $results::to_floats(&sums, constants, *slope);
                        // SAFETY: as above.
                        copy(unsafe { $memory.write(output).run(at, count) }, &floats);
                    }
                }
            }
        }
    }};
}

impl Instructions for Avx2 {
    #[target_feature(enable = "avx2,fma")]
    unsafe fn row(depthwise: &Depthwise<Self>, y: usize, memory: &Memory) {
        row!(depthwise, y, memory, sum, 4, avx2);
    }
}

impl Instructions for Avx512 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn row(depthwise: &Depthwise<Self>, y: usize, memory: &Memory) {
        row!(depthwise, y, memory, sum_512, 1, avx512);
    }
}

impl<I: Instructions> Work for Depthwise<I> {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, item: usize, memory: &Memory) {
        // SAFETY: a kernel is only used where its instructions are.
        unsafe { I::row(self, item, memory) };
    }
}

/// The sums of a block of channels, with AVX-512. A `WHOLE` block has 32 of them; of another nothing is read from `count` on.
///
/// # Safety
/// There are `count` bytes at each tap.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sum_512<const WHOLE: bool>(taps: &[*const u8; TAPS], count: usize, weights: &[Group; PAIRS], sums: &mut Sums) {
    let present = u32::MAX >> (LANES - count);
    let mut partial = [_mm512_setzero_si512(); 2];
    for (pair, weights) in taps.chunks(2).zip(weights) {
        // SAFETY: the bytes that are present; a group is two registers.
        unsafe {
            // The middle quarters change places, since bytes are interleaved within halves.
            let load = |tap: &*const u8| {
                let bytes = match WHOLE {
                    true => _mm256_loadu_si256(tap.cast()),
                    false => _mm256_maskz_loadu_epi8(present, tap.cast()),
                };
                _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)
            };
            let (a, b) = (load(&pair[0]), pair.get(1).map_or(_mm256_setzero_si256(), load));
            let weights = weights.0.as_ptr().cast::<__m512i>();
            let low = _mm512_cvtepu8_epi16(_mm256_unpacklo_epi8(a, b));
            let high = _mm512_cvtepu8_epi16(_mm256_unpackhi_epi8(a, b));
            partial[0] = _mm512_dpwssd_epi32(partial[0], low, _mm512_load_si512(weights));
            partial[1] = _mm512_dpwssd_epi32(partial[1], high, _mm512_load_si512(weights.add(1)));
        }
    }
    // SAFETY: 32 sums are two registers.
    unsafe {
        let out = sums.as_mut_ptr().cast::<__m512i>();
        _mm512_storeu_si512(out, partial[0]);
        _mm512_storeu_si512(out.add(1), partial[1]);
    }
}

/// The sums of a block of channels, with AVX2. A `WHOLE` block has 32 of them; of another nothing is read from `count` on.
///
/// # Safety
/// There are `count` bytes at each tap, a multiple of 4.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sum<const WHOLE: bool>(taps: &[*const u8; TAPS], count: usize, weights: &[Group; PAIRS], sums: &mut Sums) {
    let out = sums.as_mut_ptr().cast::<__m256i>();
    for half in 0..2 {
        // Four bytes are a lane here.
        let last = _mm_set1_epi32(count as i32 / 4 - 4 * half as i32);
        let present = _mm_cmpgt_epi32(last, _mm_setr_epi32(0, 1, 2, 3));
        let mut partial = [_mm256_setzero_si256(); 2];
        for (pair, weights) in taps.chunks(2).zip(weights) {
            // SAFETY: the bytes that are present; a group is four registers.
            unsafe {
                let load = |tap: &*const u8| match WHOLE {
                    true => _mm_loadu_si128(tap.add(16 * half).cast()),
                    false => _mm_maskload_epi32(tap.wrapping_add(16 * half).cast(), present),
                };
                let (a, b) = (load(&pair[0]), pair.get(1).map_or(_mm_setzero_si128(), load));
                let weights = weights.0.as_ptr().cast::<__m256i>().add(2 * half);
                let low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
                let high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
                partial[0] = _mm256_add_epi32(partial[0], _mm256_madd_epi16(low, _mm256_load_si256(weights)));
                partial[1] = _mm256_add_epi32(partial[1], _mm256_madd_epi16(high, _mm256_load_si256(weights.add(1))));
            }
        }
        // SAFETY: two of four registers.
        unsafe {
            _mm256_storeu_si256(out.add(2 * half), partial[0]);
            _mm256_storeu_si256(out.add(2 * half + 1), partial[1]);
        }
    }
}
