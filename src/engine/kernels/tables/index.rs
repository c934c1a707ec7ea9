//! Weight bits as places in tables.
//!
//! A group is a few neighbouring channels; for each tap of the kernel, the weights of a group are the number of a table's
//! entry, bit `i` that of channel `i`. The kernels read it as an offset in bytes, two at a time.

use super::ENTRY_BYTES;
use crate::{engine::memory::in_large_pages, model_file::BinaryWeights};
use std::ops::Range;

/// Channels of a group where the kernel is 3 wide: its tables serve three taps each, so large ones pay.
pub(super) const CHANNELS_3: usize = 6;
/// Channels of a group where the kernel is 1 wide.
pub(super) const CHANNELS_1: usize = 5;
/// What the number of groups of a chunk is a multiple of where the kernel is 1 wide.
pub(in super::super) const STEP_1: usize = 4;
/// Bytes of the tables of a chunk, at most.
pub(super) const TABLES: usize = 24 << 10;
/// Entries of the tables of a chunk, at most.
pub(super) const ENTRIES: usize = TABLES / ENTRY_BYTES;
/// Offsets of a filter in a chunk, at most.
const PLACES: usize = 18;

/// Channels that are summed from one set of tables.
pub(super) struct Chunk {
    pub(super) channels: Range<usize>,
    /// Number of groups; the last ones may have fewer channels, or none.
    pub(super) groups: usize,
}

/// How the channels of a convolution are grouped.
#[derive(Clone, Copy)]
pub(super) struct Grouping {
    /// Side of the kernel.
    pub(super) kernel: usize,
    /// Rows of the kernel whose tables stand in a chunk together: all, or one.
    pub(super) rows: usize,
    /// Of the input.
    pub(super) channels: usize,
    /// Bytes of the tables of a chunk, at most.
    pub(super) tables: usize,
}

impl Grouping {
    /// Channels of a group.
    pub(super) fn width(self) -> usize {
        if self.kernel == 1 { CHANNELS_1 } else { CHANNELS_3 }
    }

    /// All channels in chunks, the last of which has what is left.
    pub(super) fn chunks(self) -> Vec<Chunk> {
        // With one row of three, a chunk has as many tables as one or two groups have with all.
        let step = if self.kernel == 1 { STEP_1 } else { self.sets() };
        let most = self.tables / ((self.rows * ENTRY_BYTES) << self.width()) / step * step;
        let size = most * self.width();
        let chunk = |start: usize| {
            let channels = start..(start + size).min(self.channels);
            let groups = channels.len().div_ceil(self.width()).next_multiple_of(step);
            Chunk { channels, groups }
        };
        (0..self.channels).step_by(size).map(chunk).collect()
    }

    /// Sets of rows.
    pub(super) fn sets(self) -> usize {
        self.kernel / self.rows
    }

    /// Taps of a set.
    fn taps(self) -> usize {
        self.rows * self.kernel
    }

    /// Pairs of offsets that a filter has in a chunk for each set of rows; half of the last one may be unused.
    pub(super) fn pairs(self, chunk: &Chunk) -> usize {
        (chunk.groups * self.taps()).div_ceil(2)
    }

    /// Offsets from the start of the tables of a group's row: `[chunk][set][filter][group][ky][kx]`, pairs in whole words.
    pub(super) fn offsets(self, weights: &BinaryWeights) -> Vec<u32> {
        let chunks = self.chunks();
        let per_filter: usize = chunks.iter().map(|chunk| self.sets() * self.pairs(chunk)).sum();
        let filters = weights.filters();
        let mut offsets = vec![0; per_filter * filters];
        in_large_pages(&offsets);
        let mut row = vec![0; weights.bits.len() / filters.max(1) + 16];
        for filter in 0..filters {
            let bits = weights.row(filter);
            row[..bits.len()].copy_from_slice(bits);
            let mut first = 0;
            for chunk in &chunks {
                let pairs = self.pairs(chunk);
                for set in 0..self.sets() {
                    self.chunk_offsets(&row, chunk, set, &mut offsets[first + filter * pairs..][..pairs]);
                    first += filters * pairs;
                }
            }
        }
        offsets
    }

