//! Where the time of training goes.

use std::{
    fmt,
    ops::AddAssign,
    time::{Duration, Instant},
};

/// More than this share of the time spent waiting for frames holds training up.
const SLOW_LOADER: f64 = 0.1;

/// Time that steps took, by what the training thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// Pictures learned from.
    pub(super) images: u64,
    /// Those of which the teacher's features came from the cache.
    pub(super) cached: u64,
    /// Everything.
    pub(super) total: Duration,
    /// Waiting for frames; where there is a teacher, as far as it waited for them itself.
    pub(super) loader: Duration,
    /// Waiting for the teacher's features.
    pub(super) teacher: Duration,
    /// Forward and backward.
    pub(super) gradients: Duration,
    /// Clipping, the optimiser, running statistics.
    pub(super) update: Duration,
}

impl Times {
    pub(super) fn images_per_second(&self) -> f64 {
        self.images as f64 / self.total.as_secs_f64()
    }

    /// Shares of the whole, which add up to 1.
    pub(super) fn shares(&self) -> [(&'static str, f64); 5] {
        let share = |part: Duration| part.as_secs_f64() / self.total.as_secs_f64();
        let named = [self.loader, self.teacher, self.gradients, self.update].map(share);
        let [loader, teacher, gradients, update] = named;
        let other = 1.0 - named.iter().sum::<f64>();
        [("loader", loader), ("teacher", teacher), ("gradients", gradients), ("update", update), ("other", other)]
    }

    /// Does training wait for frames for more than a tenth of the time?
    pub(super) fn is_loader_slow(&self) -> bool {
        self.loader.as_secs_f64() > SLOW_LOADER * self.total.as_secs_f64()
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.cached += other.cached;
        self.total += other.total;
        self.loader += other.loader;
        self.teacher += other.teacher;
        self.gradients += other.gradients;
        self.update += other.update;
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} images/s", self.images_per_second())?;
        self.shares().iter().try_for_each(|(name, share)| write!(f, ", {name} {:.1} %", 100.0 * share))
    }
}

/// What a call gives, and how long it took.
pub(super) fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_sum() {
        let ms = Duration::from_millis;
        let step = |loader, gradients| Times {
            images: 8,
            total: ms(500),
            loader: ms(loader),
            gradients: ms(gradients),
            update: ms(50),
            ..Times::default()
        };
        let mut times = step(0, 400);
        assert!(!times.is_loader_slow());
        times += step(150, 200);
        assert_eq!(
            times.to_string(),
            "16.00 images/s, loader 15.0 %, teacher 0.0 %, gradients 60.0 %, update 10.0 %, other 15.0 %"
        );
        assert!(times.is_loader_slow());
    }
}
