//! A picture to draw on, with a record of which pixels belong to which object.

use image::{Rgb, RgbImage};

/// Red, green and blue, 0 to 1.
pub(super) type Colour = [f32; 3];

/// Pixels in floating point, and for each the number of the object that covers it; 0 where none does.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
    owners: Vec<u16>,
}

/// Bounds of what an object has been drawn on: left, top, right, bottom, the last two exclusive.
pub(super) type Extent = [usize; 4];

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0.0; 3]; width * height], owners: vec![0; width * height] }
    }

    /// Sets every pixel from its place.
    pub(super) fn paint(&mut self, mut colour: impl FnMut(usize, usize, Colour) -> Colour) {
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            *pixel = colour(index % self.width, index / self.width, *pixel);
        }
    }

    /// Draws a convex or concave polygon (pixels whose centre is inside, by the even-odd rule) as a part of object `owner`.
    pub(super) fn polygon(&mut self, corners: &[[f32; 2]], colour: Colour, owner: u16) {
        let crossings = |y: f32| {
            let next = corners.iter().cycle().skip(1);
            let mut xs: Vec<f32> = corners
                .iter()
                .zip(next)
                .filter(|(a, b)| (a[1] <= y) != (b[1] <= y))
                .map(|(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
                .collect();
            xs.sort_by(f32::total_cmp);
            xs
        };
        for y in self.rows(corners.iter().map(|corner| corner[1])) {
            for span in crossings(y as f32 + 0.5).chunks_exact(2) {
                self.span(y, span[0], span[1], colour, owner);
            }
        }
    }

    /// Draws an ellipse with axes along the picture's.
    pub(super) fn ellipse(&mut self, [cx, cy]: [f32; 2], [rx, ry]: [f32; 2], colour: Colour, owner: u16) {
        for y in self.rows([cy - ry, cy + ry].into_iter()) {
            let height = (y as f32 + 0.5 - cy) / ry;
            let half = rx * (1.0 - height * height).max(0.0).sqrt();
            self.span(y, cx - half, cx + half, colour, owner);
        }
    }

    /// Rows of the picture whose centre lies between the least and the largest of `ys`.
    fn rows(&self, ys: impl Iterator<Item = f32>) -> std::ops::Range<usize> {
        let (low, high) = ys.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
        first_centre(low).min(self.height)..first_centre(high).min(self.height)
    }

    fn span(&mut self, y: usize, from: f32, to: f32, colour: Colour, owner: u16) {
        let (from, to) = (first_centre(from).min(self.width), first_centre(to).min(self.width));
        if from < to {
            self.pixels[y * self.width..][from..to].fill(colour);
            self.owners[y * self.width..][from..to].fill(owner);
        }
    }

    /// Bounds of an object's pixels and their number; `None` if it has none.
    pub(super) fn extent(&self, owner: u16) -> Option<(Extent, usize)> {
        let mut found: Option<(Extent, usize)> = None;
        for (index, _) in self.owners.iter().enumerate().filter(|(_, o)| **o == owner) {
            let (x, y) = (index % self.width, index / self.width);
            let ([x1, y1, x2, y2], count) = found.unwrap_or(([x, y, x, y], 0));
            found = Some(([x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)], count + 1));
        }
        found
    }

    pub(super) fn to_image(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let colour = self.pixels[y as usize * self.width + x as usize];
            Rgb(colour.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8))
        })
    }
}

/// The first pixel whose centre is not left of (or above) this place; 0 if it lies outside the picture.
fn first_centre(place: f32) -> usize {
    (place - 0.5).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cover_the_pixels_whose_centres_they_hold() {
        let mut canvas = Canvas::new(8, 6);
        canvas.polygon(&[[1.0, 1.0], [4.0, 1.0], [4.0, 3.0], [1.0, 3.0]], [1.0; 3], 1);
        assert_eq!(canvas.extent(1), Some(([1, 1, 4, 3], 6)));
        canvas.ellipse([3.0, 3.0], [1.0, 2.0], [0.5; 3], 2);
        assert_eq!(canvas.extent(2), Some(([2, 1, 4, 5], 8)));
        assert_eq!(canvas.extent(1), Some(([1, 1, 2, 3], 2)), "what the ellipse hides is its own");
        canvas.polygon(&[[-5.0, 4.0], [20.0, 4.0], [20.0, 40.0], [-5.0, 40.0]], [0.0; 3], 3);
        assert_eq!(canvas.extent(3).unwrap().0, [0, 4, 8, 6], "cut at the border");
        assert_eq!(canvas.extent(4), None);
        assert_eq!(canvas.to_image().get_pixel(1, 2).0, [255; 3]);
    }
}
