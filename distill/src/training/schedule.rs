//! Learning rate and moving average over a stage.

use crate::recipe::LearningRate;
use std::f64::consts::PI;

impl LearningRate {
    /// The rate at a step of the stage, from 0, when an epoch has `per_epoch` steps.
    pub fn at(&self, step: usize, per_epoch: usize, epochs: usize) -> f64 {
        let warmup = self.warmup * per_epoch as f64;
        let step = step as f64;
        if step < warmup {
            return self.peak * (step + 1.0) / (warmup + 1.0);
        }
        if let Some(steps) = &self.steps {
            let epoch = step / per_epoch as f64;
            return steps.iter().filter(|drop| epoch >= drop.epoch).fold(self.peak, |rate, drop| rate * drop.factor);
        }
        let end = self.end.unwrap_or(self.peak);
        let rest = (epochs * per_epoch) as f64 - warmup;
        let share = (step - warmup) / rest;
        end + (self.peak - end) * (1.0 + (PI * share).cos()) / 2.0
    }
}

/// Share of a step's weights in their moving average. It is larger at first, `1 − (1 + step) / (10 + step)`, so that the
/// stage's first weights are soon forgotten (as TensorFlow's `ExponentialMovingAverage` has it).
pub(super) fn ema_share(ema: f64, step: usize) -> f64 {
    let step = step as f64;
    1.0 - ema.min((1.0 + step) / (10.0 + step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RateStep;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_end() {
        let rate = LearningRate { peak: 1.0, end: Some(0.2), steps: None, warmup: 0.5 };
        let at = |step| rate.at(step, 8, 2);
        assert_eq!([at(0), at(3)], [0.2, 0.8], "four steps up");
        assert_eq!(at(4), 1.0);
        assert!((at(10) - 0.6).abs() < 1e-12, "half way down");
        assert!(at(15) > 0.2 && at(15) < 0.22);
    }

    #[test]
    fn it_falls_in_steps() {
        let steps = [(1.0, 0.5), (2.5, 0.1)].map(|(epoch, factor)| RateStep { epoch, factor });
        let rate = LearningRate { peak: 0.8, end: None, steps: Some(steps.into()), warmup: 0.5 };
        let rates: Vec<f64> = (0..8).map(|step| rate.at(step, 2, 4)).collect();
        assert_eq!(rates, [0.4, 0.8, 0.4, 0.4, 0.4, 0.4 * 0.1, 0.4 * 0.1, 0.4 * 0.1]);
    }

    #[test]
    fn the_average_follows_quickly_at_first() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        near(ema_share(0.99, 0), 0.9);
        near(ema_share(0.99, 90), 0.09);
        near(ema_share(0.99, 10_000), 0.01);
        near(ema_share(0.05, 0), 0.95);
    }
}
