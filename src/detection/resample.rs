//! The letterbox's pixels: any image in, rows of the network's input out, in one pass.

use super::{ImageView, Letterbox, PixelFormat};
use crate::{model_file::Preprocessing, network::InputSize};
use image::RgbImage;

/// Draws letterboxed images. Keeps its tables and buffers, so that nothing is allocated while images keep their size.
///
/// Bilinear, with the centres of pixels at `x + ½` as boxes have them: output pixel `i` reads the image at
/// `(i + ½) · w / scaled_width − ½`, clamped to the outermost centres. (Darknet stretches the outermost centres of image
/// and place onto each other, which moves objects towards the middle by up to half a pixel of the input.) Weights are
/// multiples of 1/256 and the result is rounded once, so it is within 1.5 of exact arithmetic.
#[derive(Debug)]
pub struct Resampler {
    input: InputSize,
    fill: u8,
    plan: Option<Plan>,
}

/// What depends on the size of the image.
#[derive(Debug)]
struct Plan {
    letterbox: Letterbox,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    /// Two rows of the image blended, in 1/256; as many values as a row has bytes.
    blended: Vec<u16>,
    /// A row of the input. Its bars are drawn once.
    row: Vec<u8>,
    /// A row that is all bar.
    bar: Vec<u8>,
}

/// The two neighbours that an output position reads, and the weight of the second one in 1/256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tap {
    first: usize,
    second: usize,
    weight: u16,
}

/// The weight 1.
const ONE: u16 = 256;

impl Resampler {
    /// For networks with this input size and preprocessing.
    pub fn new(input: InputSize, preprocessing: Preprocessing) -> Self {
        Self { input, fill: preprocessing.fill, plan: None }
    }

    /// Draws an image: calls `write_row(y, rgb)` for every row of the input from the top, with `3 · input.width` bytes
    /// red, green, blue. Returns where the image lies.
    pub fn draw(&mut self, image: &ImageView, mut write_row: impl FnMut(usize, &[u8])) -> Letterbox {
        let place = Letterbox::new(image.width(), image.height(), self.input);
        let plan = match self.plan.take() {
            Some(plan) if plan.letterbox == place => self.plan.insert(plan),
            _ => self.plan.insert(Plan::new(place, self.input, self.fill)),
        };
        let first = place.offset().1;
        for y in 0..self.input.height {
            match y.checked_sub(first).and_then(|y| plan.rows.get(y).copied()) {
                Some(tap) => write_row(y, plan.draw_row(image, tap)),
                None => write_row(y, &plan.bar),
            }
        }
        place
    }

    /// Draws an image as a picture of the input's size.
    pub fn picture(&mut self, image: &ImageView) -> (RgbImage, Letterbox) {
        let InputSize { width, height } = self.input;
        let mut pixels = Vec::with_capacity(3 * width * height);
        let place = self.draw(image, |_, rgb| pixels.extend_from_slice(rgb));
        let picture =
            RgbImage::from_raw(width as u32, height as u32, pixels).expect("a row was drawn for each of the input");
        (picture, place)
    }
}

impl Plan {
    fn new(letterbox: Letterbox, input: InputSize, fill: u8) -> Self {
        let ((width, height), (scaled_width, scaled_height)) = (letterbox.source(), letterbox.scaled());
        let bar = vec![fill; 3 * input.width];
        Self {
            letterbox,
            columns: taps(width, scaled_width),
            rows: taps(height, scaled_height),
            blended: Vec::new(),
            row: bar.clone(),
            bar,
        }
    }

    fn draw_row(&mut self, image: &ImageView, tap: Tap) -> &[u8] {
        let (upper, lower) = (image.row(tap.first), image.row(tap.second));
        self.blended.resize(upper.len(), 0);
        blend(upper, lower, tap.weight, &mut self.blended);

        let row = &mut self.row[3 * self.letterbox.offset().0..][..3 * self.columns.len()];
        let offsets = image.format().rgb_offsets();
        match image.format() {
            PixelFormat::Mono8 => sample::<1>(&self.blended, &self.columns, offsets, row),
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => sample::<3>(&self.blended, &self.columns, offsets, row),
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => sample::<4>(&self.blended, &self.columns, offsets, row),
        }
        &self.row
    }
}

/// What each of `scaled` positions reads of `source` ones.
fn taps(source: usize, scaled: usize) -> Vec<Tap> {
    let last = source - 1;
    let tap = |i: usize| {
        let centre = (i as f64 + 0.5) * source as f64 / scaled as f64 - 0.5;
        let position = (centre * f64::from(ONE)).round().clamp(0.0, (last * usize::from(ONE)) as f64) as usize;
        let first = position / usize::from(ONE);
        Tap { first, second: (first + 1).min(last), weight: (position % usize::from(ONE)) as u16 }
    };
    (0..scaled).map(tap).collect()
}

/// Two rows of bytes into one, in 1/256: at most 255 · 256, which 16 bits hold.
fn blend(upper: &[u8], lower: &[u8], weight: u16, blended: &mut [u16]) {
    for ((out, &a), &b) in blended.iter_mut().zip(upper).zip(lower) {
        *out = u16::from(a) * (ONE - weight) + u16::from(b) * weight;
    }
}

/// Samples a blended row of pixels of `BYTES` bytes at the columns' taps; `offsets` say where red, green and blue stand.
fn sample<const BYTES: usize>(blended: &[u16], columns: &[Tap], offsets: [usize; 3], row: &mut [u8]) {
    let (pixels, _) = blended.as_chunks::<BYTES>();
    let (out, _) = row.as_chunks_mut::<3>();
    for (rgb, tap) in out.iter_mut().zip(columns) {
        let (first, second) = (&pixels[tap.first], &pixels[tap.second]);
        *rgb = offsets.map(|at| {
            let sum = u32::from(first[at]) * u32::from(ONE - tap.weight) + u32::from(second[at]) * u32::from(tap.weight);
            ((sum + (1 << 15)) >> 16) as u8 // the row's 1/256 and the column's 1/256; half is rounded up
        });
    }
}

#[cfg(test)]
mod tests;
