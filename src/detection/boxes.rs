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
