//! The first layer, a full-precision 3×3 convolution of an image, with AVX-512 VNNI: `vpdpwssd` on 16-bit words.
//!
//! A row of a window is nine neighbouring bytes. The rows that a row of outputs sees are widened to words once; then twelve
//! windows side by side times 32 filters are summed in registers, a pair of words at a time: five pairs for a row of the
//! window, the last with a weight of 0. A 2×2 pool is taken from the sums, which are never written out.

use super::{
    super::{Convolution, Work, window::Window},
    avx512,
    dense::Constants,
    pack::{self, Group, LANES},
};
use crate::{
    engine::{arithmetic::Weights, layout::Map, memory::Memory},
    network::{self, Precision, Source},
};
use std::{arch::x86_64::*, mem::MaybeUninit};

/// Channels of an image.
const CHANNELS: usize = 3;
/// Side of the kernel.
const KERNEL: usize = 3;
/// Words of a row of a window, and pairs of them.
const ROW: usize = KERNEL * CHANNELS;
const PAIRS: usize = ROW.div_ceil(2);
/// Windows in registers.
const TOGETHER: usize = 12;
/// Windows side by side of an item, at most, a multiple of [`TOGETHER`].
const WINDOWS: usize = 192;
/// Words of a widened row: what the windows of an item see if every other position has one, what a window's last pair has
/// more, and what widening may write past the end.
const WORDS: usize = (2 * WINDOWS + KERNEL) * CHANNELS + 32;
/// Rows of the input that two rows of windows see, at most.
const ROWS: usize = 2 + KERNEL;

/// The first convolution, and the pool behind it. An item is a piece of a row of the output.
pub(super) struct Image {
    input: Map,
    output: Map,
    stride: usize,
    pool: bool,
    /// Items of a row.
    pieces: usize,
    /// `[block of filters][row of the kernel][pair]`.
    weights: Vec<[[Group; PAIRS]; KERNEL]>,
    constants: Vec<Constants>,
    slope: f32,
}

#[repr(C, align(64))]
struct Rows([[MaybeUninit<u16>; WORDS]; ROWS]);

impl Image {
    /// Is this such a layer?
    pub(super) fn fits(convolution: &Convolution<'_>) -> bool {
        matches!(convolution.weights, Weights::Integers(_))
            && convolution.kernel == KERNEL
            && convolution.input.shape.channels == CHANNELS
            && convolution.input.pixel_stride == CHANNELS
    }

    /// Is this such a layer of a network in int8 mode?
    pub(super) fn pools(convolution: &network::Convolution, source: Source) -> bool {
        source == Source::Image && convolution.precision == Precision::Full && convolution.kernel == KERNEL
    }

    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { stride, pool, weights, epilogue, input, output, .. } = convolution;
        let Weights::Integers(integers) = weights else { unreachable!("bytes are multiplied by integers here") };
        // Each row of the kernel, with a weight of 0 behind it, as the window of a filter of its own.
        let window = Window { kernel: KERNEL, channels: CHANNELS };
        let row = |filter: &[i16], y: usize| {
            let mut row = [0; 2 * PAIRS];
            for (x, weight) in row[..ROW].iter_mut().enumerate() {
                *weight = filter[window.in_model(y * ROW + x)];
            }
            row
        };
        let rows: Vec<_> =
            integers.chunks_exact(KERNEL * ROW).flat_map(|f| [0, 1, 2].map(|y| row(f, y))).flatten().collect();
        let padded = Window { kernel: 1, channels: KERNEL * 2 * PAIRS };
        let groups = pack::words(&rows, padded, output.shape.channels, KERNEL * PAIRS);
        let weights = groups.as_chunks::<PAIRS>().0.as_chunks::<KERNEL>().0.to_vec();
        let (constants, slope) = (Constants::blocks(&epilogue), epilogue.slope);
        debug_assert!(epilogue.scale.iter().all(|&scale| scale >= 0.0), "the largest sum gives the largest output");
        let pieces = output.shape.width.div_ceil(if pool { WINDOWS / 2 } else { WINDOWS });
        Self { input, output, stride, pool, pieces, weights, constants, slope }
    }

    /// Some outputs of a row, each of `SIDE` times `SIDE` windows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn piece<const STRIDE: usize, const SIDE: usize>(&self, y: usize, first: usize, count: usize, memory: &Memory) {
        let input = memory.read::<u8>(&self.input);
        let mut rows = Rows([[MaybeUninit::uninit(); WORDS]; ROWS]);
        let windows = count * SIDE;
        let seen = ((windows - 1) * STRIDE + KERNEL) * CHANNELS;
        let words = (windows.next_multiple_of(TOGETHER) * STRIDE + KERNEL) * CHANNELS;
        for (i, row) in rows.0[..(SIDE - 1) * STRIDE + KERNEL].iter_mut().enumerate() {
            let corner = |at: usize| (at * SIDE * STRIDE) as isize - 1;
            let bytes = input.run(self.input.at(0, corner(y) + i as isize, corner(first)), seen);
            for at in (0..words).step_by(32) {
                let present = seen.saturating_sub(at).min(32);
                // SAFETY: only bytes of the run are read; there is room for 32 words from any that a window sees.
                unsafe {
                    let present = ((1u64 << present) - 1) as u32;
                    let words =
                        _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(present, bytes.as_ptr().wrapping_add(at).cast()));
                    _mm512_storeu_si512(row.as_mut_ptr().add(at).cast(), words);
                }
            }
        }
        for block in 0..self.weights.len() {
            // SAFETY: the rows hold what these windows see.
            unsafe {
                match self.filters(block) > LANES / 2 {
                    true => self.block::<STRIDE, SIDE, 2>(&rows, block, (y, first, count), memory),
                    false => self.block::<STRIDE, SIDE, 1>(&rows, block, (y, first, count), memory),
                }
            }
        }
    }

    /// Filters of a block.
    fn filters(&self, block: usize) -> usize {
        LANES.min(self.output.shape.channels - block * LANES)
    }

    /// The outputs of a block of filters; of half a block, if `PARTS` is 1.
    ///
    /// # Safety
    /// The rows hold what the windows of the `count` outputs see.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn block<const STRIDE: usize, const SIDE: usize, const PARTS: usize>(
        &self,
        rows: &Rows,
        block: usize,
        (y, first, count): (usize, usize, usize),
        memory: &Memory,
    ) {
        let (weights, constants) = (&self.weights[block], &self.constants[block]);
        for start in (0..count).step_by(TOGETHER / SIDE) {
            // SAFETY: promised by the caller.
            let row = |y: usize| unsafe {
                let rows = rows.0[y * STRIDE..].first_chunk().expect("as many rows as a window has");
                sum::<STRIDE, PARTS>(rows, start * SIDE, weights)
            };
            let mut sums = row(0);
            for y in 1..SIDE {
                sums.iter_mut().zip(row(y)).for_each(|(sums, below)| *sums = larger(*sums, below));
            }
            for (i, sums) in sums.chunks_exact(SIDE).take(count - start).enumerate() {
                let largest = sums[1..].iter().fold(sums[0], |largest, &sums| larger(largest, sums));
                let at = self.output.at(block * LANES, y as isize, (first + start + i) as isize);
                let to = (at, self.filters(block));
                // SAFETY: only this item uses these outputs; a layer never reads where it writes.
                unsafe { avx512::write(largest, (constants, self.slope), &self.output, to, memory) };
            }
        }
    }
}

