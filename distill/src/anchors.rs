//! Anchors that fit the boxes of a data set: k-means with the distance 1 − IoU (Redmon and Farhadi, *YOLO9000*, arXiv
//! 1612.08242, section 2: "dimension clusters").

use crate::data::{Dataset, Sampler};
use onebit_detector::network::{Anchor, InputSize};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs of k-means, each from other first centres; the best one counts.
const RESTARTS: usize = 10;
/// Steps after which a run of k-means ends, should boxes still change their cluster.
const MAX_STEPS: usize = 300;
/// Boxes that are looked for in augmented pictures, and passes over the frames after which the search ends.
const BOXES: usize = 10_000;
const MAX_PASSES: u64 = 100;
/// Pixels of the input in a grid cell.
const CELL: f32 = 32.0;

/// Sizes of the labelled objects in grid cells as training pictures show them, over as many passes as give enough boxes.
pub fn augmented_sizes(sampler: &Sampler, seed: u64) -> Vec<Anchor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sizes = Vec::new();
    for _ in 0..MAX_PASSES {
        for &frame in &sampler.dataset().epoch {
            let window = sampler.windows()[rng.random_range(0..sampler.windows().len())];
            let labels = sampler.augmented_labels(frame, window, rng.next_u64());
            let objects = labels.iter().filter(|label| label.class.is_some());
            sizes.extend(objects.map(|label| Anchor(label.bbox.w / CELL, label.bbox.h / CELL)));
        }
        if sizes.len() >= BOXES {
            break;
        }
    }
    sizes
}

/// Sizes of the labelled objects in grid cells, the frames letterboxed into `input` and not changed otherwise.
pub fn plain_sizes(dataset: &Dataset, input: InputSize) -> Vec<Anchor> {
    let objects = dataset.frames.iter().flat_map(|frame| {
        let scale = frame.letterbox_scale(input) / CELL;
        frame.labels.iter().filter(|label| label.class.is_some()).map(move |label| (label.bbox, scale))
    });
    objects.map(|(bbox, scale)| Anchor(bbox.w * scale, bbox.h * scale)).collect()
}

/// `count` anchors for boxes of these sizes, in order of their area, or `None` if fewer sizes differ. The same seed gives
/// the same anchors.
pub fn fit(sizes: &[Anchor], count: usize, seed: u64) -> Option<Vec<Anchor>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut best: Option<(f64, Vec<Anchor>)> = None;
    for _ in 0..RESTARTS {
        let anchors = cluster(sizes, first_centres(sizes, count, &mut rng)?);
        let fit = mean_iou(sizes, &anchors);
        if best.as_ref().is_none_or(|(other, _)| fit > *other) {
            best = Some((fit, anchors));
        }
    }
    let (_, mut anchors) = best?;
    anchors.sort_by(|a, b| (a.0 * a.1).total_cmp(&(b.0 * b.1)));
    Some(anchors)
}

/// Mean over the boxes of the IoU with the anchor that fits best, both with the same centre.
pub fn mean_iou(sizes: &[Anchor], anchors: &[Anchor]) -> f64 {
    sizes.iter().map(|size| f64::from(iou(*size, anchors[nearest(*size, anchors)]))).sum::<f64>() / sizes.len() as f64
}

/// The first centre is any box; every other one is likelier, the farther from the centres so far (k-means++).
fn first_centres(sizes: &[Anchor], count: usize, rng: &mut ChaCha8Rng) -> Option<Vec<Anchor>> {
    let mut centres = vec![*sizes.get(rng.random_range(0..sizes.len().max(1)))?];
    while centres.len() < count {
        let distance = |size: &Anchor| f64::from(1.0 - iou(*size, centres[nearest(*size, &centres)])).max(0.0).powi(2);
        let distances: Vec<f64> = sizes.iter().map(distance).collect();
        let mut left = rng.random::<f64>() * distances.iter().sum::<f64>();
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        centres.push(sizes[drawn?]);
    }
    Some(centres)
}

