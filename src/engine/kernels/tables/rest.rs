//! Positions that are left over from whole lines.
//!
//! A map of 13×13 has 181 positions, with those between its rows: one more than six lines of 30. A seventh line would be
//! summed for one value. So the bytes of a few positions are summed apart, those whose weight bit is set:
//! `Σ ±x = 2 · Σ (inputs whose bit is set) − Σ x`.

use crate::{
    engine::{layout::Map, memory::Reader},
    model_file::BinaryWeights,
    network::MAX_PRODUCTS,
};
use std::ops::Range;

/// Inputs that are summed at once.
pub(in super::super) const TOGETHER: usize = 32;

/// How to sum the inputs of a position apart.
pub(in super::super) struct Apart {
    /// Positions for which this takes less than a line, at most.
    pub(in super::super) positions: usize,
    /// The sum of those bytes whose bits are set. There is a multiple of [`TOGETHER`] bytes, and as many bits.
    ///
    /// # Safety
    /// Only a CPU that has the instructions may call it.
    pub(in super::super) sum: unsafe fn(inputs: &[u8], bits: &[u8]) -> i32,
}

/// The inputs of a position, where no register of them leaves its cache line.
#[repr(align(64))]
struct Window([u8; MAX_PRODUCTS.next_multiple_of(TOGETHER)]);

/// The positions that are left over, and the weights for them.
pub(super) struct Rest {
    input: Map,
    kernel: usize,
    inputs: usize,
    /// The outputs that stand there: `(y, x)`.
    outputs: Vec<(usize, usize)>,
    /// `[filter][input / 8]`; what does not exist is 0.
    bits: Vec<u8>,
    /// Bytes of the bits of a filter.
    row: usize,
    sum: unsafe fn(inputs: &[u8], bits: &[u8]) -> i32,
}

impl Rest {
    /// `None` if nothing is left over.
    pub(super) fn new(
        apart: Option<Apart>,
        outputs: Vec<(usize, usize)>,
        weights: &BinaryWeights,
        (input, kernel): (&Map, usize),
    ) -> Option<Self> {
        let Apart { sum, .. } = apart.filter(|_| !outputs.is_empty())?;
        let row = weights.inputs.next_multiple_of(TOGETHER) / 8;
        let mut bits = vec![0; weights.filters() * row];
        for (filter, bits) in bits.chunks_exact_mut(row).enumerate() {
            let from = weights.row(filter);
            bits[..from.len()].copy_from_slice(from);
        }
        Some(Self { input: input.clone(), kernel, inputs: weights.inputs, outputs, bits, row, sum })
    }

    /// Where the outputs are: `(y, x)`.
    pub(super) fn outputs(&self) -> &[(usize, usize)] {
        &self.outputs
    }

    /// Calls `each` with some filters and their sums for an output.
    pub(super) fn sums(
        &self,
        (y, x): (usize, usize),
        filters: Range<usize>,
        input: &Reader<'_, u8>,
        mut each: impl FnMut(usize, i32),
    ) {
        let pad = (self.kernel / 2) as isize;
        let mut window = Window([0; MAX_PRODUCTS.next_multiple_of(TOGETHER)]);
        for (i, inputs) in window.0[..self.inputs].chunks_exact_mut(self.kernel).enumerate() {
            let (channel, ky) = (i / self.kernel, i % self.kernel);
            let at = self.input.at(channel, y as isize + ky as isize - pad, x as isize - pad);
            inputs.copy_from_slice(input.run(at, self.kernel));
        }
        let window = &window.0[..8 * self.row];
        let all: i32 = window.iter().map(|&byte| i32::from(byte)).sum();
        for filter in filters {
            let bits = &self.bits[filter * self.row..(filter + 1) * self.row];
            // SAFETY: a kernel is only used where its instructions are.
            each(filter, 2 * unsafe { (self.sum)(window, bits) } - all);
        }
    }
}
