//! What is counted: classes, overlaps and difficulties, as data.

use crate::frames::kitti::Label;
use serde::{Deserialize, Serialize};

/// Rules of an evaluation. The default is the official one; [`Self::with_min_overlap`] asks for AP50 and the like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// What is looked for.
    pub classes: Vec<ClassRule>,
    /// Which ground truths count, from the fewest to the most.
    pub difficulties: Vec<Difficulty>,
    /// The score from which on a detection counts in the table of objects found and missed. Average precision knows no
    /// threshold.
    pub score_threshold: f64,
}

/// A class and when a box of it is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// Name in labels and results; upper and lower case are the same.
    pub name: String,
    /// Intersection over union that a detection must exceed.
    pub min_overlap: f64,
    /// Classes so alike that a detection on one of them is ignored.
    pub neighbours: Vec<String>,
}

/// Which ground truths count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difficulty {
    /// What it is called in tables.
    pub name: String,
    /// Height in pixels that a ground truth must exceed and a detection must reach.
    pub min_height: f64,
    /// Largest [`Label::occluded`].
    pub max_occlusion: i32,
    /// Largest [`Label::truncated`].
    pub max_truncation: f64,
}

impl Default for Protocol {
    fn default() -> Self {
        let class = |name: &str, min_overlap, neighbours: &[&str]| ClassRule {
            name: name.into(),
            min_overlap,
            neighbours: neighbours.iter().map(|&n| n.into()).collect(),
        };
        let difficulty = |name: &str, min_height, max_occlusion, max_truncation| Difficulty {
            name: name.into(),
            min_height,
            max_occlusion,
            max_truncation,
        };
        Self {
            classes: vec![
                class("car", 0.7, &["Van"]),
                class("pedestrian", 0.5, &["Person_sitting"]),
                class("cyclist", 0.5, &[]),
            ],
            difficulties: vec![
                difficulty("easy", 40.0, 0, 0.15),
                difficulty("moderate", 25.0, 1, 0.30),
                difficulty("hard", 25.0, 2, 0.50),
            ],
            score_threshold: 0.3,
        }
    }
}

impl Protocol {
    /// The same with one minimum overlap for all classes.
    pub fn with_min_overlap(mut self, min_overlap: f64) -> Self {
        self.classes.iter_mut().for_each(|class| class.min_overlap = min_overlap);
        self
    }
}

impl ClassRule {
    pub(super) fn is(&self, label: &Label) -> bool {
        label.class.eq_ignore_ascii_case(&self.name)
    }

    pub(super) fn is_neighbour(&self, label: &Label) -> bool {
        self.neighbours.iter().any(|name| label.class.eq_ignore_ascii_case(name))
    }
}

impl Difficulty {
    pub(super) fn counts(&self, truth: &Label) -> bool {
        truth.height() > self.min_height && truth.occluded <= self.max_occlusion && truth.truncated <= self.max_truncation
    }
}
