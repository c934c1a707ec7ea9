//! Models that the tests use.

use onebit_detector::{
    model_file::{Model, Quantization},
    network::{
        Activation, Anchor, Convolution, Depthwise, Description, Head, InputSize, Layer, Network, NetworkSpec, Operation,
        Precision, RegionHead, Source, Topology,
    },
};

/// One of the three networks.
pub(crate) fn network(topology: Topology, width: f64, input: &str) -> Network {
    let spec = NetworkSpec { width, input: input.parse().unwrap(), ..NetworkSpec::preset(topology) };
    spec.build().unwrap()
}

/// The model with some range for each layer, as if it were calibrated.
pub(crate) fn calibrated(model: Model) -> Model {
    let ranges = (0..model.network.layers().len())
        .map(|index| Quantization { scale: 0.01 + index as f32 / 1000.0, zero_point: index as u8 })
        .collect();
    Model { quantization: Some(ranges), ..model }
}

/// A small network with a layer of each kind; sides are odd, filters take no whole number of bytes.
pub(crate) fn tiny() -> Network {
    let convolution = |filters, kernel, precision, batch_norm| {
        let activation = if batch_norm { Activation::Leaky } else { Activation::Linear };
        Operation::Convolution(Convolution { filters, kernel, stride: 1, precision, batch_norm, activation })
    };
    let layers = [
        ("first", vec![Source::Image], convolution(3, 3, Precision::Full, true)),
        ("depthwise", vec![Source::Layer(0)], Operation::Depthwise(Depthwise { stride: 2, activation: Activation::Relu })),
        ("bits", vec![Source::Layer(1)], convolution(2, 3, Precision::Binary, true)),
        ("biased", vec![Source::Layer(2)], convolution(2, 1, Precision::Binary, false)),
        ("pool", vec![Source::Layer(3)], Operation::MaxPool),
        ("reorg", vec![Source::Layer(3)], Operation::SpaceToDepth { block: 2 }),
        ("joined", vec![Source::Layer(4), Source::Layer(5)], Operation::Concat),
        ("prediction", vec![Source::Layer(6)], convolution(6, 1, Precision::Full, false)),
    ];
    let layer = |(name, inputs, operation): (&str, _, _)| Layer { name: name.into(), inputs, operation };
    Network::new(Description {
        name: "tiny".into(),
        input: InputSize { width: 11, height: 7 },
        classes: vec!["car".into()],
        layers: layers.map(layer).into(),
        head: Head::Region(RegionHead { anchors: vec![Anchor(1.0, 1.5)] }),
    })
    .unwrap()
}
