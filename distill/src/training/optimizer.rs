//! The optimisers of a recipe, as burn has them.

use crate::recipe::OptimizerConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig};

/// A fresh optimiser, without memory of earlier steps. Gradients are clipped elsewhere: by the norm over all weights.
pub(super) fn new(config: &OptimizerConfig) -> ModuleOptimizer {
    match config {
        OptimizerConfig::Adam(s) => {
            AdamConfig::new().with_beta_1(s.beta1).with_beta_2(s.beta2).with_epsilon(s.epsilon).init()
        }
        OptimizerConfig::Sgd(s) => {
            let momentum = MomentumConfig::new().with_momentum(s.momentum).with_dampening(0.0);
            let decay = (s.weight_decay > 0.0).then(|| WeightDecayConfig::new(s.weight_decay));
            SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay).init()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{AdamSettings, SgdSettings};
    use burn::{
        module::Param,
        nn::{Linear, LinearConfig},
        optim::GradientsParams,
        tensor::{Device, Tensor},
    };

    /// A weight of 1 after each of three steps of rate 0.1 along a gradient of 2.
    fn weights(config: &OptimizerConfig) -> Vec<f32> {
        let device = Device::flex().autodiff();
        let mut layer: Linear = LinearConfig::new(1, 1).with_bias(false).init(&device);
        layer.weight = Param::from_tensor(Tensor::ones([1, 1], &device));
        let mut optimizer = new(config);
        let mut step = || {
            let loss = layer.forward(Tensor::<2>::full([1, 1], 2.0, &device)).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &layer);
            layer = optimizer.step(0.1, layer.clone(), gradients);
            layer.weight.val().into_scalar::<f32>()
        };
        (0..3).map(|_| step()).collect()
    }

    fn assert_near(found: Vec<f32>, expected: [f32; 3]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 5e-6), "{found:?}, by hand {expected:?}");
    }

    #[test]
    fn sgd_by_hand() {
        let sgd = |momentum, weight_decay| OptimizerConfig::Sgd(SgdSettings { momentum, weight_decay, clip_norm: 1.0 });
        assert_near(weights(&sgd(0.0, 0.0)), [0.8, 0.6, 0.4]);
        // Directions 2, 3, 3.5.
        assert_near(weights(&sgd(0.5, 0.0)), [0.8, 0.5, 0.15]);
        // Gradients 2 + 0.5 w: 2.5, 2.375, ...; directions 2.5, 3.625, 4.00625.
        assert_near(weights(&sgd(0.5, 0.5)), [0.75, 0.3875, -0.013125]);
    }

    #[test]
    fn adam_by_hand() {
        // An even gradient: every step has the length of the rate.
        assert_near(weights(&OptimizerConfig::Adam(AdamSettings::default())), [0.9, 0.8, 0.7]);
    }
}
