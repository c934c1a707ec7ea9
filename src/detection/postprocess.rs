//! From the network's output to boxes in the image.

use super::{
    Detection, Letterbox, heads,
    nms::{self, MAX_CANDIDATES},
};
use crate::network::Network;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which boxes are reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorOptions {
    /// The lowest score of a box, 0 to 1.
    pub score_threshold: f32,
    /// The lowest score of a box of each class, in the order of [`Network::classes`], instead of `score_threshold`.
    pub class_thresholds: Option<Vec<f32>>,
    /// Of two boxes of one class whose IoU is above this, the better one is reported. 0 to 1.
    pub nms_iou: f32,
    /// The largest number of boxes in an image: the best ones.
    pub max_detections: usize,
}

impl Default for DetectorOptions {
    /// Darknet's: score 0.5, IoU 0.45; at most 100 boxes.
    fn default() -> Self {
        Self { score_threshold: 0.5, class_thresholds: None, nms_iou: 0.45, max_detections: 100 }
    }
}

/// An option out of its range.
#[derive(Debug, Error, PartialEq)]
pub enum OptionError {
    /// A threshold that is not between 0 and 1.
    #[error("{option} is {value}, 0 to 1 is possible")]
    Range {
        /// The option, as its field is called.
        option: &'static str,
        /// What it was set to.
        value: f32,
    },
    /// The wrong number of class thresholds.
    #[error("class_thresholds has {found} values, the model has {classes} classes")]
    Classes {
        /// Thresholds.
        found: usize,
        /// Classes.
        classes: usize,
    },
    /// No boxes, or more than take part in the suppression.
    #[error("max_detections is {0}, 1 to {MAX_CANDIDATES} is possible")]
    MaxDetections(
        /// What it was set to.
        usize,
    ),
}

impl DetectorOptions {
    /// Checks every value; returns the threshold of each class.
    fn thresholds(&self, classes: usize) -> Result<Vec<f32>, OptionError> {
        let fraction = |option, value| {
            if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(OptionError::Range { option, value }) }
        };
        fraction("nms_iou", self.nms_iou)?;
        let common = fraction("score_threshold", self.score_threshold)?;
        if !(1..=MAX_CANDIDATES).contains(&self.max_detections) {
            return Err(OptionError::MaxDetections(self.max_detections));
        }
        match &self.class_thresholds {
            None => Ok(vec![common; classes]),
            Some(each) if each.len() == classes => each.iter().map(|&t| fraction("class_thresholds", t)).collect(),
            Some(each) => Err(OptionError::Classes { found: each.len(), classes }),
        }
    }
}

/// Decodes, maps back, clips and suppresses. Allocates nothing after its creation.
#[derive(Debug)]
pub struct Postprocess {
    options: DetectorOptions,
    thresholds: Vec<f32>,
    boxes: Vec<Detection>,
}

