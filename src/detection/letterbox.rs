//! Where an image lies in the network's input.

use super::BBox;
use crate::network::InputSize;

/// An image scaled to fit the network's input with its proportions kept, in the middle, with bars on two sides.
///
/// As Darknet's `letterbox_image` places it: the scale is `min(W / w, H / h)`, the scaled size and the bars before the
/// image are rounded down to whole pixels. Boxes are mapped by the scaled size of each axis, so that the edges of the
/// image fall on the edges of its place exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    source: (usize, usize),
    scaled: (usize, usize),
    offset: (usize, usize),
}

impl Letterbox {
    /// The place of an image of `width × height` pixels, neither of them 0, in an input of this size.
    pub fn new(width: usize, height: usize, input: InputSize) -> Self {
        // Multiplied out, so that the proportions are compared exactly.
        let (scaled_width, scaled_height) = if input.width * height < input.height * width {
            (input.width, (height * input.width / width).max(1))
        } else {
            ((width * input.height / height).max(1), input.height)
        };
        Self {
            source: (width, height),
            scaled: (scaled_width, scaled_height),
            offset: ((input.width - scaled_width) / 2, (input.height - scaled_height) / 2),
        }
    }

    /// Width and height of the image, in pixels.
    pub fn source(&self) -> (usize, usize) {
        self.source
    }

    /// Width and height of the image within the input, in pixels of the input.
    pub fn scaled(&self) -> (usize, usize) {
        self.scaled
    }

    /// Columns to the left of the image and rows above it, in pixels of the input.
    pub fn offset(&self) -> (usize, usize) {
        self.offset
    }

    /// A box in pixels of the image, from one in pixels of the input.
    pub fn to_source(&self, bbox: BBox) -> BBox {
        let (x, y) = self.scale();
        let (left, top) = (self.offset.0 as f32, self.offset.1 as f32);
        BBox { cx: (bbox.cx - left) / x, cy: (bbox.cy - top) / y, w: bbox.w / x, h: bbox.h / y }
    }

    /// A box in pixels of the input, from one in pixels of the image.
    pub fn to_input(&self, bbox: BBox) -> BBox {
        let (x, y) = self.scale();
        let (left, top) = (self.offset.0 as f32, self.offset.1 as f32);
        BBox { cx: bbox.cx * x + left, cy: bbox.cy * y + top, w: bbox.w * x, h: bbox.h * y }
    }

    /// Pixels of the input for each pixel of the image, across and down.
    fn scale(&self) -> (f32, f32) {
        (self.scaled.0 as f32 / self.source.0 as f32, self.scaled.1 as f32 / self.source.1 as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SQUARE: InputSize = InputSize { width: 416, height: 416 };

    #[test]
    fn a_wide_image_gets_bars_above_and_below() {
        let place = Letterbox::new(1242, 375, SQUARE);
        assert_eq!((place.scaled(), place.offset()), ((416, 125), (0, 145))); // 375 · 416 / 1242 = 125.6
        let whole = place.to_source(BBox::from_corners([0.0, 145.0, 416.0, 270.0]));
        assert_eq!(whole.corners(), [0.0, 0.0, 1242.0, 375.0]);
    }

    #[test]
    fn a_high_image_gets_bars_left_and_right() {
        let place = Letterbox::new(100, 200, SQUARE);
        assert_eq!((place.scaled(), place.offset()), ((208, 416), (104, 0)));
        let middle = place.to_input(BBox { cx: 50.0, cy: 100.0, w: 10.0, h: 20.0 });
        assert_eq!(middle, BBox { cx: 208.0, cy: 208.0, w: 20.8, h: 41.6 });
    }

    #[test]
    fn a_sliver_keeps_one_pixel() {
        assert_eq!(Letterbox::new(8000, 1, SQUARE).scaled(), (416, 1));
        assert_eq!(Letterbox::new(1, 8000, SQUARE).scaled(), (1, 416));
    }

    proptest! {
        #[test]
        fn the_image_lies_inside_the_input_and_touches_two_edges(
            (w, h) in (1usize..4000, 1usize..4000), (width, height) in (1usize..700, 1usize..700),
        ) {
            let place = Letterbox::new(w, h, InputSize { width, height });
            let ((sw, sh), (left, top)) = (place.scaled(), place.offset());
            prop_assert!(left + sw <= width && top + sh <= height);
            prop_assert!(sw == width || sh == height);
            prop_assert!(left.abs_diff(width - sw - left) <= 1 && top.abs_diff(height - sh - top) <= 1);
        }

        #[test]
        fn boxes_survive_the_way_there_and_back(
            (w, h) in (1usize..4000, 1usize..4000), (width, height) in (1usize..700, 1usize..700),
            (cx, cy, bw, bh) in (0f32..4000.0, 0f32..4000.0, 0f32..4000.0, 0f32..4000.0),
        ) {
            let place = Letterbox::new(w, h, InputSize { width, height });
            let before = BBox { cx, cy, w: bw, h: bh };
            let after = place.to_source(place.to_input(before));
            // The bars, up to 700 px, take bits from the fraction: one part in 2^23 of them, in pixels of the image.
            let (sx, sy) = (w as f32 / place.scaled().0 as f32, h as f32 / place.scaled().1 as f32);
            prop_assert!((after.cx - cx).abs() <= 1e-6 * (cx + 700.0 * sx), "{before:?} {after:?}");
            prop_assert!((after.cy - cy).abs() <= 1e-6 * (cy + 700.0 * sy), "{before:?} {after:?}");
            prop_assert!((after.w - bw).abs() <= 1e-6 * bw && (after.h - bh).abs() <= 1e-6 * bh);
        }
    }
}
