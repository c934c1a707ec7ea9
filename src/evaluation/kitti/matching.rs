//! Which detection belongs to which ground truth, in one frame, for one class and difficulty.

use super::{ClassRule, Difficulty, Frame, MissingScore};
use crate::frames::kitti::Label;
use std::{cmp::Ordering, iter::Sum};

/// A frame as one class and difficulty see it.
pub(super) struct Case {
    truths: Vec<Truth>,
    detections: Vec<Scored>,
}

struct Truth {
    /// Counts neither as found nor as missed.
    ignored: bool,
    /// Detections that overlap it enough, in the order of the file.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    /// Position in [`Case::detections`].
    detection: usize,
    overlap: f64,
}

struct Scored {
    score: f64,
    /// Too small; of any class.
    ignored: bool,
    /// Lies in a region in which objects are not labelled.
    in_dont_care: bool,
}

/// What was found and what was made up.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) true_positives: usize,
    pub(super) false_positives: usize,
}

impl Case {
    pub(super) fn new(frame: &Frame, class: &ClassRule, difficulty: &Difficulty) -> Result<Self, MissingScore> {
        let dont_care: Vec<&Label> = frame.labels.iter().filter(|label| label.is_dont_care()).collect();
        let mut detections = Vec::new();
        let mut boxes = Vec::new();
        for (index, detection) in frame.detections.iter().enumerate() {
            let missing = || MissingScore { frame: frame.name.clone(), position: index + 1, class: detection.class.clone() };
            let score = detection.score.ok_or_else(missing)?;
            let ignored = detection.height() < difficulty.min_height;
            if ignored || class.is(detection) {
                let share = |region: &&Label| intersection(detection, region) / detection.area();
                let in_dont_care = dont_care.iter().any(|region| share(region) > class.min_overlap);
                detections.push(Scored { score, ignored, in_dont_care });
                boxes.push(detection);
            }
        }
        let candidates = |truth: &Label| {
            let overlaps = boxes.iter().map(|found| iou(found, truth)).enumerate();
            let enough = overlaps.filter(|&(_, overlap)| overlap > class.min_overlap);
            enough.map(|(detection, overlap)| Candidate { detection, overlap }).collect()
        };
        let seen = frame.labels.iter().filter(|label| class.is(label) || class.is_neighbour(label));
        let truths = seen
            .map(|label| Truth { ignored: !(class.is(label) && difficulty.counts(label)), candidates: candidates(label) });
        Ok(Self { truths: truths.collect(), detections })
    }

    /// Number of valid ground truths.
    pub(super) fn objects(&self) -> usize {
        self.truths.iter().filter(|truth| !truth.ignored).count()
    }

    /// Scores of the detections that find a valid ground truth if no threshold holds any back. Here a ground truth takes
    /// the candidate with the best score.
    pub(super) fn hit_scores(&self) -> Vec<f64> {
        let score = |candidate: &Candidate| self.detections[candidate.detection].score;
        let (hits, _) = self.assign(f64::NEG_INFINITY, |a, b| score(b).total_cmp(&score(a)));
        hits.into_iter().map(|detection| self.detections[detection].score).collect()
    }

    /// Counts detections with at least the score `threshold`. Here a ground truth takes the detection that overlaps it
    /// most, and a small one only if there is no other.
    pub(super) fn count(&self, threshold: f64) -> Counts {
        let ignored = |candidate: &Candidate| self.detections[candidate.detection].ignored;
        let (hits, assigned) = self.assign(threshold, |a, b| match (ignored(a), ignored(b)) {
            (false, false) => b.overlap.total_cmp(&a.overlap),
            (true, true) => Ordering::Equal,
            (small, other_small) => small.cmp(&other_small),
        });
        let is_false = |(found, assigned): &(&Scored, bool)| {
            !(*assigned || found.ignored || found.in_dont_care || found.score < threshold)
        };
        Counts { true_positives: hits.len(), false_positives: self.detections.iter().zip(assigned).filter(is_false).count() }
    }

    /// Goes through the ground truths in the order of the file; each takes the free candidate that comes first in `order`,
    /// the earliest of equal ones. Returns the detections that find a valid ground truth, and for each detection whether
    /// it is taken.
    fn assign(&self, threshold: f64, order: impl Fn(&Candidate, &Candidate) -> Ordering) -> (Vec<usize>, Vec<bool>) {
        let mut hits = Vec::new();
        let mut assigned = vec![false; self.detections.len()];
        for truth in &self.truths {
            let free = |c: &&Candidate| !assigned[c.detection] && self.detections[c.detection].score >= threshold;
            if let Some(best) = truth.candidates.iter().filter(free).min_by(|a, b| order(a, b)) {
                assigned[best.detection] = true;
                if !truth.ignored && !self.detections[best.detection].ignored {
                    hits.push(best.detection);
                }
            }
        }
        (hits, assigned)
    }
}

impl Counts {
    /// Share of what was found that is right; 0 if nothing was.
    pub(super) fn precision(self) -> f64 {
        self.true_positives as f64 / (self.true_positives + self.false_positives).max(1) as f64
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            true_positives: a.true_positives + b.true_positives,
            false_positives: a.false_positives + b.false_positives,
        })
    }
}

/// Area that two boxes share, in f64 as in the development kit: the strict comparisons hang on the last digits.
fn intersection(a: &Label, b: &Label) -> f64 {
    let [ax1, ay1, ax2, ay2] = a.corners;
    let [bx1, by1, bx2, by2] = b.corners;
    (ax2.min(bx2) - ax1.max(bx1)).max(0.0) * (ay2.min(by2) - ay1.max(by1)).max(0.0)
}

fn iou(a: &Label, b: &Label) -> f64 {
    let shared = intersection(a, b);
    shared / (a.area() + b.area() - shared)
}
