//! DarkNet-19 YOLO-v2 (arXiv 1612.08242), numbered as in Darknet's configuration files.
//!
//! `yolo-voc.2.0.cfg` sends the 512-channel map straight into the reorg; `yolov2-voc.cfg` first takes it down to 64
//! channels. The sizes in arXiv 1804.06332 fit the first one.

use super::{Activation, Network, NetworkError, NetworkSpec, builder::Builder};

/// Filters and kernel of each convolution up to the passthrough's source; `None` is a 2×2 max pool.
const BACKBONE: [Option<(usize, usize)>; 17] = [
    Some((32, 3)),
    None,
    Some((64, 3)),
    None,
    Some((128, 3)),
    Some((64, 1)),
    Some((128, 3)),
    None,
    Some((256, 3)),
    Some((128, 1)),
    Some((256, 3)),
    None,
    Some((512, 3)),
    Some((256, 1)),
    Some((512, 3)),
    Some((256, 1)),
    Some((512, 3)),
];

/// From the last pool (17) to the last 1024-channel convolution before the concatenation.
const DEEP: [Option<(usize, usize)>; 8] = [
    None,
    Some((1024, 3)),
    Some((512, 1)),
    Some((1024, 3)),
    Some((512, 1)),
    Some((1024, 3)),
    Some((1024, 3)),
    Some((1024, 3)),
];

/// Builds the network; `narrow_passthrough` takes the passthrough down to 64 channels.
pub(super) fn build(spec: &NetworkSpec, narrow_passthrough: bool) -> Result<Network, NetworkError> {
    let mut b = Builder::new(spec, Activation::Leaky);
    append(&mut b, 0, &BACKBONE);
    let fine = b.last();
    append(&mut b, BACKBONE.len(), &DEEP);
    let coarse = b.last();

    let mut index = BACKBONE.len() + DEEP.len() + 1; // Darknet counts the route back to layer 16
    let mut passed = fine;
    if narrow_passthrough {
        passed = b.conv(format!("conv{index}"), fine, 64, 1, 1);
        index += 1;
    }
    let passed = b.reorg(format!("reorg{index}"), passed);
    let joined = b.concat(format!("concat{}", index + 1), vec![passed, coarse]);
    b.conv(format!("conv{}", index + 2), joined, 1024, 3, 1);
    b.finish()
}

fn append(b: &mut Builder<'_>, first: usize, layers: &[Option<(usize, usize)>]) {
    for (index, layer) in (first..).zip(layers) {
        match *layer {
            Some((filters, kernel)) => b.conv(format!("conv{index}"), b.last(), filters, kernel, 1),
            None => b.max_pool(format!("pool{index}")),
        };
    }
}
