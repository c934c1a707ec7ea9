//! Activation ranges for int8 mode.
//!
//! The network runs in f32 mode over real images, and every layer's values are counted. The range of a layer is the one
//! with the least mean squared error over these values: a wider one rounds more coarsely, a narrower one clips. 0 always
//! lies in the range and is exact. Layers whose values a pool, a space-to-depth or a concatenation only moves or joins
//! share one range with it, so that those layers need no arithmetic; if the image is among them, its range.

use super::{EngineError, Mode, Options, Session, arithmetic::IMAGE};
use crate::{
    model_file::{Model, Quantization},
    network::{Network, Operation, Source},
};
use image::RgbImage;
use std::borrow::Borrow;

/// Measures the activation range of every layer over images of the network's input size.
///
/// # Errors
/// If there is no image, an image has another size, a layer's values are not finite, or the model cannot run.
pub fn calibrate<I>(model: &Model, inputs: I) -> Result<Vec<Quantization>, EngineError>
where
    I: IntoIterator,
    I::Item: Borrow<RgbImage>,
{
    let options = Options { mode: Mode::F32, keep_layers: true, ..Options::default() };
    let mut session = Session::new(model, &options)?;
    let network = &model.network;
    let ranges = ranges(network);
    let mut histograms = vec![Histogram::default(); network.layers().len()];
    let mut images = 0;
    for image in inputs {
        write_image(&mut session, images, image.borrow())?;
        session.run();
        for (layer, range) in ranges.iter().enumerate() {
            let Source::Layer(range) = *range else { continue };
            let values = session.layer(layer);
            if !values.iter().all(|value| histograms[range].count(*value)) {
                let layer = network.layers()[layer].name.clone();
                return Err(EngineError::NotFinite { index: images, layer });
            }
        }
        images += 1;
    }
    if images == 0 {
        return Err(EngineError::NoImages);
    }
    let quantization = |range: &Source| match *range {
        Source::Image => IMAGE,
        Source::Layer(range) => histograms[range].quantization(),
    };
    Ok(ranges.iter().map(quantization).collect())
}

fn write_image(session: &mut Session, index: usize, image: &RgbImage) -> Result<(), EngineError> {
    let size = session.network().input();
    if (image.width() as usize, image.height() as usize) != (size.width, size.height) {
        return Err(EngineError::ImageSize {
            index,
            found_width: image.width(),
            found_height: image.height(),
            width: size.width,
            height: size.height,
        });
    }
    let mut input = session.input_mut();
    for (y, row) in image.as_raw().chunks_exact(3 * size.width).enumerate() {
        input.write_row(y, row);
    }
    Ok(())
}

/// For each layer, the first source (or the image) with which it shares its range.
pub(super) fn ranges(network: &Network) -> Vec<Source> {
    // Position 0 is the image, position i + 1 layer i; each points to one that is not after it.
    let position = |source: &Source| match *source {
        Source::Image => 0,
        Source::Layer(index) => index + 1,
    };
    let mut first: Vec<usize> = (0..=network.layers().len()).collect();
    for (index, layer) in network.layers().iter().enumerate() {
        let moves = matches!(layer.operation, Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat);
        for source in layer.inputs.iter().filter(|_| moves) {
            let (a, b) = (first[position(source)], first[index + 1]);
            for f in first.iter_mut().filter(|f| **f == a.max(b)) {
                *f = a.min(b);
            }
        }
    }
    let source = |&first: &usize| if first == 0 { Source::Image } else { Source::Layer(first - 1) };
    first[1..].iter().map(source).collect()
}

/// Counts of values by magnitude, 16 steps to each factor of 2, negative and positive apart.
#[derive(Clone)]
struct Histogram {
    negative: Vec<u64>,
    positive: Vec<u64>,
}

/// Bits of a float below those that tell its step: a step is what the sign-less float's upper bits say.
const STEP_BITS: u32 = f32::MANTISSA_DIGITS - 1 - 4;
/// Steps of finite floats.
const STEPS: usize = (f32::INFINITY.to_bits() >> STEP_BITS) as usize;
/// How many steps below the largest value a range may end: a factor of 16.
const CLIPPED_STEPS: usize = 4 * 16;

impl Default for Histogram {
    fn default() -> Self {
        Self { negative: vec![0; STEPS], positive: vec![0; STEPS] }
    }
}

impl Histogram {
    /// Counts a value; false if it is not finite.
    fn count(&mut self, value: f32) -> bool {
        let side = if value < 0.0 { &mut self.negative } else { &mut self.positive };
        let step = side.get_mut((value.abs().to_bits() >> STEP_BITS) as usize);
        step.map(|count| *count += 1).is_some()
    }

