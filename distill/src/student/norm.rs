//! Batch norm whose statistics are handed out and taken back, so that a batch may be computed in parts.

use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor,
        module::{batch_norm, batch_norm_train},
    },
};

/// Added to the variance, as in Darknet's GPU code.
pub const EPSILON: f64 = 1e-5;
/// Share of a step's statistics in the running ones.
const MOMENTUM: f32 = 0.1;

/// Batch norm over `[batch, channels, height, width]`: `y = scale · (x − mean) / sqrt(variance + ε) + shift`.
#[derive(Module, Debug)]
pub struct Norm {
    /// `[channels]`.
    pub scale: Param<Tensor<1>>,
    /// `[channels]`.
    pub shift: Param<Tensor<1>>,
    /// Running mean `[channels]`.
    pub mean: Param<Tensor<1>>,
    /// Running variance `[channels]`, the biased one (divided by the number of values).
    pub variance: Param<Tensor<1>>,
}

/// Mean and variance `[channels]` of one layer's sums over a batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor<1>,
    /// Biased variance.
    pub variance: Tensor<1>,
}

impl Norm {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        let constant = |tensor: Tensor<1>| Param::from_tensor(tensor).set_require_grad(false);
        Self {
            scale: Param::from_tensor(Tensor::ones([channels], device)),
            shift: Param::from_tensor(Tensor::zeros([channels], device)),
            mean: constant(Tensor::zeros([channels], device)),
            variance: constant(Tensor::ones([channels], device)),
        }
    }

    /// With the running statistics.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        batch_norm(x, self.scale.val(), self.shift.val(), self.mean.val(), self.variance.val(), EPSILON)
    }

    /// With the statistics of `x`, which are returned too.
    pub(super) fn learn(&self, x: Tensor<4>) -> (Tensor<4>, Moments) {
        let result = batch_norm_train(x, self.scale.val(), self.shift.val(), EPSILON);
        (result.output, Moments { mean: result.mean.detach().inner(), variance: result.variance.detach().inner() })
    }

    /// Moves the running statistics towards those of a batch.
    pub(super) fn absorb(mut self, moments: &Moments) -> Self {
        let toward = |running: Param<Tensor<1>>, new: &Tensor<1>| {
            let new = Tensor::from_inner(new.clone());
            running.map(|old| (old * (1.0 - MOMENTUM) + new * MOMENTUM).detach())
        };
        self.mean = toward(self.mean, &moments.mean);
        self.variance = toward(self.variance, &moments.variance);
        self
    }
}

impl Moments {
    /// The mean of the statistics of equal parts of a batch.
    pub fn average(parts: &[Self]) -> Self {
        let average = |pick: fn(&Self) -> &Tensor<1>| {
            let sum = parts.iter().map(|m| pick(m).clone()).reduce(|a, b| a + b).expect("a batch has parts");
            sum / parts.len() as f32
        };
        Self { mean: average(|m| &m.mean), variance: average(|m| &m.variance) }
    }
}
