//! Boxes in pixels of the source image.

use serde::Serialize;

/// An axis-parallel box: centre and size. Pixel `(x, y)` covers `[x, x + 1) × [y, y + 1)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BBox {
    /// Centre, from the left edge of the image.
    pub cx: f32,
    /// Centre, from the upper edge of the image.
    pub cy: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl BBox {
    /// The box between two corners: left, top, right, bottom.
    pub fn from_corners([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Self { cx: (x1 + x2) / 2.0, cy: (y1 + y2) / 2.0, w: x2 - x1, h: y2 - y1 }
    }

    /// Left, top, right, bottom.
    pub fn corners(&self) -> [f32; 4] {
        [self.cx - self.w / 2.0, self.cy - self.h / 2.0, self.cx + self.w / 2.0, self.cy + self.h / 2.0]
    }

    /// Area; 0 for an empty box.
    pub fn area(&self) -> f32 {
        self.w.max(0.0) * self.h.max(0.0)
    }

    /// Area that two boxes share.
    pub fn intersection(&self, other: &Self) -> f32 {
        let (a, b) = (self.corners(), other.corners());
        let w = a[2].min(b[2]) - a[0].max(b[0]);
        let h = a[3].min(b[3]) - a[1].max(b[1]);
        w.max(0.0) * h.max(0.0)
    }

    /// Intersection over union, 0 to 1; 0 if both are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = self.intersection(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The part inside an image of this size.
    pub fn clipped(&self, width: usize, height: usize) -> Self {
        let [x1, y1, x2, y2] = self.corners();
        let (w, h) = (width as f32, height as f32);
        Self::from_corners([x1.clamp(0.0, w), y1.clamp(0.0, h), x2.clamp(0.0, w), y2.clamp(0.0, h)])
    }
}

/// One object found in an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Position of its class in [`crate::network::Network::classes`].
    pub class: usize,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Where, in pixels of the source image.
    pub bbox: BBox,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlap_worked_by_hand() {
        let a = BBox::from_corners([0.0, 0.0, 4.0, 2.0]);
        let b = BBox::from_corners([1.0, 1.0, 5.0, 3.0]);
        assert_eq!((a.area(), a.intersection(&b), a.iou(&b)), (8.0, 3.0, 3.0 / 13.0));
        let apart = BBox::from_corners([4.0, 0.0, 5.0, 2.0]);
        assert_eq!((a.intersection(&apart), a.iou(&apart)), (0.0, 0.0));
        let point = BBox::from_corners([1.0, 1.0, 1.0, 1.0]);
        assert_eq!(point.iou(&point), 0.0);
    }

    #[test]
    fn clipping_worked_by_hand() {
        let outside = BBox::from_corners([-10.0, 5.0, 30.0, 50.0]);
        assert_eq!(outside.clipped(20, 40).corners(), [0.0, 5.0, 20.0, 40.0]);
        assert_eq!(BBox::from_corners([-10.0, 5.0, -1.0, 50.0]).clipped(20, 40).area(), 0.0);
    }

    proptest! {
        #[test]
        fn a_clipped_box_is_inside(
            cx in -3000f32..6000.0, cy in -3000f32..6000.0, w in 0f32..5000.0, h in 0f32..5000.0,
            (width, height) in (1usize..3000, 1usize..3000),
        ) {
            let clipped = BBox { cx, cy, w, h }.clipped(width, height);
            let [x1, y1, x2, y2] = clipped.corners();
            prop_assert!(0.0 <= x1 && x1 <= x2 && x2 <= width as f32, "{clipped:?}");
            prop_assert!(0.0 <= y1 && y1 <= y2 && y2 <= height as f32, "{clipped:?}");
        }
    }
}
