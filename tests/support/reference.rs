//! The networks once more, as plainly as they can be written, in 64-bit floats: what exports and kernels are compared with.

use ndarray::{Array3, Axis, concatenate};
use onebit_detector::{
    model_file::{LayerWeights, Model},
    network::{Activation, Operation, Source},
};

/// Output `[channels, height, width]` of every layer for an image `[3, height, width]`.
pub(crate) fn run(model: &Model, image: &Array3<f32>) -> Vec<Array3<f64>> {
    let image = image.mapv(f64::from);
    let mut outputs: Vec<Array3<f64>> = Vec::new();
    for (layer, weights) in model.network.layers().iter().zip(&model.weights) {
        let source = |source: &Source| match *source {
            Source::Image => image.view(),
            Source::Layer(index) => outputs[index].view(),
        };
        let sources: Vec<_> = layer.inputs.iter().map(source).collect();
        let x = sources[0].to_owned();
        let output = match &layer.operation {
            Operation::Convolution(c) => {
                let y = convolution(&x, &filters(weights), c.kernel, c.stride, false);
                y.mapv(|y| activate(c.activation, y))
            }
            Operation::Depthwise(d) => {
                let y = convolution(&x, &filters(weights), 3, d.stride, true);
                y.mapv(|y| activate(d.activation, y))
            }
            Operation::MaxPool => {
                let (channels, height, width) = x.dim();
                Array3::from_shape_fn((channels, height / 2, width / 2), |(c, i, j)| {
                    let window = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(di, dj)| x[(c, 2 * i + di, 2 * j + dj)]);
                    window.into_iter().fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Operation::SpaceToDepth { block } => {
                let (channels, height, width) = x.dim();
                let mut y = Array3::zeros((channels * block * block, height / block, width / block));
                for ((c, row, column), value) in x.indexed_iter() {
                    let (dy, dx) = (row % block, column % block);
                    y[((dy * block + dx) * channels + c, row / block, column / block)] = *value;
                }
                y
            }
            Operation::Concat => concatenate(Axis(0), &sources).unwrap(),
        };
        outputs.push(output);
    }
    outputs
}

/// Weights and bias of each filter, the weights as `[channel, ky, kx]`.
fn filters(weights: &LayerWeights) -> Vec<(Vec<f64>, f64)> {
    match weights {
        LayerWeights::Binary(b) => {
            let row_bytes = b.bits.len() / b.scale.len();
            let weight = |filter: usize, input: usize| {
                let bit = b.bits[filter * row_bytes + input / 8] / 2u8.pow(input as u32 % 8) % 2;
                f64::from(b.scale[filter]) * (2.0 * f64::from(bit) - 1.0)
            };
            let filter = |filter| ((0..b.inputs).map(|i| weight(filter, i)).collect(), f64::from(b.bias[filter]));
            (0..b.scale.len()).map(filter).collect()
        }
        LayerWeights::Full(f) => {
            let rows = f.weights.chunks(f.inputs).map(|row| row.iter().copied().map(f64::from).collect());
            rows.zip(f.bias.iter().copied().map(f64::from)).collect()
        }
        LayerWeights::None => panic!("a convolution without weights"),
    }
}

fn convolution(x: &Array3<f64>, filters: &[(Vec<f64>, f64)], kernel: usize, stride: usize, depthwise: bool) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let pad = kernel / 2;
    let shape = (filters.len(), height.div_ceil(stride), width.div_ceil(stride));
    Array3::from_shape_fn(shape, |(f, i, j)| {
        let (weights, bias) = &filters[f];
        let read = if depthwise { f..f + 1 } else { 0..channels };
        let mut sum = *bias;
        for (c, plane) in read.zip(weights.chunks(kernel * kernel)) {
            for (tap, weight) in plane.iter().enumerate() {
                let (row, column) = (i * stride + tap / kernel, j * stride + tap % kernel);
                // Outside of the map, which starts `pad` further, are zeros.
                if (pad..pad + height).contains(&row) && (pad..pad + width).contains(&column) {
                    sum += weight * x[(c, row - pad, column - pad)];
                }
            }
        }
        sum
    })
}

fn activate(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Linear => y,
        Activation::Relu => y.max(0.0),
        Activation::Leaky => y.max(y * f64::from(0.1f32)),
    }
}
