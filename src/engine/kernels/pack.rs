//! Weights as the kernels of dot products read them: blocks of [`LANES`] filters, cut into groups of a few inputs.

use super::window::Window;
use crate::{
    engine::arena::{Arena, ArenaSlice},
    model_file::BinaryWeights,
};

/// Filters of a block.
pub(super) const LANES: usize = 32;

/// For each filter of a block four bytes: four weights of 8 bits, or two of 16.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Group(pub(super) [[u8; 4]; LANES]);

/// The signs of a group of four inputs: four bits for each filter of a block, the first filter's lowest.
pub(super) type Signs = [u8; LANES / 2];

/// Signs `[block][group]`, `groups` to a block; lanes and inputs that do not exist hold 0.
pub(super) fn signs(weights: &BinaryWeights, window: Window, groups: usize, arena: &Arena) -> ArenaSlice<Signs> {
    let filters = weights.filters();
    let mut packed = arena.zeroed::<Signs>(filters.div_ceil(LANES) * groups);
    let mut rows = [vec![0; groups * 4 / 8 + 9], vec![0; groups * 4 / 8 + 9]];
    for filter in (0..filters).step_by(2) {
        order(weights.row(filter), window, &mut rows[0]);
        match filter + 1 < filters {
            true => order(weights.row(filter + 1), window, &mut rows[1]),
            false => rows[1].fill(0),
        }
        let (block, pair) = (filter / LANES, filter % LANES / 2);
        let block = &mut packed[block * groups..][..groups];
        for ((two, &a), &b) in block.chunks_mut(2).zip(&rows[0]).zip(&rows[1]) {
            two[0][pair] = a & 15 | b << 4;
            if let Some(second) = two.get_mut(1) {
                second[pair] = a >> 4 | b & 0xf0;
            }
        }
    }
    packed
}

/// Bits of a filter, from a model's order to the window's.
pub(super) fn order(row: &[u8], window: Window, to: &mut [u8]) {
    to.fill(0);
    if window.kernel == 1 {
        to[..row.len()].copy_from_slice(row);
    } else if window.kernel == 3 && window.channels.is_multiple_of(8) {
        // Eight channels are 72 bits; those of one tap stand 9 apart. The product moves bit 9·i to 56 + i.
        let bytes = window.channels / 8;
        for (group, bits) in row.chunks_exact(9).enumerate() {
            let mut word = [0; 16];
            word[..9].copy_from_slice(bits);
            let word = u128::from_le_bytes(word);
            for tap in 0..9 {
                let apart = (word >> tap) as u64 & 0x8040_2010_0804_0201;
                to[tap * bytes + group] = (apart.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u8;
            }
        }
    } else {
        for input in 0..window.inputs() {
            let from = window.in_model(input);
            to[input / 8] |= (row[from / 8] >> (from % 8) & 1) << (input % 8);
        }
    }
}

/// 16-bit weights `[block][pair of inputs]`, `groups` pairs to a block; what does not exist is 0.
pub(super) fn words(weights: &[i16], window: Window, filters: usize, groups: usize) -> Vec<Group> {
    let inputs = window.inputs();
    let mut packed = vec![Group([[0; 4]; LANES]); filters.div_ceil(LANES) * groups];
    for (filter, row) in weights.chunks_exact(inputs).enumerate() {
        let block = &mut packed[filter / LANES * groups..][..groups];
        for input in 0..inputs {
            let word = row[window.in_model(input)].to_le_bytes();
            block[input / 2].0[filter % LANES][input % 2 * 2..][..2].copy_from_slice(&word);
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn signs_stand_where_their_inputs_do(channels in 1usize..40, three: bool, filters in 1usize..70, seed: u64) {
            let window = Window { kernel: if three { 3 } else { 1 }, channels };
            let inputs = window.inputs();
            let mut state = seed | 1;
            let latent: Vec<f32> = (0..filters * inputs)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as f32 - 8_388_607.5
                })
                .collect();
            let weights = BinaryWeights::pack(&latent, inputs, vec![1.0; filters], vec![0.0; filters]);
            let groups = inputs.div_ceil(64) * 16;
            let packed = signs(&weights, window, groups, &Arena::default());
            for filter in 0..filters {
                for input in 0..groups * 4 {
                    let (lane, group) = (filter % LANES, filter / LANES * groups + input / 4);
                    let bit = packed[group][lane / 2] >> (lane % 2 * 4 + input % 4) & 1 == 1;
                    let expected = input < inputs && weights.is_positive(filter, window.in_model(input));
                    prop_assert_eq!(bit, expected, "filter {}, input {}", filter, input);
                }
            }
        }
    }
}
