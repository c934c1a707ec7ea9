//! The learning rate over a stage.

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
        let rest = (epochs * per_epoch) as f64 - warmup;
        let share = (step - warmup) / rest;
        self.end + (self.peak - self.end) * (1.0 + (PI * share).cos()) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_end() {
        let rate = LearningRate { peak: 1.0, end: 0.2, warmup: 0.5 };
        let at = |step| rate.at(step, 8, 2);
        assert_eq!([at(0), at(3)], [0.2, 0.8], "four steps up");
        assert_eq!(at(4), 1.0);
        assert!((at(10) - 0.6).abs() < 1e-12, "half way down");
        assert!(at(15) > 0.2 && at(15) < 0.22);
    }
}
