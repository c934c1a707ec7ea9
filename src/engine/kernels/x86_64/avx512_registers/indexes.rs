//! Weights as indexes into tables, in the order in which the lookups read them.

use super::{
    super::pack::LANES,
    build::{GROUP, index},
    lookup::Shape,
};
use crate::{engine::memory::in_large_pages, model_file::BinaryWeights};
use std::{arch::x86_64::*, ops::Range};

/// Registers of filters in a block, at most.
const MOST_COLUMNS: usize = 4;

/// A register of indexes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 2 * LANES]);

/// Indexes `[chunk][row of the kernel][block of filters][pair of groups][tap of the row][register of the block]`.
pub(super) struct Indexes {
    lines: Vec<Line>,
    /// For each chunk and row of the kernel, where its lines start, and how many a block has.
    spans: Vec<(usize, usize)>,
}

impl Indexes {
    /// `chunks` are groups of channels.
    pub(super) fn new<S: Shape>(weights: &BinaryWeights, chunks: &[Range<usize>]) -> Self {
        let blocks = weights.filters().div_ceil(LANES * S::COLUMNS);
        let block = |groups: &Range<usize>| groups.len().div_ceil(2) * S::INDEXES;
        let end = chunks.iter().map(block).sum::<usize>() * S::KERNEL * blocks;
        let mut lines = Vec::with_capacity(end + 1);
        in_large_pages(lines.spare_capacity_mut());
        let mut spans = Vec::new();
        for (groups, y) in chunks.iter().flat_map(|groups| (0..S::KERNEL).map(move |y| (groups, y))) {
            spans.push((lines.len(), block(groups)));
            for block in 0..blocks {
                for first in groups.clone().step_by(2) {
                    let second = Some(first + 1).filter(|group| groups.contains(group));
                    // SAFETY: a kernel is only used where its instructions are.
                    unsafe { add::<S>(weights, block, y, [Some(first), second], &mut lines) };
                }
            }
        }
        lines.push(Line([0; 2 * LANES])); // for what is read past the last
        Self { lines, spans }
    }

    /// Those of a block of filters for a chunk and a row of the kernel, from a group of the chunk on, an even one.
    pub(super) fn of<S: Shape>(&self, (chunk, y): (usize, usize), block: usize, first: usize) -> *const u8 {
        let (start, lines) = self.spans[chunk * S::KERNEL + y];
        self.lines[start + block * lines + first / 2 * S::INDEXES..].as_ptr().cast()
    }
}

/// Adds the indexes of a block of filters in a row of the kernel for two groups of channels.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bitalg")]
fn add<S: Shape>(weights: &BinaryWeights, block: usize, y: usize, groups: [Option<usize>; 2], lines: &mut Vec<Line>) {
    let taps = S::KERNEL * S::KERNEL;
    let mut words = [[Words([0; LANES]); 2]; MOST_COLUMNS];
    for (column, words) in words[..S::COLUMNS].iter_mut().enumerate() {
        for (words, group) in words.iter_mut().zip(groups) {
            if let Some(group) = group {
                words.fill(weights, (block * S::COLUMNS + column) * LANES, group * GROUP * taps + y * S::KERNEL);
            }
        }
    }
    for x in 0..S::KERNEL {
        for words in &words[..S::COLUMNS] {
            lines.push(Line::new(words, x, taps));
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
