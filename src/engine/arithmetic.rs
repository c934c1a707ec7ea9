//! The numbers of a layer: the formula that every kernel computes, and the constants in it.
//!
//! # The formula
//! For each filter, with the sum `acc` of its weights times its inputs:
//! ```text
//! y = fma(acc, s, b)              one rounding
//! y = max(y, slope · y)           slope 1 linear, 0.1 leaky, 0 relu
//! q = clamp(round_ties_even(y) + z_out, 0, 255)
//! ```
//! In f32 mode `acc` is a sum of floats in any order, `s` and `b` are the layer's scale and bias, and `y` is the output.
//!
//! In int8 mode a value `x` is kept as a byte `q` with `x = scale · (q − zero_point)`; the image has scale 1/255 and
//! zero point 0; outside a map lies its zero point. `acc` is an exact `i32` sum over bytes, rounded to `f32` once (for
//! binary weights it is below 2²⁴, so that even this is exact). `s` and `b` count in units of the output's scale:
//! ```text
//! s = scale · scale_in / scale_out
//! b = bias / scale_out − s · z_in · Σ weights
//! ```
//! both computed in `f64` and rounded once. The last layer is not requantised: its `scale_out` is 1 and `y` its output.
//!
//! Full-precision weights become integers in int8 mode, symmetric, with one unit for each filter of `K` weights:
//! `w_q = round_ties_even(w / unit)`, `unit = max |w| / limit`, `limit = min(32767, ⌊(2³¹ − 1) / (255·K)⌋)`, so that no
//! sum overflows; `unit` is then the `scale` above.
//!
//! A layer whose `y` could reach 2³¹ is refused: there conversions to integers differ between CPUs.

use crate::{
    model_file::{BinaryWeights, FullWeights, LayerWeights, Quantization},
    network::Activation,
};

/// What the image's bytes mean.
pub(super) const IMAGE: Quantization = Quantization { scale: 1.0 / 255.0, zero_point: 0 };

/// Bound on `|y|` in int8 mode.
const LARGEST: f64 = (1u64 << 31) as f64;

/// The weights of a layer as its kernel multiplies them. Within a filter they stand as `[channel, ky, kx]`.
pub(super) enum Weights<'a> {
    /// ±1.
    Bits(&'a BinaryWeights),
    /// Integers, `[filters, inputs]`: full-precision weights in int8 mode.
    Integers(Vec<i16>),
    /// Floats, `[filters, inputs]`: full-precision weights in f32 mode.
    Floats(&'a [f32]),
}

/// What follows the sum: scale, bias, activation.
#[derive(Clone, Debug)]
pub(super) struct Epilogue {
    /// One for each filter.
    pub(super) scale: Vec<f32>,
    /// One for each filter.
    pub(super) bias: Vec<f32>,
    /// Slope of the activation for negative values.
    pub(super) slope: f32,
}

impl Epilogue {
    /// One output, from the sum of its filter.
    #[inline]
    pub(super) fn apply(&self, filter: usize, sum: f32) -> f32 {
        let y = sum.mul_add(self.scale[filter], self.bias[filter]);
        y.max(self.slope * y)
    }
}

/// The byte that stands for `y`, which counts in units of the scale.
#[inline]
pub(super) fn to_byte(y: f32, zero_point: u8) -> u8 {
    (y.round_ties_even() + f32::from(zero_point)).clamp(0.0, 255.0) as u8
}

/// Weights and epilogue in f32 mode.
pub(super) fn float<'a>(weights: &'a LayerWeights, activation: Activation) -> (Weights<'a>, Epilogue) {
    let (weights, scale, bias) = match weights {
        LayerWeights::Binary(w) => (Weights::Bits(w), w.scale.clone(), w.bias.clone()),
        LayerWeights::Full(w) => (Weights::Floats(&w.weights), vec![1.0; w.bias.len()], w.bias.clone()),
        LayerWeights::None => unreachable!("only convolutions have weights, and theirs were checked"),
    };
    (weights, Epilogue { scale, bias, slope: activation.negative_slope() })
}

/// Weights and epilogue in int8 mode; `output` is `None` for the last layer. Or why the numbers do not fit.
pub(super) fn quantized<'a>(
    weights: &'a LayerWeights,
    activation: Activation,
    input: Quantization,
    output: Option<Quantization>,
) -> Result<(Weights<'a>, Epilogue), String> {
    let units = Units { input, output_scale: output.map_or(1.0, |q| f64::from(q.scale)) };
    let (weights, constants) = match weights {
        LayerWeights::Binary(w) => (Weights::Bits(w), units.binary(w)),
        LayerWeights::Full(w) => {
            let (integers, constants) = units.full(w);
            (Weights::Integers(integers), constants)
        }
        LayerWeights::None => unreachable!("only convolutions have weights, and theirs were checked"),
    };
    for (filter, c) in constants.iter().enumerate() {
        let fits = c.reach < LARGEST; // NaN does not
        if !fits {
            return Err(format!(
                "filter {filter} could reach {:e} in units of the output's scale, 2^31 is too much",
                c.reach
            ));
        }
    }
    let scale = constants.iter().map(|c| c.scale).collect();
    let bias = constants.iter().map(|c| c.bias).collect();
    Ok((weights, Epilogue { scale, bias, slope: activation.negative_slope() }))
}

/// `s` and `b` of one filter, and a bound on `|y|`.
struct Constants {
    scale: f32,
    bias: f32,
    reach: f64,
}

/// The scales around a layer.
struct Units {
    input: Quantization,
    output_scale: f64,
}

