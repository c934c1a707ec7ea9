//! Weights as tiles read them: blocks of [`LANES`] filters, steps of [`GROUPS`] groups.

use super::{
    super::{
        super::window::Window,
        avx512,
        dense::Constants,
        pack::{self, Group, LANES, Signs},
    },
    fold,
    steps::{STEP, Step},
    tiles::GROUPS,
};
use crate::{
    engine::{
        arena::{Arena, ArenaSlice},
        arithmetic::Epilogue,
    },
    model_file::BinaryWeights,
};
use std::{arch::x86_64::*, mem::MaybeUninit};

/// Where a filter of a block stands: so that packing two registers of sums to bytes brings the filters in order.
pub(super) fn column(filter: usize) -> usize {
    filter % 8 / 4 * 16 + filter / 8 * 4 + filter % 4
}

/// Signs `[block][step][group]`. Those of filters with a negative scale are flipped, see [`constants`].
pub(super) fn signs(
    weights: &BinaryWeights,
    window: Window,
    steps: &[Step],
    folded: bool,
    arena: &Arena,
) -> ArenaSlice<Signs> {
    let groups = steps.len() * GROUPS;
    let mut packed = arena.zeroed::<Signs>(weights.filters().div_ceil(LANES) * groups);
    let mut row = vec![0; window.inputs().div_ceil(8) + 16];
    for filter in 0..weights.filters() {
        match folded {
            false => pack::order(weights.row(filter), window, &mut row),
            true => fold::order(weights.row(filter), window, &mut row),
        }
        let flip = if weights.scale[filter] < 0.0 { u64::MAX } else { 0 };
        let (block, column) = (filter / LANES * groups, column(filter % LANES));
        for (index, step) in steps.iter().enumerate() {
            let bits = bits(&row, step.inputs.start) ^ flip;
            for (group, signs) in packed[block + index * GROUPS..][..GROUPS].iter_mut().enumerate() {
                signs[column / 2] |= ((bits >> (4 * group) & 15) << (column % 2 * 4)) as u8;
            }
        }
    }
    packed
}

/// 64 bits from a place on.
fn bits(row: &[u8], first: usize) -> u64 {
    let bytes = row[first / 8..].first_chunk().expect("rows of bits end with 16 bytes more");
    (u128::from_le_bytes(*bytes) >> (first % 8)) as u64
}

/// 16-bit weights `[block][high, low][step][group]`, as a signed high byte and an unsigned low one; what does not exist
/// is 0.
pub(super) fn words(weights: &[i16], window: Window, filters: usize, steps: &[Step], folded: bool) -> Vec<Group> {
    let groups = steps.len() * 2 * GROUPS;
    let mut packed = vec![Group([[0; 4]; LANES]); filters.div_ceil(LANES) * groups];
    for (filter, row) in weights.chunks_exact(window.inputs()).enumerate() {
        let block = &mut packed[filter / LANES * groups..][..groups];
        let (high_bytes, low_bytes) = block.split_at_mut(groups / 2);
        for (index, step) in steps.iter().enumerate() {
            for (at, input) in step.inputs.clone().enumerate() {
                let input = if folded { fold::in_window(window, input) } else { input };
                let [low, high] = row[window.in_model(input)].to_le_bytes();
                let column = column(filter % LANES);
                let group = index * GROUPS + at / 4;
                high_bytes[group].0[column][at % 4] = high;
                low_bytes[group].0[column][at % 4] = low;
            }
        }
    }
    packed
}

/// Scales and biases of every block, where its filters stand. Scales are not negative, so that the largest of some sums
/// gives the largest of their outputs: a filter's signs may be flipped, for `fma(−acc, −s, b) = fma(acc, s, b)`.
pub(super) fn constants(mut epilogue: Epilogue) -> Vec<Constants> {
    epilogue.scale.iter_mut().for_each(|scale| *scale = scale.abs());
    let mut blocks = Constants::blocks(&epilogue);
    for block in &mut blocks {
        let (mut scale, mut bias) = ([0.0; LANES], [0.0; LANES]);
        for filter in 0..LANES {
            (scale[column(filter)], bias[column(filter)]) = (block.scale[filter], block.bias[filter]);
        }
        *block = Constants { scale, bias };
    }
    blocks
}

/// Bits to bytes of ±1, or 0 after the inputs of a step.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn expand(signs: &[Signs], steps: &[Step], groups: &mut [MaybeUninit<Group>]) {
    let (signs, _) = signs.as_chunks::<GROUPS>();
    let (groups, _) = groups.as_chunks_mut::<GROUPS>();
    for ((step, signs), groups) in steps.iter().zip(signs).zip(groups) {
        if step.inputs.len() == STEP {
            avx512::expand(signs, groups);
            continue;
        }
        for (index, (signs, group)) in signs.iter().zip(groups).enumerate() {
            let inputs = step.inputs.len().saturating_sub(4 * index).min(4) as u32;
            let used = u32::MAX.checked_shr(32 - 8 * inputs).unwrap_or(0);
            let (minus, plus) = (_mm512_set1_epi32(used as i32), _mm512_set1_epi32((used & 0x0101_0101) as i32));
            avx512::expand_to(minus, plus, signs, group);
        }
    }
}
