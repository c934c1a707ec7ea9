//! The training graph: the layers of a [`Network`] with latent weights, batch norm and gradients.

mod average;
pub mod binarize;
mod convolution;
mod cpu;
mod filters;
mod norm;

pub use filters::Filters;
pub use norm::{EPSILON, Moments, Norm};

use crate::recipe::{Binarization, BinaryLayers};
use burn::{
    module::Module,
    tensor::{Device, Tensor, module::max_pool2d, ops::MaxPoolOptions},
};
use onebit_detector::network::{Layer, Network, Operation, Source};

/// The weights of a network and the order in which they are used.
///
/// On an autodiff device batch norm uses (and learns) the statistics of the batch; [`Module::valid`] gives the form for
/// evaluation. Any input whose sides the network's strides divide will do, not only the network's own.
#[derive(Module, Debug)]
pub struct Student {
    /// The weights of each layer that has some, in order of evaluation.
    pub filters: Vec<Filters>,
    #[module(skip)]
    layers: Vec<Layer>,
}

impl Student {
    /// Fresh weights for a network. Seed the device first: same seed, same weights.
    pub fn new(network: &Network, binarization: Binarization, device: &Device) -> Self {
        let filters = network.layers().iter().filter_map(|layer| {
            let channels = network.source_shape(layer.inputs[0]).channels;
            Filters::new(&layer.operation, channels, binarization, device)
        });
        let student = Self { filters: filters.collect(), layers: network.layers().to_vec() };
        student.materialize() // the weights are drawn here, in order, not at their first use
    }

    /// Chooses which of the network's binary layers are binary from now on.
    pub fn set_binary(&mut self, binary: &BinaryLayers) {
        let names = self.layers.iter().filter(|layer| has_filters(&layer.operation)).map(|layer| &layer.name);
        for (filters, name) in self.filters.iter_mut().zip(names) {
            filters.set_binary(binary.contains(name));
        }
    }

    /// From pictures `[batch, 3, height, width]` to the last layer's output `[batch, channels, rows, columns]`, with batch
    /// norm's running statistics.
    pub fn forward(&self, image: Tensor<4>) -> Tensor<4> {
        let mut outputs = self.forward_all(image);
        outputs.pop().expect("a network has layers")
    }

    /// The output of every layer, with batch norm's running statistics.
    pub fn forward_all(&self, image: Tensor<4>) -> Vec<Tensor<4>> {
        self.evaluate(image, |filters, x| filters.forward(x))
    }

    /// The output of every layer, with the statistics of the batch; and these statistics, for [`Student::absorb`].
    pub fn learn(&self, image: Tensor<4>) -> (Vec<Tensor<4>>, Vec<Option<Moments>>) {
        let mut moments = Vec::with_capacity(self.filters.len());
        let outputs = self.evaluate(image, |filters, x| {
            let (y, seen) = filters.learn(x);
            moments.push(seen);
            y
        });
        (outputs, moments)
    }

    fn evaluate(&self, image: Tensor<4>, mut convolve: impl FnMut(&Filters, Tensor<4>) -> Tensor<4>) -> Vec<Tensor<4>> {
        let mut outputs: Vec<Tensor<4>> = Vec::with_capacity(self.layers.len());
        let mut filters = self.filters.iter();
        for layer in &self.layers {
            let mut inputs = layer.inputs.iter().map(|source| match *source {
                Source::Image => image.clone(),
                Source::Layer(index) => outputs[index].clone(),
            });
            let mut input = || inputs.next().expect("every layer reads something");
            let output = match layer.operation {
                Operation::Convolution(_) | Operation::Depthwise(_) => {
                    convolve(filters.next().expect("made for the same layers"), input())
                }
                Operation::MaxPool => pool(input()),
                Operation::SpaceToDepth { block } => space_to_depth(input(), block),
                Operation::Concat => Tensor::cat(inputs.collect(), 1),
            };
            outputs.push(output);
        }
        outputs
    }

    /// Takes the statistics of a batch, computed in `parts`, into batch norm's running ones.
    pub fn absorb(mut self, parts: &[Vec<Option<Moments>>]) -> Self {
        let average = |index: usize| -> Option<Moments> {
            let parts: Option<Vec<_>> = parts.iter().map(|part| part[index].clone()).collect();
            parts.map(|parts| Moments::average(&parts))
        };
        let filters = self.filters.into_iter().enumerate();
        self.filters = filters.map(|(index, filters)| filters.absorb(&average(index))).collect();
        self
    }

    /// Puts statistics in place of batch norm's running ones, one for each layer with weights; layers without batch norm have
    /// none.
    pub fn with_statistics(mut self, moments: Vec<Option<Moments>>) -> Self {
        let filters = self.filters.into_iter().zip(moments);
        self.filters = filters.map(|(filters, moments)| filters.with_statistics(moments)).collect();
        self
    }

    /// What follows a step: weights behind signs are cut to −1..1, where their gradient ends, if the recipe wants it;
    /// learned scales of layers that are not binary yet become the mean magnitudes of their weights.
    pub fn settled(mut self) -> Self {
        self.filters = self.filters.into_iter().map(Filters::settled).collect();
        self
    }
}

fn has_filters(operation: &Operation) -> bool {
    matches!(operation, Operation::Convolution(_) | Operation::Depthwise(_))
}

/// The largest of each 2x2 values; a last row or column without a partner is left out.
fn pool(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if cpu::computes(&x) && height % 2 == 0 && width % 2 == 0 {
        return cpu::pool(x);
    }
    max_pool2d(x, MaxPoolOptions::new([2, 2]))
}

