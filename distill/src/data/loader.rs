//! Batches, made ahead of time by threads of their own.

use super::{DataError, Label, Sample, Sampler};
use onebit_detector::{detection::BBox, network::InputSize};
use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    num::NonZero,
    panic,
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
    /// Parts of each picture of which nobody knows what they show, in pixels of the picture.
    pub unlabelled: Vec<Vec<BBox>>,
}

impl Batch {
    fn new(samples: Vec<Sample>) -> Self {
        let size = samples[0].picture.size;
        let mut batch = Self { size, values: Vec::new(), labels: Vec::new(), unlabelled: Vec::new() };
        for sample in samples {
            batch.values.extend(sample.picture.values);
            batch.labels.push(sample.labels);
            batch.unlabelled.push(sample.unlabelled);
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
                unlabelled: self.unlabelled.drain(..pictures).collect(),
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
        let seeds: Vec<_> = order.iter().map(|_| rng.next_u64()).collect();
        let windows = sampler.windows();
        let sizes = (0..order.len().div_ceil(batch)).map(|_| windows[rng.random_range(0..windows.len())]);
        let sizes = sizes.flat_map(|size| std::iter::repeat_n(size, batch)); // one for all pictures of a batch
        let items = order.into_iter().zip(sizes).zip(seeds).collect();
        let make = |sampler: &Sampler, &((frame, window), seed): &_| sampler.augmented(frame, window, seed);
        Self::start(sampler, items, batch, make)
    }

    /// Every frame once, one by one, as the detector sees it.
    pub fn validation(sampler: &Arc<Sampler>) -> Self {
        let items = (0..sampler.dataset().frames.len()).collect();
        Self::start(sampler, items, 1, |sampler, &frame| sampler.plain(frame))
    }

    fn start<T>(
        sampler: &Arc<Sampler>,
        items: Vec<T>,
        batch: usize,
        make: impl Fn(&Sampler, &T) -> Result<Sample, DataError> + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
    {
        let (sender, batches) = sync_channel(AHEAD);
        let sampler = sampler.clone();
        thread::spawn(move || {
            for items in items.chunks_exact(batch) {
                let samples = in_parallel(items, |item| make(&sampler, item));
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

/// Makes a sample of each item, in the items' order, on as many threads as there are cores.
fn in_parallel<T: Sync>(
    items: &[T],
    make: impl Fn(&T) -> Result<Sample, DataError> + Sync,
) -> Result<Vec<Sample>, DataError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let make = &make;
        let start = |part| scope.spawn(move || <[T]>::iter(part).map(make).collect());
        let parts: Vec<_> = items.chunks(items.len().div_ceil(threads)).map(start).collect();
        let parts: Result<Vec<Vec<Sample>>, DataError> =
            parts.into_iter().map(|part| part.join().unwrap_or_else(|cause| panic::resume_unwind(cause))).collect();
        Ok(parts?.into_iter().flatten().collect())
    })
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Dataset, Frame},
        recipe::Recipe,
    };
    use image::{Rgb, RgbImage};
    use std::path::Path;

    /// A sampler of frames that are each of one grey, their number; nothing is augmented.
    fn sampler(folder: &Path, frames: u8) -> Arc<Sampler> {
        sampler_of(folder, frames, "[]")
    }

    fn sampler_of(folder: &Path, frames: u8, windows: &str) -> Arc<Sampler> {
        let yaml = "{network: {topology: darknet-yolo, input: 32x32}, data: {train: [], classes: {}}, augmentation: {scale: \
                    [1, 1], jitter: 0, hue: 0, saturation: 1, exposure: 1}, stages: []";
        let recipe: Recipe = serde_yaml::from_str(&format!("{yaml}, windows: {windows}}}")).unwrap();
        let frame = |number: u8| {
            let image = folder.join(format!("{number}.png"));
            RgbImage::from_pixel(32, 32, Rgb([number; 3])).save(&image).unwrap();
            Frame { image, size: [32, 32], labels: Vec::new(), unlabelled: false, aspect: None, scale: None }
        };
        let frames: Vec<_> = (0..frames).map(frame).collect();
        Arc::new(Sampler::new(Dataset { epoch: (0..frames.len()).collect(), frames, broken: 0 }, &recipe))
    }

    fn numbers(loader: Loader) -> Vec<u8> {
        let first =
            |batch: Batch| batch.values.chunks(3 * 32 * 32).map(|p| (p[0] * 255.0).round() as u8).collect::<Vec<_>>();
        loader.flat_map(|batch| first(batch.unwrap())).collect()
    }

    #[test]
    fn an_epoch_shows_every_frame_in_an_order_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler(folder.path(), 12);
        let epoch = |seed, epoch| numbers(Loader::training(&sampler, 4, seed, epoch));
        let first = epoch(1, 0);
        let mut sorted = first.clone();
        sorted.sort();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        assert_eq!(epoch(1, 0), first);
        assert_ne!(epoch(1, 1), first);
        assert_ne!(epoch(2, 0), first);
        assert_eq!(numbers(Loader::training(&sampler, 5, 1, 0)).len(), 10, "two whole batches of five");
        assert_eq!(numbers(Loader::validation(&sampler)), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn every_batch_has_one_of_the_window_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler_of(folder.path(), 12, "[32x32, 64x32]");
        let sizes = sampler.windows();
        let epoch = |epoch| -> Vec<InputSize> {
            let batches = Loader::training(&sampler, 2, 1, epoch).map(Result::unwrap);
            batches
                .inspect(|batch| assert_eq!(batch.values.len(), 2 * batch.size.shape().values()))
                .map(|b| b.size)
                .collect()
        };
        let epochs: Vec<_> = (0..8).map(epoch).collect();
        assert_eq!(epoch(3), epochs[3]);
        let of_the_first = epochs.concat().iter().filter(|size| **size == sizes[0]).count();
        assert!((12..=36).contains(&of_the_first), "{of_the_first} of 48");
        assert!(epochs.iter().any(|sizes| *sizes != epochs[0]), "not by the place in the epoch");
    }

    #[test]
    fn a_broken_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler(folder.path(), 2);
        std::fs::write(folder.path().join("1.png"), b"no image").unwrap();
        let errors: Vec<_> = Loader::training(&sampler, 1, 1, 0).filter_map(Result::err).collect();
        assert!(errors.len() == 1 && errors[0].to_string().contains("1.png"), "{errors:?}");
    }

    #[test]
    fn a_batch_is_split_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let batch = Loader::validation(&sampler(folder.path(), 1)).next().unwrap().unwrap();
        let two = Batch {
            values: [batch.values.clone(), vec![2.0; batch.values.len()]].concat(),
            labels: vec![vec![]; 2],
            unlabelled: vec![vec![]; 2],
            ..batch
        };
        let parts = two.split(2);
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].values[0], parts[1].values[0]), (0.0, 2.0));
        assert!(parts.iter().all(|part| part.labels.len() == 1 && part.values.len() == 3 * 32 * 32));
    }
}
