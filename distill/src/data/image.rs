//! Pictures as the training graph reads them, and how a frame is drawn into one.

use image::{Rgb, RgbImage};
use nalgebra::{Matrix3, Point2};
use onebit_detector::{model_file::Preprocessing, network::InputSize};
use pulp::Arch;
use std::borrow::Cow;

/// A picture of the size of the network's input: `[3, height, width]`, red, green, blue, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Columns and rows.
    pub size: InputSize,
    /// The values, row after row, channel after channel.
    pub values: Vec<f32>,
}

/// A rectangle of whole pixels: columns `x0..x1`, rows `y0..y1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x0: usize,
    pub(super) y0: usize,
    pub(super) x1: usize,
    pub(super) y1: usize,
}

impl Picture {
    /// All grey, as the bars of the detector's letterbox.
    pub fn grey(size: InputSize) -> Self {
        let grey = f32::from(Preprocessing::default().fill) / 255.0;
        Self { size, values: vec![grey; size.shape().values()] }
    }

    /// A picture with these pixels.
    pub fn from_rgb(image: &RgbImage) -> Self {
        let size = InputSize { width: image.width() as usize, height: image.height() as usize };
        let plane = |channel: usize| image.pixels().map(move |pixel| f32::from(pixel.0[channel]) / 255.0);
        Self { size, values: (0..3).flat_map(plane).collect() }
    }

    /// Draws `frame` into the rectangle, sampled bilinearly; `map` takes pixels of the frame to pixels of the picture.
    /// What the frame does not cover stays as it is.
    pub(super) fn draw(&mut self, frame: &RgbImage, map: &Matrix3<f32>, rect: Rect) {
        let (frame, map) = shrunk(frame, map);
        let Some(inverse) = map.try_inverse() else { return };
        let (columns, rows) = (frame.width() as f32, frame.height() as f32);
        let plane = self.size.width * self.size.height;
        for y in rect.y0..rect.y1 {
            for x in rect.x0..rect.x1 {
                let source = inverse.transform_point(&Point2::new(x as f32 + 0.5, y as f32 + 0.5));
                if (0.0..columns).contains(&source.x) && (0.0..rows).contains(&source.y) {
                    let rgb = bilinear(&frame, source.x - 0.5, source.y - 0.5);
                    for (channel, value) in rgb.into_iter().enumerate() {
                        self.values[channel * plane + y * self.size.width + x] = value / 255.0;
                    }
                }
            }
        }
    }

    /// Turns the hue (a share of the circle) and scales saturation and brightness within a rectangle.
    pub(super) fn recolour(&mut self, hue: f32, saturation: f32, exposure: f32, rect: Rect) {
        let arch = Arch::new();
        let plane = self.size.width * self.size.height;
        let (red, rest) = self.values.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        for y in rect.y0..rect.y1 {
            let row = y * self.size.width + rect.x0..y * self.size.width + rect.x1;
            let (red, green, blue) = (&mut red[row.clone()], &mut green[row.clone()], &mut blue[row]);
            arch.dispatch(
                #[inline(always)]
                || {
                    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                        let [h, s, v] = to_hsv([*r, *g, *b]);
                        [*r, *g, *b] = from_hsv([wrapped(h + hue, 1.0), (s * saturation).min(1.0), (v * exposure).min(1.0)]);
                    }
                },
            );
        }
    }
}

/// The frame halved (each pixel the mean of four) until the map no longer skips pixels, so that small objects keep what
/// they look like from afar.
fn shrunk<'a>(frame: &'a RgbImage, map: &Matrix3<f32>) -> (Cow<'a, RgbImage>, Matrix3<f32>) {
    let mut frame = Cow::Borrowed(frame);
    let mut map = *map;
    while map[(0, 0)].abs().max(map[(1, 1)].abs()) < 0.5 && frame.width() >= 4 && frame.height() >= 4 {
        frame = Cow::Owned(halved(&frame));
        map *= Matrix3::new_nonuniform_scaling(&[2.0, 2.0].into());
    }
    (frame, map)
}

fn halved(frame: &RgbImage) -> RgbImage {
    RgbImage::from_fn(frame.width() / 2, frame.height() / 2, |x, y| {
        let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| frame.get_pixel(2 * x + dx, 2 * y + dy).0);
        Rgb(std::array::from_fn(|c| ((four.iter().map(|p| u32::from(p[c])).sum::<u32>() + 2) / 4) as u8))
    })
}

