//! Weight bits as places in tables.
//!
//! A group is a few neighbouring channels; for each tap of the kernel, the weights of a group are the number of a table's
//! entry, bit `i` that of channel `i`. Words hold so many numbers as fit, since loads are what the loops wait for: nine taps of
//! a group of six channels, or twelve groups of five.

use super::ENTRY_BYTES;
use crate::{
    engine::arena::{Arena, ArenaSlice},
    model_file::BinaryWeights,
};
use std::ops::Range;

/// Channels of a group where the kernel is 3 wide: its tables serve three taps each, so large ones pay.
pub(in super::super) const CHANNELS_3: usize = 6;
/// Channels of a group where the kernel is 1 wide.
pub(in super::super) const CHANNELS_1: usize = 5;
/// What the number of groups of a chunk is a multiple of where the kernel is 1 wide.
pub(in super::super) const STEP_1: usize = 4;
/// Bytes of the tables of a chunk, at most.
pub(super) const TABLES: usize = 24 << 10;
/// Entries of the tables of a chunk, at most.
pub(super) const ENTRIES: usize = TABLES / ENTRY_BYTES;

/// Numbers of a word, by the channels of a group.
const fn numbers(width: usize) -> usize {
    if width == CHANNELS_1 { 12 } else { 9 }
}

/// Where the entry of a number stands in its table, in bytes.
#[inline(always)]
pub(in super::super) fn offset<const WIDTH: usize>(words: &[u64], i: usize) -> usize {
    let bits = i % numbers(WIDTH) * WIDTH;
    // Bytes of an entry are a power of two.
    let turned = words[i / numbers(WIDTH)].rotate_left(ENTRY_BYTES.ilog2()).rotate_right(bits as u32);
    turned as usize & (((1 << WIDTH) - 1) * ENTRY_BYTES)
}

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
        let step = if self.kernel == 1 { STEP_1 } else { 1 };
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

    /// Words that a filter has in a chunk for each set of rows.
    pub(super) fn words(self, chunk: &Chunk) -> usize {
        (chunk.groups * self.taps()).div_ceil(numbers(self.width()))
    }

    /// Numbers of entries, `[chunk][set][filter][group][ky][kx]`, those of a filter in whole words.
    pub(super) fn entries(self, weights: &BinaryWeights, arena: &Arena) -> ArenaSlice<u64> {
        let chunks = self.chunks();
        let per_filter: usize = chunks.iter().map(|chunk| self.sets() * self.words(chunk)).sum();
        let filters = weights.filters();
        let mut entries = arena.zeroed::<u64>(per_filter * filters);
        let mut row = vec![0; weights.bits.len() / filters.max(1) + 16];
        for filter in 0..filters {
            let bits = weights.row(filter);
            row[..bits.len()].copy_from_slice(bits);
            let mut first = 0;
            for chunk in &chunks {
                let words = self.words(chunk);
                for set in 0..self.sets() {
                    self.fill(&row, chunk, set, &mut entries[first + filter * words..][..words]);
                    first += filters * words;
                }
            }
        }
        entries
    }

    /// The words of a filter, which are 0, for a chunk and a set of rows.
    fn fill(self, row: &[u8], chunk: &Chunk, set: usize, words: &mut [u64]) {
        let taps = self.kernel * self.kernel;
        let width = self.taps() * self.width();
        let groups_of_word = numbers(self.width()) / self.taps();
        for group in 0..chunk.groups {
            let first = chunk.channels.start + group * self.width();
            // Tables of channels that do not exist hold nothing but 0.
            if first < chunk.channels.end {
                let bits = bits_from(row, first * taps);
                let numbers = if taps == 1 { bits } else { by_tap(bits) >> (set * width) };
                words[group / groups_of_word] |= (numbers & ((1 << width) - 1)) << (group % groups_of_word * width);
            }
        }
    }
}

/// At least 56 bits of a row from one on.
fn bits_from(row: &[u8], bit: usize) -> u64 {
    let bytes = row[bit / 8..].first_chunk().expect("the row has 16 bytes more than its bits");
    u64::from_le_bytes(*bytes) >> (bit % 8)
}

/// Six channels of nine bits as nine numbers of six bits, the first channel's lowest.
fn by_tap(bits: u64) -> u64 {
    let channels = (0..CHANNELS_3).map(|channel| SPREAD[(bits >> (9 * channel)) as usize & 511] << channel);
    channels.fold(0, |numbers, channel| numbers | channel)
}

/// The bits of a number of nine bits, six apart.
static SPREAD: [u64; 512] = {
    let mut spread = [0; 512];
    let mut place = 0;
    while place < 512 * 9 {
        let (number, bit) = (place / 9, place % 9);
        spread[number] |= (number as u64 >> bit & 1) << (bit * CHANNELS_3);
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
        fn entries_are_the_weights(
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
            let entries = grouping.entries(&weights, &Arena::default());
            let (mut first, mut seen) = (0, 0);
            for chunk in grouping.chunks() {
                let count = grouping.words(&chunk);
                for (set, filter) in (0..kernel / rows).flat_map(|set| (0..filters).map(move |filter| (set, filter))) {
                    let words = &entries[first..][..count];
                    first += count;
                    for channel in chunk.channels.clone() {
                        let (group, bit) = ((channel - chunk.channels.start) / grouping.width(), (channel - chunk.channels.start) % grouping.width());
                        for tap in 0..rows * kernel {
                            let place = group * rows * kernel + tap;
                            let offset = match kernel {
                                1 => offset::<CHANNELS_1>(words, place),
                                _ => offset::<CHANNELS_3>(words, place),
                            };
                            let positive = (offset / ENTRY_BYTES) >> bit & 1 == 1;
                            prop_assert_eq!(positive, weights.is_positive(filter, channel * taps + set * rows * kernel + tap));
                            seen += 1;
                        }
                    }
                }
            }
            prop_assert_eq!((first, seen), (entries.len(), filters * inputs));
        }
    }
}
