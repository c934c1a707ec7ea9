//! Few channels: the three rows of the windows are woven into one, so that a window is one step.
//!
//! Pixel `x` of the woven row is pixel `x` of the upper, the middle and the lower row: a window is three pixels of it.

use super::{
    super::super::window::Window,
    steps::{STEP, Step},
};
use crate::engine::layout::Map;
use std::{arch::x86_64::*, array};

/// Rows of a window.
const KERNEL: usize = 3;
/// Channels at most, so that a window fits a step.
const CHANNELS: usize = STEP / (KERNEL * KERNEL);

/// Weaves rows.
pub(super) struct Fold {
    channels: usize,
    /// Pixels that are woven at once.
    pixels: usize,
    /// Where each byte of these comes from: 32 bytes of each row.
    index: [u8; STEP],
}

impl Fold {
    /// If windows in this map can be read so.
    pub(super) fn new(window: Window, map: &Map) -> Option<Self> {
        let Window { kernel, channels } = window;
        if kernel != KERNEL || channels > CHANNELS || map.pixel_stride != channels {
            return None;
        }
        let pixels = STEP / (KERNEL * channels);
        let index = array::from_fn(|at| {
            let (pixel, rest) = (at / (KERNEL * channels), at % (KERNEL * channels));
            let (row, channel) = (rest / channels, rest % channels);
            if pixel < pixels { (32 * row + pixel * channels + channel) as u8 } else { 0 }
        });
        Some(Self { channels, pixels, index })
    }

    /// The only step of a window.
    pub(super) fn step(&self) -> Step {
        Step { offset: 0, inputs: 0..KERNEL * KERNEL * self.channels }
    }

    /// Bytes of a woven pixel.
    pub(super) fn pixel_stride(&self) -> usize {
        KERNEL * self.channels
    }

    /// Pixels of the rows that some windows read.
    pub(super) fn pixels(windows: usize, stride: usize) -> usize {
        (windows - 1) * stride + KERNEL
    }

    /// Weaves pixels of three rows, the upper one first, each `row_stride` from the next.
    ///
    /// # Safety
    /// The pixels can be read, and [`bytes()`] be written for their windows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) unsafe fn weave(&self, rows: *const u8, row_stride: usize, pixels: usize, to: *mut u8) {
        // SAFETY: 64 bytes.
        let index = unsafe { _mm512_loadu_si512(self.index.as_ptr().cast()) };
        for first in (0..pixels).step_by(self.pixels) {
            let used = u32::MAX >> (32 - self.channels * (pixels - first).min(self.pixels));
            // SAFETY: only bytes of the pixels are read; what is written past them is less than a step.
            unsafe {
                let row = |row| _mm256_maskz_loadu_epi8(used, rows.add(row * row_stride + first * self.channels).cast());
                let upper = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(row(0)), row(1));
                let woven = _mm512_permutex2var_epi8(upper, index, _mm512_castsi256_si512(row(2)));
                _mm512_storeu_si512(to.add(first * self.pixel_stride()).cast(), woven);
            }
        }
    }
}

/// A woven row for windows at most, and what may be read and written past it.
pub(super) const fn bytes(windows: usize) -> usize {
    (((windows - 1) * 2 + KERNEL) * KERNEL * CHANNELS + 2 * STEP).next_multiple_of(STEP)
}

/// The window's place of an input of a woven window.
pub(super) fn in_window(window: Window, input: usize) -> usize {
    let (tap, channel) = (input / window.channels, input % window.channels);
    (tap % KERNEL * KERNEL + tap / KERNEL) * window.channels + channel
}

/// Bits of a filter, from a model's order to that of a woven window.
pub(super) fn order(row: &[u8], window: Window, to: &mut [u8]) {
    to.fill(0);
    for input in 0..window.inputs() {
        let from = window.in_model(in_window(window, input));
        to[input / 8] |= (row[from / 8] >> (from % 8) & 1) << (input % 8);
    }
}

const _: () = assert!(STEP / KERNEL <= 32);
