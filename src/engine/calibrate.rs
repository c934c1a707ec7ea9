//! Activation ranges for int8 mode.
//!
//! The network runs in f32 mode over real images. The range of a layer reaches from the mean of its smallest values in each
//! image to the mean of its largest, and half as far again. The mean, because the few images that excite a layer far more
//! than the others would make every step between two bytes coarse: most values are small, a leaky activation's negative
//! ones above all, and those that a coarse step rounds to 0 are missing in every sum of the next layer, always in one
//! direction. (The range of least squared error follows those few images, too.) Half as far again, so that little is
//! clipped in the other images. 0 always lies in the range and is exact. Layers whose values a pool, a space-to-depth or a
//! concatenation only moves or joins share one range with it, so that those layers need no arithmetic; if the image is
//! among them, its range.

use super::{EngineError, Mode, Options, Session, arithmetic::IMAGE};
use crate::{
    model_file::{Model, Quantization},
    network::{Network, Operation, Source},
};
use image::RgbImage;
use std::borrow::Borrow;

/// The range over the mean of the extremes.
const HEADROOM: f64 = 1.5;

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
    let mut sums = vec![Extent::default(); network.layers().len()];
    let mut images = 0;
    for image in inputs {
        write_image(&mut session, images, image.borrow())?;
        session.run();
        let mut extents = vec![Extent::default(); sums.len()];
        for (layer, range) in ranges.iter().enumerate() {
            let Source::Layer(range) = *range else { continue };
            if !session.layer(layer).iter().all(|value| extents[range].include(*value)) {
                let layer = network.layers()[layer].name.clone();
                return Err(EngineError::NotFinite { index: images, layer });
            }
        }
        sums.iter_mut().zip(&extents).for_each(|(sum, extent)| sum.add(extent));
        images += 1;
    }
    if images == 0 {
        return Err(EngineError::NoImages);
    }
    let quantization = |range: &Source| match *range {
        Source::Image => IMAGE,
        Source::Layer(range) => {
            let reach = HEADROOM / images as f64;
            from_range(reach * sums[range].low, reach * sums[range].high)
        }
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

/// How far values reach below and above 0, or the sum of that over images.
#[derive(Clone, Default)]
struct Extent {
    low: f64,
    high: f64,
}

impl Extent {
    /// Takes a value in; false if it is not finite.
    fn include(&mut self, value: f32) -> bool {
        self.low = self.low.max(f64::from(-value));
        self.high = self.high.max(f64::from(value));
        value.is_finite()
    }

    fn add(&mut self, other: &Self) {
        self.low += other.low;
        self.high += other.high;
    }
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

    /// Ends of the range that the bytes span.
    fn ends(q: Quantization) -> (f32, f32) {
        (-f32::from(q.zero_point) * q.scale, (255.0 - f32::from(q.zero_point)) * q.scale)
    }

    #[test]
    fn the_bytes_span_the_range_with_zero_exact() {
        let (low, high) = ends(from_range(1.0, 10.0));
        assert!((-1.04..=-1.0).contains(&low), "{low}");
        assert!((10.0..=10.4).contains(&high), "{high}");
        assert_eq!(from_range(0.0, 2.0), Quantization { scale: 2.0 / 255.0, zero_point: 0 });
        assert_eq!(from_range(2.0, 0.0), Quantization { scale: 2.0 / 255.0, zero_point: 255 });
        let nothing = from_range(0.0, 0.0);
        assert_eq!(nothing.zero_point, 0);
        assert!(nothing.scale > 0.0);
    }

    #[test]
    fn an_extent_grows_from_zero() {
        let extent = |values: &[f32]| {
            let mut extent = Extent::default();
            assert!(values.iter().all(|&value| extent.include(value)));
            (extent.low, extent.high)
        };
        assert_eq!(extent(&[]), (0.0, 0.0));
        assert_eq!(extent(&[3.0, 2.0]), (0.0, 3.0));
        assert_eq!(extent(&[-0.5, -0.25]), (0.5, 0.0));
        assert_eq!(extent(&[-0.5, 3.0, 4.0, -0.0]), (0.5, 4.0));
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Extent::default().include(value));
        }
        assert!(Extent::default().include(f32::MAX));
    }
}
