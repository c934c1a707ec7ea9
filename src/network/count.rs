//! Parameters, operations and bytes.

use super::{Depthwise, Layer, Network, Operation, Precision, Shape};
use serde::Serialize;

/// What a layer, or a whole network, costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Numbers of the trained full-precision layer: weights, and per filter the four vectors of a batch norm or a bias.
    pub parameters: u64,
    /// Operations for one image: two (a product and a sum) for each weight and position.
    pub operations: u64,
    /// Bytes of its weights in a model file: bits or 32-bit floats, and per filter a scale and a bias.
    pub packed_bytes: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |a, b| Self {
            parameters: a.parameters + b.parameters,
            operations: a.operations + b.operations,
            packed_bytes: a.packed_bytes + b.packed_bytes,
        })
    }
}

impl Network {
    /// The whole network's counts.
    pub fn counts(&self) -> Counts {
        (0..self.layers().len()).map(|index| self.layer_counts(index)).sum()
    }

    /// One layer's counts.
    pub fn layer_counts(&self, index: usize) -> Counts {
        let layer = &self.layers()[index];
        layer.counts(self.source_shape(layer.inputs[0]), self.shapes()[index])
    }
}

impl Layer {
    fn counts(&self, source: Shape, output: Shape) -> Counts {
        let (per_filter, precision, batch_norm) = match &self.operation {
            Operation::Convolution(c) => (source.channels * c.kernel * c.kernel, c.precision, c.batch_norm),
            Operation::Depthwise(_) => (Depthwise::KERNEL * Depthwise::KERNEL, Precision::Full, true),
            Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => return Counts::default(),
        };
        let filters = output.channels as u64;
        let per_filter = per_filter as u64;
        let filter_bytes = match precision {
            Precision::Binary => per_filter.div_ceil(8) + 8, // scale and bias
            Precision::Full => 4 * per_filter + 4,           // the scale is in the weights
        };
        Counts {
            parameters: filters * (per_filter + if batch_norm { 4 } else { 1 }),
            operations: 2 * filters * per_filter * output.positions() as u64,
            packed_bytes: filters * filter_bytes,
        }
    }
}
