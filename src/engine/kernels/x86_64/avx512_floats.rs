//! Convolutions of full precision over floats, dense and depthwise, on interleaved maps: AVX-512.
//!
//! Dense: lanes are filters, and twelve positions times 32 filters stay in registers; a pool behind the convolution takes
//! the largest of four positions there. Depthwise: lanes are channels.

use super::{
    super::{
        Convolution, Work,
        tables::floats,
        window::{Run, Window},
    },
    pack::LANES,
};
use crate::{
    engine::{
        layout::Map,
        memory::{Memory, Reader},
    },
    network,
};
use std::{arch::x86_64::*, array, ops::Range, ptr};

/// Positions in registers.
const ROWS: usize = 12;
/// Positions of an item, before pooling.
const REGION: usize = 16 * ROWS;
/// Windows of a pooled output.
const POOLED: usize = 4;
/// Inputs of a depthwise window.
const TAPS: usize = network::Depthwise::KERNEL * network::Depthwise::KERNEL;

/// A value for each filter of a block.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Filters([f32; LANES]);

impl Filters {
    const NONE: Self = Self([0.0; LANES]);

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> [__m512; 2] {
        // SAFETY: two registers of 16 values.
        unsafe { [_mm512_load_ps(self.0.as_ptr()), _mm512_load_ps(self.0.as_ptr().add(16))] }
    }
}

/// A dense convolution, and the pool behind it.
pub(super) struct Dense {
    input: Map,
    output: Map,
    kernel: usize,
    stride: usize,
    /// Windows of an output.
    windows: usize,
    /// The inputs of a window.
    runs: Vec<Run>,
    /// `[block][ky, kx, channel]`; filters that do not exist have zeros.
    weights: Vec<Filters>,
    /// `[block]`.
    bias: Vec<Filters>,
    slope: f32,
}

impl Dense {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, pool, weights, epilogue, input, output, .. } = convolution;
        debug_assert!(epilogue.scale.iter().all(|&scale| scale == 1.0), "the scale of floats is in them");
        let window = Window { kernel, channels: input.shape.channels };
        let inputs = window.inputs();
        let mut packed = vec![Filters::NONE; output.shape.channels.div_ceil(LANES) * inputs];
        for (filter, row) in floats(&weights).chunks_exact(inputs).enumerate() {
            for (input, lanes) in packed[filter / LANES * inputs..][..inputs].iter_mut().enumerate() {
                lanes.0[filter % LANES] = row[window.in_model(input)];
            }
        }
        let chunk = window.chunks(&input, inputs).pop().expect("a window has inputs");
        let bias = |bias: &[f32]| Filters(array::from_fn(|lane| bias.get(lane).copied().unwrap_or(0.0)));
        Self {
            kernel,
            stride,
            windows: if pool { POOLED } else { 1 },
            runs: chunk.runs,
            weights: packed,
            bias: epilogue.bias.chunks(LANES).map(bias).collect(),
            slope: epilogue.slope,
            input,
            output,
        }
    }

    /// Outputs that are computed together.
    fn together(&self) -> usize {
        ROWS / self.windows
    }

    #[target_feature(enable = "avx512f")]
    fn region(&self, outputs: Range<usize>, block: usize, memory: &Memory) {
        let inputs = self.weights.len() / self.bias.len();
        let weights = &self.weights[block * inputs..][..inputs];
        let follow = Follow { bias: self.bias[block].load(), slope: _mm512_set1_ps(self.slope) };
        let first = block * LANES;
        let count = LANES.min(self.output.shape.channels - first);
        let used: [u16; 2] = array::from_fn(|half| (u32::MAX >> (LANES - count) >> (16 * half)) as u16);
        let input = memory.read::<f32>(&self.input);
        let mut windows = [ptr::null(); ROWS];
        for start in outputs.clone().step_by(self.together()) {
            let group = start..(start + self.together()).min(outputs.end);
            self.windows(&group, &input, &mut windows);
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let mut first_input = 0;
            for run in &self.runs {
                // SAFETY: windows lie in the memory.
                unsafe { multiply(&windows, run.offset, &weights[first_input..first_input + run.len], &mut sums) };
                first_input += run.len;
            }
            for ((y, x), sums) in self.positions(group).zip(sums.chunks_exact(self.windows)) {
                let mut largest = sums[0];
                for sums in &sums[1..] {
                    largest = [_mm512_max_ps(largest[0], sums[0]), _mm512_max_ps(largest[1], sums[1])];
                }
                let to = memory.write::<f32>(&self.output).start(self.output.at(first, y as isize, x as isize), count);
                for half in 0..2 {
                    let y = follow.apply(largest[half], half);
                    // SAFETY: only this item uses these filters at this position; a layer never reads where it writes.
                    unsafe { _mm512_mask_storeu_ps(to.wrapping_add(16 * half), used[half], y) };
                }
            }
        }
    }

    /// Row and column of some outputs.
    fn positions(&self, outputs: Range<usize>) -> impl Iterator<Item = (usize, usize)> + use<> {
        let width = self.output.shape.width;
        let (mut y, mut x) = (outputs.start / width, outputs.start % width);
        outputs.map(move |_| {
            let position = (y, x);
            (y, x) = if x + 1 == width { (y + 1, 0) } else { (y, x + 1) };
            position
        })
    }

    /// Where the windows of some outputs start, those of an output side by side; the last one fills the rest.
    #[inline]
    fn windows(&self, outputs: &Range<usize>, input: &Reader<'_, f32>, windows: &mut [*const f32; ROWS]) {
        let reach = self.runs.last().map_or(0, |run| run.offset + run.len);
        let corner = |at: usize| (at * self.stride) as isize - (self.kernel / 2) as isize;
        let side = if self.windows == POOLED { 2 } else { 1 };
        let mut used = 0;
        for (y, x) in self.positions(outputs.clone()) {
            for dy in 0..side {
                for dx in 0..side {
                    let window = self.input.at(0, corner(side * y + dy), corner(side * x + dx));
                    windows[used] = input.start(window, reach);
                    used += 1;
                }
            }
        }
        let last = windows[used - 1];
        windows[used..].fill(last);
    }
}

