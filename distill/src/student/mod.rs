//! The training graph: the layers of a [`Network`] with latent weights, batch norm and gradients.

mod binarize;
mod convolution;
mod filters;
mod norm;

pub use binarize::binarize;
pub use filters::Filters;
pub use norm::{EPSILON, Moments, Norm};

use crate::recipe::BinaryLayers;
use burn::{
    module::Module,
    nn::pool::{MaxPool2d, MaxPool2dConfig},
    tensor::{Device, Tensor},
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
    pool: MaxPool2d,
    #[module(skip)]
    layers: Vec<Layer>,
}

impl Student {
    /// Fresh weights for a network. Seed the device first: same seed, same weights.
    pub fn new(network: &Network, device: &Device) -> Self {
        let filters = network.layers().iter().filter_map(|layer| {
            let channels = network.source_shape(layer.inputs[0]).channels;
            Filters::new(&layer.operation, channels, device)
        });
        let student = Self {
            filters: filters.collect(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            layers: network.layers().to_vec(),
        };
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

    /// The last layer's output, with the statistics of the batch; and these statistics, for [`Student::absorb`].
    pub fn learn(&self, image: Tensor<4>) -> (Tensor<4>, Vec<Option<Moments>>) {
        let mut moments = Vec::with_capacity(self.filters.len());
        let mut outputs = self.evaluate(image, |filters, x| {
            let (y, seen) = filters.learn(x);
            moments.push(seen);
            y
        });
        (outputs.pop().expect("a network has layers"), moments)
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
                Operation::MaxPool => self.pool.forward(input()),
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

    /// The same weights with those behind signs cut to −1..1, where their gradient ends.
    pub fn clamped(mut self) -> Self {
        self.filters = self.filters.into_iter().map(Filters::clamped).collect();
        self
    }
}

fn has_filters(operation: &Operation) -> bool {
    matches!(operation, Operation::Convolution(_) | Operation::Depthwise(_))
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
    use burn::tensor::Distribution;
    use onebit_detector::network::{NetworkSpec, Topology};

    /// Clamping must neither tie one step's graph to the next one's nor take weights out of it.
    #[test]
    fn every_weight_has_a_gradient_after_being_clamped() {
        let spec = NetworkSpec {
            width: 0.125,
            input: "64x64".parse().unwrap(),
            ..NetworkSpec::preset(Topology::DarknetYolo64)
        };
        let device = Device::flex().autodiff();
        let mut student = Student::new(&spec.build().unwrap(), &device);
        student.set_binary(&BinaryLayers::All);
        let student = student.clamped();
        for _ in 0..2 {
            let image = Tensor::random([2, 3, 64, 64], Distribution::Uniform(0.0, 1.0), &device);
            let (output, _) = student.learn(image);
            let gradients = (output.clone() * output).mean().backward();
            for (index, filters) in student.filters.iter().enumerate() {
                let gradient = filters.latent.val().grad(&gradients);
                let largest = gradient.map_or(0.0, |g| g.abs().max().into_scalar::<f32>());
                assert!(largest > 0.0, "filters {index} learn nothing");
            }
        }
    }
}
