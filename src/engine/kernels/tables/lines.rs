//! The output positions of a convolution on planar maps, cut into lines of neighbouring positions.
//!
//! Positions are counted as the window's corner moves over the input, one step at a time. With stride 1 they run through
//! all rows: those between two rows, where the corner stands near the end of a row, are computed and dropped, so that
//! narrow maps waste little. With stride 2 every second row is cut on its own, and every second position is dropped.

use crate::{
    engine::{
        layout::Map,
        memory::{Memory, Value},
    },
    network::Shape,
};
use std::ops::Range;

/// The lines of a convolution, row after row.
pub(super) struct Lines {
    stride: usize,
    /// Positions from one row of the input to the next.
    pitch: usize,
    output: Shape,
    /// Positions of a line.
    len: usize,
    /// Pieces that are cut into lines: one, or with stride 2 each row of the output.
    pieces: usize,
    lines_per_piece: usize,
}

/// Neighbouring values of an output row: every `stride`-th position from one on.
pub(super) struct Segment {
    /// The position, from the first one of the lines asked for.
    pub(super) from: usize,
    pub(super) y: usize,
    pub(super) x: usize,
    /// Number of values.
    pub(super) len: usize,
}

impl Lines {
    pub(super) fn new(input: &Map, output: Shape, stride: usize, len: usize) -> Self {
        let pitch = input.row_stride;
        let width = (output.width - 1) * stride + 1;
        let (pieces, positions) = match stride {
            1 => (1, (output.height - 1) * pitch + width),
            _ => (output.height, width),
        };
        Self { stride, pitch, output, len, pieces, lines_per_piece: positions.div_ceil(len) }
    }

    /// Positions of a line.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of lines.
    pub(super) fn count(&self) -> usize {
        self.pieces * self.lines_per_piece
    }

    /// Where the window of a line's first position has its corner, from that of output (0, 0).
    pub(super) fn corner(&self, line: usize) -> usize {
        line / self.lines_per_piece * self.stride * self.pitch + line % self.lines_per_piece * self.len
    }

    /// What some lines hold of the output; each line takes [`Lines::len`] places.
    pub(super) fn segments(&self, lines: Range<usize>) -> impl Iterator<Item = Segment> + '_ {
        let mut line = lines.start;
        let mut within = 0;
        std::iter::from_fn(move || {
            while line < lines.end {
                let piece = line / self.lines_per_piece;
                let piece_end = ((piece + 1) * self.lines_per_piece).min(lines.end);
                let corner = self.corner(line) + within;
                let positions = (piece_end - line) * self.len - within;
                let from = (line - lines.start) * self.len + within;
                let (row, column) = (corner / self.pitch, corner % self.pitch);
                let taken = positions.min(self.pitch - column);
                let skipped = column.next_multiple_of(self.stride) - column;
                // On to the next row, or the next piece.
                within += taken;
                if taken == positions {
                    (line, within) = (piece_end, 0);
                }
                let (y, x) = (row / self.stride, (column + skipped) / self.stride);
                let inside = y < self.output.height && x < self.output.width && skipped < taken;
                // A line that reaches past the end of its piece holds other pieces' positions there.
                if inside && (self.stride == 1 || row == piece * self.stride) {
                    let len = (taken - skipped).div_ceil(self.stride).min(self.output.width - x);
                    return Some(Segment { from: from + skipped, y, x, len });
                }
            }
            None
        })
    }
}

/// One of some nearly equal parts of a range.
pub(super) fn part(len: usize, index: usize, parts: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// Copies what some lines hold of a channel to its map; `results` has all positions of the lines.
pub(super) fn store<T: Value>(
    output: &Map,
    channel: usize,
    lines: &Lines,
    range: Range<usize>,
    results: &[T],
    memory: &Memory,
) {
    let writer = memory.write::<T>(output);
    for Segment { from, y, x, len } in lines.segments(range) {
        // SAFETY: each output stands in one line and only the line's item uses it; a layer never reads where it writes.
        let values = unsafe { writer.run(output.at(channel, y as isize, x as isize), len) };
        match lines.stride {
            1 => copy(&results[from..from + len], values),
            _ => values.iter_mut().zip(results[from..].iter().step_by(lines.stride)).for_each(|(to, &value)| *to = value),
        }
    }
}

/// `to.copy_from_slice(from)`; what is no longer than two of a few sizes is copied as its first and its last bytes,
/// without a call.
#[inline]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    let bytes = size_of_val(from);
    assert_eq!(from.len(), to.len());
    let (from, to) = (from.as_ptr().cast::<u8>(), to.as_mut_ptr().cast::<u8>());
    macro_rules! ends {
        ($size:literal) => {
            if ($size..=2 * $size).contains(&bytes) {
                // SAFETY: both have at least so many bytes; all are read before any is written, and every bit pattern
                // that is copied was one of `T`.
                unsafe {
                    let first = from.cast::<[u8; $size]>().read();
                    let last = from.add(bytes - $size).cast::<[u8; $size]>().read();
                    to.cast::<[u8; $size]>().write(first);
                    to.add(bytes - $size).cast::<[u8; $size]>().write(last);
                }
                return;
            }
        };
    }
    ends!(8);
    ends!(16);
    ends!(32);
    // SAFETY: both have so many bytes.
    unsafe { to.copy_from_nonoverlapping(from, bytes) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::layout::{Buffer, Element, Layout};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_output_stands_in_one_line(
            height in 1usize..9, width in 1usize..40, border in 0usize..2, stride in 1usize..3, len in 1usize..33, split in 1usize..5,
        ) {
            let shape = Shape { channels: 1, height, width };
            let input = Buffer { shape, element: Element::Float, layout: Layout::Planar, border }.map(0);
            let output = Shape { channels: 1, height: height.div_ceil(stride), width: width.div_ceil(stride) };
            let lines = Lines::new(&input, output, stride, len);
            let mut seen = vec![0; output.positions()];
            for first in (0..lines.count()).step_by(split) {
                let range = first..(first + split).min(lines.count());
                for Segment { from, y, x, len: count } in lines.segments(range.clone()) {
                    for i in 0..count {
                        let place = from + i * stride;
                        let corner = lines.corner(range.start + place / len) + place % len;
                        prop_assert_eq!(input.at(0, 0, 0) + corner, input.at(0, (y * stride) as isize, ((x + i) * stride) as isize));
                        seen[y * output.width + x + i] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&count| count == 1), "{:?}", seen);
        }
    }
}
