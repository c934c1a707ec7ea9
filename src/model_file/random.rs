//! Models with random weights: for sizes, benchmarks and tests.

use super::{
    BinaryWeights, FullWeights, LayerWeights, Model, Preprocessing, Provenance,
    weight_shape::{WeightShape, weights_per_filter},
};
use crate::network::{Activation, Network, Operation, Source};

impl Model {
    /// A model whose weights depend on network and seed alone, the same on every machine; not calibrated.
    ///
    /// Scales are such that every layer's output has about unit mean square for an image of evenly spread values
    /// (He et al., arXiv 1502.01852, §2.2). Where there is a batch norm one filter in eight has a negative scale.
    pub fn random(network: Network, seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        let weights = (0..network.layers().len()).map(|index| layer(&network, index, &mut random)).collect();
        let provenance = Provenance {
            created_by: concat!("onebit_detector ", env!("CARGO_PKG_VERSION")).into(),
            dataset: format!("none: random weights, seed {seed}"),
            ..Provenance::default()
        };
        Self { network, weights, quantization: None, preprocessing: Preprocessing::default(), provenance }
    }
}

fn layer(network: &Network, index: usize, random: &mut SplitMix64) -> LayerWeights {
    match WeightShape::of(network, index) {
        WeightShape::None => LayerWeights::None,
        WeightShape::Binary { shape, batch_norm } => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            let rms = weight_rms(network, index, inputs);
            let bits = (0..filters).flat_map(|_| random_row(inputs, random)).collect();
            let scale = (0..filters).map(|_| random_scale(rms, batch_norm, random)).collect();
            LayerWeights::Binary(BinaryWeights { bits, inputs, scale, bias: biases(filters, random) })
        }
        WeightShape::Full { shape } => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            let limit = 3f32.sqrt() * weight_rms(network, index, inputs); // of evenly spread values with this mean square
            let weights = (0..filters * inputs).map(|_| random.between(-limit, limit)).collect();
            LayerWeights::Full(FullWeights { weights, inputs, bias: biases(filters, random) })
        }
    }
}

/// Root mean square of a layer's weights that keeps the mean square of activations at 1.
fn weight_rms(network: &Network, index: usize, inputs: usize) -> f32 {
    let layer = &network.layers()[index];
    let activation = match &layer.operation {
        Operation::Convolution(c) => c.activation,
        Operation::Depthwise(d) => d.activation,
        Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => Activation::Linear,
    };
    let slope = activation.negative_slope();
    let kept = (1.0 + slope * slope) / 2.0; // of the mean square, by the activation
    let read = match layer.inputs[0] {
        Source::Image => 1.0 / 3.0, // evenly spread over 0 to 1
        Source::Layer(_) => 1.0,
    };
    (1.0 / (kept * read * inputs as f32)).sqrt()
}

fn random_row(inputs: usize, random: &mut SplitMix64) -> Vec<u8> {
    let mut row: Vec<u8> = (0..BinaryWeights::row_bytes(inputs)).map(|_| random.next() as u8).collect();
    if let (Some(last), used @ 1..) = (row.last_mut(), inputs % 8) {
        *last &= (1 << used) - 1;
    }
    row
}

fn random_scale(rms: f32, batch_norm: bool, random: &mut SplitMix64) -> f32 {
    let scale = rms * random.between(0.75, 1.25);
    if batch_norm && random.next().is_multiple_of(8) { -scale } else { scale }
}

fn biases(filters: usize, random: &mut SplitMix64) -> Vec<f32> {
    (0..filters).map(|_| random.between(-0.25, 0.25)).collect()
}

/// Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, 2014, in the form that Vigna published.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Evenly spread over `low..high`; exact operations only, so equal on every machine.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetworkSpec, Topology};

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // First outputs for the seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
        let mut random = SplitMix64(1_234_567);
        let expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn network_and_seed_decide() {
        let spec = NetworkSpec { width: 0.125, ..NetworkSpec::preset(Topology::MobilenetYolo) };
        let network = spec.build().unwrap();
        let [a, b, c] = [1, 1, 2].map(|seed| Model::random(network.clone(), seed));
        assert_eq!(a, b);
        assert_ne!(a.weights, c.weights);
        a.check().unwrap();
    }
}