/// Value at a point given in pixel centres; the border pixels reach outwards.
fn bilinear(frame: &RgbImage, x: f32, y: f32) -> [f32; 3] {
    let (right, lower) = (frame.width() - 1, frame.height() - 1);
    let (x, y) = (x.clamp(0.0, right as f32), y.clamp(0.0, lower as f32));
    let (x0, y0) = (x as u32, y as u32);
    let (x1, y1) = ((x0 + 1).min(right), (y0 + 1).min(lower));
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let [a, b, c, d] = [(x0, y0), (x1, y0), (x0, y1), (x1, y1)].map(|(x, y)| frame.get_pixel(x, y).0);
    std::array::from_fn(|i| {
        let upper = f32::from(a[i]) * (1.0 - fx) + f32::from(b[i]) * fx;
        let lower = f32::from(c[i]) * (1.0 - fx) + f32::from(d[i]) * fx;
        upper * (1.0 - fy) + lower * fy
    })
}

/// Hue, saturation and value, each 0 to 1. Without a jump, as all that belongs to it, so that vectors can be used.
#[inline(always)] // compiled for the vectors that its caller is dispatched to
fn to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let range = max - min;
    let (offset, difference) = if max == g { (2.0, b - r) } else { (4.0, r - g) };
    let (offset, difference) = if max == r { (0.0, g - b) } else { (offset, difference) };
    let (h, s) = (wrapped((offset + difference / range) / 6.0, 1.0), range / max);
    if range > 0.0 { [h, s, max] } else { [0.0, 0.0, max] }
}

#[inline(always)] // as to_hsv
fn from_hsv([h, s, v]: [f32; 3]) -> [f32; 3] {
    [left(5.0, h, s, v), left(3.0, h, s, v), left(1.0, h, s, v)]
}

/// What is left of red, green or blue, by the distance of the hue from it.
#[inline(always)] // as to_hsv
fn left(offset: f32, h: f32, s: f32, v: f32) -> f32 {
    let k = wrapped(offset + h * 6.0, 6.0);
    v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
}

/// A value that is less than one turn outside 0..`turn`, brought there; a remainder would cost more than the rest of a pixel.
#[inline(always)] // as to_hsv
fn wrapped(value: f32, turn: f32) -> f32 {
    let value = if value < 0.0 { value + turn } else { value };
    if value >= turn { value - turn } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_colours_in_hsv() {
        for (rgb, hsv) in [
            ([1.0, 0.0, 0.0], [0.0, 1.0, 1.0]),
            ([0.0, 1.0, 0.0], [1.0 / 3.0, 1.0, 1.0]),
            ([0.25, 0.25, 0.5], [2.0 / 3.0, 0.5, 0.5]),
            ([0.3, 0.3, 0.3], [0.0, 0.0, 0.3]),
        ] {
            assert_eq!(to_hsv(rgb), hsv);
        }
    }

    proptest! {
        #[test]
        fn hsv_and_back(rgb in proptest::array::uniform3(0.0f32..=1.0)) {
            for (a, b) in rgb.into_iter().zip(from_hsv(to_hsv(rgb))) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_identity_draws_the_frame_itself() {
        let frame = RgbImage::from_fn(4, 3, |x, y| Rgb([10 * x as u8, 20 * y as u8, 7]));
        let mut picture = Picture::grey(InputSize { width: 6, height: 3 });
        picture.draw(&frame, &Matrix3::identity(), Rect { x0: 0, y0: 0, x1: 6, y1: 3 });
        assert_eq!(picture.values[6 + 2], 20.0 / 255.0, "red at (2, 1)");
        assert_eq!(picture.values[18 + 2 * 6 + 3], 40.0 / 255.0, "green at (3, 2)");
        assert_eq!(picture.values[4], 128.0 / 255.0, "beyond the frame");
    }

    #[test]
    fn a_quarter_is_the_mean_of_its_pixels() {
        let frame = RgbImage::from_fn(8, 8, |x, _| Rgb([if x % 2 == 0 { 0 } else { 200 }; 3]));
        let mut picture = Picture::grey(InputSize { width: 2, height: 2 });
        let quarter = Matrix3::new_nonuniform_scaling(&[0.25, 0.25].into());
        picture.draw(&frame, &quarter, Rect { x0: 0, y0: 0, x1: 2, y1: 2 });
        assert!(picture.values.iter().all(|v| (v * 255.0 - 100.0).abs() < 1e-3));
    }
}
