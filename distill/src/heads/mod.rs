//! What a head's outputs should have been: one loss for each kind of head.

mod region;

pub use region::{RegionLoss, RegionTargets};

use crate::{data::Batch, recipe::RegionLossConfig};
use burn::tensor::Tensor;
use onebit_detector::network::Network;

/// The parts of a loss by name; what is trained is their sum. Each is a mean over the pictures.
pub type Terms = Vec<(&'static str, Tensor<1>)>;

/// The loss of a network's head.
#[derive(Clone, Debug)]
pub enum HeadLoss {
    /// YOLO-v2's region layer.
    Region(RegionLoss),
}

impl HeadLoss {
    /// The loss of the network's head.
    pub fn new(network: &Network, config: &RegionLossConfig) -> Self {
        match network.head() {
            onebit_detector::network::Head::Region(head) => {
                Self::Region(RegionLoss::new(head, network.classes().len(), config.clone()))
            }
        }
    }

    /// The loss of `output` `[batch, channels, rows, columns]` for the labels of `batch`; `seen` pictures were learned from
    /// before.
    pub fn terms(&self, output: Tensor<4>, batch: &Batch, seen: u64) -> Terms {
        match self {
            Self::Region(loss) => {
                let targets = loss.targets(&output, batch, seen);
                loss.terms(output, targets)
            }
        }
    }
}
