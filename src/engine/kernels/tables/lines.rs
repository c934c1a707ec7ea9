//! The output positions of a convolution on planar maps, cut into lines of neighbouring positions.
//!
//! Positions are counted as the window's corner moves over the input, one step at a time. With stride 1 they run through
//! all rows: those between two rows, where the corner stands near the end of a row, are computed and dropped, so that
//! narrow maps waste little. With stride 2 every second row is cut on its own, and every second position is dropped.
//!
//! Where the output is pooled, bands of rows are cut in columns of one line's width instead, whose lines stand one below the
//! other: two of them make a line of the output.

use super::prefetch;
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
    /// Positions of a line.
    len: usize,
    /// The lines are cut in pieces: one, or with stride 2 one for each row of the output, or bands.
    lines_per_piece: usize,
    /// Columns of a band.
    columns: Option<usize>,
    /// Number of lines.
    count: usize,
    output: Shape,
    runs: Vec<Run>,
    /// Outputs behind the last line: `(y, x)`.
    rest: Vec<(usize, usize)>,
}

/// Neighbouring lines, and what they hold of the output.
pub(super) struct Run {
    pub(super) lines: Range<usize>,
    segments: Vec<Segment>,
}

/// Neighbouring values of an output row: every `stride`-th position from one on.
struct Segment {
    /// The position, from the first one of the run.
    from: usize,
    y: usize,
    x: usize,
    /// Number of values.
    len: usize,
}

impl Lines {
    /// Lines of `len` positions, not yet in runs. With stride 1, `rest` positions or less do not fill a line of their own.
    pub(super) fn new(input: &Map, output: Shape, stride: usize, len: usize, rest: usize) -> Self {
        let pitch = input.row_stride;
        let width = (output.width - 1) * stride + 1;
        let (pieces, positions) = match stride {
            1 => (1, (output.height - 1) * pitch + width),
            _ => (output.height, width),
        };
        let whole = positions / len;
        let few = stride == 1 && whole > 0 && positions % len <= rest;
        let lines_per_piece = if few { whole } else { positions.div_ceil(len) };
        let rest = (lines_per_piece * len..positions).map(|at| (at / pitch, at % pitch));
        let rest = rest.filter(|&(_, x)| x < output.width).collect();
        let count = pieces * lines_per_piece;
        Self { stride, pitch, len, lines_per_piece, columns: None, count, output, runs: Vec::new(), rest }
    }

    /// Bands of `rows` rows or less, an even number, in runs of no more than `together` columns; lines have an even number
    /// of positions. The output is the maximum over 2×2 windows, stride 2, of what is computed with stride 1.
    pub(super) fn pooled(input: &Map, output: Shape, len: usize, rows: usize, together: usize) -> Self {
        let columns = (2 * output.width).div_ceil(len);
        let rows = 2 * output.height.div_ceil(output.height.div_ceil(rows / 2));
        let groups = columns.div_ceil(together);
        let run = |index: usize| {
            let (band, columns_of_run) = (index / groups, part(columns, index % groups, groups));
            let top = band * rows;
            let height = rows.min(2 * output.height - top);
            let first = top * columns;
            let lines = first + columns_of_run.start * height..first + columns_of_run.end * height;
            let mut segments: Vec<Segment> = Vec::new();
            for pair in 0..lines.len() / 2 {
                let (y, x) = (top / 2 + pair % (height / 2), (columns_of_run.start + pair / (height / 2)) * len / 2);
                let values = (len / 2).min(output.width - x);
                match segments.last_mut() {
                    Some(last) if (last.y, last.x + last.len) == (y, x) => last.len += values,
                    _ => segments.push(Segment { from: pair * len / 2, y, x, len: values }),
                }
            }
            Run { segments, lines }
        };
        Self {
            stride: 1,
            pitch: input.row_stride,
            len,
            lines_per_piece: rows * columns,
            columns: Some(columns),
            count: 2 * output.height * columns,
            output,
            runs: (0..groups * (2 * output.height).div_ceil(rows)).map(run).collect(),
            rest: Vec::new(),
        }
    }

    /// All lines, in so many runs of nearly equal length.
    pub(super) fn in_runs(mut self, runs: usize) -> Self {
        let run = |index| {
            let range = part(self.count, index, runs);
            Run { segments: self.segments(range.clone()), lines: range }
        };
        self.runs = (0..runs).map(run).collect();
        self
    }

    /// Number of lines.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Positions of a line.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The runs into which the lines were cut.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The outputs that stand in no line: `(y, x)`.
    pub(super) fn rest(&self) -> &[(usize, usize)] {
        &self.rest
    }

    /// Where the window of a line's first position has its corner, from that of output (0, 0).
    pub(super) fn corner(&self, line: usize) -> usize {
        let (piece, line_of_piece) = (line / self.lines_per_piece, line % self.lines_per_piece);
        match self.columns {
            Some(columns) => {
                let rows = self.lines_per_piece / columns;
                let height = rows.min(self.count / columns - piece * rows);
                (piece * rows + line_of_piece % height) * self.pitch + line_of_piece / height * self.len
            }
            None => piece * self.stride * self.pitch + line_of_piece * self.len,
        }
    }

    /// Positions from one row of the input to the next.
    pub(super) fn pitch(&self) -> usize {
        self.pitch
    }

