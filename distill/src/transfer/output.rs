//! The loss that compares what two heads of the same kind say.

use burn::tensor::{
    Tensor,
    activation::{log_softmax, sigmoid},
};
use onebit_detector::network::Shape;

/// The boxes that a region head gives out: so many anchors at each position, so many classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionOutputs {
    /// Boxes at a position.
    pub anchors: usize,
    /// Classes of a box.
    pub classes: usize,
}

impl RegionOutputs {
    /// Does a map of this shape hold them?
    pub fn fits(self, shape: Shape) -> bool {
        shape.channels == self.anchors * (5 + self.classes)
    }
}

/// Objectness-scaled distillation (Mehta & Ozturk, Object Detection at 200 Frames Per Second, arXiv 1805.06361) of the
/// outputs `[batch, anchors · (5 + classes), rows, columns]` of two region heads with the same anchors.
///
/// Objectness is matched everywhere; position, size and class as far as the teacher sees an object there, each box weighted
/// with the teacher's objectness. As in the region loss, half the squared difference of σ(tx), σ(ty), tw, th and of the
/// objectness; for the classes the Kullback-Leibler divergence from the teacher's. Sum over boxes, mean over pictures.
pub fn output(student: Tensor<4>, teacher: Tensor<4>, outputs: RegionOutputs) -> Tensor<1> {
    let [pictures, ..] = student.dims();
    let (student, teacher) = (Boxes::of(student, outputs), Boxes::of(teacher, outputs));
    let half_square = |difference: Tensor<4>| difference.clone() * difference * 0.5;
    let coords = half_square(student.coords - teacher.coords).sum_dim(2);
    let class = (teacher.classes.clone().exp() * (teacher.classes - student.classes)).sum_dim(2);
    let object = half_square(student.objectness - teacher.objectness.clone());
    (object + (coords + class) * teacher.objectness).sum().div_scalar(pictures as f32)
}

/// The parts of a head's outputs, each `[batch, anchors, …, positions]`.
struct Boxes {
    /// σ(tx), σ(ty), tw, th.
    coords: Tensor<4>,
    objectness: Tensor<4>,
    /// Logarithms of the probabilities.
    classes: Tensor<4>,
}

impl Boxes {
    fn of(output: Tensor<4>, RegionOutputs { anchors, classes }: RegionOutputs) -> Self {
        let [n, _, rows, columns] = output.dims();
        let positions = rows * columns;
        let output: Tensor<4> = output.reshape([n, anchors, 5 + classes, positions]);
        let part = |from: usize, to: usize| output.clone().slice([0..n, 0..anchors, from..to, 0..positions]);
        Self {
            coords: Tensor::cat(vec![sigmoid(part(0, 2)), part(2, 4)], 2),
            objectness: sigmoid(part(4, 5)),
            classes: log_softmax(part(5, 5 + classes), 2),
        }
    }
}
