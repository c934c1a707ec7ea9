//! The loss of YOLO-v2's region layer, as Darknet's `region_layer.c` has it.
//!
//! Darknet writes gradients, not a loss: the delta of each output is the scaled difference to its target. The loss whose
//! gradient that is: half the squared difference for position, size and objectness, cross entropy for the class. Targets
//! (which box is responsible, the IoU that its objectness should show) are taken from the predictions of the moment and
//! held constant.

use super::Terms;
use crate::{
    data::{Batch, Label},
    recipe::RegionLossConfig,
};
use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{log_softmax, sigmoid},
};
use onebit_detector::{
    detection::BBox,
    network::{Anchor, RegionHead},
};

/// Weight of the pull towards the anchors during the first samples.
const WARMUP_SCALE: f32 = 0.01;

/// The region loss of one head.
#[derive(Clone, Debug)]
pub struct RegionLoss {
    anchors: Vec<Anchor>,
    classes: usize,
    config: RegionLossConfig,
}

/// What each output should have been, and how much it counts.
#[derive(Clone, Debug)]
pub struct RegionTargets {
    /// σ(tx), σ(ty), tw, th: `[batch, anchors, 4, positions]`.
    pub coords: Tensor<4>,
    /// `[batch, anchors, 1, positions]`.
    pub coords_weight: Tensor<4>,
    /// Objectness of responsible boxes: `[batch, anchors, 1, positions]`.
    pub object: Tensor<4>,
    /// `[batch, anchors, 1, positions]`; 0 where no object is.
    pub object_weight: Tensor<4>,
    /// `[batch, anchors, 1, positions]`; 0 where the box may be loud.
    pub no_object_weight: Tensor<4>,
    /// The class's weight at the object's class, 0 elsewhere: `[batch, anchors, classes, positions]`.
    pub class_weight: Tensor<4>,
}

impl RegionLoss {
    /// The loss of a head with so many classes.
    pub fn new(head: &RegionHead, classes: usize, config: RegionLossConfig) -> Self {
        Self { anchors: head.anchors.clone(), classes, config }
    }

    /// Targets for the labels of a batch; `output` `[batch, channels, rows, columns]` is only looked at.
    pub fn targets(&self, output: &Tensor<4>, batch: &Batch, seen: u64) -> RegionTargets {
        let [pictures, channels, rows, columns] = output.dims();
        let device = output.device();
        let values = output.clone().detach().inner().into_data();
        let values = values.as_slice::<f32>().expect("the graph computes in f32");
        let mut slots = Slots::new(self, pictures, rows, columns);
        let cell = (batch.size.width as f32 / columns as f32, batch.size.height as f32 / rows as f32);
        for (picture, labels) in batch.labels.iter().enumerate() {
            let values = &values[picture * channels * rows * columns..][..channels * rows * columns];
            let labels: Vec<_> = labels.iter().map(|label| in_cells(label, cell)).collect();
            slots.fill(self, picture, values, &labels, seen < self.config.warmup_samples);
        }
        slots.into_targets(&device)
    }

    /// The loss against given targets: `coords`, `object`, `no_object` and `class`.
    pub fn terms(&self, output: Tensor<4>, targets: RegionTargets) -> Terms {
        let [pictures, _, rows, columns] = output.dims();
        let (anchors, classes, positions) = (self.anchors.len(), self.classes, rows * columns);
        let output: Tensor<4> = output.reshape([pictures, anchors, 5 + classes, positions]);
        let part = |from: usize, to: usize| output.clone().slice([0..pictures, 0..anchors, from..to, 0..positions]);
        let coords = Tensor::cat(vec![sigmoid(part(0, 2)), part(2, 4)], 2);
        let objectness = sigmoid(part(4, 5));
        let likelihood = log_softmax(part(5, 5 + classes), 2);

        let mean = |values: Tensor<4>| values.sum().div_scalar(pictures as f32);
        let half_square = |difference: Tensor<4>| difference.clone() * difference * 0.5;
        vec![
            ("coords", mean(half_square(coords - targets.coords) * targets.coords_weight)),
            ("object", mean(half_square(objectness.clone() - targets.object) * targets.object_weight)),
            ("no_object", mean(half_square(objectness) * targets.no_object_weight)),
            ("class", mean(likelihood * targets.class_weight).neg()),
        ]
    }
}

/// A label with its box in grid cells.
fn in_cells(label: &Label, (width, height): (f32, f32)) -> Label {
    let BBox { cx, cy, w, h } = label.bbox;
    Label { bbox: BBox { cx: cx / width, cy: cy / height, w: w / width, h: h / height }, ..*label }
}

/// The targets while they are being filled: planes of `rows · columns` values.
struct Slots {
    anchors: usize,
    classes: usize,
    pictures: usize,
    rows: usize,
    columns: usize,
    coords: Vec<f32>,
    coords_weight: Vec<f32>,
    object: Vec<f32>,
    object_weight: Vec<f32>,
    no_object_weight: Vec<f32>,
    class_weight: Vec<f32>,
}