    fn chunk_offsets(self, row: &[u8], chunk: &Chunk, set: usize, words: &mut [u32]) {
        let taps = self.taps();
        let mut places = [0u16; PLACES + 16];
        for group in 0..chunk.groups {
            let first = chunk.channels.start + group * self.width();
            // Tables of channels that do not exist hold nothing but 0.
            let bits = if first < chunk.channels.end { bits_from(row, first * self.kernel * self.kernel) } else { 0 };
            let bits = bits >> (set * taps);
            let group = &mut places[group * taps..];
            match taps {
                1 => group[0] = (bits as u16 & ((1 << CHANNELS_1) - 1)) * ENTRY_BYTES as u16,
                // What is written past the last tap is the next group's, which comes later.
                _ => group[..16].copy_from_slice(&by_tap(bits).map(|index| u16::from(index) * ENTRY_BYTES as u16)),
            }
        }
        for (word, [a, b]) in words.iter_mut().zip(places.as_chunks().0) {
            *word = u32::from(*a) | u32::from(*b) << 16;
        }
    }
}

/// At least 56 bits of a row from one on.
fn bits_from(row: &[u8], bit: usize) -> u64 {
    let bytes = row[bit / 8..].first_chunk().expect("the row has 16 bytes more than its bits");
    u64::from_le_bytes(*bytes) >> (bit % 8)
}

/// Six channels of nine bits as nine numbers of six bits, the first channel's lowest, and zeros: a register of bytes is
/// doubled, and one bit for each tap added, channel after channel.
fn by_tap(bits: u64) -> [u8; 16] {
    let mut numbers = [0; 16];
    for channel in (0..CHANNELS_3).rev() {
        let taps = &SPREAD[bits as usize >> (9 * channel) & 511];
        (0..16).for_each(|tap| numbers[tap] = 2 * numbers[tap] + taps[tap]);
    }
    numbers
}

/// The bits of a number of nine bits, each as a byte.
static SPREAD: [[u8; 16]; 512] = {
    let mut spread = [[0; 16]; 512];
    let mut place = 0;
    while place < 512 * 9 {
        spread[place / 9][place % 9] = (((place / 9) >> (place % 9)) & 1) as u8;
        place += 1;
    }
    spread
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn offsets_are_the_weights(
            channels in 1usize..80, kernel in 0usize..3, small: bool, filters in 1usize..5, seed in 1u64..,
        ) {
            let tables = if small { 16 << 10 } else { TABLES };
            let (kernel, rows) = [(1, 1), (3, 1), (3, 3)][kernel];
            let grouping = Grouping { kernel, rows, channels, tables };
            let taps = kernel * kernel;
            let inputs = channels * taps;
            let mut state = seed;
            let latent: Vec<f32> = (0..filters * inputs)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as f32 - 8_388_607.5
                })
                .collect();
            let weights = BinaryWeights::pack(&latent, inputs, vec![1.0; filters], vec![0.0; filters]);
            let offsets = grouping.offsets(&weights);
            let (mut first, mut seen) = (0, 0);
            for chunk in grouping.chunks() {
                let pairs = grouping.pairs(&chunk);
                for (set, filter) in (0..kernel / rows).flat_map(|set| (0..filters).map(move |filter| (set, filter))) {
                    let words = &offsets[first..][..pairs];
                    first += pairs;
                    for channel in chunk.channels.clone() {
                        let (group, bit) = ((channel - chunk.channels.start) / grouping.width(), (channel - chunk.channels.start) % grouping.width());
                        for tap in 0..rows * kernel {
                            let place = group * rows * kernel + tap;
                            let offset = words[place / 2] >> (place % 2 * 16) & 0xffff;
                            let positive = (offset / ENTRY_BYTES as u32) >> bit & 1 == 1;
                            prop_assert_eq!(positive, weights.is_positive(filter, channel * taps + set * rows * kernel + tap));
                            seen += 1;
                        }
                    }
                }
            }
            prop_assert_eq!((first, seen), (offsets.len(), filters * inputs));
        }
    }
}