/// Each box goes to the nearest centre, each centre to the mean of its boxes, until nothing changes.
fn cluster(sizes: &[Anchor], mut centres: Vec<Anchor>) -> Vec<Anchor> {
    let mut clusters = Vec::new();
    for _ in 0..MAX_STEPS {
        let now: Vec<usize> = sizes.iter().map(|size| nearest(*size, &centres)).collect();
        if now == clusters {
            break;
        }
        clusters = now;
        for (index, centre) in centres.iter_mut().enumerate() {
            let members = sizes.iter().zip(&clusters).filter(|(_, cluster)| **cluster == index);
            let (w, h, n) = members
                .fold((0.0, 0.0, 0.0), |(w, h, n), (size, _)| (w + f64::from(size.0), h + f64::from(size.1), n + 1.0));
            if n > 0.0 {
                *centre = Anchor((w / n) as f32, (h / n) as f32);
            }
        }
    }
    centres
}

fn nearest(size: Anchor, centres: &[Anchor]) -> usize {
    let overlaps = centres.iter().map(|centre| iou(size, *centre)).enumerate();
    overlaps.reduce(|a, b| if b.1 > a.1 { b } else { a }).expect("there are centres").0
}

fn iou(a: Anchor, b: Anchor) -> f32 {
    let shared = a.0.min(b.0) * a.1.min(b.1);
    shared / (a.0 * a.1 + b.0 * b.1 - shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlaps_by_hand() {
        assert_eq!(iou(Anchor(2.0, 3.0), Anchor(4.0, 1.0)), 2.0 / 8.0);
        let sizes = [Anchor(1.0, 1.0), Anchor(2.0, 2.0)];
        assert_eq!(mean_iou(&sizes, &[Anchor(1.0, 2.0)]), 0.5);
        assert_eq!(mean_iou(&sizes, &[Anchor(1.0, 1.0), Anchor(4.0, 2.0)]), 0.75);
    }

    #[test]
    fn three_groups_by_hand() {
        let sizes = [(1.0, 1.0), (1.2, 1.0), (1.1, 1.3), (6.0, 3.0), (7.0, 3.0), (2.0, 8.0), (2.0, 9.0), (2.6, 8.5)];
        let sizes = sizes.map(|(w, h)| Anchor(w, h));
        let expected = [Anchor(1.1, 1.1), Anchor(2.2, 8.5), Anchor(6.5, 3.0)];
        for seed in 0..20 {
            let anchors = fit(&sizes, 3, seed).unwrap();
            for (found, expected) in anchors.iter().zip(expected) {
                assert!((found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6, "{anchors:?}");
            }
        }
    }

    #[test]
    fn more_anchors_than_sizes_are_not_made_up() {
        let sizes = [Anchor(1.0, 1.0), Anchor(2.0, 1.0), Anchor(1.0, 1.0)];
        assert_eq!(fit(&sizes, 2, 0).unwrap(), [Anchor(1.0, 1.0), Anchor(2.0, 1.0)]);
        assert_eq!(fit(&sizes, 3, 0), None);
        assert_eq!(fit(&[], 1, 0), None);
    }

    proptest! {
        #[test]
        fn anchors_are_sorted_and_lie_among_the_boxes(
            sizes in prop::collection::vec((0.1f32..20.0, 0.1f32..20.0), 10..60),
            seed: u64,
        ) {
            let sizes: Vec<_> = sizes.into_iter().map(|(w, h)| Anchor(w, h)).collect();
            let anchors = fit(&sizes, 3, seed).unwrap();
            prop_assert_eq!(&fit(&sizes, 3, seed).unwrap(), &anchors, "all chance comes from the seed");
            prop_assert!(anchors.is_sorted_by(|a, b| a.0 * a.1 <= b.0 * b.1));
            let (low, high) = sizes.iter().fold((20f32, 0f32), |(l, h), a| (l.min(a.0), h.max(a.0)));
            prop_assert!(anchors.iter().all(|a| a.0 >= low - 1e-4 && a.0 <= high + 1e-4));
        }
    }
}
