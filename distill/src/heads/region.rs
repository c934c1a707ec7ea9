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
        for (picture, (labels, unlabelled)) in batch.labels.iter().zip(&batch.unlabelled).enumerate() {
            let values = &values[picture * channels * rows * columns..][..channels * rows * columns];
            let labels: Vec<_> = labels.iter().map(|label| Label { bbox: in_cells(&label.bbox, cell), ..*label }).collect();
            let unlabelled: Vec<_> = unlabelled.iter().map(|part| in_cells(part, cell)).collect();
            slots.fill(self, picture, values, &labels, &unlabelled, seen < self.config.warmup_samples);
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

/// A box in grid cells.
fn in_cells(bbox: &BBox, (width, height): (f32, f32)) -> BBox {
    BBox { cx: bbox.cx / width, cy: bbox.cy / height, w: bbox.w / width, h: bbox.h / height }
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

    /// Fills one picture's part. `values` are its outputs, `labels` and `unlabelled` are in grid cells.
    fn fill(
        &mut self,
        loss: &RegionLoss,
        picture: usize,
        values: &[f32],
        labels: &[Label],
        unlabelled: &[BBox],
        warmup: bool,
    ) {
        let config = &loss.config;
        let (objects, ignored): (Vec<&Label>, Vec<&Label>) = labels.iter().partition(|label| label.class.is_some());
        let (rows, columns) = (self.rows, self.columns);
        // Where nobody has looked, whatever the box of a cell, also one that reaches out of the picture, is neither right
        // nor wrong.
        let cells = (0..rows * columns).filter(|at| {
            let (x, y) = ((at % columns) as f32 + 0.5, (at / columns) as f32 + 0.5);
            !unlabelled.iter().map(BBox::corners).any(|[x0, y0, x1, y1]| (x0..x1).contains(&x) && (y0..y1).contains(&y))
        });
        let slots = cells.flat_map(|at| (0..loss.anchors.len()).map(move |anchor| (anchor, at)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use onebit_detector::network::InputSize;

    const AFTER_WARMUP: u64 = 20_000;

    /// A loss for two classes.
    fn loss(anchors: &[(f32, f32)]) -> RegionLoss {
        let head = RegionHead { anchors: anchors.iter().map(|&(w, h)| Anchor(w, h)).collect() };
        RegionLoss::new(&head, 2, RegionLossConfig::default())
    }

    /// One picture of 128x128 pixels: 4x4 cells.
    fn batch(labels: Vec<Label>) -> Batch {
        let size = InputSize { width: 128, height: 128 };
        Batch { size, values: Vec::new(), labels: vec![labels], unlabelled: vec![Vec::new()] }
    }

    fn label(corners: [f32; 4], class: Option<usize>, weight: f32) -> Label {
        Label { bbox: BBox::from_corners(corners), class, weight }
    }

    fn silent(anchors: usize) -> Tensor<4> {
        Tensor::zeros([1, 7 * anchors, 4, 4], &Device::flex().autodiff())
    }

    fn values(terms: Terms) -> Vec<(&'static str, f32)> {
        terms.into_iter().map(|(name, term)| (name, term.into_scalar::<f32>())).collect()
    }

    fn assert_terms(loss: &RegionLoss, batch: &Batch, seen: u64, expected: [f32; 4]) {
        let output = silent(loss.anchors.len());
        let terms = values(loss.terms(output.clone(), loss.targets(&output, batch, seen)));
        for ((name, value), expected) in terms.into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{name}: {value}, by hand {expected}");
        }
    }

    /// An object of 2x3 cells centred in cell (2, 1). All outputs are 0: every box is its anchor in the middle of its cell,
    /// objectness 1/2, both classes equally likely. The anchor of 2x4 cells is nearest in shape and has an IoU of 3/4.
    #[test]
    fn terms_by_hand() {
        let loss = loss(&[(1.0, 1.0), (2.0, 4.0)]);
        let corners = [48.0, 0.0, 112.0, 96.0];
        let size = 0.75f32.ln().powi(2);
        let weight = 2.0 - 6.0 / 16.0;
        let expected = [0.5 * weight * size, 0.5 * 5.0 * 0.25f32.powi(2), 31.0 * 0.125, 2.0f32.ln()];
        assert_terms(&loss, &batch(vec![label(corners, Some(1), 1.0)]), AFTER_WARMUP, expected);
        let [coords, object, no_object, class] = expected;
        let unsure = batch(vec![label(corners, Some(1), 0.25)]);
        assert_terms(&loss, &unsure, AFTER_WARMUP, [coords / 4.0, object / 4.0, no_object, class / 4.0]);
    }

    #[test]
    fn boxes_on_an_object_or_mostly_in_an_ignore_region_may_be_loud() {
        let loss = loss(&[(1.0, 1.0)]);
        assert_terms(&loss, &batch(vec![]), AFTER_WARMUP, [0.0, 0.0, 16.0 * 0.125, 0.0]);
        // Two columns of cells and 40 % of a third.
        let region = label([0.0, 0.0, 76.8, 128.0], None, 1.0);
        assert_terms(&loss, &batch(vec![region]), AFTER_WARMUP, [0.0, 0.0, 8.0 * 0.125, 0.0]);
        // Responsible is cell (1, 1); the box of cell (2, 1) has IoU 0.6 / 1.4 with the object, that is not enough.
        let object = label([44.8, 32.0, 76.8, 64.0], Some(0), 1.0);
        let output = silent(1);
        let targets = loss.targets(&output, &batch(vec![object]), AFTER_WARMUP);
        let weights: Vec<f32> = targets.no_object_weight.into_data().try_to_vec().unwrap();
        let quiet: Vec<_> = (0..16).filter(|at| weights[*at] == 0.0).collect();
        assert_eq!(quiet, [5]);
    }

    /// Wild boxes, also such that mostly lie outside the picture, in the first samples and later.
    #[test]
    fn an_unlabelled_picture_has_no_gradient() {
        let loss = loss(&[(1.0, 1.0), (2.0, 4.0)]);
        let device = Device::flex().autodiff();
        for seen in [0, AFTER_WARMUP] {
            let output = Tensor::<4>::random([1, 14, 4, 4], Distribution::Normal(0.0, 3.0), &device).require_grad();
            let gradient = |unlabelled: Vec<BBox>| {
                let batch = Batch { unlabelled: vec![unlabelled], ..batch(vec![]) };
                let terms = loss.terms(output.clone(), loss.targets(&output, &batch, seen));
                let total = terms.into_iter().map(|(_, term)| term).reduce(|a, b| a + b).unwrap();
                output.grad(&total.backward()).unwrap().into_data().try_to_vec::<f32>().unwrap()
            };
            let whole = BBox::from_corners([0.0, 0.0, 128.0, 128.0]);
            assert!(gradient(vec![whole]).iter().all(|value| *value == 0.0));
            let labelled = gradient(vec![]);
            assert!((0..16).all(|at| labelled[4 * 16 + at] > 0.0), "objectness is pushed down where there is nothing");
            // A part of a mosaic: the cells whose centres lie in it, here the left half.
            let half = gradient(vec![BBox::from_corners([0.0, 0.0, 60.0, 128.0])]);
            for (index, (half, labelled)) in half.into_iter().zip(labelled).enumerate() {
                assert_eq!(half, if index % 4 < 2 { 0.0 } else { labelled });
            }
        }
    }

    #[test]
    fn the_first_samples_draw_every_box_to_its_anchor() {
        let loss = loss(&[(1.0, 1.0)]);
        let output = silent(1) + 1.0;
        let targets = loss.targets(&output, &batch(vec![]), 0);
        let terms = values(loss.terms(output, targets));
        let centre = 1.0 / (1.0 + (-1f32).exp()) - 0.5;
        let expected = 16.0 * 0.5 * WARMUP_SCALE * (2.0 * centre * centre + 2.0);
        assert!((terms[0].1 - expected).abs() < 1e-5, "{} by hand {expected}", terms[0].1);
    }

    #[test]
    fn later_objects_take_the_slot_of_earlier_ones() {
        let loss = loss(&[(1.0, 1.0)]);
        let two = |classes: [usize; 2]| classes.map(|class| label([32.0, 32.0, 64.0, 64.0], Some(class), 1.0)).to_vec();
        let targets = loss.targets(&silent(1), &batch(two([0, 1])), AFTER_WARMUP);
        let weights: Vec<f32> = targets.class_weight.into_data().try_to_vec().unwrap();
        assert_eq!((weights[5], weights[16 + 5]), (0.0, 1.0));
    }

    #[test]
    fn wild_outputs_give_finite_targets() {
        let loss = loss(&[(1.0, 1.0), (2.0, 4.0)]);
        let labels = batch(vec![label([48.0, 0.0, 112.0, 96.0], Some(1), 1.0), label([0.0, 0.0, 64.0, 64.0], None, 1.0)]);
        for wild in [-1e4, 200.0, 1e4] {
            let targets = loss.targets(&(silent(2) + wild), &labels, AFTER_WARMUP);
            let RegionTargets { coords, coords_weight, object, object_weight, no_object_weight, class_weight } = targets;
            for tensor in [coords, coords_weight, object, object_weight, no_object_weight, class_weight] {
                assert!(tensor.into_data().try_to_vec::<f32>().unwrap().iter().all(|v| v.is_finite()), "{wild}");
            }
        }
    }

    /// The loss in plain f64, written from the formula.
    fn reference(output: &[f64], targets: &[Vec<f32>; 6], anchors: usize, positions: usize) -> f64 {
        let [coords, coords_weight, object, object_weight, no_object_weight, class_weight] = targets;
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let pictures = output.len() / (7 * anchors * positions);
        let mut sum = 0.0;
        for plane in 0..pictures * anchors {
            for at in 0..positions {
                let out = |channel: usize| output[(7 * plane + channel) * positions + at];
                let slot = plane * positions + at;
                for channel in 0..4 {
                    let value = if channel < 2 { logistic(out(channel)) } else { out(channel) };
                    let target = f64::from(coords[(4 * plane + channel) * positions + at]);
                    sum += 0.5 * f64::from(coords_weight[slot]) * (value - target).powi(2);
                }
                let loud = logistic(out(4));
                sum += 0.5 * f64::from(object_weight[slot]) * (loud - f64::from(object[slot])).powi(2);
                sum += 0.5 * f64::from(no_object_weight[slot]) * loud.powi(2);
                let all = out(5).exp() + out(6).exp();
                for class in 0..2 {
                    let weight = f64::from(class_weight[(2 * plane + class) * positions + at]);
                    sum -= weight * (out(5 + class).exp() / all).ln();
                }
            }
        }
        sum / pictures as f64
    }

    #[test]
    fn gradients_equal_numerical_ones() {
        let loss = loss(&[(1.0, 1.0), (2.0, 4.0)]);
        let device = Device::flex();
        device.seed(7);
        let device = device.autodiff();
        let output = Tensor::<4>::random([2, 14, 4, 4], Distribution::Normal(0.0, 1.0), &device).require_grad();
        let mut batch =
            batch(vec![label([48.0, 0.0, 112.0, 96.0], Some(1), 0.7), label([5.0, 70.0, 40.0, 99.0], Some(0), 1.0)]);
        batch.labels.push(vec![label([64.0, 64.0, 128.0, 128.0], None, 1.0)]);
        batch.unlabelled.push(Vec::new());
        for seen in [0, AFTER_WARMUP] {
            let targets = loss.targets(&output, &batch, seen);
            let RegionTargets { coords, coords_weight, object, object_weight, no_object_weight, class_weight } = &targets;
            let plain = [coords, coords_weight, object, object_weight, no_object_weight, class_weight]
                .map(|tensor| tensor.clone().into_data().try_to_vec::<f32>().unwrap());
            let total = loss.terms(output.clone(), targets).into_iter().map(|(_, term)| term).reduce(|a, b| a + b).unwrap();
            let start: Vec<f64> =
                output.clone().into_data().try_to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
            let expected = reference(&start, &plain, 2, 16);
            let value = total.clone().into_scalar::<f32>();
            assert!((f64::from(value) - expected).abs() < 1e-4 * expected, "{value}, in f64 {expected}");

            let gradient = output.grad(&total.backward()).unwrap().into_data().try_to_vec::<f32>().unwrap();
            for (index, gradient) in gradient.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut output = start.clone();
                    output[index] += by;
                    reference(&output, &plain, 2, 16)
                };
                let numerical = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((f64::from(gradient) - numerical).abs() < 1e-4, "output {index}: {gradient}, numerical {numerical}");
            }
        }
    }
}
