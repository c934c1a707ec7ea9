//! Small pieces of a network's layers, on which kernels are timed before one is chosen.

use super::{Convolution, Kernel, Work};
use crate::{
    engine::{
        Mode,
        arena::Arena,
        arithmetic,
        layout::{Buffer, Element},
        memory::Memory,
        plan::pools,
    },
    model_file::{BinaryWeights, FullWeights, LayerWeights, Quantization},
    network::{self, Activation, Depthwise, Layer, Network, Operation, Precision, Shape, Source},
};

/// Kinds of layer that are timed, at most, ...
const TRIALS: usize = 4;
/// ... or as many as have so much of all layers' work, in percent.
const COVERED: u64 = 67;
/// What a multiply-add of whole weights takes, where one of a one-bit weight takes 1, about.
const WHOLE_WEIGHT: u64 = 8;
/// Most kernels compute blocks of so many filters.
const LANES: usize = 32;
/// Filters of a trial, at most: what a kernel does once for all filters must not weigh more than it will.
const FILTERS: usize = 512;
/// Channels of a trial, at most.
const CHANNELS: usize = 128;
/// Positions of a trial, about.
const POSITIONS: usize = 80;
/// What the rows of a trial's output are a multiple of: pools need it, and tables above and below them are built for nothing.
const ROWS: usize = 2;
/// Multiply-adds of a trial, about, at most.
const MULTIPLY_ADDS: usize = 25_000_000;

/// A piece of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trial {
    kind: Kind,
    input: Shape,
    filters: usize,
    kernel: usize,
    stride: usize,
    /// Does it read the image?
    image: bool,
    /// Does only a pool read it?
    pooled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Dense(Precision),
    Depthwise,
}

/// The kinds of layer with the most work, each with the number of its trials that all of its layers are worth.
pub(super) fn trials(network: &Network) -> Vec<(Trial, f64)> {
    let mut kinds: Vec<(Trial, u64)> = Vec::new();
    for (layer, pool) in network.layers().iter().zip(pools(network)) {
        let source = network.source_shape(layer.inputs[0]);
        let Some(whole) = Trial::whole(layer, source, pool.is_some()) else { continue };
        let piece = whole.piece();
        match kinds.iter_mut().find(|(trial, _)| *trial == piece) {
            Some((_, work)) => *work += whole.work(),
            None => kinds.push((piece, whole.work())),
        }
    }
    kinds.sort_by_key(|&(_, work)| std::cmp::Reverse(work));
    let all: u64 = kinds.iter().map(|(_, work)| work).sum();
    let (mut trials, mut covered) = (Vec::new(), 0);
    for (trial, work) in kinds.into_iter().take(TRIALS) {
        if covered * 100 >= all * COVERED {
            break;
        }
        covered += work;
        trials.push((trial, work as f64 / trial.work() as f64));
    }
    trials
}

impl Trial {
    /// The whole layer; none if it multiplies nothing.
    fn whole(layer: &Layer, input: Shape, pooled: bool) -> Option<Self> {
        let (kind, filters, kernel, stride) = match &layer.operation {
            Operation::Convolution(c) => (Kind::Dense(c.precision), c.filters, c.kernel, c.stride),
            Operation::Depthwise(d) => (Kind::Depthwise, input.channels, Depthwise::KERNEL, d.stride),
            Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => return None,
        };
        let image = layer.inputs[0] == Source::Image;
        Some(Self { kind, input, filters, kernel, stride, image, pooled })
    }

    /// A piece of a layer that takes little time.
    fn piece(self) -> Self {
        let filters = self.filters.min(FILTERS);
        let height = (POSITIONS / self.input.width).max(1).next_multiple_of(ROWS * self.stride).min(self.input.height);
        let rows = Self { filters, input: Shape { height, ..self.input }, ..self };
        let most = match self.kind {
            Kind::Dense(_) => MULTIPLY_ADDS / (rows.output().values() * self.kernel * self.kernel) / LANES * LANES,
            Kind::Depthwise => CHANNELS,
        };
        let channels = self.input.channels.min(most.clamp(LANES, CHANNELS));
        let filters = if self.kind == Kind::Depthwise { channels } else { filters };
        Self { filters, input: Shape { channels, ..rows.input }, ..rows }
    }

    fn output(&self) -> Shape {
        Shape { channels: self.filters, ..self.input.strided(self.stride) }
    }

    /// Inputs of a filter.
    fn inputs(&self) -> usize {
        let channels = if self.kind == Kind::Depthwise { 1 } else { self.input.channels };
        channels * self.kernel * self.kernel
    }

    /// About what the layer takes, in multiply-adds of one-bit weights. Most kernels compute blocks of filters.
    fn work(&self) -> u64 {
        let multiply_adds = self.inputs() * self.filters.next_multiple_of(LANES) * self.output().positions();
        let each = if self.is_binary() { 1 } else { WHOLE_WEIGHT };
        multiply_adds as u64 * each
    }

    /// Is it dense, with one-bit weights?
    pub(super) fn is_binary(&self) -> bool {
        self.kind == Kind::Dense(Precision::Binary)
    }

