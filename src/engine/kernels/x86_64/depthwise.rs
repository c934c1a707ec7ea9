//! Depthwise 3×3 convolutions over bytes with 16-bit weights: AVX2, lanes are channels.
//!
//! The bytes of two taps are interleaved and widened, so that `vpmaddwd` multiplies and sums both: five pairs, the last
//! tap's partner being 0.

use super::{
    super::{Convolution, Work, window::Window},
    avx2,
    dense::{Constants, Sums},
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
use std::{arch::x86_64::*, array};

const TAPS: usize = network::Depthwise::KERNEL * network::Depthwise::KERNEL;
const PAIRS: usize = TAPS.div_ceil(2);

/// A depthwise convolution. An item is one row of the output.
pub(super) struct Depthwise {
    input: Map,
    output: Map,
    stride: usize,
    /// From a window's first value.
    taps: [usize; TAPS],
    /// `[block of channels]`.
    weights: Vec<[Group; PAIRS]>,
    constants: Vec<Constants>,
    slope: f32,
}

impl Depthwise {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        let Weights::Integers(integers) = weights else { unreachable!("bytes are multiplied by integers here") };
        let corner = input.at(0, 0, 0);
        let taps = array::from_fn(|tap| input.at(0, (tap / kernel) as isize, (tap % kernel) as isize) - corner);
        // Each channel is a filter with one input channel.
        let groups = pack::words(&integers, Window { kernel, channels: 1 }, input.shape.channels, PAIRS);
        let (weights, _) = groups.as_chunks::<PAIRS>();
        let (weights, constants) = (weights.to_vec(), Constants::blocks(&epilogue));
        Self { input, output, stride, taps, weights, constants, slope: epilogue.slope }
    }

    #[target_feature(enable = "avx2,fma")]
    fn row(&self, y: usize, memory: &Memory) {
        let channels = self.output.shape.channels;
        let input = memory.read::<u8>(&self.input);
        for x in 0..self.output.shape.width {
            let corner = |at: usize| (at * self.stride) as isize - 1;
            let window = self.input.at(0, corner(y), corner(x));
            for (block, (weights, constants)) in self.weights.iter().zip(&self.constants).enumerate() {
                let first = block * LANES;
                let count = LANES.min(channels - first);
                let mut sums = [0; LANES];
                if count == LANES {
                    let taps = self.taps.map(|tap| input.start(window + first + tap, LANES));
                    // SAFETY: there are 32 bytes at each tap.
                    unsafe { sum(&taps, weights, &mut sums) };
                } else {
                    let copies = self.taps.map(|tap| {
                        let mut copy = [0; LANES];
                        copy[..count].copy_from_slice(input.run(window + first + tap, count));
                        copy
                    });
                    // SAFETY: as above.
                    unsafe { sum(&copies.each_ref().map(|copy| copy.as_ptr()), weights, &mut sums) };
                }
                let at = self.output.at(first, y as isize, x as isize);
                match self.output.element {
                    Element::Byte { zero_point } => {
                        let bytes = avx2::to_bytes(&sums, constants, self.slope, zero_point);
                        // SAFETY: only this item uses this row; a layer never reads where it writes.
                        unsafe { memory.write(&self.output).run(at, count) }.copy_from_slice(&bytes[..count]);
                    }
                    Element::Float => {
                        let floats = avx2::to_floats(&sums, constants, self.slope);
                        // SAFETY: as above.
                        unsafe { memory.write(&self.output).run(at, count) }.copy_from_slice(&floats[..count]);
                    }
                }
            }
        }
    }
}

impl Work for Depthwise {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, item: usize, memory: &Memory) {
        // SAFETY: a kernel is only used where its instructions are, and all kernels of this folder need AVX2.
        unsafe { self.row(item, memory) };
    }
}

/// The sums of a block of channels.
///
/// # Safety
/// There are 32 bytes at each tap.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sum(taps: &[*const u8; TAPS], weights: &[Group; PAIRS], sums: &mut Sums) {
    let out = sums.as_mut_ptr().cast::<__m256i>();
    for half in 0..2 {
        let mut partial = [_mm256_setzero_si256(); 2];
        for (pair, weights) in taps.chunks(2).zip(weights) {
            // SAFETY: half of 32 bytes; a group is four registers.
            unsafe {
                let load = |tap: &*const u8| _mm_loadu_si128(tap.add(16 * half).cast());
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
