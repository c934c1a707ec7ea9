//! Messages that may come with every frame, kept to a bearable rate.

use std::time::{Duration, Instant};

/// Lets one message through in each interval and counts the others.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    last: Option<Instant>,
    kept_back: u64,
}

impl Throttle {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last: None, kept_back: 0 }
    }

    /// Whether a message may go out now; if so, how many were kept back since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < self.interval) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_in_an_interval_and_a_count_of_the_others() {
        let mut throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let admitted = [0, 10, 999, 1000, 1500, 2500, 4000].map(|time| throttle.admit(at(time)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
