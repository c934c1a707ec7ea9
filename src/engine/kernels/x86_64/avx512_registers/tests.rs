//! Whatever a layer's size, it gives what the portable kernel gives.

use super::{
    super::super::{Convolution, Kernel, Work, portable::Portable},
    Tables,
    convolution::Registers,
    lookup::{One, Three},
};
use crate::{
    engine::{
        Mode,
        arena::Arena,
        arithmetic::{Epilogue, Weights},
        layout::{Buffer, Element, Layout, Map},
        memory::Memory,
    },
    model_file::BinaryWeights,
    network::Shape,
};
use proptest::prelude::*;

/// A layer whose input map has more channels than it reads.
struct Case {
    kernel: usize,
    channels: usize,
    filters: usize,
    height: usize,
    width: usize,
    floats: bool,
    zero_point: u8,
}

impl Case {
    /// Runs both kernels on some inputs and signs of weights.
    fn check(&self, mut input: impl FnMut() -> u8, mut positive: impl FnMut(usize) -> bool) {
        let &Self { kernel, channels, filters, height, width, floats, zero_point } = self;
        if !Tables.runs(Mode::Int8) {
            return;
        }
        let element = Element::Byte { zero_point };
        let buffer = |channels, element, border| {
            let shape = Shape { channels, height, width };
            Buffer { shape, element, layout: Layout::Interleaved, border }
        };
        let joined = buffer(channels + 5, element, kernel / 2);
        let output = buffer(filters, if floats { Element::Float } else { element }, 1);
        let starts = [joined.bytes(), output.bytes()].map(|bytes| bytes.next_multiple_of(Memory::ALIGNMENT));
        let mut memory = Memory::new(starts[0] + 2 * starts[1]).unwrap();
        let joined = joined.map(0);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as isize, x as isize))) {
            memory.run_mut::<u8>(&joined, joined.at(0, y, x), channels + 5).fill_with(&mut input);
        }
        // SAFETY: nobody else uses the memory.
        unsafe { memory.fill_border(&joined) };

        let inputs = channels * kernel * kernel;
        let signs: Vec<f32> = (0..filters * inputs).map(|i| if positive(i / inputs) { 1.0 } else { -1.0 }).collect();
        let scale: Vec<f32> = (0..filters).map(|filter| (filter as f32 - 3.0) / inputs as f32 / 40.0).collect();
        let bias: Vec<f32> = (0..filters).map(|filter| filter as f32 - 20.0).collect();
        let weights = BinaryWeights::pack(&signs, inputs, scale.clone(), bias.clone());
        let arena = Arena::default();
        let convolution = |output: &Map| Convolution {
            kernel,
            stride: 1,
            pool: false,
            weights: Weights::Bits(&weights),
            epilogue: Epilogue { scale: scale.clone(), bias: bias.clone(), slope: 0.1 },
            input: joined.channels(3, channels),
            output: output.clone(),
            scratch: 0,
            threads: 1,
            arena: &arena,
        };
        let outputs = [starts[0], starts[0] + starts[1]].map(|start| output.map(start));
        let tables: Box<dyn Work> = match kernel {
            1 => Box::new(Registers::<One>::new(convolution(&outputs[1]))),
            _ => Box::new(Registers::<Three>::new(convolution(&outputs[1]))),
        };
        for work in [Portable.convolution(convolution(&outputs[0])), tables] {
            (0..work.items()).rev().for_each(|item| work.run(item, &memory));
        }
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as isize, x as isize))) {
            if floats {
                let [expected, found] = outputs.each_ref().map(|map| memory.read::<f32>(map).run(map.at(0, y, x), filters));
                assert_eq!(expected, found, "at ({y}, {x})");
            } else {
                let [expected, found] = outputs.each_ref().map(|map| memory.read::<u8>(map).run(map.at(0, y, x), filters));
                assert_eq!(expected, found, "at ({y}, {x})");
            }
        }
    }

    /// Bytes no further from the zero point than `spread`.
    fn check_random(&self, spread: u8, seed: u64) {
        let (mut bytes, mut signs) = (random(seed), random(!seed));
        let range = self.zero_point.saturating_sub(spread)..=self.zero_point.saturating_add(spread);
        let values = u64::from(range.end() - range.start()) + 1;
        self.check(|| range.start() + (bytes() % values) as u8, |_| signs() & 1 == 1);
    }
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_layer_is_exact(
        three: bool, channels in 1usize..200, filters in 1usize..300, height in 1usize..9, width in 1usize..50,
        floats: bool, zero_point: u8, spread: u8, seed: u64,
    ) {
        let kernel = if three { 3 } else { 1 };
        Case { kernel, channels, filters, height, width, floats, zero_point }.check_random(spread, seed);
    }

    /// Sums are widened never, from time to time, at each chunk or within chunks.
    #[test]
    fn many_chunks_are_exact(three: bool, filters in 1usize..70, zero_point: u8, spread in 1u8..80, seed: u64) {
        let (kernel, channels) = if three { (3, 400) } else { (1, 2000) };
        Case { kernel, channels, filters, height: 3, width: 14, floats: true, zero_point }.check_random(spread, seed);
    }
}

/// Maps that are cut in strips and bands, filters that are cut in parts, one chunk of channels and several.
#[test]
fn large_layers_are_exact() {
    for (kernel, channels, filters, height, width) in [
        (3, 84, 9, 30, 330),
        (3, 6, 70, 4, 1300),
        (3, 130, 9, 3, 700),
        (3, 90, 1100, 5, 26),
        (3, 40, 1030, 3, 13),
        (1, 300, 1100, 3, 211),
        (1, 250, 130, 27, 31),
    ] {
        for spread in [20, 255] {
            Case { kernel, channels, filters, height, width, floats: false, zero_point: 77 }
                .check_random(spread, channels as u64);
        }
    }
}

/// The largest and the smallest sums that there are, in several chunks.
#[test]
fn the_largest_sums_of_tables_are_exact() {
    for (kernel, channels) in [(1, 42 * 6), (1, 600), (3, 14 * 6), (3, 200)] {
        for (zero_point, byte) in [(0, 255), (77, 0), (77, 255), (128, 0), (255, 0)] {
            let case = Case { kernel, channels, filters: 66, height: 5, width: 11, floats: true, zero_point };
            case.check(|| byte, |filter| filter % 2 == 0);
        }
    }
}

/// Sums of 16 bits that are full to the last, and such as would be fuller.
#[test]
fn full_sums_are_exact() {
    // 7 · 31 · 151 = 32767, 13 · 2520 = 32760.
    for (kernel, channels, distance) in [(1, 31 * 151, 7), (1, 31 * 151 + 1, 7), (3, 280, 13), (3, 281, 13)] {
        for byte in [77 - distance, 77 + distance] {
            let case = Case { kernel, channels, filters: 66, height: 3, width: 11, floats: true, zero_point: 77 };
            case.check(|| byte, |filter| filter % 2 == 0);
        }
    }
}
