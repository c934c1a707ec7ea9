//! Small random models of every operation.

use crate::{
    engine::{arithmetic::IMAGE, calibrate},
    model_file::{BinaryWeights, FullWeights, LayerWeights, Model, Preprocessing, Provenance, Quantization},
    network::{
        Activation, Anchor, Convolution, Depthwise, Description, Head, InputSize, Layer, Network, Operation, Precision,
        RegionHead, Shape, Source,
    },
};
use image::RgbImage;
use proptest::{collection::vec, prelude::*, sample::select};

/// A layer to try; `from` says which earlier outputs it reads, the latest being 0.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) from: Vec<usize>,
    pub(super) operation: Operation,
}

fn activation() -> impl Strategy<Value = Activation> {
    select(vec![Activation::Linear, Activation::Relu, Activation::Leaky])
}

fn convolution() -> impl Strategy<Value = Operation> {
    let precision = select(vec![Precision::Binary, Precision::Binary, Precision::Full]);
    (1usize..75, select(vec![1usize, 3, 3]), 1usize..3, precision, activation()).prop_map(
        |(filters, kernel, stride, precision, activation)| {
            Operation::Convolution(Convolution { filters, kernel, stride, precision, batch_norm: true, activation })
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => convolution(),
        2 => (1usize..3, activation()).prop_map(|(stride, activation)| Operation::Depthwise(Depthwise { stride, activation })),
        1 => Just(Operation::MaxPool),
        1 => (2usize..4).prop_map(|block| Operation::SpaceToDepth { block }),
        2 => Just(Operation::Concat),
    ]
}

/// A network of up to seven layers on an image of up to 24×24 pixels.
pub(super) fn networks() -> impl Strategy<Value = Network> {
    let wish = (vec(select(vec![0usize, 0, 0, 1, 2, 3]), 1..4), operation());
    let wishes = vec(wish.prop_map(|(from, operation)| Wish { from, operation }), 1..7);
    (1usize..25, 1usize..25, wishes).prop_map(|(width, height, wishes)| network(InputSize { width, height }, &wishes))
}

/// The network of those wishes that fit, with a prediction layer at the end.
pub(super) fn network(input: InputSize, wishes: &[Wish]) -> Network {
    let mut layers: Vec<Layer> = Vec::new();
    let mut shapes = vec![input.shape()]; // of the image, then of each layer
    let source = |index: usize| if index == 0 { Source::Image } else { Source::Layer(index - 1) };
    for Wish { from, operation } in wishes {
        let latest = shapes.len() - 1;
        let mut from: Vec<usize> = from.iter().map(|back| latest - back.min(&latest)).collect();
        let first = shapes[from[0]];
        match operation {
            Operation::Concat => from.retain(|&i| (shapes[i].height, shapes[i].width) == (first.height, first.width)),
            _ => from.truncate(1),
        }
        let channels = from.iter().map(|&i| shapes[i].channels).sum();
        let Some(shape) = output(operation, Shape { channels, ..first }) else { continue };
        layers.push(Layer {
            name: format!("layer{}", layers.len()),
            inputs: from.into_iter().map(source).collect(),
            operation: operation.clone(),
        });
        shapes.push(shape);
    }
    let head = Head::Region(RegionHead { anchors: vec![Anchor(1.0, 1.0)] });
    let classes = vec!["thing".to_owned()];
    layers.push(Layer {
        name: "prediction".into(),
        inputs: vec![source(shapes.len() - 1)],
        operation: Operation::Convolution(Convolution {
            filters: head.outputs(classes.len()),
            kernel: 1,
            stride: 1,
            precision: Precision::Full,
            batch_norm: false,
            activation: Activation::Linear,
        }),
    });
    Network::new(Description { name: "random".into(), input, classes, layers, head }).unwrap()
}

/// Output shape, or none if the operation does not fit or makes a map larger than a small test wants.
fn output(operation: &Operation, source: Shape) -> Option<Shape> {
    let blocks = |block: usize| {
        let fits = source.height.is_multiple_of(block) && source.width.is_multiple_of(block);
        fits.then_some(Shape { height: source.height / block, width: source.width / block, ..source })
    };
    let shape = match operation {
        Operation::Convolution(c) => Shape { channels: c.filters, ..source.strided(c.stride) },
        Operation::Depthwise(d) => source.strided(d.stride),
        Operation::MaxPool => blocks(2)?,
        Operation::SpaceToDepth { block } => Shape { channels: source.channels * block * block, ..blocks(*block)? },
        Operation::Concat => source,
    };
    (shape.channels <= 600 || matches!(operation, Operation::Convolution(_))).then_some(shape)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From −1 to 1, and never 0, which no model may have as a scale.
    pub(super) fn float(&mut self) -> f32 {
        ((self.next() >> 41) * 2 + 1) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| scale * self.float()).collect()
    }
}

/// Random weights that keep values at about the same size from layer to layer.
pub(super) fn weights(network: &Network, random: &mut Random) -> Vec<LayerWeights> {
    let layer = |(index, layer): (usize, &Layer)| {
        let filters = network.shapes()[index].channels;
        let (precision, inputs) = match &layer.operation {
            Operation::Convolution(c) => (c.precision, network.source_shape(layer.inputs[0]).channels * c.kernel * c.kernel),
            Operation::Depthwise(_) => (Precision::Full, 9),
            _ => return LayerWeights::None,
        };
        let gain = 1.7 / (inputs as f32).sqrt();
        let bias = random.floats(filters, 0.5);
        match precision {
            Precision::Binary => {
                let latent = random.floats(filters * inputs, 1.0);
                LayerWeights::Binary(BinaryWeights::pack(&latent, inputs, random.floats(filters, gain), bias))
            }
            Precision::Full => {
                LayerWeights::Full(FullWeights { weights: random.floats(filters * inputs, gain), inputs, bias })
            }
        }
    };
    network.layers().iter().enumerate().map(layer).collect()
}

pub(super) fn image(input: InputSize, random: &mut Random) -> RgbImage {
    RgbImage::from_fn(input.width as u32, input.height as u32, |_, _| image::Rgb([(); 3].map(|()| random.next() as u8)))
}

pub(super) fn uncalibrated(network: Network, random: &mut Random) -> Model {
    let weights = weights(&network, random);
    let (preprocessing, provenance) = (Preprocessing::default(), Provenance::default());
    Model { network, weights, quantization: None, preprocessing, provenance }
}

/// With activation ranges that are calibrated, then widened, narrowed and shifted at random.
pub(super) fn calibrated(network: Network, random: &mut Random) -> Model {
    let mut model = uncalibrated(network, random);
    let picture = image(model.network.input(), random);
    let mut quantization = calibrate::calibrate(&model, [picture]).unwrap();
    let ranges = calibrate::ranges(&model.network);
    for (index, range) in ranges.iter().enumerate() {
        quantization[index] = match *range {
            Source::Image => IMAGE,
            Source::Layer(first) if first < index => quantization[first],
            Source::Layer(_) => Quantization {
                scale: quantization[index].scale * (1.5 * random.float()).exp2(),
                zero_point: quantization[index].zero_point.saturating_add_signed((40.0 * random.float()) as i8),
            },
        };
    }
    model.quantization = Some(quantization);
    model
}