/// The larger of two sums each, for 32 filters.
#[inline]
#[target_feature(enable = "avx512f")]
fn larger(a: [__m512i; 2], b: [__m512i; 2]) -> [__m512i; 2] {
    [_mm512_max_epi32(a[0], b[0]), _mm512_max_epi32(a[1], b[1])]
}

/// The sums of [`TOGETHER`] windows from one on, for all filters of a block or, `PARTS` being 1, for half of them.
///
/// # Safety
/// The rows hold what they see.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sum<const STRIDE: usize, const PARTS: usize>(
    rows: &[[MaybeUninit<u16>; WORDS]; KERNEL],
    start: usize,
    weights: &[[Group; PAIRS]; KERNEL],
) -> [[__m512i; 2]; TOGETHER] {
    let mut sums = [[_mm512_setzero_si512(); 2]; TOGETHER];
    for (row, weights) in rows.iter().zip(weights) {
        for (pair, weights) in weights.iter().enumerate() {
            let weights = weights.0.as_ptr().cast::<__m512i>();
            let first = row.as_ptr().wrapping_add(start * STRIDE * CHANNELS + 2 * pair);
            // SAFETY: promised by the caller; a group is two registers.
            unsafe {
                let (low, high) = (_mm512_load_si512(weights), _mm512_load_si512(weights.add(1)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let input = _mm512_set1_epi32(first.add(i * STRIDE * CHANNELS).cast::<i32>().read_unaligned());
                    sums[0] = avx512::dot_words(sums[0], input, low);
                    if PARTS == 2 {
                        sums[1] = avx512::dot_words(sums[1], input, high);
                    }
                }
            }
        }
    }
    sums
}

impl Work for Image {
    fn items(&self) -> usize {
        self.output.shape.height * self.pieces
    }

    fn run(&self, item: usize, memory: &Memory) {
        let most = self.output.shape.width.div_ceil(self.pieces);
        let (y, first) = (item / self.pieces, item % self.pieces * most);
        let count = most.min(self.output.shape.width - first);
        // SAFETY: a kernel is only used where its instructions are.
        unsafe {
            match (self.stride, self.pool) {
                (1, false) => self.piece::<1, 1>(y, first, count, memory),
                (1, true) => self.piece::<1, 2>(y, first, count, memory),
                (_, false) => self.piece::<2, 1>(y, first, count, memory),
                (_, true) => self.piece::<2, 2>(y, first, count, memory),
            }
        }
    }
}
