//! MobileNet-v1 (arXiv 1704.04861) with YOLO-v2's head: two 3×3 convolutions, the passthrough from stride 16, a third.
//!
//! The head is DarkNet-YOLO's without the 64-channel convolution: the layout whose size fits arXiv 1804.06332.

use super::{Activation, Network, NetworkError, NetworkSpec, builder::Builder};

/// Stride and filters of each depthwise + pointwise pair.
const PAIRS: [(usize, usize); 13] = [
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
];
/// The last pair at stride 16, from which the passthrough starts.
const PASSTHROUGH: usize = 11;

pub(super) fn build(spec: &NetworkSpec) -> Result<Network, NetworkError> {
    let mut b = Builder::new(spec, Activation::Relu);
    b.conv("conv0", b.last(), 32, 3, 2);
    let mut fine = b.last();
    for (pair, (stride, filters)) in (1..).zip(PAIRS) {
        let spread = b.depthwise(format!("depthwise{pair}"), stride);
        let pointwise = b.conv(format!("pointwise{pair}"), spread, filters, 1, 1);
        if pair == PASSTHROUGH {
            fine = pointwise;
        }
    }
    b.activation(Activation::Leaky);
    b.conv("head1", b.last(), 1024, 3, 1);
    let coarse = b.conv("head2", b.last(), 1024, 3, 1);
    let passed = b.reorg("reorg", fine);
    let joined = b.concat("concat", vec![passed, coarse]);
    b.conv("head3", joined, 1024, 3, 1);
    b.finish()
}
