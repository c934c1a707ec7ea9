//! Decoding: from the numbers of the last layer to boxes. One file for each kind of head.

mod region;

use super::Detection;
use crate::network::{Head, Network};

/// Calls `found` for every box whose score reaches its class's threshold; boxes are in pixels of the network's input,
/// not clipped, and finite whatever the outputs are.
///
/// `output(channel, y, x)` are the values of the last layer, of shape [`Network::output_shape`]; `thresholds` has one
/// score for each class.
pub(super) fn decode(
    network: &Network,
    thresholds: &[f32],
    output: impl Fn(usize, usize, usize) -> f32,
    found: impl FnMut(Detection),
) {
    match network.head() {
        Head::Region(head) => region::decode(head, network.input(), network.output_shape(), thresholds, output, found),
    }
}
