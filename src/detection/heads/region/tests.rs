//! Hand-worked boxes, and the definition computed in double precision without shortcuts.

use super::*;
use proptest::{collection::vec, prelude::*};

const INPUT: InputSize = InputSize { width: 96, height: 64 };

/// A 3×2 grid of cells of 32 pixels, two anchors, three classes.
struct Grid {
    shape: Shape,
    values: Vec<f32>,
}

impl Grid {
    const ANCHORS: [Anchor; 2] = [Anchor(1.0, 2.0), Anchor(0.5, 0.25)];

    fn new(values: Vec<f32>) -> Self {
        let shape = Shape { channels: 16, height: 2, width: 3 };
        assert_eq!(values.len(), shape.values());
        Self { shape, values }
    }

    /// Nothing anywhere.
    fn empty() -> Self {
        Self::new(vec![-50.0; 96])
    }

    fn set(&mut self, y: usize, x: usize, anchor: usize, outputs: [f32; 8]) {
        for (i, value) in outputs.into_iter().enumerate() {
            self.values[((8 * anchor + i) * 2 + y) * 3 + x] = value;
        }
    }

    fn get(&self, channel: usize, y: usize, x: usize) -> f32 {
        self.values[(channel * 2 + y) * 3 + x]
    }

    fn decode(&self, thresholds: [f32; 3]) -> Vec<Detection> {
        let head = RegionHead { anchors: Self::ANCHORS.to_vec() };
        let mut boxes = Vec::new();
        decode(&head, INPUT, self.shape, &thresholds, |c, y, x| self.get(c, y, x), |found| boxes.push(found));
        boxes
    }
}

#[test]
fn a_box_worked_by_hand() {
    let mut grid = Grid::empty();
    // σ(0) = ½; exp(ln 2) = 2; σ(ln 3) = ¾; softmax(ln 6, ln 3, ln 1) = 0.6, 0.3, 0.1.
    let outputs = [0.0, 3f32.ln(), 2f32.ln(), 0.0, 3f32.ln(), 6f32.ln(), 3f32.ln(), 0.0];
    grid.set(1, 2, 0, outputs);
    let [found] = grid.decode([0.4; 3])[..] else { panic!("one box") };
    assert_eq!(found.class, 0);
    assert!((found.score - 0.45).abs() < 1e-6, "{found:?}");
    let expected = [2.5 * 32.0, 1.75 * 32.0, 2.0 * 32.0, 2.0 * 32.0];
    let BBox { cx, cy, w, h } = found.bbox;
    for (found, expected) in [cx, cy, w, h].into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{found}, expected {expected}");
    }
}

#[test]
fn the_second_anchor_has_its_own_channels_and_size() {
    let mut grid = Grid::empty();
    grid.set(0, 0, 1, [0.0, 0.0, 0.0, 0.0, 50.0, 0.0, 50.0, 0.0]);
    let [found] = grid.decode([0.5; 3])[..] else { panic!("one box") };
    assert_eq!(found, Detection { class: 1, score: 1.0, bbox: BBox { cx: 16.0, cy: 16.0, w: 16.0, h: 8.0 } });
}

#[test]
fn each_class_has_its_own_threshold() {
    let mut grid = Grid::empty();
    grid.set(0, 1, 0, [0.0, 0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0]); // every class ⅓
    let classes = |thresholds| grid.decode(thresholds).iter().map(|d| d.class).collect::<Vec<_>>();
    assert_eq!(classes([0.3, 0.3, 0.3]), [0, 1, 2]);
    assert_eq!(classes([0.4, 0.3, 0.4]), [1]);
    assert!(classes([0.4, 0.4, 0.4]).is_empty());
}

#[test]
fn thresholds_of_zero_and_one_are_possible() {
    let mut grid = Grid::empty();
    grid.set(0, 1, 0, [0.0, 0.0, 0.0, 0.0, 50.0, 50.0, -50.0, -50.0]);
    assert_eq!(grid.decode([0.0; 3]).len(), 2 * 2 * 3 * 3);
    assert_eq!(grid.decode([1.0; 3]).len(), 1);
}

/// The definition, in double precision.
fn by_definition(grid: &Grid, threshold: f64) -> Vec<(usize, f64, [f64; 4])> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut boxes = Vec::new();
    for y in 0..2 {
        for x in 0..3 {
            for (n, &Anchor(w, h)) in Grid::ANCHORS.iter().enumerate() {
                let out: Vec<f64> = (0..8).map(|i| f64::from(grid.get(8 * n + i, y, x))).collect();
                let sum: f64 = out[5..].iter().map(|c| c.exp()).sum();
                let bbox = [
                    32.0 * (x as f64 + sigmoid(out[0])),
                    32.0 * (y as f64 + sigmoid(out[1])),
                    32.0 * f64::from(w) * out[2].exp(),
                    32.0 * f64::from(h) * out[3].exp(),
                ];
                for class in 0..3 {
                    let score = sigmoid(out[4]) * out[5 + class].exp() / sum;
                    if score >= threshold {
                        boxes.push((class, score, bbox));
                    }
                }
            }
        }
    }
    boxes
}

/// Ordinary outputs, and what a broken network may put out.
fn hostile() -> impl Strategy<Value = f32> {
    prop_oneof![
        -8f32..8.0,
        -1e4f32..1e4,
        any::<f32>(),
        Just(f32::NAN),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(f32::MAX),
    ]
}

proptest! {
    #[test]
    fn equals_the_definition(values in vec(-6f32..6.0, 96), threshold in 0.01f32..0.9) {
        let grid = Grid::new(values);
        let expected = by_definition(&grid, f64::from(threshold));
        // Scores within rounding of the threshold may fall on either side.
        prop_assume!(expected.iter().all(|e| (e.1 - f64::from(threshold)).abs() > 1e-5));
        prop_assume!(by_definition(&grid, f64::from(threshold) - 1e-5).len() == expected.len());
        let found = grid.decode([threshold; 3]);
        prop_assert_eq!(found.len(), expected.len());
        for (found, (class, score, bbox)) in found.iter().zip(expected) {
            prop_assert_eq!(found.class, class);
            prop_assert!((f64::from(found.score) - score).abs() < 1e-5);
            let BBox { cx, cy, w, h } = found.bbox;
            for (found, expected) in [cx, cy, w, h].into_iter().zip(bbox) {
                prop_assert!((f64::from(found) - expected).abs() <= 1e-5 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn broken_outputs_give_finite_boxes(values in vec(hostile(), 96), threshold in 0f32..=1.0) {
        for found in Grid::new(values).decode([threshold; 3]) {
            prop_assert!((threshold..=1.0).contains(&found.score), "{found:?}");
            let BBox { cx, cy, w, h } = found.bbox;
            prop_assert!([cx, cy, w, h].into_iter().all(f32::is_finite), "{found:?}");
        }
    }
}
