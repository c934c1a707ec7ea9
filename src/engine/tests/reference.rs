//! What every operation means, written down once more: loops over arrays, nothing shared with the engine.

use crate::{
    model_file::{LayerWeights, Model, Quantization},
    network::{Activation, Operation},
};
use ndarray::{Array3, Axis, concatenate};

/// One layer in `f64`, and for each value the sum of the magnitudes that were added for it.
pub(super) fn float_layer(model: &Model, index: usize, inputs: &[Array3<f64>]) -> (Array3<f64>, Array3<f64>) {
    let activate = |y: f64, activation: Activation| match activation {
        Activation::Linear => y,
        Activation::Relu => y.max(0.0),
        Activation::Leaky => y.max(0.1 * y),
    };
    let convolve = |kernel, stride, depthwise, activation| {
        let (scale, bias, weight) = real_weights(&model.weights[index]);
        let shape = output_shape(model, index);
        let mut magnitudes = Array3::zeros(shape);
        let values = Array3::from_shape_fn(shape, |(f, y, x)| {
            let (mut sum, mut magnitude) = (0.0, bias[f].abs());
            window(&inputs[0], (f, y, x), kernel, stride, depthwise, 0.0, |input, value| {
                sum += weight(f, input) * value;
                magnitude += (scale[f] * weight(f, input) * value).abs();
            });
            magnitudes[(f, y, x)] = magnitude;
            activate(scale[f] * sum + bias[f], activation)
        });
        (values, magnitudes)
    };
    match &model.network.layers()[index].operation {
        Operation::Convolution(c) => convolve(c.kernel, c.stride, false, c.activation),
        Operation::Depthwise(d) => convolve(3, d.stride, true, d.activation),
        other => {
            let moved = moved(other, inputs);
            (moved.clone(), Array3::zeros(moved.dim()))
        }
    }
}

/// One layer over bytes.
pub(super) fn byte_layer(model: &Model, index: usize, inputs: &[Array3<u8>], read: Quantization) -> Array3<u8> {
    match &model.network.layers()[index].operation {
        Operation::Convolution(_) | Operation::Depthwise(_) => {
            let out = model.quantization.as_ref().unwrap()[index];
            byte_convolution(model, index, &inputs[0], read, out.scale)
                .mapv(|y| (y.round_ties_even() as i64 + i64::from(out.zero_point)).clamp(0, 255) as u8)
        }
        other => moved(other, inputs),
    }
}

/// A convolution over bytes, before it becomes bytes again: in units of `out_scale`.
pub(super) fn byte_convolution(
    model: &Model,
    index: usize,
    input: &Array3<u8>,
    read: Quantization,
    out_scale: f32,
) -> Array3<f32> {
    let (kernel, stride, depthwise, activation) = match &model.network.layers()[index].operation {
        Operation::Convolution(c) => (c.kernel, c.stride, false, c.activation),
        Operation::Depthwise(d) => (3, d.stride, true, d.activation),
        _ => panic!("not a convolution"),
    };
    let filters = integer_weights(&model.weights[index]);
    Array3::from_shape_fn(output_shape(model, index), |(f, y, x)| {
        let (unit, bias, weights) = &filters[f];
        let mut acc = 0i64;
        window(input, (f, y, x), kernel, stride, depthwise, read.zero_point, |input, byte| {
            acc += weights[input] * i64::from(byte);
        });
        let acc = i32::try_from(acc).expect("a sum fits 32 bits");
        let s = (unit * f64::from(read.scale) / f64::from(out_scale)) as f32;
        let total = weights.iter().sum::<i64>() as f64;
        let b = (f64::from(*bias) / f64::from(out_scale) - f64::from(s) * f64::from(read.zero_point) * total) as f32;
        let y = (acc as f32).mul_add(s, b);
        match activation {
            Activation::Linear => y,
            Activation::Relu if y < 0.0 => 0.0,
            Activation::Leaky if y < 0.0 => y * 0.1,
            _ => y,
        }
    })
}