    fn segments(&self, lines: Range<usize>) -> Vec<Segment> {
        let output = self.output;
        let mut segments = Vec::new();
        let mut line = lines.start;
        while line < lines.end {
            let piece = line / self.lines_per_piece;
            let piece_end = ((piece + 1) * self.lines_per_piece).min(lines.end);
            // Corners of the piece's lines, cut where a row of the input ends.
            let start = self.corner(line);
            let end = start + (piece_end - line) * self.len;
            let mut corner = start;
            while corner < end {
                let (row, column) = (corner / self.pitch, corner % self.pitch);
                let row_end = (corner + self.pitch - column).min(end);
                let first = corner + column.next_multiple_of(self.stride) - column;
                let (y, x) = (row / self.stride, column.div_ceil(self.stride));
                // A line that reaches past the end of its piece holds other pieces' positions there.
                let inside = y < output.height && x < output.width && (self.stride == 1 || row == piece * self.stride);
                if inside && first < row_end {
                    let len = (row_end - first).div_ceil(self.stride).min(output.width - x);
                    segments.push(Segment { from: (line - lines.start) * self.len + first - start, y, x, len });
                }
                corner = row_end;
            }
            line = piece_end;
        }
        segments
    }

    /// Fetches what [`Lines::store`] will write: a channel stands far from the one before it.
    pub(super) fn fetch<T: Value>(&self, run: &Run, output: &Map, channel: usize, memory: &Memory) {
        let writer = memory.write::<T>(output);
        for &Segment { y, x, len, .. } in &run.segments {
            let start = writer.start(output.at(channel, y as isize, x as isize), len);
            (0..len).step_by(CACHE_LINE / size_of::<T>()).for_each(|i| prefetch(start.wrapping_add(i)));
        }
    }

    /// Copies what a run holds of a channel to its map; `results` has all positions of the run, or
    /// what they were pooled to.
    pub(super) fn store<T: Value>(&self, run: &Run, results: &[T], output: &Map, channel: usize, memory: &Memory) {
        let writer = memory.write::<T>(output);
        for &Segment { from, y, x, len } in &run.segments {
            // SAFETY: each output stands in one line and only the item of its run uses it; a layer never reads where it
            // writes.
            let values = unsafe { writer.run(output.at(channel, y as isize, x as isize), len) };
            match self.stride {
                1 => copy(&results[from..from + len], values),
                stride => values.iter_mut().zip(results[from..].iter().step_by(stride)).for_each(|(to, &value)| *to = value),
            }
        }
    }
}

/// Bytes that are fetched together.
const CACHE_LINE: usize = 64;

/// One of some nearly equal parts of a range.
pub(super) fn part(len: usize, index: usize, parts: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
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
        fn every_output_stands_in_one_line_or_is_left_over(
            height in 1usize..9, width in 1usize..40, border in 0usize..2, stride in 1usize..3, len in 1usize..33, runs in 1usize..5,
            rest in 0usize..4,
        ) {
            let shape = Shape { channels: 1, height, width };
            let input = Buffer { shape, element: Element::Float, layout: Layout::Planar, border }.map(0);
            let output = Shape { channels: 1, height: height.div_ceil(stride), width: width.div_ceil(stride) };
            let lines = Lines::new(&input, output, stride, len, rest).in_runs(runs);
            let mut seen = vec![0; output.positions()];
            let mut next = 0;
            for Run { lines: range, segments } in lines.runs() {
                prop_assert!(range.start == next && range.len() <= lines.count().div_ceil(runs));
                next = range.end;
                for &Segment { from, y, x, len: count } in segments {
                    for i in 0..count {
                        let place = from + i * stride;
                        let corner = lines.corner(range.start + place / len) + place % len;
                        prop_assert_eq!(input.at(0, 0, 0) + corner, input.at(0, (y * stride) as isize, ((x + i) * stride) as isize));
                        seen[y * output.width + x + i] += 1;
                    }
                }
            }
            prop_assert!(lines.rest().len() <= rest);
            lines.rest().iter().for_each(|&(y, x)| seen[y * output.width + x] += 1);
            prop_assert!(seen.iter().all(|&count| count == 1), "{:?}", seen);
        }

        #[test]
        fn every_output_of_a_pool_stands_in_two_lines(
            height in 1usize..9, width in 1usize..40, half in 1usize..17, rows in 1usize..5, columns in 1usize..5,
        ) {
            let output = Shape { channels: 1, height, width };
            let shape = Shape { channels: 1, height: 2 * height, width: 2 * width };
            let input = Buffer { shape, element: Element::Float, layout: Layout::Planar, border: 1 }.map(0);
            let lines = Lines::pooled(&input, output, 2 * half, 2 * rows, columns);
            let mut seen = vec![0; output.positions()];
            let mut next = 0;
            for Run { lines: range, segments } in lines.runs() {
                prop_assert!(range.start == next && range.len() <= 2 * rows * columns);
                next = range.end;
                for &Segment { from, y, x, len } in segments {
                    for i in 0..len {
                        let (pair, place) = ((from + i) / half, (from + i) % half);
                        for line in 0..2 {
                            let corner = lines.corner(range.start + 2 * pair + line) + 2 * place;
                            prop_assert_eq!(input.at(0, 0, 0) + corner, input.at(0, (2 * y + line) as isize, 2 * (x + i) as isize));
                        }
                        seen[y * output.width + x + i] += 1;
                    }
                }
            }
            prop_assert_eq!(next, lines.count());
            prop_assert!(seen.iter().all(|&count| count == 1), "{:?}", seen);
        }
    }
}