    /// The range with the least squared error.
    fn quantization(&self) -> Quantization {
        let (mut low, mut high) = (ends(&self.negative)[0], ends(&self.positive)[0]);
        // The ends depend on each other only through the step between two bytes: two rounds settle them.
        for _ in 0..2 {
            high = best(&self.positive, |end| self.error(low, end));
            low = best(&self.negative, |end| self.error(end, high));
        }
        from_range(low, high)
    }

    /// Sum of squared errors if the bytes span `-low..high`.
    fn error(&self, low: f64, high: f64) -> f64 {
        let rounding = ((low + high) / 255.0).powi(2) / 12.0;
        let side = |counts: &[u64], end: f64| -> f64 {
            let nonzero = counts.iter().enumerate().filter(|&(_, &count)| count > 0);
            let error = |(step, &count): (usize, &u64)| {
                let value = middle(step);
                // What is far below a byte's step becomes 0.
                count as f64 * if value > end { (value - end).powi(2) } else { rounding.min(value * value) }
            };
            nonzero.map(error).sum()
        };
        side(&self.negative, low) + side(&self.positive, high)
    }
}

/// Where a side of a range may end: the largest value's step, and those below it.
fn ends(counts: &[u64]) -> Vec<f64> {
    match counts.iter().rposition(|&count| count > 0) {
        // Step 0 holds only 0 and what is next to it.
        None | Some(0) => vec![0.0],
        Some(last) => (last.saturating_sub(CLIPPED_STEPS)..=last).rev().map(|step| lower_edge(step + 1)).collect(),
    }
}

fn best(counts: &[u64], error: impl Fn(f64) -> f64) -> f64 {
    let candidates = ends(counts);
    candidates.into_iter().min_by(|&a, &b| error(a).total_cmp(&error(b))).expect("there is always one end")
}

fn lower_edge(step: usize) -> f64 {
    f64::from(f32::from_bits((step as u32) << STEP_BITS).min(f32::MAX))
}

fn middle(step: usize) -> f64 {
    (lower_edge(step) + lower_edge(step + 1)) / 2.0
}

/// Bytes that span `-low..high` with 0 exact.
fn from_range(low: f64, high: f64) -> Quantization {
    // A layer that is 0 everywhere can have any scale.
    let span = if low + high > 0.0 { low + high } else { 1.0 };
    let zero_point = (255.0 * low / span).round();
    // Rounding the zero point moves the ends; the scale grows until both are inside again.
    let below = if zero_point > 0.0 { low / zero_point } else { 0.0 };
    let above = if zero_point < 255.0 { (span - low) / (255.0 - zero_point) } else { 0.0 };
    let scale = (below.max(above) as f32).max(f32::MIN_POSITIVE);
    Quantization { scale, zero_point: zero_point as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::default();
        assert!(values.into_iter().all(|value| histogram.count(value)));
        histogram
    }

    #[test]
    fn even_values_are_not_clipped() {
        let q = histogram((-100..=1000).map(|i| i as f32 / 100.0)).quantization();
        let (low, high) = (-f32::from(q.zero_point) * q.scale, (255.0 - f32::from(q.zero_point)) * q.scale);
        assert!((-1.13..=-0.97).contains(&low), "{low}");
        assert!((9.7..=10.7).contains(&high), "{high}");
    }

    #[test]
    fn a_rare_outlier_is_clipped() {
        let many = (0..1_000_000).map(|i| i as f32 / 1_000_000.0);
        let q = histogram(many.clone().chain([8.0])).quantization();
        assert!(q.scale * 255.0 < 4.0, "{q:?}");
        // The squared error over the values themselves, against a range that holds all of them.
        let error = |scale: f32| -> f32 {
            let one = |x: f32| ((x / scale).round().clamp(0.0, 255.0) * scale - x).powi(2);
            many.clone().chain([8.0]).map(one).sum()
        };
        assert!(error(q.scale) <= error(8.0 / 255.0), "{} > {}", error(q.scale), error(8.0 / 255.0));
    }

    #[test]
    fn one_sided_and_empty_ranges_keep_zero() {
        assert_eq!(histogram([0.0, 1.0, 2.0]).quantization().zero_point, 0);
        assert_eq!(histogram([0.0, -1.0, -2.0]).quantization().zero_point, 255);
        let nothing = histogram([0.0, -0.0]).quantization();
        assert_eq!(nothing.zero_point, 0);
        assert!(nothing.scale > 0.0);
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Histogram::default().count(value));
        }
        assert!(Histogram::default().count(f32::MAX));
    }
}
