//! The numbers, as data and as a table.

use super::SAMPLES;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an evaluation says. Prints as a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of frames.
    pub frames: usize,
    /// The score from which on detections count among the true and false positives.
    pub score_threshold: f64,
    /// One for each class and difficulty, class after class.
    pub rows: Vec<Row>,
}

/// One class at one difficulty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the class.
    pub class: String,
    /// Intersection over union that a detection must exceed.
    pub min_overlap: f64,
    /// Name of the difficulty.
    pub difficulty: String,
    /// Number of valid ground truths. Few of them make every other number uncertain, and with fewer than 41 AP cannot reach
    /// 100.
    pub objects: usize,
    /// Average precision over 11 recall positions, in percent; none without objects.
    pub r11: Option<f64>,
    /// Average precision over 40 recall positions, in percent; none without objects.
    pub r40: Option<f64>,
    /// Precision, 0 to 1, at 41 recall positions 0, 1/40, …, 1; 0 where recall is not reached.
    pub precision: Vec<f64>,
    /// Objects found at the score threshold.
    pub true_positives: usize,
    /// Detections at the score threshold that are nothing.
    pub false_positives: usize,
    /// Objects missed at the score threshold: all that no detection of their class found, even where a box too small to
    /// count lies on one.
    pub false_negatives: usize,
}

impl Report {
    /// The row of a class and difficulty.
    pub fn row(&self, class: &str, difficulty: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.class == class && row.difficulty == difficulty)
    }
}

impl Row {
    /// Share of the objects that are found at the score threshold, 0 to 1; none without objects.
    pub fn recall(&self) -> Option<f64> {
        (self.objects > 0).then(|| self.true_positives as f64 / self.objects as f64)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        let name = |row: &Row| row.class.chars().count();
        let wide = self.rows.iter().map(name).chain(["class".len()]).max().unwrap_or_default();
        let harder =
            self.rows.iter().map(|row| row.difficulty.chars().count()).chain(["difficulty".len()]).max().unwrap_or_default();
        writeln!(
            f,
            "{} frames; AP and recall in percent; TP, FP, FN and recall at scores of {} and more",
            self.frames, self.score_threshold
        )?;
        writeln!(
            f,
            "{:wide$}  {:harder$}   IoU  objects  AP R11  AP R40      TP      FP      FN  recall",
            "class", "difficulty"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:wide$}  {:harder$}  {:>4.2}  {:>7}  {:>6}  {:>6}  {:>6}  {:>6}  {:>6}  {:>6}",
                row.class,
                row.difficulty,
                row.min_overlap,
                row.objects,
                percent(row.r11),
                percent(row.r40),
                row.true_positives,
                row.false_positives,
                row.false_negatives,
                percent(row.recall().map(|recall| 100.0 * recall)),
            )?;
        }
        if self.rows.iter().any(|row| (1..SAMPLES).contains(&row.objects)) {
            writeln!(
                f,
                "AP cannot reach 100 where there are fewer than {SAMPLES} objects: it is sampled once for each, at most."
            )?;
        }
        Ok(())
    }
}