impl Postprocess {
    /// For networks with this many classes.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(classes: usize, options: DetectorOptions) -> Result<Self, OptionError> {
        let thresholds = options.thresholds(classes)?;
        Ok(Self { options, thresholds, boxes: Vec::with_capacity(2 * MAX_CANDIDATES) })
    }

    /// The options in force.
    pub fn options(&self) -> &DetectorOptions {
        &self.options
    }

    /// Other options from the next image on.
    ///
    /// # Errors
    /// Names the option that is out of range; then the old ones stay in force.
    pub fn set_options(&mut self, options: DetectorOptions) -> Result<(), OptionError> {
        self.thresholds = options.thresholds(self.thresholds.len())?;
        self.options = options;
        Ok(())
    }

    /// The boxes in an image that lies in the network's input as `letterbox` says, best first, in pixels of the image.
    ///
    /// `output(channel, y, x)` are the values of the network's last layer. Boxes are clipped to the image; what is empty
    /// then is dropped.
    pub fn run(
        &mut self,
        network: &Network,
        letterbox: &Letterbox,
        output: impl Fn(usize, usize, usize) -> f32,
    ) -> &[Detection] {
        let (width, height) = letterbox.source();
        let boxes = &mut self.boxes;
        boxes.clear();
        heads::decode(network, &self.thresholds, output, |found| {
            let bbox = letterbox.to_source(found.bbox).clipped(width, height);
            if bbox.area() > 0.0 {
                if boxes.len() == boxes.capacity() {
                    nms::keep_best(boxes, MAX_CANDIDATES);
                }
                boxes.push(Detection { bbox, ..found });
            }
        });
        nms::suppress(boxes, self.options.nms_iou, self.options.max_detections);
        boxes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetworkSpec, Topology};
    use proptest::{collection::vec, prelude::*};

    /// A grid of 3×2 cells, five anchors, three classes.
    fn network() -> Network {
        let mut spec = NetworkSpec::preset(Topology::MobilenetYolo);
        (spec.width, spec.input) = (0.125, "96x64".parse().unwrap());
        spec.build().unwrap()
    }

    fn options(score_threshold: f32) -> DetectorOptions {
        DetectorOptions { score_threshold, ..DetectorOptions::default() }
    }

    #[test]
    fn boxes_come_back_into_the_image() {
        let network = network();
        // One box in the cell (1, 1) of 32 pixels, twice as wide and high as a cell, of an anchor whose size cancels out.
        let crate::network::Head::Region(head) = network.head();
        let anchor = head.anchors[0];
        let outputs = [0.0, 0.0, (2.0 / anchor.0).ln(), (2.0 / anchor.1).ln(), 50.0, 50.0, 0.0, 0.0];
        let output = |channel: usize, y: usize, x: usize| match (y, x) {
            (1, 1) => outputs.get(channel).copied().unwrap_or(-50.0),
            _ => -50.0,
        };
        // The image of 192×64 is scaled by ½ to 96×32, below 16 rows of bar.
        let letterbox = Letterbox::new(192, 64, network.input());
        let mut postprocess = Postprocess::new(3, options(0.5)).unwrap();
        let [found] = postprocess.run(&network, &letterbox, output)[..] else { panic!("one box") };
        // In the input 16…80 × 16…80; in the image 32…160 × 0…128, of which 0…64 is inside.
        assert_eq!(found.class, 0);
        for (found, expected) in found.bbox.corners().into_iter().zip([32.0, 0.0, 160.0, 64.0]) {
            assert!((found - expected).abs() < 1e-3, "{found}, expected {expected}");
        }
    }

    #[test]
    fn wrong_options_are_named_and_change_nothing() {
        let mut postprocess = Postprocess::new(3, options(0.25)).unwrap();
        let cases = [
            (DetectorOptions { score_threshold: 1.5, ..options(0.5) }, "score_threshold is 1.5, 0 to 1 is possible"),
            (DetectorOptions { score_threshold: f32::NAN, ..options(0.5) }, "score_threshold is NaN, 0 to 1 is possible"),
            (DetectorOptions { nms_iou: -0.1, ..options(0.5) }, "nms_iou is -0.1, 0 to 1 is possible"),
            (DetectorOptions { max_detections: 0, ..options(0.5) }, "max_detections is 0, 1 to 1000 is possible"),
            (
                DetectorOptions { class_thresholds: Some(vec![0.5; 2]), ..options(0.5) },
                "class_thresholds has 2 values, the model has 3 classes",
            ),
            (
                DetectorOptions { class_thresholds: Some(vec![0.5, 2.0, 0.5]), ..options(0.5) },
                "class_thresholds is 2, 0 to 1 is possible",
            ),
        ];
        for (wrong, message) in cases {
            assert_eq!(postprocess.set_options(wrong).unwrap_err().to_string(), message);
            assert_eq!(postprocess.options(), &options(0.25));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_network_says_the_boxes_are_sound(
            values in vec(prop_oneof![-9f32..9.0, -200f32..200.0, any::<f32>()], 40 * 6),
            (width, height) in (1usize..300, 1usize..300), threshold in 0f32..=1.0,
        ) {
            let network = network();
            let letterbox = Letterbox::new(width, height, network.input());
            let mut postprocess = Postprocess::new(3, options(threshold)).unwrap();
            let boxes = postprocess.run(&network, &letterbox, |c, y, x| values[(c * 2 + y) * 3 + x]);
            prop_assert!(boxes.len() <= 100);
            prop_assert!(boxes.is_sorted_by(|a, b| a.score >= b.score));
            for found in boxes {
                prop_assert!((threshold..=1.0).contains(&found.score) && found.bbox.area() > 0.0, "{found:?}");
                let [x1, y1, x2, y2] = found.bbox.corners();
                prop_assert!(x1 >= 0.0 && y1 >= 0.0 && x2 <= width as f32 && y2 <= height as f32, "{found:?}");
            }
        }
    }
}