impl Units {
    fn binary(&self, weights: &BinaryWeights) -> Vec<Constants> {
        let constants = |filter| {
            let sum = weights.sign_sum(filter);
            self.fold(f64::from(weights.scale[filter]), weights.bias[filter], sum.into(), weights.inputs as i64)
        };
        (0..weights.filters()).map(constants).collect()
    }

    fn full(&self, weights: &FullWeights) -> (Vec<i16>, Vec<Constants>) {
        let limit = (i64::from(i32::MAX) / (255 * weights.inputs as i64)).min(i64::from(i16::MAX)) as f64;
        let mut integers = Vec::with_capacity(weights.weights.len());
        let quantize = |(filter, &bias): (&[f32], &f32)| {
            let largest = filter.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            // A filter of zeros keeps zeros, whatever the unit.
            let unit = if largest > 0.0 { f64::from(largest) / limit } else { 1.0 };
            let first = integers.len();
            integers.extend(filter.iter().map(|&w| (f64::from(w) / unit).round_ties_even() as i16));
            let sum = integers[first..].iter().map(|&w| i64::from(w)).sum();
            let magnitude = integers[first..].iter().map(|&w| i64::from(w).abs()).sum();
            self.fold(unit, bias, sum, magnitude)
        };
        let constants = weights.weights.chunks_exact(weights.inputs).zip(&weights.bias).map(quantize).collect();
        (integers, constants)
    }

    /// `sum` and `magnitude` are those of the filter's integer weights.
    fn fold(&self, unit: f64, bias: f32, sum: i64, magnitude: i64) -> Constants {
        let scale = (unit * f64::from(self.input.scale) / self.output_scale) as f32;
        let zero = f64::from(scale) * f64::from(self.input.zero_point) * sum as f64;
        let bias = (f64::from(bias) / self.output_scale - zero) as f32;
        let reach = f64::from(scale.abs()) * 255.0 * magnitude as f64 + f64::from(bias.abs());
        Constants { scale, bias, reach }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_even_and_clamped() {
        let cases =
            [(0.5, 0, 0), (1.5, 0, 2), (2.5, 10, 12), (-0.5, 10, 10), (-1.5, 10, 8), (-11.0, 10, 0), (244.5, 10, 254)];
        for (y, zero_point, expected) in cases {
            assert_eq!(to_byte(y, zero_point), expected, "{y} with zero point {zero_point}");
        }
        for y in [245.5, 1e9, 2_147_483_500.0] {
            assert_eq!(to_byte(y, 10), 255);
            assert_eq!(to_byte(-y, 10), 0);
        }
    }

    #[test]
    fn a_hand_worked_binary_filter() {
        // Weights + + −, scale 0.5, bias 1; inputs of scale 0.1 around 10; outputs of scale 0.2.
        let weights = BinaryWeights::pack(&[1.0, 1.0, -1.0], 3, vec![0.5], vec![1.0]);
        let input = Quantization { scale: 0.1, zero_point: 10 };
        let output = Quantization { scale: 0.2, zero_point: 20 };
        let weights = LayerWeights::Binary(weights);
        let (_, epilogue) = quantized(&weights, Activation::Leaky, input, Some(output)).unwrap();
        assert_eq!(epilogue.scale, [0.25]); // 0.5 · 0.1 / 0.2
        assert_eq!(epilogue.bias, [2.5]); // 1 / 0.2 − 0.25 · 10 · (1 + 1 − 1)
        // Bytes 30, 10, 50 are 2, 0, 4: 0.5 · (2 + 0 − 4) + 1 = 0.
        assert_eq!(epilogue.apply(0, (30 + 10 - 50) as f32), 0.0);
        // Bytes 10, 10, 90 are 0, 0, 8: 0.5 · −8 + 1 = −3, leaky −0.3, in units of 0.2: −1.5, even: −2.
        let y = epilogue.apply(0, (10 + 10 - 90) as f32);
        assert_eq!(y, -1.5);
        assert_eq!(to_byte(y, 20), 18);
    }

    #[test]
    fn full_weights_use_the_whole_range_and_cannot_overflow() {
        for (inputs, largest) in [(1, 32767), (27, 32767), (1024, 8224), (65_793, 128)] {
            let mut weights = vec![0.25; inputs];
            weights[0] = -0.5;
            let weights = LayerWeights::Full(FullWeights { weights, inputs, bias: vec![0.0] });
            let output = Some(Quantization { scale: 1.0, zero_point: 0 });
            let (weights, epilogue) = quantized(&weights, Activation::Linear, IMAGE, output).unwrap();
            let Weights::Integers(integers) = weights else { panic!("full weights become integers") };
            assert_eq!(i64::from(integers[0]), -largest);
            assert!(integers.iter().map(|w| i64::from(w.abs()) * 255).sum::<i64>() < 1 << 31);
            let back = f64::from(epilogue.scale[0]) * 255.0 * f64::from(integers[0]);
            assert!((back + 0.5).abs() < 1e-6, "{back}");
        }
    }

    #[test]
    fn what_could_reach_2_to_the_31_is_refused() {
        let output = Some(Quantization { scale: 1e-6, zero_point: 0 });
        let weights = |scale, bias| LayerWeights::Binary(BinaryWeights::pack(&[1.0; 100], 100, vec![scale], vec![bias]));
        assert!(quantized(&weights(20.0, 0.0), Activation::Linear, IMAGE, output).is_ok());
        for (scale, bias) in [(22.0, 0.0), (-22.0, 0.0), (1.0, 3000.0), (f32::NAN, 0.0), (1.0, f32::NAN)] {
            let error = quantized(&weights(scale, bias), Activation::Linear, IMAGE, output).err().expect("refused");
            assert!(error.contains("filter 0") && error.contains("2^31"), "{error}");
        }
    }
}