/// Output channel `(dy·block + dx)·C + c` at `(y, x)` is input channel `c` at `(y·block + dy, x·block + dx)`.
fn space_to_depth(x: Tensor<4>, block: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let blocks: Tensor<6> = x.reshape([n, c, h / block, block, w / block, block]);
    blocks.permute([0, 3, 5, 1, 2, 4]).reshape([n, block * block * c, h / block, w / block])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::FilterScale;
    use burn::tensor::{Distribution, TensorData};
    use onebit_detector::network::{InputSize, NetworkSpec, Topology};
    use std::collections::BTreeSet;

    const PLAIN: Binarization = Binarization { clip: true, standardise: false, scale: FilterScale::Mean };

    fn network(topology: Topology) -> Network {
        let input = InputSize { width: 96, height: 64 };
        NetworkSpec { width: 0.125, input, ..NetworkSpec::preset(topology) }.build().unwrap()
    }

    #[test]
    fn the_graph_has_the_network_s_shapes_and_parameters() {
        for topology in Topology::ALL {
            let network = network(topology);
            let device = Device::flex();
            let student = Student::new(&network, PLAIN, &device);
            assert_eq!(student.num_params() as u64, network.counts().parameters);
            let image = Tensor::random([2, 3, 64, 96], Distribution::Uniform(0.0, 1.0), &device);
            for (output, shape) in student.forward_all(image).iter().zip(network.shapes()) {
                assert_eq!(output.dims(), [2, shape.channels, shape.height, shape.width]);
            }
        }
    }

    #[test]
    fn any_input_that_the_strides_divide_will_do() {
        let device = Device::flex();
        let student = Student::new(&network(Topology::DarknetYolo), PLAIN, &device);
        let image = Tensor::random([1, 3, 32, 128], Distribution::Uniform(0.0, 1.0), &device);
        assert_eq!(student.forward(image).dims()[2..], [1, 4]);
    }

    #[test]
    fn a_stage_chooses_the_binary_layers() {
        let network = network(Topology::MobilenetYolo);
        let mut student = Student::new(&network, PLAIN, &Device::flex());
        let names: Vec<_> = network.layers().iter().filter(|l| has_filters(&l.operation)).map(|l| l.name.as_str()).collect();
        let binary = |student: &Student| -> Vec<&str> {
            names.iter().zip(&student.filters).filter(|(_, filters)| filters.is_binary()).map(|(name, _)| *name).collect()
        };
        assert!(binary(&student).is_empty());
        student.set_binary(&BinaryLayers::All);
        let all: Vec<_> = names.iter().copied().filter(|n| n.starts_with("pointwise") || n.starts_with("head")).collect();
        assert_eq!(binary(&student), all, "not the first, the last, and the depthwise ones");
        student.set_binary(&BinaryLayers::Only(BTreeSet::from(["head2".into(), "conv0".into()])));
        assert_eq!(binary(&student), ["head2"], "what the network wants in full precision stays so");
    }

    #[test]
    fn latent_weights_behind_signs_are_clamped_the_others_not() {
        let device = Device::flex().autodiff();
        for clip in [true, false] {
            let mut student = Student::new(&network(Topology::DarknetYolo), Binarization { clip, ..PLAIN }, &device);
            student.set_binary(&BinaryLayers::All);
            enlarge(&mut student);
            let student = student.settled();
            for filters in &student.filters {
                let largest = filters.latent.val().abs().max().into_scalar::<f32>();
                assert_eq!(largest <= 1.0, clip && filters.is_binary(), "{largest}");
                assert!(filters.latent.is_require_grad());
            }
        }
    }

    fn enlarge(student: &mut Student) {
        for filters in &mut student.filters {
            filters.latent = filters.latent.clone().map(|w| (w * 100.0).detach().require_grad());
        }
    }

    #[test]
    fn a_learned_scale_follows_the_weights_until_its_layer_is_binary() {
        let device = Device::flex().autodiff();
        let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
        for standardise in [false, true] {
            let binarization = Binarization { clip: false, standardise, scale: FilterScale::Learned };
            let mut student = Student::new(&network(Topology::MobilenetYolo), binarization, &device);
            let scales = |student: &Student| -> Vec<Vec<f32>> {
                student.filters.iter().filter_map(|f| f.scale.as_ref()).map(|scale| values(scale.val())).collect()
            };
            // Of the first filter of each binary layer, its weights' magnitudes being what `weight` makes of them.
            let used = |student: &Student| -> Vec<f32> {
                let binary = student.filters.iter().filter(|filters| filters.is_binary());
                binary.map(|filters| values(filters.weight().flatten(0, 3))[0].abs()).collect()
            };
            let fresh = scales(&student);
            enlarge(&mut student);
            let mut student = student.settled();
            let followed = scales(&student);
            let factor = if standardise { 1.0 } else { 100.0 };
            for (fresh, followed) in fresh.concat().into_iter().zip(followed.concat()) {
                assert!((factor * fresh - followed).abs() < 1e-3 * followed, "{followed} from {fresh}");
            }
            student.set_binary(&BinaryLayers::All);
            let used_scales = used(&student);
            assert_eq!(used_scales.len(), followed.len(), "every binary layer has one");
            assert!(used_scales.iter().zip(&followed).all(|(used, scales)| *used == scales[0]));
            enlarge(&mut student);
            assert_eq!(scales(&student.settled()), followed, "it is a weight of its own now");
        }
    }

    #[test]
    fn blocks_become_channels() {
        // Two channels of 2x4: 0..8 and 8..16.
        let values: Vec<f32> = (0..16).map(|v| v as f32).collect();
        let x = Tensor::from_data(TensorData::new(values, [1, 2, 2, 4]), &Device::flex());
        let y = space_to_depth(x, 2);
        assert_eq!(y.dims(), [1, 8, 1, 2]);
        let expected = [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15].map(|v| v as f32);
        assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), expected);
    }
}
