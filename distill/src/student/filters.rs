//! The weights of one convolution, with its batch norm or bias and what follows.

use super::{Moments, Norm, binarize, convolution, norm::rectified};
use crate::recipe::{Binarization, FilterScale};
use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use onebit_detector::network::{Activation, Convolution, Depthwise, Operation, Precision};

/// A convolution's weights `[filters, channels / groups, kernel, kernel]`, its batch norm or bias, and its activation.
#[derive(Module, Debug)]
pub struct Filters {
    /// Full-precision weights; where the layer is binary, those behind the signs.
    pub latent: Param<Tensor<4>>,
    /// Scale α `[filters]` of the signs, if the layer may become binary and the scale is learned. As long as the layer is in
    /// full precision it follows the weights.
    pub scale: Option<Param<Tensor<1>>>,
    /// Batch norm, unless there is a bias.
    pub norm: Option<Norm>,
    /// Bias `[filters]`, unless there is a batch norm.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    form: Form,
}

/// What does not change in training.
#[derive(Clone, Copy, Debug)]
struct Form {
    stride: usize,
    groups: usize,
    activation: Activation,
    /// The network wants this layer binary.
    precision: Precision,
    /// It is now.
    binary: bool,
    binarization: Binarization,
}

impl Filters {
    /// Fresh weights for a layer that reads `channels` channels; `None` if the operation has no weights.
    pub(super) fn new(operation: &Operation, channels: usize, binarization: Binarization, device: &Device) -> Option<Self> {
        let (shape, batch_norm, form) = match *operation {
            Operation::Convolution(Convolution { filters, kernel, stride, precision, batch_norm, activation }) => {
                let form = Form { stride, groups: 1, activation, precision, binary: false, binarization };
                ([filters, channels, kernel, kernel], batch_norm, form)
            }
            Operation::Depthwise(Depthwise { stride, activation }) => {
                let (groups, precision) = (channels, Precision::Full);
                let form = Form { stride, groups, activation, precision, binary: false, binarization };
                ([channels, 1, Depthwise::KERNEL, Depthwise::KERNEL], true, form)
            }
            Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => return None,
        };
        let [filters, inputs, kernel, _] = shape;
        // He et al. (arXiv 1502.01852): the variance stays through layers of rectifiers.
        let gain = if form.activation == Activation::Linear { 1.0 } else { f64::sqrt(2.0) };
        let latent = Initializer::KaimingNormal { gain, fan_out_only: false };
        let latent = latent.init_with(shape, Some(inputs * kernel * kernel), None, device);
        let learned = form.precision == Precision::Binary && binarization.scale == FilterScale::Learned;
        Some(Self {
            scale: learned.then(|| Param::from_tensor(form.magnitudes(latent.val()).detach())),
            latent,
            norm: batch_norm.then(|| Norm::new(filters, device)),
            bias: (!batch_norm).then(|| Initializer::Zeros.init([filters], device)),
            form,
        })
    }

    /// Are the weights binary now?
    pub fn is_binary(&self) -> bool {
        self.form.binary
    }

    pub(super) fn set_binary(&mut self, binary: bool) {
        self.form.binary = binary && self.form.precision == Precision::Binary;
    }

    /// The weights as the convolution uses them.
    pub fn weight(&self) -> Tensor<4> {
        let latent = self.latent.val();
        if !self.form.binary {
            return latent;
        }
        let weights = self.form.prepared(latent);
        let scale = match &self.scale {
            Some(scale) => scale.val().reshape([-1, 1, 1, 1]),
            None => binarize::magnitudes(weights.clone()),
        };
        binarize::signs(weights) * scale
    }

    /// With batch norm's running statistics.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let sums = self.sums(x);
        match &self.norm {
            Some(norm) => norm.forward(sums, self.slope()),
            None => rectified(sums, self.slope()),
        }
    }

    /// With the statistics of the batch, which are returned too where there is a batch norm.
    pub(super) fn learn(&self, x: Tensor<4>) -> (Tensor<4>, Option<Moments>) {
        let sums = self.sums(x);
        match &self.norm {
            Some(norm) => {
                let (y, moments) = norm.learn(sums, self.slope());
                (y, Some(moments))
            }
            None => (rectified(sums, self.slope()), None),
        }
    }

    /// Takes the statistics of a batch into the running ones.
    pub(super) fn absorb(mut self, moments: &Option<Moments>) -> Self {
        self.norm = self.norm.zip(moments.as_ref()).map(|(norm, moments)| norm.absorb(moments));
        self
    }

    /// Puts statistics in place of batch norm's running ones.
    pub(super) fn with_statistics(mut self, moments: Option<Moments>) -> Self {
        self.norm = self.norm.zip(moments).map(|(norm, moments)| norm.with_statistics(moments));
        self
    }

    /// The convolution and, where there is one, the bias.
    fn sums(&self, x: Tensor<4>) -> Tensor<4> {
        let sums = convolution::same(x, self.weight(), self.form.stride, self.form.groups);
        match &self.bias {
            Some(bias) => {
                let [filters] = bias.dims();
                sums + bias.val().reshape([1, filters, 1, 1])
            }
            None => sums,
        }
    }

    fn slope(&self) -> f32 {
        self.form.activation.negative_slope()
    }

    pub(super) fn settled(mut self) -> Self {
        // Outside the graph: within it, the next step's graph would be tied to this one's.
        if self.form.binary && self.form.binarization.clip {
            self.latent = self.latent.map(|w| Tensor::from_inner(w.inner().clamp(-1.0, 1.0)).require_grad());
        }
        if !self.form.binary {
            let magnitudes = |_| Tensor::from_inner(self.form.magnitudes(self.latent.val().inner())).require_grad();
            self.scale = self.scale.map(|scale| scale.map(magnitudes));
        }
        self
    }
}

impl Form {
    /// The weights whose signs are taken.
    fn prepared(&self, latent: Tensor<4>) -> Tensor<4> {
        if self.binarization.standardise { binarize::standardised(latent) } else { latent }
    }

    /// Their mean magnitudes `[filters]`.
    fn magnitudes(&self, latent: Tensor<4>) -> Tensor<1> {
        binarize::magnitudes(self.prepared(latent)).flatten(0, 3)
    }
}
