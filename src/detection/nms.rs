//! Non-maximum suppression: of boxes of one class that lie on each other, the best one stays.

use super::Detection;
use std::cmp::Ordering;

/// Boxes that take part in the suppression: the best ones. Bounds its work, whatever a network puts out.
pub const MAX_CANDIDATES: usize = 1000;

/// The order in which boxes are preferred: by score from above, then by class and place, so that no two different
/// boxes are equal and the outcome does not hang on the order in which they were found.
pub fn by_preference(a: &Detection, b: &Detection) -> Ordering {
    let place = |d: &Detection| [d.bbox.cx, d.bbox.cy, d.bbox.w, d.bbox.h];
    let by_place = || {
        let sides = place(a).into_iter().zip(place(b));
        sides.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    b.score.total_cmp(&a.score).then_with(|| a.class.cmp(&b.class)).then_with(by_place)
}

/// Greedy suppression within each class: best first, a box goes if its IoU with one that stays is above `max_iou`.
///
/// Leaves at most `max_boxes`, best first. Of more than [`MAX_CANDIDATES`] boxes only the best ones are looked at.
pub fn suppress(boxes: &mut Vec<Detection>, max_iou: f32, max_boxes: usize) {
    keep_best(boxes, MAX_CANDIDATES);
    boxes.sort_unstable_by(by_preference);
    let mut kept = 0;
    for i in 0..boxes.len() {
        if kept == max_boxes {
            break;
        }
        let candidate = boxes[i];
        let covered = |better: &Detection| better.class == candidate.class && better.bbox.iou(&candidate.bbox) > max_iou;
        if !boxes[..kept].iter().any(covered) {
            boxes[kept] = candidate;
            kept += 1;
        }
    }
    boxes.truncate(kept);
}

/// Drops all but the best `count` boxes, in no order.
pub(super) fn keep_best(boxes: &mut Vec<Detection>, count: usize) {
    if boxes.len() > count {
        boxes.select_nth_unstable_by(count, by_preference);
        boxes.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::BBox;
    use proptest::{collection::vec, prelude::*};

    fn found(class: usize, score: f32, corners: [f32; 4]) -> Detection {
        Detection { class, score, bbox: BBox::from_corners(corners) }
    }

    #[test]
    fn the_best_of_overlapping_boxes_stays() {
        let best = found(0, 0.9, [0.0, 0.0, 10.0, 10.0]);
        let half = found(0, 0.8, [0.0, 0.0, 10.0, 5.0]); // IoU ½ with the best
        let third = found(0, 0.7, [5.0, 0.0, 15.0, 10.0]); // IoU ⅓ with the best, 25 / 125 with the half
        let mut boxes = vec![third, best, half];
        suppress(&mut boxes, 0.45, 100);
        assert_eq!(boxes, [best, third]);
        let mut boxes = vec![third, best, half];
        suppress(&mut boxes, 0.3, 100);
        assert_eq!(boxes, [best]);
        let mut boxes = vec![third, best, half];
        suppress(&mut boxes, 0.5, 100); // exactly ½ stays
        assert_eq!(boxes, [best, half, third]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        let chain = [0.0, 4.0, 8.0].map(|x| [x, 0.0, x + 10.0, 10.0]); // neighbours: IoU 60 / 140
        let mut boxes = vec![found(0, 0.9, chain[0]), found(0, 0.8, chain[1]), found(0, 0.7, chain[2])];
        suppress(&mut boxes, 0.4, 100);
        assert_eq!(boxes, [found(0, 0.9, chain[0]), found(0, 0.7, chain[2])]);
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let place = [0.0, 0.0, 10.0, 10.0];
        let mut boxes = vec![found(0, 0.8, place), found(1, 0.9, place)];
        suppress(&mut boxes, 0.45, 100);
        assert_eq!(boxes, [found(1, 0.9, place), found(0, 0.8, place)]);
    }

    #[test]
    fn no_more_boxes_than_asked_for() {
        let apart = |i: usize| found(0, 0.01 * i as f32, [20.0 * i as f32, 0.0, 20.0 * i as f32 + 10.0, 10.0]);
        let mut boxes: Vec<_> = (0..50).map(apart).collect();
        suppress(&mut boxes, 0.45, 3);
        assert_eq!(boxes, [apart(49), apart(48), apart(47)]);
    }

    fn detections() -> impl Strategy<Value = Vec<Detection>> {
        // Few distinct values, so that scores and places coincide often.
        let one = (0usize..3, 0u8..6, (0u8..8, 0u8..8, 1u8..5, 1u8..5)).prop_map(|(class, score, (x, y, w, h))| {
            let [x, y, w, h] = [x, y, w, h].map(f32::from);
            found(class, f32::from(score) / 5.0, [x, y, x + w, y + h])
        });
        vec(one, 0..60)
    }

    proptest! {
        #[test]
        fn order_does_not_matter(
            (boxes, mut shuffled) in detections().prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle())),
            iou in 0f32..1.0,
        ) {
            let mut boxes = boxes;
            suppress(&mut boxes, iou, 40);
            suppress(&mut shuffled, iou, 40);
            prop_assert_eq!(boxes, shuffled);
        }

        #[test]
        fn a_second_pass_changes_nothing(boxes in detections(), iou in 0f32..1.0) {
            let mut once = boxes;
            suppress(&mut once, iou, 40);
            let mut twice = once.clone();
            suppress(&mut twice, iou, 40);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn what_stays_is_apart_and_what_goes_has_a_reason(boxes in detections(), iou in 0f32..1.0) {
            let mut kept = boxes.clone();
            suppress(&mut kept, iou, usize::MAX);
            for (i, a) in kept.iter().enumerate() {
                let overlaps = |b: &Detection| a.class == b.class && a.bbox.iou(&b.bbox) > iou;
                prop_assert!(!kept[..i].iter().any(overlaps));
            }
            for gone in boxes.iter().filter(|b| !kept.contains(b)) {
                let better = |k: &Detection| {
                    k.class == gone.class && k.score >= gone.score && k.bbox.iou(&gone.bbox) > iou
                };
                prop_assert!(kept.iter().any(better), "{gone:?} went for nothing");
            }
        }

        #[test]
        fn the_best_are_kept(boxes in detections(), count in 0usize..60) {
            let (mut best, mut sorted) = (boxes.clone(), boxes);
            keep_best(&mut best, count);
            best.sort_unstable_by(by_preference);
            sorted.sort_unstable_by(by_preference);
            sorted.truncate(count);
            prop_assert_eq!(best, sorted);
        }
    }
}
