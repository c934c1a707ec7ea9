//! Depthwise 3×3 convolutions over bytes with 16-bit weights, on interleaved maps; lanes are channels.

use super::{
    super::{Convolution, Work, tables::Stored},
    follow,
};
use crate::{
    engine::{
        arithmetic::{Epilogue, Weights},
        layout::{Element, Map},
        memory::{Memory, Reader},
    },
    network,
};
use std::{arch::aarch64::*, array, mem};

/// Channels that are computed together. A layer has at least so many.
pub(super) const LANES: usize = 16;

const TAPS: usize = network::Depthwise::KERNEL * network::Depthwise::KERNEL;

/// A depthwise convolution. An item is one row of the output.
pub(super) struct Depthwise {
    input: Map,
    output: Map,
    stride: usize,
    /// From a window's first value.
    taps: [usize; TAPS],
    /// `[tap][channel]`.
    weights: Vec<i16>,
    epilogue: Epilogue,
}

impl Depthwise {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        let Weights::Integers(integers) = weights else { unreachable!("bytes are multiplied by integers here") };
        assert!(input.shape.channels >= LANES, "a layer has as many channels as are computed together");
        let corner = input.at(0, 0, 0);
        let taps = array::from_fn(|tap| input.at(0, (tap / kernel) as isize, (tap % kernel) as isize) - corner);
        let weights = (0..TAPS).flat_map(|tap| integers.iter().skip(tap).step_by(TAPS).copied()).collect();
        Self { input, output, stride, taps, weights, epilogue }
    }

    /// The sums of some channels, of the window that starts at an offset.
    #[inline(always)]
    fn sums(&self, input: &Reader<'_, u8>, window: usize, first: usize) -> [i32; LANES] {
        // SAFETY: every core has NEON; there are so many bytes and weights at each tap; four registers are 16 sums.
        unsafe {
            let mut sums = [vdupq_n_s32(0); LANES / 4];
            for (&tap, weights) in self.taps.iter().zip(self.weights.chunks_exact(self.input.shape.channels)) {
                let bytes = vld1q_u8(input.start(window + tap + first, LANES));
                let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
                let high = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
                let weights = &weights[first..][..LANES];
                let (low_weights, high_weights) = (vld1q_s16(weights.as_ptr()), vld1q_s16(weights[8..].as_ptr()));
                sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(low_weights));
                sums[1] = vmlal_high_s16(sums[1], low, low_weights);
                sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(high_weights));
                sums[3] = vmlal_high_s16(sums[3], high, high_weights);
            }
            mem::transmute::<[int32x4_t; LANES / 4], [i32; LANES]>(sums)
        }
    }

    #[inline(always)]
    fn row<O: Stored>(&self, y: usize, zero_point: u8, memory: &Memory) {
        let (input, output) = (memory.read(&self.input), memory.write::<O>(&self.output));
        let last = self.output.shape.channels - LANES;
        let corner = |at: usize| (at * self.stride) as isize - 1;
        for x in 0..self.output.shape.width {
            let window = self.input.at(0, corner(y), corner(x));
            for block in (0..self.output.shape.channels).step_by(LANES) {
                // The last block may repeat channels of the one before.
                let first = block.min(last);
                let sums = self.sums(&input, window, first);
                let [scale, bias] = [&self.epilogue.scale, &self.epilogue.bias]
                    .map(|values| values[first..].first_chunk().expect("as many as channels"));
                let values = follow(&sums, scale, bias, self.epilogue.slope, zero_point);
                let at = self.output.at(first, y as isize, x as isize);
                // SAFETY: only this item uses this row; a layer never reads where it writes.
                unsafe { output.run(at, LANES) }.copy_from_slice(&values);
            }
        }
    }
}

impl Work for Depthwise {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, item: usize, memory: &Memory) {
        match self.output.element {
            Element::Byte { zero_point } => self.row::<u8>(item, zero_point, memory),
            Element::Float => self.row::<f32>(item, 0, memory),
        }
    }
}
