//! Weights as indexes into tables, in the order in which the lookups read them.

use super::{
    super::pack::LANES,
    build::{GROUP, index},
    lookup::Shape,
};
use crate::{
    engine::arena::{Arena, ArenaSlice},
    model_file::BinaryWeights,
};
use bytemuck::Zeroable;
use std::{arch::x86_64::*, ops::Range};

/// Registers of filters in a block, at most.
const MOST_COLUMNS: usize = 4;

/// A register of indexes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 2 * LANES]);

// SAFETY: bytes.
unsafe impl Zeroable for Line {}

/// Indexes `[chunk][row of the kernel][block of filters][pair of groups][tap of the row][register of the block]`.
pub(super) struct Indexes {
    /// One more at the end, for what is read past the last.
    lines: ArenaSlice<Line>,
    spans: Vec<Span>,
}

/// The lines of a chunk.
struct Span {
    first: usize,
    /// Those of a block in a row of the kernel.
    of_block: usize,
    /// Those of all blocks in a row of the kernel.
    of_row: usize,
}

impl Indexes {
    /// `chunks` are groups of channels.
    pub(super) fn new<S: Shape>(weights: &BinaryWeights, chunks: &[Range<usize>], arena: &Arena) -> Self {
        let blocks = weights.filters().div_ceil(LANES * S::COLUMNS);
        let mut end = 0;
        let span = |groups: &Range<usize>| {
            let of_block = groups.len().div_ceil(2) * S::INDEXES;
            let span = Span { first: end, of_block, of_row: blocks * of_block };
            end += S::KERNEL * span.of_row;
            span
        };
        let spans: Vec<_> = chunks.iter().map(span).collect();
        let mut lines = arena.zeroed(end + 1);
        for (groups, span) in chunks.iter().zip(&spans) {
            for block in 0..blocks {
                for (pair, first) in groups.clone().step_by(2).enumerate() {
                    let second = Some(first + 1).filter(|group| groups.contains(group));
                    let lines = &mut lines[span.first + block * span.of_block + pair * S::INDEXES..];
                    // SAFETY: a kernel is only used where its instructions are.
                    unsafe { fill::<S>(weights, block, [Some(first), second], lines, span.of_row) };
                }
            }
        }
        Self { lines, spans }
    }

    /// Those of a block of filters for a chunk and a row of the kernel, from a group of the chunk on, an even one.
    pub(super) fn of<S: Shape>(&self, (chunk, y): (usize, usize), block: usize, first: usize) -> *const u8 {
        let span = &self.spans[chunk];
        self.lines[span.first + y * span.of_row + block * span.of_block + first / 2 * S::INDEXES..].as_ptr().cast()
    }
}

/// The indexes of a block of filters for two groups of channels; rows of the kernel stand `of_row` lines apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bitalg")]
fn fill<S: Shape>(weights: &BinaryWeights, block: usize, groups: [Option<usize>; 2], lines: &mut [Line], of_row: usize) {
    let taps = S::KERNEL * S::KERNEL;
    let mut words = [[Words([0; LANES]); 2]; MOST_COLUMNS];
    for (column, words) in words[..S::COLUMNS].iter_mut().enumerate() {
        for (words, group) in words.iter_mut().zip(groups) {
            if let Some(group) = group {
                words.fill(weights, (block * S::COLUMNS + column) * LANES, group * GROUP * taps);
            }
        }
    }
    for y in 0..S::KERNEL {
        let lines = lines[y * of_row..][..S::INDEXES].chunks_exact_mut(S::COLUMNS);
        for (x, lines) in lines.enumerate() {
            for (line, words) in lines.iter_mut().zip(&words) {
                *line = Line::new(words, y * S::KERNEL + x, taps);
            }
        }
    }
}

/// Bits of some filters from one on, of each as many as a group has in its channels' taps, or more; what follows the last is
/// 0.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Words([u64; LANES]);

impl Words {
    fn fill(&mut self, weights: &BinaryWeights, filter: usize, first: usize) {
        let row = BinaryWeights::row_bytes(weights.inputs);
        let rows = weights.bits.get(filter * row..).unwrap_or_default().chunks_exact(row);
        for (word, row) in self.0.iter_mut().zip(rows) {
            let bytes = &row[first / 8..];
            let eight = bytes.first_chunk().copied().unwrap_or_else(|| {
                let mut last = [0; 8];
                last[..bytes.len()].copy_from_slice(bytes);
                last
            });
            *word = u64::from_le_bytes(eight) >> (first % 8);
        }
    }
}

impl Line {
    /// The indexes of a tap for two groups, whose channels have so many taps. A word has one index of each group; even words are
    /// the first half of the filters, see `lookup::widen`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bitalg")]
    fn new(groups: &[Words; 2], tap: usize, taps: usize) -> Self {
        const ORDER: [u8; 64] = {
            let mut order = [0; 64];
            let mut i = 0;
            while i < 64 {
                order[i] = (i % 2 * LANES + i / 2 % 2 * LANES / 2 + i / 4) as u8;
                i += 1;
            }
            order
        };
        // One bit for each channel of the group; two more, which lookups ignore.
        let mut from = [0u8; 64];
        for (i, from) in from.iter_mut().enumerate() {
            *from = (tap + i % 8 * taps) as u8;
        }
        let mut line = Self([0; 2 * LANES]);
        let mut indexes = [0u64; 2 * LANES / 8];
        // SAFETY: each is 64 bytes; eight words for eight indexes.
        unsafe {
            let from = _mm512_loadu_si512(from.as_ptr().cast());
            let words = groups.as_ptr().cast::<__m512i>();
            for (i, indexes) in indexes.iter_mut().enumerate() {
                *indexes = index(_mm512_bitshuffle_epi64_mask(_mm512_load_si512(words.add(i)), from));
            }
            let indexes = _mm512_loadu_si512(indexes.as_ptr().cast());
            let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
            _mm512_store_si512(line.0.as_mut_ptr().cast(), _mm512_permutexvar_epi8(order, indexes));
        }
        line
    }
}
