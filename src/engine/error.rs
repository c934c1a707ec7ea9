//! Why a model cannot be run.

use super::Mode;
use crate::{model_file::ModelError, network::Network};
use std::io;
use thiserror::Error;

/// A model, an option or an input image that the engine cannot use, and why.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model's parts do not fit one another.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// int8 mode needs activation ranges.
    #[error(
        "the model has no activation ranges, which int8 mode needs: calibrate it (`distill pack` does), or use f32 mode"
    )]
    NotCalibrated,
    /// The kernel does not exist or cannot run here.
    #[error("no kernel '{name}' for {mode} mode on this CPU; it can run: {}", available.join(", "))]
    Kernel {
        /// The name asked for.
        name: String,
        /// The mode asked for.
        mode: Mode,
        /// Names of the kernels that this CPU can run in this mode.
        available: Vec<&'static str>,
    },
    /// A layer that cannot be run as it is.
    #[error("layer {index} ({name}): {reason}")]
    Layer {
        /// Position in the list of layers, from 0.
        index: usize,
        /// The layer's name.
        name: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A number of threads that makes no sense.
    #[error("{0} threads: 1 to {max} are possible", max = super::MAX_THREADS)]
    Threads(usize),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Spawn(#[source] io::Error),
    /// The feature maps do not fit.
    #[error("no memory for the feature maps, {bytes} bytes: choose a smaller input")]
    Memory {
        /// Bytes of all feature maps.
        bytes: usize,
    },
    /// Calibration saw no image.
    #[error("calibration needs at least one image")]
    NoImages,
    /// A calibration image has another size than the network's input.
    #[error("calibration image {index} has {found_width}x{found_height} pixels, the network reads {width}x{height}")]
    ImageSize {
        /// Position among the images, from 0.
        index: usize,
        /// Its width.
        found_width: u32,
        /// Its height.
        found_height: u32,
        /// Width that the network reads.
        width: usize,
        /// Height that the network reads.
        height: usize,
    },
    /// A layer's values are not finite, so that no range holds them.
    #[error("calibration image {index} makes layer '{layer}' infinite or NaN")]
    NotFinite {
        /// Position of the image, from 0.
        index: usize,
        /// The layer's name.
        layer: String,
    },
}

impl EngineError {
    pub(super) fn layer(network: &Network, index: usize, reason: String) -> Self {
        Self::Layer { index, name: network.layers()[index].name.clone(), reason }
    }
}