/// Unit, bias and integers of each filter.
fn integer_weights(weights: &LayerWeights) -> Vec<(f64, f32, Vec<i64>)> {
    match weights {
        LayerWeights::Binary(w) => (0..w.scale.len())
            .map(|f| {
                let signs = (0..w.inputs).map(|i| if w.is_positive(f, i) { 1 } else { -1 }).collect();
                (f64::from(w.scale[f]), w.bias[f], signs)
            })
            .collect(),
        LayerWeights::Full(w) => (0..w.bias.len())
            .map(|f| {
                let row = &w.weights[f * w.inputs..(f + 1) * w.inputs];
                let largest = row.iter().map(|w| f64::from(*w).abs()).fold(0.0, f64::max);
                let limit = 32767.min(((1i64 << 31) - 1) / (255 * w.inputs as i64));
                let unit = if largest == 0.0 { 1.0 } else { largest / limit as f64 };
                let integers = row.iter().map(|&w| (f64::from(w) / unit).round_ties_even() as i64).collect();
                (unit, w.bias[f], integers)
            })
            .collect(),
        LayerWeights::None => panic!("no weights"),
    }
}

type Weight<'a> = Box<dyn Fn(usize, usize) -> f64 + 'a>;

/// Scales, biases and the weight of each filter and input.
fn real_weights(weights: &LayerWeights) -> (Vec<f64>, Vec<f64>, Weight<'_>) {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    match weights {
        LayerWeights::Binary(w) => {
            let weight = |f, i| if w.is_positive(f, i) { 1.0 } else { -1.0 };
            (wide(&w.scale), wide(&w.bias), Box::new(weight))
        }
        LayerWeights::Full(w) => {
            let weight = |f, i| f64::from(w.weights[f * w.inputs + i]);
            (vec![1.0; w.bias.len()], wide(&w.bias), Box::new(weight))
        }
        LayerWeights::None => panic!("no weights"),
    }
}

/// Calls `each` with every input of a window, counted as a model counts it, and its value.
fn window<T: Copy>(
    input: &Array3<T>,
    (f, y, x): (usize, usize, usize),
    kernel: usize,
    stride: usize,
    depthwise: bool,
    outside: T,
    mut each: impl FnMut(usize, T),
) {
    let (channels, height, width) = input.dim();
    let mut index = 0;
    for c in if depthwise { f..f + 1 } else { 0..channels } {
        for ky in 0..kernel {
            for kx in 0..kernel {
                let (py, px) = (y * stride + ky, x * stride + kx);
                let pad = kernel / 2;
                let inside = (pad..height + pad).contains(&py) && (pad..width + pad).contains(&px);
                each(index, if inside { input[(c, py - pad, px - pad)] } else { outside });
                index += 1;
            }
        }
    }
}

fn moved<T: Copy + PartialOrd>(operation: &Operation, inputs: &[Array3<T>]) -> Array3<T> {
    let (channels, height, width) = inputs[0].dim();
    match operation {
        Operation::MaxPool => Array3::from_shape_fn((channels, height / 2, width / 2), |(c, y, x)| {
            let corners = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| inputs[0][(c, 2 * y + dy, 2 * x + dx)]);
            corners.into_iter().reduce(|a, b| if a > b { a } else { b }).unwrap()
        }),
        Operation::SpaceToDepth { block: b } => {
            Array3::from_shape_fn((channels * b * b, height / b, width / b), |(c, y, x)| {
                let (tap, c) = (c / channels, c % channels);
                inputs[0][(c, y * b + tap / b, x * b + tap % b)]
            })
        }
        Operation::Concat => concatenate(Axis(0), &inputs.iter().map(|input| input.view()).collect::<Vec<_>>()).unwrap(),
        Operation::Convolution(_) | Operation::Depthwise(_) => panic!("does more than move"),
    }
}

fn output_shape(model: &Model, index: usize) -> (usize, usize, usize) {
    let shape = model.network.shapes()[index];
    (shape.channels, shape.height, shape.width)
}
