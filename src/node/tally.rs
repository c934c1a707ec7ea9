//! What became of the frames.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts frames; shared between threads.
#[derive(Debug, Default)]
pub(super) struct Tally {
    received: AtomicU64,
    processed: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    /// A frame came in.
    pub(super) fn receive(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    /// How many came in.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Its detections were published.
    pub(super) fn process(&self) {
        self.processed.fetch_add(1, Relaxed);
    }

    /// A newer frame took its place, or the node ended first.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// It was broken, or the detector failed on it.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [received, processed, dropped, refused] =
            [&self.received, &self.processed, &self.dropped, &self.refused].map(|count| count.load(Relaxed));
        write!(f, "frames received {received} processed {processed} dropped {dropped} refused {refused}")
    }
}
