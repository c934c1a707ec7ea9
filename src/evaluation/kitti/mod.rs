//! KITTI's 2-D average precision, as the object benchmark's development kit computes it (`evaluate_object`, version of
//! April 2017; Geiger et al., CVPR 2012), quirks included:
//!
//! * A ground truth is *valid* if it has the class, is taller than the difficulty's minimum and neither occluded nor
//!   truncated beyond its maximum. Other ground truths of the class, and those of a neighbour class, are *ignored*: a
//!   detection on one counts neither for nor against.
//! * A detection lower than the minimum height is ignored too, before anyone asks for its class: one of any class can
//!   take a valid ground truth and make it count neither as found nor as missed in the precision.
//! * Overlaps must exceed the class's minimum; the benchmark's boxes have no extra pixel on the right and lower edges.
//! * A detection without a ground truth is no false positive if more than the minimum overlap of its *own area* lies
//!   in a `DontCare` region.
//! * Precision is sampled at 41 scores, those at which recall passes 0, 1/40, …, 1, and made monotone from the right.
//!   R11 is the mean of every fourth sample from the first, R40 the mean of all but the first.
//! * `n` valid ground truths give at most `n` samples; the rest of the 41 stay 0. So even a perfect detector has an R40 of
//!   only `(n − 1) / 40` where there are fewer than 41 objects: compare AP on small sets among detectors, not with other
//!   sets.

mod matching;
mod protocol;
mod report;
mod results;
mod run;

pub use protocol::{ClassRule, Difficulty, Protocol};
pub use report::{Report, Row};
pub use results::{ResultsError, read_results};
pub use run::{Run, RunError};

use crate::frames::kitti::Label;
use matching::{Case, Counts};
use thiserror::Error;

/// Recall positions at which precision is sampled.
const SAMPLES: usize = 41;

/// What is in an image and what was found in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// The name that labels and results share, for messages.
    pub name: String,
    /// Ground truths and `DontCare` regions.
    pub labels: Vec<Label>,
    /// Detections; each has a score.
    pub detections: Vec<Label>,
}

/// A detection that cannot be ranked.
#[derive(Debug, Error, PartialEq)]
#[error("frame {frame}: detection {position} ({class}) has no score")]
pub struct MissingScore {
    /// The frame's name.
    pub frame: String,
    /// Place among the frame's detections, from 1.
    pub position: usize,
    /// The detection's class.
    pub class: String,
}

/// Average precision of every class at every difficulty, and what is found and missed at the protocol's score threshold.
///
/// # Errors
/// If a detection has no score.
pub fn evaluate(frames: &[Frame], protocol: &Protocol) -> Result<Report, MissingScore> {
    let mut rows = Vec::with_capacity(protocol.classes.len() * protocol.difficulties.len());
    for class in &protocol.classes {
        for difficulty in &protocol.difficulties {
            let cases = frames.iter().map(|f| Case::new(f, class, difficulty)).collect::<Result<Vec<_>, _>>()?;
            rows.push(evaluate_cases(&cases, class, difficulty, protocol.score_threshold));
        }
    }
    Ok(Report { frames: frames.len(), score_threshold: protocol.score_threshold, rows })
}

fn evaluate_cases(cases: &[Case], class: &ClassRule, difficulty: &Difficulty, score_threshold: f64) -> Row {
    let objects = cases.iter().map(Case::objects).sum();
    let count = |threshold| cases.iter().map(|case| case.count(threshold)).sum::<Counts>();
    let hits = cases.iter().flat_map(Case::hit_scores).collect();

    let mut precision = vec![0.0; SAMPLES];
    for (sample, threshold) in precision.iter_mut().zip(sampled_thresholds(hits, objects)) {
        *sample = count(threshold).precision();
    }
    for i in (1..SAMPLES).rev() {
        precision[i - 1] = precision[i - 1].max(precision[i]);
    }

    let at_threshold = count(score_threshold);
    let percent = |sum: f64, samples: usize| (objects > 0).then(|| 100.0 * sum / samples as f64);
    Row {
        class: class.name.clone(),
        min_overlap: class.min_overlap,
        difficulty: difficulty.name.clone(),
        objects,
        r11: percent(precision.iter().step_by(4).sum(), 11),
        r40: percent(precision[1..].iter().sum(), SAMPLES - 1),
        precision,
        true_positives: at_threshold.true_positives,
        false_positives: at_threshold.false_positives,
        false_negatives: objects - at_threshold.true_positives,
    }
}

/// The scores at which recall comes nearest to 0, 1/40, …, 1: at most 41, falling. `hits` are the scores of the detections
/// that find one of the `objects`.
fn sampled_thresholds(mut hits: Vec<f64>, objects: usize) -> Vec<f64> {
    hits.sort_by(|a, b| b.total_cmp(a));
    let mut thresholds = Vec::with_capacity(SAMPLES);
    let mut wanted = 0.0;
    for (i, &score) in hits.iter().enumerate() {
        let recall = (i + 1) as f64 / objects as f64;
        let next_recall = (i + 2) as f64 / objects as f64;
        let is_last = i + 1 == hits.len();
        if is_last || next_recall - wanted >= wanted - recall {
            thresholds.push(score);
            wanted += 1.0 / (SAMPLES - 1) as f64; // summed up as the development kit does
        }
    }
    thresholds
}
