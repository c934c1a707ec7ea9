//! Which weights the layers of a network have: the one place that knows.

use crate::network::{Depthwise, Network, Operation, Precision};

/// Weights of one layer, as the network asks for them. A shape is `[filters, channels, kernel, kernel]`; of a depthwise
/// convolution it is `[channels, 1, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightShape {
    /// None.
    None,
    /// One bit each.
    Binary {
        shape: [usize; 4],
        /// Is a batch norm folded into the scale? Only that can make it negative.
        batch_norm: bool,
    },
    /// 32-bit floats.
    Full { shape: [usize; 4] },
}

impl WeightShape {
    /// Weights of the layer at this position.
    pub(crate) fn of(network: &Network, index: usize) -> Self {
        let layer = &network.layers()[index];
        let channels = || network.source_shape(layer.inputs[0]).channels;
        match &layer.operation {
            Operation::Convolution(c) => {
                let shape = [c.filters, channels(), c.kernel, c.kernel];
                match c.precision {
                    Precision::Binary => Self::Binary { shape, batch_norm: c.batch_norm },
                    Precision::Full => Self::Full { shape },
                }
            }
            Operation::Depthwise(_) => Self::Full { shape: [channels(), 1, Depthwise::KERNEL, Depthwise::KERNEL] },
            Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => Self::None,
        }
    }
}

/// Weights of one filter.
pub(crate) fn weights_per_filter(shape: [usize; 4]) -> usize {
    shape[1..].iter().product()
}
