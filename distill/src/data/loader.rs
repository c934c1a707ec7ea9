//! Batches, made ahead of time by a thread of their own.

use super::{DataError, Label, Sample, Sampler};
use onebit_detector::network::InputSize;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

/// How many batches wait ready.
const AHEAD: usize = 4;

/// Pictures of one size with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Size of every picture.
    pub size: InputSize,
    /// `[pictures, 3, height, width]`, red, green, blue, 0 to 1.
    pub values: Vec<f32>,
    /// Objects and ignore regions of each picture, in pixels of the picture.
    pub labels: Vec<Vec<Label>>,
}

impl Batch {
    fn new(samples: Vec<Sample>) -> Self {
        let size = samples[0].picture.size;
        let mut batch = Self { size, values: Vec::new(), labels: Vec::new() };
        for sample in samples {
            batch.values.extend(sample.picture.values);
            batch.labels.push(sample.labels);
        }
        batch
    }

    /// The batch in `parts` equal parts.
    pub fn split(mut self, parts: usize) -> Vec<Self> {
        let pictures = self.labels.len() / parts;
        let values = self.values.len() / parts;
        (0..parts)
            .map(|_| Self {
                size: self.size,
                values: self.values.drain(..values).collect(),
                labels: self.labels.drain(..pictures).collect(),
            })
            .collect()
    }
}

/// Yields the batches of one epoch in order.
pub struct Loader {
    batches: Receiver<Result<Batch, DataError>>,
}

impl Loader {
    /// Batches in one epoch; frames that do not fill a last batch are left out.
    pub fn len(sampler: &Sampler, batch: usize) -> usize {
        sampler.dataset().epoch.len() / batch
    }

    /// Augmented pictures in an order of their own for every epoch. The same seed and epoch give the same batches.
    pub fn training(sampler: &Arc<Sampler>, batch: usize, seed: u64, epoch: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        let mut order = sampler.dataset().epoch.clone();
        order.shuffle(&mut rng);
        let items = order.into_iter().map(|frame| (frame, rng.next_u64())).collect();
        let make = move |sampler: &Sampler, &(frame, seed): &(usize, u64)| sampler.augmented(frame, seed);
        Self::start(sampler, items, batch, make)
    }

    /// Every frame once, one by one, as the detector sees it.
    pub fn validation(sampler: &Arc<Sampler>) -> Self {
        let items = (0..sampler.dataset().frames.len()).collect();
        Self::start(sampler, items, 1, |sampler, &frame| sampler.plain(frame))
    }

    fn start<T: Send + 'static>(
        sampler: &Arc<Sampler>,
        items: Vec<T>,
        batch: usize,
        make: impl Fn(&Sampler, &T) -> Result<Sample, DataError> + Send + 'static,
    ) -> Self {
        let (sender, batches) = sync_channel(AHEAD);
        let sampler = sampler.clone();
        thread::spawn(move || {
            for items in items.chunks_exact(batch) {
                let samples: Result<Vec<_>, _> = items.iter().map(|item| make(&sampler, item)).collect();
                let failed = samples.is_err();
                // The receiver is gone when the run has ended early.
                if sender.send(samples.map(Batch::new)).is_err() || failed {
                    return;
                }
            }
        });
        Self { batches }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.recv().ok()
    }
}
