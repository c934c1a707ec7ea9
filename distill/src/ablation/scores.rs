//! What a run is worth on frames that it has not seen.

use super::{AblationError, EvaluationSet};
use crate::{
    packing,
    recipe::{BinaryLayers, Recipe},
};
use onebit_detector::{
    engine::{self, Mode},
    evaluation::kitti::{Frame, Protocol, Report, Run, evaluate},
    model_file::Model,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Resampled sets that an interval is taken from.
const RESAMPLES: usize = 200;
/// How a run is packed.
const PACKING: packing::Options = packing::Options { frames: 64, batch_norm: 0 };

/// What one run scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Size of its model file in bytes.
    pub bytes: usize,
    /// One for each set, class and difficulty.
    pub rows: Vec<Score>,
}

/// Average precision of a class at a difficulty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Name of the set.
    pub set: String,
    /// Name of the class.
    pub class: String,
    /// Name of the difficulty.
    pub difficulty: String,
    /// Objects that count.
    pub objects: usize,
    /// AP over 40 recall positions, in percent; none without objects.
    pub ap: Option<f64>,
    /// The middle 95 % of the AP over frames drawn anew with replacement (Efron, 1979).
    pub interval: Option<[f64; 2]>,
}

/// Packs a finished run, or takes it as it is if it ends in full precision, and measures it. All in f32 mode, so that what is
/// compared is the weights.
pub(super) fn measure(run: &Path, recipe: &Recipe, sets: &[EvaluationSet]) -> Result<Scores, AblationError> {
    let last = recipe.stages.last().expect("a recipe has stages");
    let model = match last.binary {
        BinaryLayers::None => packing::in_full_precision(run, recipe, recipe.network.input)?,
        _ => packing::pack(run, recipe, PACKING)?,
    };
    let options = engine::Options { mode: Mode::F32, ..engine::Options::default() };
    let mut rows = Vec::new();
    for set in sets {
        rows.extend(measure_on(&model, &options, recipe, set)?);
    }
    Ok(Scores { bytes: model.to_bytes()?.len(), rows })
}

fn measure_on(
    model: &Model,
    options: &engine::Options,
    recipe: &Recipe,
    set: &EvaluationSet,
) -> Result<Vec<Score>, AblationError> {
    let folder = recipe.data.root.join(&set.path);
    let frames: Vec<Frame> =
        Run::new(model, options, &folder.join(&set.images), &folder.join(&set.labels))?.collect::<Result<_, _>>()?;
    let protocol = match set.min_overlap {
        Some(overlap) => Protocol::default().with_min_overlap(overlap),
        None => Protocol::default(),
    };
    let report = |frames: &[Frame]| evaluate(frames, &protocol).expect("a detector gives every box a score");
    let resampled: Vec<Report> = resamples(&frames).map(|frames| report(&frames)).collect();
    let rows = report(&frames).rows.into_iter().enumerate().map(|(index, row)| Score {
        set: set.name.clone(),
        class: row.class,
        difficulty: row.difficulty,
        objects: row.objects,
        ap: row.r40,
        interval: interval(resampled.iter().filter_map(|report| report.rows[index].r40).collect()),
    });
    Ok(rows.collect())
}

/// As many frames as there are, drawn with replacement, again and again; always the same draws.
fn resamples(frames: &[Frame]) -> impl Iterator<Item = Vec<Frame>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..RESAMPLES).map(move |_| frames.iter().map(|_| frames[rng.random_range(0..frames.len())].clone()).collect())
}

/// The 2.5th and the 97.5th percentile.
fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.025, 0.975].map(|share| values[(share * last as f64).round() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_leaves_out_the_outermost_values() {
        let values = (0..=200).rev().map(f64::from).collect();
        assert_eq!(interval(values), Some([5.0, 195.0]));
        assert_eq!(interval(vec![7.0]), Some([7.0, 7.0]));
        assert_eq!(interval(vec![]), None);
    }

    #[test]
    fn frames_are_drawn_with_replacement_and_always_alike() {
        let frames: Vec<_> = (0..50).map(|n: usize| Frame { name: n.to_string(), ..Frame::default() }).collect();
        let first = resamples(&frames).next().unwrap();
        assert_eq!(first.len(), 50);
        assert!(frames.iter().any(|frame| !first.contains(frame)), "some are drawn twice, some not at all");
        assert_eq!(resamples(&frames).next().unwrap(), first);
    }
}
