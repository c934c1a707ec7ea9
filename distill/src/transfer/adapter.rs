//! What stands between a layer of the student and a tap whose shape is another. It learns with the student and is left
//! behind when the student is packed.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use onebit_detector::network::Shape;

/// Brings a student's map to the shape of a tap: a 1×1 convolution where the channels differ, and the mean over blocks, or
/// each value repeated, where the sizes do.
#[derive(Module, Debug)]
pub struct Adapter {
    /// The 1×1 convolution.
    pub projection: Option<Projection>,
    #[module(skip)]
    resize: Resize,
}

/// A 1×1 convolution.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[tap's channels, student's channels]`.
    pub weight: Param<Tensor<2>>,
    /// `[tap's channels]`.
    pub bias: Param<Tensor<1>>,
}

/// How a map changes its size: factors on height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resize {
    None,
    /// The mean of each block.
    Mean([usize; 2]),
    /// Each value as a block.
    Repeat([usize; 2]),
}

impl Adapter {
    /// Is one size a multiple of the other, so that there is an adapter between the two shapes?
    pub(super) fn fits(student: Shape, tap: Shape) -> bool {
        Resize::between(student, tap).is_some()
    }

    /// Does one adapter do for both pairs of a student's shape and a tap's?
    pub(super) fn resizes_alike([student, tap]: [Shape; 2], [other_student, other_tap]: [Shape; 2]) -> bool {
        Resize::between(student, tap) == Resize::between(other_student, other_tap)
            && (student.channels, tap.channels) == (other_student.channels, other_tap.channels)
    }

    /// A fresh adapter between two shapes that fit; the channels are left as they are unless `project`.
    pub(crate) fn new(student: Shape, tap: Shape, project: bool, device: &Device) -> Self {
        let project = project && student.channels != tap.channels;
        Self {
            projection: project.then(|| Projection::new(student.channels, tap.channels, device)),
            resize: Resize::between(student, tap).expect("the shapes fit"),
        }
    }

    /// From `[batch, student's channels, height, width]` to the tap's shape.
    pub fn forward(&self, features: Tensor<4>) -> Tensor<4> {
        let project = |features: Tensor<4>| match &self.projection {
            Some(projection) => projection.forward(features),
            None => features,
        };
        // Both are linear, so that the order is free: the convolution has the smaller map.
        match self.resize {
            Resize::None => project(features),
            Resize::Mean(block) => project(averaged(features, block)),
            Resize::Repeat(block) => repeated(project(features), block),
        }
    }
}

impl Projection {
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let weight = Initializer::KaimingNormal { gain: 1.0, fan_out_only: false };
        Self {
            weight: weight.init_with([outputs, inputs], Some(inputs), None, device),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    fn forward(&self, features: Tensor<4>) -> Tensor<4> {
        let [n, inputs, h, w] = features.dims();
        let [outputs, _] = self.weight.dims();
        let weight: Tensor<3> = self.weight.val().reshape([1, outputs, inputs]);
        let features: Tensor<3> = features.reshape([n, inputs, h * w]);
        let sums: Tensor<3> = weight.expand([n, outputs, inputs]).matmul(features);
        sums.reshape([n, outputs, h, w]) + self.bias.val().reshape([1, outputs, 1, 1])
    }
}

impl Resize {
    fn between(from: Shape, to: Shape) -> Option<Self> {
        let whole = |large: Shape, small: Shape| {
            let fits = large.height.is_multiple_of(small.height) && large.width.is_multiple_of(small.width);
            fits.then(|| [large.height / small.height, large.width / small.width])
        };
        if (from.height, from.width) == (to.height, to.width) {
            return Some(Self::None);
        }
        whole(from, to).map(Self::Mean).or_else(|| whole(to, from).map(Self::Repeat))
    }
}

fn averaged(features: Tensor<4>, [dy, dx]: [usize; 2]) -> Tensor<4> {
    let [n, c, h, w] = features.dims();
    let blocks: Tensor<6> = features.reshape([n, c, h / dy, dy, w / dx, dx]);
    blocks.mean_dims(&[3, 5]).reshape([n, c, h / dy, w / dx])
}

fn repeated(features: Tensor<4>, [dy, dx]: [usize; 2]) -> Tensor<4> {
    let [n, c, h, w] = features.dims();
    let blocks: Tensor<6> = features.reshape([n, c, h, 1, w, 1]);
    blocks.expand([n, c, h, dy, w, dx]).reshape([n, c, h * dy, w * dx])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn shape(channels: usize, height: usize, width: usize) -> Shape {
        Shape { channels, height, width }
    }

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn one_adapter_does_where_both_sizes_grow_alike() {
        let alike = |other| Adapter::resizes_alike([shape(8, 8, 8), shape(4, 4, 4)], other);
        assert!(alike([shape(8, 8, 12), shape(4, 4, 6)]));
        assert!(!alike([shape(8, 8, 12), shape(4, 4, 4)]), "3 columns become one, 2 in the first window");
        assert!(!alike([shape(8, 8, 12), shape(4, 8, 12)]));
        assert!(!alike([shape(8, 8, 12), shape(8, 4, 6)]), "other channels");
    }

    #[test]
    fn sizes_are_brought_together() {
        let device = Device::flex();
        let x = |shape: [usize; 4]| -> Tensor<4> {
            let values: Vec<f32> = (0..shape.iter().product()).map(|v| v as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        let adapter = |from, to| Adapter::new(from, to, true, &device);
        let same = adapter(shape(2, 2, 3), shape(2, 2, 3));
        assert_eq!(values(same.forward(x([1, 2, 2, 3]))), (0..12).map(|v| v as f32).collect::<Vec<_>>());
        // Columns 0 1 2 3 over 4 5 6 7: the means of 2x2 blocks are 2.5 and 4.5.
        let smaller = adapter(shape(1, 2, 4), shape(1, 1, 2));
        assert_eq!(values(smaller.forward(x([1, 1, 2, 4]))), [2.5, 4.5]);
        let larger = adapter(shape(1, 1, 2), shape(1, 2, 6));
        assert_eq!(values(larger.forward(x([1, 1, 1, 2]))), [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]; 2].concat());
        assert!(!Adapter::fits(shape(1, 4, 6), shape(1, 2, 4)), "6 and 4 columns");
        assert!(!Adapter::fits(shape(1, 4, 2), shape(1, 2, 4)), "more rows, fewer columns");
    }

    #[test]
    fn channels_are_projected_where_they_differ_and_matter() {
        let device = Device::flex();
        let adapter = Adapter::new(shape(2, 1, 2), shape(3, 1, 2), true, &device);
        let Projection { weight, bias } = adapter.projection.clone().unwrap();
        let constant = |values: &[f32]| TensorData::new(values.to_vec(), [values.len()]);
        let weight =
            weight.map(|_| Tensor::<1>::from_data(constant(&[1.0, 0.0, 0.0, 2.0, 1.0, -1.0]), &device).reshape([3, 2]));
        let bias = bias.map(|_| Tensor::from_data(constant(&[0.0, 0.0, 10.0]), &device));
        let adapter = Adapter { projection: Some(Projection { weight, bias }), ..adapter };
        let x = Tensor::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0], [1, 2, 1, 2]), &device);
        assert_eq!(values(adapter.forward(x)), [1.0, 2.0, 6.0, 8.0, 8.0, 8.0]);

        let projects = |student, project| Adapter::new(student, shape(3, 1, 2), project, &device).projection.is_some();
        assert!(!projects(shape(3, 1, 2), true) && !projects(shape(2, 1, 2), false));
    }
}