    /// The trial as a kernel runs it, on zeros, and the bytes of memory that it needs.
    pub(super) fn prepare(&self, kernel: &dyn Kernel, mode: Mode, arena: &Arena) -> (Vec<Box<dyn Work>>, usize) {
        let element = match mode {
            Mode::F32 => Element::Float,
            Mode::Int8 => Element::Byte { zero_point: 0 },
        };
        let buffer = |shape, border| Buffer { shape, element, layout: kernel.layout(), border };
        let pool = self.pooled && self.pools(kernel, mode);
        let side = if pool { 2 } else { 1 };
        let Shape { channels, height, width } = self.output();
        let output = Shape { channels, height: height / side, width: width / side };
        let (input, output) = (buffer(self.input, self.kernel / 2), buffer(output, 0));
        let start = input.bytes().next_multiple_of(Memory::ALIGNMENT);
        let scratch = (start + output.bytes()).next_multiple_of(Memory::ALIGNMENT);

        let weights = self.weights();
        let (weights, epilogue) = match mode {
            Mode::F32 => arithmetic::float(&weights, Activation::Linear),
            Mode::Int8 => {
                let range = Quantization { scale: 1.0, zero_point: 0 };
                let numbers = arithmetic::quantized(&weights, Activation::Linear, range, Some(range));
                numbers.expect("a trial has too few inputs to reach anything")
            }
        };
        let convolution = Convolution {
            kernel: self.kernel,
            stride: self.stride,
            pool,
            weights,
            epilogue,
            input: input.map(0),
            output: output.map(start),
            scratch,
            threads: 1,
            arena,
        };
        let Kind::Dense(precision) = self.kind else { return (vec![kernel.depthwise(convolution)], scratch) };
        let mut works = kernel.preparations(&convolution);
        works.push(kernel.convolution(convolution));
        (works, scratch + kernel.scratch(precision, self.kernel, self.input))
    }

    /// Does the kernel pool what the layer gives?
    fn pools(&self, kernel: &dyn Kernel, mode: Mode) -> bool {
        let Kind::Dense(precision) = self.kind else { return false };
        let convolution = network::Convolution {
            filters: self.filters,
            kernel: self.kernel,
            stride: self.stride,
            precision,
            batch_norm: true,
            activation: Activation::Linear,
        };
        kernel.pools(&convolution, if self.image { Source::Image } else { Source::Layer(0) }, mode)
    }

    fn weights(&self) -> LayerWeights {
        let (filters, inputs) = (self.filters, self.inputs());
        let bias = vec![0.0; filters];
        match self.is_binary() {
            true => {
                let bits = vec![0; filters * BinaryWeights::row_bytes(inputs)].into();
                LayerWeights::Binary(BinaryWeights { bits, inputs, scale: vec![1.0; filters], bias })
            }
            false => LayerWeights::Full(FullWeights { weights: vec![0.0; filters * inputs], inputs, bias }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::kernels::all,
        network::{NetworkSpec, Topology},
    };

    fn network(topology: Topology, width: f64, input: &str) -> Network {
        let input = input.parse().unwrap();
        NetworkSpec { width, input, ..NetworkSpec::preset(topology) }.build().unwrap()
    }

    #[test]
    fn of_wide_networks_the_heavy_layers_with_one_bit_are_tried() {
        let trials = trials(&network(Topology::DarknetYolo, 1.0, "416x416"));
        let shapes: Vec<_> = trials.iter().map(|(trial, _)| (trial.input, trial.filters, trial.kernel)).collect();
        let input = |channels, height, width| Shape { channels, height, width };
        assert_eq!(shapes, [(input(64, 6, 13), 512, 3), (input(32, 4, 26), 512, 3)]);
        assert!(trials.iter().all(|(trial, _)| trial.is_binary()));
        // Channels and filters of all 3x3 layers on maps of 13x13, over those of the trial; 13 rows of 6.
        let layers = 512 * 1024 * 3 + 1024 * 1024 * 2 + 3072 * 1024;
        let times = f64::from(layers) / (64.0 * 512.0) * 13.0 / 6.0;
        assert!((trials[0].1 - times).abs() < 1e-9, "{} times, {times}", trials[0].1);
    }

    #[test]
    fn of_narrow_networks_layers_with_whole_weights_are_tried() {
        let trials = trials(&network(Topology::MobilenetYolo, 0.0625, "416x416"));
        let kinds: Vec<_> = trials.iter().map(|(trial, _)| trial.kind).collect();
        assert!(kinds.contains(&Kind::Depthwise) && kinds.contains(&Kind::Dense(Precision::Full)), "{kinds:?}");
    }

    #[test]
    fn every_kernel_runs_every_trial() {
        let mut count = 0;
        for (topology, width, input) in [
            (Topology::DarknetYolo, 1.0, "1248x384"),
            (Topology::DarknetYolo64, 0.25, "640x384"),
            (Topology::DarknetYolo, 0.0625, "32x32"),
            (Topology::MobilenetYolo, 1.0, "416x416"),
            (Topology::MobilenetYolo, 0.0625, "96x64"),
        ] {
            for (trial, times) in trials(&network(topology, width, input)) {
                assert!(times >= 0.9, "{trial:?}: a piece of a layer, {times} times");
                for mode in [Mode::F32, Mode::Int8] {
                    for kernel in all().filter(|kernel| kernel.runs(mode)) {
                        let (works, bytes) = trial.prepare(kernel, mode, &Arena::default());
                        let memory = Memory::new(bytes).unwrap();
                        works.iter().for_each(|work| (0..work.items()).for_each(|item| work.run(item, &memory)));
                        count += 1;
                    }
                }
            }
        }
        assert!(count >= 20);
    }
}
