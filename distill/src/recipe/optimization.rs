//! The recipe's part about optimisers and learning rates.

use super::{RecipeError, check};
use serde::{Deserialize, Serialize};

/// The optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Adam (Kingma and Ba, arXiv 1412.6980).
    Adam(AdamSettings),
    /// Stochastic gradient descent with momentum, as Darknet has it.
    Sgd(SgdSettings),
}

/// Adam's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSettings {
    /// Decay of the mean of the gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Gradients of a larger norm (over all weights) are scaled down to it.
    pub clip_norm: f32,
}

/// Settings of stochastic gradient descent: `v ← momentum · v + gradient + weight_decay · w`, then `w ← w − rate · v`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdSettings {
    /// Share of the last step's direction.
    pub momentum: f64,
    /// Pull of every weight towards 0. It shrinks the scale of binary layers, not their signs.
    pub weight_decay: f32,
    /// Gradients of a larger norm (over all weights) are scaled down to it.
    pub clip_norm: f32,
}

/// A linear rise from 0 to `peak`, then half a cosine down to `end`, or a fall in `steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// The highest rate.
    pub peak: f64,
    /// The rate at the end of the stage, reached by half a cosine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// In place of `end`: when the rate falls, and how far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<RateStep>>,
    /// Epochs of the rise; may be a fraction.
    #[serde(default)]
    pub warmup: f64,
}

/// From an epoch of the stage on (from 0, may be a fraction) the rate is multiplied by a factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// Epochs of the stage before it.
    pub epoch: f64,
    /// The factor.
    pub factor: f64,
}

impl OptimizerConfig {
    /// Gradients of a larger norm (over all weights) are scaled down to it.
    pub fn clip_norm(&self) -> f32 {
        match self {
            Self::Adam(settings) => settings.clip_norm,
            Self::Sgd(settings) => settings.clip_norm,
        }
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        match self {
            Self::Adam(AdamSettings { beta1, beta2, epsilon, .. }) => {
                for (key, beta) in [("beta1", beta1), ("beta2", beta2)] {
                    check((0.0..1.0).contains(beta), format!("optimizer.{key}"), "must be 0 to below 1")?;
                }
                check(*epsilon > 0.0 && *epsilon < 1.0, "optimizer.epsilon", "must be above 0 and below 1")?;
            }
            Self::Sgd(SgdSettings { momentum, weight_decay, .. }) => {
                check((0.0..1.0).contains(momentum), "optimizer.momentum", "must be 0 to below 1")?;
                check((0.0..=1.0).contains(weight_decay), "optimizer.weight_decay", "must be 0 to 1")?;
            }
        }
        check(self.clip_norm() > 0.0, "optimizer.clip_norm", "must be above 0")
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamSettings::default())
    }
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip_norm: 10.0 }
    }
}

impl Default for SgdSettings {
    fn default() -> Self {
        Self { momentum: 0.9, weight_decay: 0.0, clip_norm: 10.0 }
    }
}

impl LearningRate {
    pub(super) fn check(&self, key: &str, epochs: usize) -> Result<(), RecipeError> {
        let epochs = epochs as f64;
        let rate = 0.0..=self.peak;
        check(self.peak > 0.0 && self.peak <= 1.0, format!("{key}.peak"), "must be above 0 and at most 1")?;
        check((0.0..=epochs).contains(&self.warmup), format!("{key}.warmup"), "must be 0 to the epochs")?;
        check(self.end.is_some() != self.steps.is_some(), key, "either 'end' (half a cosine) or 'steps' is needed")?;
        check(self.end.is_none_or(|end| rate.contains(&end)), format!("{key}.end"), "must be 0 to the peak")?;
        let Some(steps) = &self.steps else { return Ok(()) };
        check(!steps.is_empty(), format!("{key}.steps"), "at least one is needed")?;
        let mut last = 0.0;
        for (index, RateStep { epoch, factor }) in steps.iter().enumerate() {
            let key = format!("{key}.steps[{index}]");
            check(*epoch > last && *epoch < epochs, format!("{key}.epoch"), "must rise, and lie within the stage")?;
            check(*factor > 0.0 && *factor <= 1.0, format!("{key}.factor"), "must be above 0 and at most 1")?;
            last = *epoch;
        }
        Ok(())
    }
}
