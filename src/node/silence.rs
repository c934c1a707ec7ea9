//! Notices that a camera has fallen silent, and that it is heard again.

use std::time::{Duration, Instant};

/// How long a camera may be silent before that is worth a message: many frames, even of a slow camera.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// What has changed.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// No image for [`LIMIT`].
    Silent,
    /// The first image after so long a silence.
    Heard(Duration),
}

/// Watches the count of received images.
#[derive(Debug)]
pub(super) struct Silence {
    received: u64,
    since: Instant,
    told: bool,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { received: 0, since: now, told: false }
    }

    /// What the count of images received until `now` changes, told once.
    pub(super) fn notice(&mut self, received: u64, now: Instant) -> Option<Change> {
        let silence = now.duration_since(self.since);
        if received != self.received {
            (self.received, self.since) = (received, now);
            return std::mem::take(&mut self.told).then_some(Change::Heard(silence));
        }
        if self.told || silence < LIMIT {
            return None;
        }
        self.told = true;
        Some(Change::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_its_end_are_told_once() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        let mut at = |seconds, received| silence.notice(received, start + Duration::from_secs(seconds));
        assert_eq!((at(4, 0), at(5, 0), at(60, 0)), (None, Some(Change::Silent), None), "none since the start");
        assert_eq!((at(61, 3), at(62, 4)), (Some(Change::Heard(Duration::from_secs(61))), None));
        assert_eq!((at(66, 4), at(67, 4), at(68, 4)), (None, Some(Change::Silent), None));
        assert_eq!(at(70, 5), Some(Change::Heard(Duration::from_secs(8))));
    }
}