impl Work for Dense {
    fn items(&self) -> usize {
        self.output.shape.positions().div_ceil(REGION / self.windows) * self.bias.len()
    }

    fn run(&self, item: usize, memory: &Memory) {
        let (region, block) = (item / self.bias.len(), item % self.bias.len());
        let size = REGION / self.windows;
        let outputs = region * size..((region + 1) * size).min(self.output.shape.positions());
        // SAFETY: a kernel is only used where its instructions are.
        unsafe { self.region(outputs, block, memory) };
    }
}

/// What follows the sums.
struct Follow {
    bias: [__m512; 2],
    slope: __m512,
}

impl Follow {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn apply(&self, sum: __m512, half: usize) -> __m512 {
        let y = _mm512_add_ps(sum, self.bias[half]);
        _mm512_max_ps(y, _mm512_mul_ps(y, self.slope))
    }
}

/// Adds the products of neighbouring inputs of some windows and their weights to the sums.
///
/// Not inlined: among the registers of a caller the sums would not keep theirs.
///
/// # Safety
/// As many inputs as weights can be read from an offset in each window on.
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn multiply(windows: &[*const f32; ROWS], offset: usize, weights: &[Filters], sums: &mut [[__m512; 2]; ROWS]) {
    let windows = windows.map(|window| window.wrapping_add(offset));
    let mut totals = *sums;
    for (input, weights) in weights.iter().enumerate() {
        let [left, right] = weights.load();
        for (window, totals) in windows.iter().zip(&mut totals) {
            // SAFETY: promised by the caller.
            let value = _mm512_set1_ps(unsafe { *window.add(input) });
            totals[0] = _mm512_fmadd_ps(value, left, totals[0]);
            totals[1] = _mm512_fmadd_ps(value, right, totals[1]);
        }
    }
    *sums = totals;
}

/// A depthwise convolution. An item is one row of the output.
pub(super) struct Depthwise {
    input: Map,
    output: Map,
    stride: usize,
    /// From a window's first value.
    taps: [usize; TAPS],
    /// `[channel / 16][tap]`.
    weights: Vec<[[f32; 16]; TAPS]>,
    bias: Vec<f32>,
    slope: f32,
}

impl Depthwise {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, .. } = convolution;
        debug_assert!(epilogue.scale.iter().all(|&scale| scale == 1.0), "the scale of floats is in them");
        let corner = input.at(0, 0, 0);
        let (rows, _) = floats(&weights).as_chunks::<TAPS>();
        let block =
            |rows: &[[f32; TAPS]]| array::from_fn(|tap| array::from_fn(|lane| rows.get(lane).map_or(0.0, |row| row[tap])));
        Self {
            stride,
            taps: array::from_fn(|tap| input.at(0, (tap / kernel) as isize, (tap % kernel) as isize) - corner),
            weights: rows.chunks(16).map(block).collect(),
            bias: epilogue.bias,
            slope: epilogue.slope,
            input,
            output,
        }
    }

    #[target_feature(enable = "avx512f")]
    fn row(&self, y: usize, memory: &Memory) {
        let width = self.output.shape.width;
        let corner = (y * self.stride) as isize - 1;
        let distance = self.stride * self.input.pixel_stride;
        for ((block, weights), bias) in self.weights.iter().enumerate().zip(self.bias.chunks(16)) {
            let used = u16::MAX >> (16 - bias.len());
            let reach = |distance: usize| (width - 1) * distance + bias.len();
            let window = self.input.at(16 * block, corner, -1);
            let mut window = memory.read::<f32>(&self.input).start(window, reach(distance) + self.taps[TAPS - 1]);
            let to = self.output.at(16 * block, y as isize, 0);
            let mut to = memory.write::<f32>(&self.output).start(to, reach(self.output.pixel_stride));
            // SAFETY: 16 weights; only as many values as there are channels are read and written, and only this item uses
            // this row: a layer never reads where it writes.
            unsafe {
                let weights = weights.each_ref().map(|weights| _mm512_loadu_ps(weights.as_ptr()));
                let follow =
                    Follow { bias: [_mm512_maskz_loadu_ps(used, bias.as_ptr()); 2], slope: _mm512_set1_ps(self.slope) };
                for _ in 0..width {
                    let mut sum = _mm512_setzero_ps();
                    for (weights, tap) in weights.iter().zip(self.taps) {
                        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(used, window.add(tap)), *weights, sum);
                    }
                    _mm512_mask_storeu_ps(to, used, follow.apply(sum, 0));
                    (window, to) = (window.wrapping_add(distance), to.wrapping_add(self.output.pixel_stride));
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
        // SAFETY: a kernel is only used where its instructions are.
        unsafe { self.row(item, memory) };
    }
}
