//! A convolution with same padding, in the way that suits its filters.

use super::{columns::Geometry, depthwise::Depthwise};

pub(super) enum Convolution {
    /// Every filter reads all channels.
    Dense(Geometry),
    /// Every channel has a filter of its own.
    Depthwise(Depthwise),
}

impl Convolution {
    /// For inputs `[batch, channels, height, width]` and weights `[filters, channels, kernel, kernel]`, or `depthwise`
    /// `[channels, 1, kernel, kernel]`.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], stride: usize, depthwise: bool) -> Self {
        if depthwise {
            Self::Depthwise(Depthwise::new(x, weight, stride))
        } else {
            Self::Dense(Geometry::new(x, weight, stride))
        }
    }

    /// `[batch, filters, rows, columns]`.
    pub(super) fn output(&self) -> [usize; 4] {
        match self {
            Self::Dense(geometry) => geometry.output(),
            Self::Depthwise(depthwise) => depthwise.output(),
        }
    }

    /// The output.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        match self {
            Self::Dense(geometry) => geometry.forward(x, weight),
            Self::Depthwise(depthwise) => depthwise.forward(x, weight),
        }
    }

    /// The gradients of the input, if it is `wanted`, and of the weights, where `y` is that of the output.
    pub(super) fn backward(&self, x: &[f32], weight: &[f32], y: &[f32], wanted: bool) -> (Option<Vec<f32>>, Vec<f32>) {
        match self {
            Self::Dense(geometry) => geometry.backward(x, weight, y, wanted),
            Self::Depthwise(depthwise) => {
                let (of_x, of_weight) = depthwise.backward(x, weight, y);
                (Some(of_x), of_weight)
            }
        }
    }
}