impl Slots {
    fn new(loss: &RegionLoss, pictures: usize, rows: usize, columns: usize) -> Self {
        let (anchors, classes) = (loss.anchors.len(), loss.classes);
        let slots = pictures * anchors * rows * columns;
        let zeros = |channels: usize| vec![0.0; channels * slots];
        Self {
            anchors,
            classes,
            pictures,
            rows,
            columns,
            coords: zeros(4),
            coords_weight: zeros(1),
            object: zeros(1),
            object_weight: zeros(1),
            no_object_weight: zeros(1),
            class_weight: zeros(classes),
        }
    }

    /// Fills one picture's part. `values` are its outputs, `labels` are in grid cells.
    fn fill(&mut self, loss: &RegionLoss, picture: usize, values: &[f32], labels: &[Label], warmup: bool) {
        let config = &loss.config;
        let (objects, ignored): (Vec<&Label>, Vec<&Label>) = labels.iter().partition(|label| label.class.is_some());
        let (rows, columns) = (self.rows, self.columns);
        let slots = (0..rows * columns).flat_map(|at| (0..loss.anchors.len()).map(move |anchor| (anchor, at)));
        for (anchor, at) in slots {
            let bbox = predicted(loss, values, anchor, at, rows, columns);
            let known = objects.iter().any(|label| label.bbox.iou(&bbox) > config.ignore_iou);
            let excused = ignored.iter().any(|label| label.bbox.intersection(&bbox) > config.ignore_share * bbox.area());
            let plane = picture * self.anchors + anchor;
            if !known && !excused {
                self.no_object_weight[plane * rows * columns + at] = config.no_object_scale;
            }
            if warmup {
                self.set_coords(plane, at, [0.5, 0.5, 0.0, 0.0], WARMUP_SCALE);
            }
        }
        for label in objects {
            self.assign(loss, picture, values, label);
        }
    }

    /// Makes one box responsible for an object: that of the cell with the object's centre and the anchor with its shape.
    fn assign(&mut self, loss: &RegionLoss, picture: usize, values: &[f32], label: &Label) {
        let config = &loss.config;
        let (rows, columns) = (self.rows, self.columns);
        let truth = label.bbox;
        let column = (truth.cx as usize).min(columns - 1);
        let row = (truth.cy as usize).min(rows - 1);
        let at = row * columns + column;
        let anchor = best_anchor(&loss.anchors, &truth);
        let Anchor(width, height) = loss.anchors[anchor];
        let plane = picture * self.anchors + anchor;

        let coords = [truth.cx - column as f32, truth.cy - row as f32, (truth.w / width).ln(), (truth.h / height).ln()];
        // Small boxes count up to twice as much as one that fills the picture.
        let share = truth.area() / (rows * columns) as f32;
        self.set_coords(plane, at, coords, label.weight * config.coord_scale * (2.0 - share));

        let slot = plane * rows * columns + at;
        let bbox = predicted(loss, values, anchor, at, rows, columns);
        self.object[slot] = if config.rescore { truth.iou(&bbox) } else { 1.0 };
        self.object_weight[slot] = label.weight * config.object_scale;
        self.no_object_weight[slot] = 0.0;

        let class = label.class.expect("only labels with a class are assigned");
        for other in 0..self.classes {
            let weight = if other == class { label.weight * config.class_scale } else { 0.0 };
            self.class_weight[(plane * self.classes + other) * rows * columns + at] = weight;
        }
    }

    fn set_coords(&mut self, plane: usize, at: usize, coords: [f32; 4], weight: f32) {
        let positions = self.rows * self.columns;
        for (channel, value) in coords.into_iter().enumerate() {
            self.coords[(4 * plane + channel) * positions + at] = value;
        }
        self.coords_weight[plane * positions + at] = weight;
    }

    fn into_targets(self, device: &Device) -> RegionTargets {
        let positions = self.rows * self.columns;
        let tensor = |values: Vec<f32>, channels: usize| {
            Tensor::from_data(TensorData::new(values, [self.pictures, self.anchors, channels, positions]), device)
        };
        RegionTargets {
            coords: tensor(self.coords, 4),
            coords_weight: tensor(self.coords_weight, 1),
            object: tensor(self.object, 1),
            object_weight: tensor(self.object_weight, 1),
            no_object_weight: tensor(self.no_object_weight, 1),
            class_weight: tensor(self.class_weight, self.classes),
        }
    }
}

/// The box that one picture's outputs describe at a cell and anchor, in grid cells.
fn predicted(loss: &RegionLoss, values: &[f32], anchor: usize, at: usize, rows: usize, columns: usize) -> BBox {
    let value = |channel: usize| values[(anchor * (5 + loss.classes) + channel) * rows * columns + at];
    let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
    let Anchor(width, height) = loss.anchors[anchor];
    BBox {
        cx: (at % columns) as f32 + logistic(value(0)),
        cy: (at / columns) as f32 + logistic(value(1)),
        w: width * value(2).exp(),
        h: height * value(3).exp(),
    }
}

/// The anchor whose shape overlaps the box's most, both with the same centre.
fn best_anchor(anchors: &[Anchor], truth: &BBox) -> usize {
    let centred = |w: f32, h: f32| BBox { cx: 0.0, cy: 0.0, w, h };
    let truth = centred(truth.w, truth.h);
    let overlap = |anchor: &Anchor| centred(anchor.0, anchor.1).iou(&truth);
    // The first of equals, as Darknet.
    (1..anchors.len()).fold(0, |best, i| if overlap(&anchors[i]) > overlap(&anchors[best]) { i } else { best })
}
