//! Weights as indexes into tables, in the order in which the lookups read them.

use super::{
    super::{
        super::window::Window,
        pack::{self, LANES},
    },
    build::{GROUP, index},
    lookup::Shape,
    regions::Chunk,
};
use crate::model_file::BinaryWeights;

/// A register of indexes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 2 * LANES]);

/// Indexes `[span][block of filters][pair of rows][tap of the row][register of filters]`.
pub(super) struct Indexes {
    lines: Vec<Line>,
    /// Where each span starts, and what a block of it takes, in lines.
    spans: Vec<(usize, usize)>,
}

impl Indexes {
    pub(super) fn new<S: Shape>(weights: &BinaryWeights, window: Window, chunks: &[Chunk]) -> Self {
        let filters = weights.filters();
        let blocks = filters.div_ceil(LANES * S::COLUMNS);
        let groups = window.channels.div_ceil(GROUP);
        let mut spans = Vec::new();
        // Where the index of a tap and a group stands in the first block, and what lies between two blocks, in bytes.
        let mut places = vec![(0, 0); S::KERNEL * S::KERNEL * groups];
        let mut end = 0;
        for chunk in chunks {
            for rows in &chunk.spans {
                let block = rows.len().div_ceil(2) * S::INDEXES;
                for (i, &(y, group)) in rows.iter().enumerate() {
                    let group = chunk.groups.start + group;
                    for x in 0..S::KERNEL {
                        let line = end + i / 2 * S::INDEXES + x * S::COLUMNS;
                        places[(y * S::KERNEL + x) * groups + group] = (line * 64 + i % 2, block * 64);
                    }
                }
                spans.push((end, block));
                end += block * blocks;
            }
        }
        // One more, for what is read past the last.
        let mut lines = vec![Line([0; 2 * LANES]); end + 1];
        let bytes = Line::flatten(&mut lines);
        let row_len = window.inputs().div_ceil(8) + 16;
        let mut rows = vec![0; LANES * S::COLUMNS * row_len];
        for block in 0..blocks {
            let first = block * LANES * S::COLUMNS;
            let rows = &mut rows[..(filters - first).min(LANES * S::COLUMNS) * row_len];
            for (filter, row) in rows.chunks_exact_mut(row_len).enumerate() {
                pack::order(weights.row(first + filter), window, row);
            }
            // All filters of a block one after the other, so that the lines which they share stay in the cache.
            for (tap, places) in places.chunks_exact(groups).enumerate() {
                for (eight, places) in places.chunks(8).enumerate() {
                    let channel = eight * 8 * GROUP;
                    let count = (window.channels - channel).min(8 * GROUP);
                    let mut starts = [0; 8];
                    starts.iter_mut().zip(places).for_each(|(start, (place, stride))| *start = place + block * stride);
                    let starts = &starts[..places.len()];
                    for (filter, row) in rows.chunks_exact(row_len).enumerate() {
                        // Even lanes are the first half of the filters: see `lookup::widen`.
                        let lane = filter % 16 * 2 + filter % LANES / 16;
                        let at = filter / LANES * 64 + 2 * lane;
                        let indexes = index(spread(bits(row, tap * window.channels + channel, count))).to_le_bytes();
                        for (start, index) in starts.iter().zip(indexes) {
                            bytes[start + at] = index;
                        }
                    }
                }
            }
        }
        Self { lines, spans }
    }

    /// Those of a block in a span.
    pub(super) fn of(&self, span: usize, block: usize) -> *const u8 {
        let (start, lines) = self.spans[span];
        self.lines[start + block * lines..].as_ptr().cast()
    }
}

impl Line {
    fn flatten(lines: &mut [Self]) -> &mut [u8] {
        // SAFETY: a line is nothing but its bytes.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
    }
}

/// Up to 48 bits of a row from one on; what follows them is 0.
fn bits(row: &[u8], first: usize, count: usize) -> u64 {
    let word = row[first / 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (word >> (first % 8)) & ((1 << count) - 1)
}

/// Six bits to each byte.
fn spread(bits: u64) -> u64 {
    // Two groups of 24 bits, then four of 12, then eight of 6.
    let bits = (bits & 0xff_ffff) | ((bits & 0xffff_ff00_0000) << 8);
    let bits = (bits & 0x0fff_0000_0fff) | ((bits & 0x00ff_f000_00ff_f000) << 4);
    (bits & 0x003f_003f_003f_003f) | ((bits & 0x0fc0_0fc0_0fc0_0fc0) << 2)
}
