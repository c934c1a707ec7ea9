//! Whole runs: they learn, repeat themselves, and go on exactly where they were killed.

use burn::{module::Module, store::ModuleRecord, tensor::Device};
use onebit_distill::{
    recipe::{AdamSettings, OptimizerConfig, Recipe},
    student::Student,
    training::{Checkpoint, Progress, TrainError, train},
};
use std::{fs, path::Path};

#[path = "support/bits.rs"]
mod bits;
#[path = "support/killing.rs"]
mod killing;
mod support;

/// Two stages, the second binary; two parts of a batch, each in a thread of its own.
const STAGES: &str = "
seed: 5
shards: 2
data: {train: [{path: set, repeat: 4}], validation: [{path: set}], classes: {Car: car}}
validate_every: 1
stages:
  - {name: full, epochs: 1, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3, warmup: 1}}
  - {name: binary, epochs: 3, learning_rate: {peak: 1.0e-3, end: 0}}
";

/// The same with the other optimiser and the other kind of binary weights, a moving average, windows of two sizes and a rate
/// that falls in steps.
const SGD_STAGES: &str = "
seed: 5
shards: 2
windows: [64x64, 96x64]
optimizer: {kind: sgd, momentum: 0.9, weight_decay: 5.0e-4, clip_norm: 5}
ema: 0.9
binarization: {clip: false, standardise: true, scale: learned}
data: {train: [{path: set, repeat: 4}], validation: [{path: set}], classes: {Car: car}}
validate_every: 1
stages:
  - {name: full, epochs: 1, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3, warmup: 1}}
  - {name: binary, epochs: 3, learning_rate: {peak: 1.0e-3, steps: [{epoch: 1.5, factor: 0.1}]}}
";

/// Bits of every weight, running statistic and moving average of a run, and how far it has come.
fn state(run: &Path, recipe: &Recipe) -> (Vec<u32>, Progress) {
    let network = recipe.build_network().unwrap();
    let student = Student::new(&network, recipe.binarization, &Device::flex());
    let bits = |name: &str| {
        let record = ModuleRecord::load(run.join("checkpoint").join(name)).unwrap();
        bits::bits(&student.clone().try_load_record(record).unwrap())
    };
    let files = if recipe.ema.is_some() { &["student.bpk", "average.bpk"][..] } else { &["student.bpk"] };
    let bits = files.iter().flat_map(|name| bits(name)).collect();
    (bits, Checkpoint::student(run, student).unwrap().1)
}

#[test]
fn the_loss_falls_on_four_frames() {
    let folder = tempfile::tempdir().unwrap();
    // No augmentation but the place of the window: the network can learn the four by heart.
    let lines = "
augmentation: {scale: [2, 2], jitter: 0, flip: 0, hue: 0, saturation: 1, exposure: 1, focus: 1}
loss: {warmup_samples: 0}
stages: [{name: binary, epochs: 60, learning_rate: {peak: 5.0e-3, end: 1.0e-4}}]";
    let recipe = support::loaded(folder.path(), "darknet-yolo-64", lines);
    let run = folder.path().join("run");
    train(&recipe, &run, false).unwrap();
    let text = fs::read_to_string(run.join("epochs.csv")).unwrap();
    let column = text.lines().next().unwrap().split(',').position(|name| name == "loss").unwrap();
    let losses: Vec<f32> = text.lines().skip(1).map(|row| row.split(',').nth(column).unwrap().parse().unwrap()).collect();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..5]), mean(&losses[55..]));
    assert!(last < 0.3 * first, "from {first} to {last}");
}

#[test]
fn the_same_seed_gives_the_same_bits_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = support::loaded(folder.path(), "mobilenet-yolo", SGD_STAGES);
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    recipe.stages.truncate(1);
    train(&recipe, &a, false).unwrap();
    train(&recipe, &b, false).unwrap();
    assert_eq!(state(&a, &recipe), state(&b, &recipe));
    recipe.seed += 1;
    train(&recipe, &c, false).unwrap();
    assert_ne!(state(&a, &recipe).0, state(&c, &recipe).0);
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bits() {
    killed_and_whole_run_are_equal(STAGES);
}

#[test]
fn so_does_one_with_momentum_moving_average_and_windows_of_several_sizes() {
    killed_and_whole_run_are_equal(SGD_STAGES);
}

fn killed_and_whole_run_are_equal(stages: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = support::recipe(folder.path(), "darknet-yolo-64", stages);
    let recipe = Recipe::load(&path).unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    train(&recipe, &whole, false).unwrap();

    // Eight steps an epoch: within the first epoch, within the second stage, and once more.
    killing::train_killed_after(&[3, 14, 21], &path, &killed);
    assert_eq!(state(&killed, &recipe), state(&whole, &recipe));
    killing::assert_same_metrics(&killed, &whole);
    assert_eq!(killing::lines(&whole.join("steps.csv")), 1 + 4 * 8);
    for run in [&whole, &killed] {
        assert_every_epoch_s_time_is_told(run, 4);
    }
}

/// `times.csv` has a line for each epoch, whose shares are a whole.
fn assert_every_epoch_s_time_is_told(run: &Path, epochs: usize) {
    let text = fs::read_to_string(run.join("times.csv")).unwrap();
    assert_eq!(text.lines().next(), Some("epoch,stage,images_per_second,loader,teacher,gradients,update,other"));
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), epochs);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row[0], (index + 1).to_string());
        let numbers: Vec<f64> = row[2..].iter().map(|number| number.parse().unwrap()).collect();
        let (rate, shares) = numbers.split_first().unwrap();
        assert!(*rate > 0.0 && shares.iter().all(|share| (0.0..=1.0).contains(share)), "{row:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-3 && shares[2] > 0.1, "forward and backward: {row:?}");
        assert_eq!(shares[1], 0.0, "there is no teacher");
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_built_in_is_refused_before_a_run_begins() {
    use onebit_distill::{device::Compute, training};
    let folder = tempfile::tempdir().unwrap();
    let recipe = support::loaded(folder.path(), "darknet-yolo-64", STAGES);
    let run = folder.path().join("run");
    let error = training::train_on(&[Compute::Cuda(0)], &recipe, &run, false).unwrap_err().to_string();
    assert!(error.contains("--features cuda") && !run.exists(), "{error}");
}

#[test]
fn several_devices_take_the_parts_of_a_batch() {
    use onebit_distill::{device::Compute, training};
    let folder = tempfile::tempdir().unwrap();
    let recipe = support::loaded(folder.path(), "darknet-yolo-64", STAGES);
    let [one, two, many] = ["one", "two", "many"].map(|name| folder.path().join(name));
    train(&recipe, &one, false).unwrap();
    training::train_on(&[Compute::Cpu; 2], &recipe, &two, false).unwrap();
    assert_eq!(state(&one, &recipe), state(&two, &recipe), "the same device twice is as good as once");
    let error = training::train_on(&[Compute::Cpu; 3], &recipe, &many, false).unwrap_err().to_string();
    assert!(error.contains("3 devices") && error.contains("2 part(s)") && !many.exists(), "{error}");
}

#[test]
fn the_moving_average_is_another_network_than_the_one_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = support::loaded(folder.path(), "darknet-yolo-64", SGD_STAGES);
    recipe.stages.truncate(1);
    let [with, without] = ["with", "without"].map(|name| folder.path().join(name));
    train(&recipe, &with, false).unwrap();
    let (bits, _) = state(&with, &recipe);
    let (student, average) = bits.split_at(bits.len() / 2);
    assert_ne!(student, average);
    recipe.ema = None;
    train(&recipe, &without, false).unwrap();
    assert_eq!(state(&without, &recipe).0, student, "the average has no part in training");
}

#[test]
fn another_optimizer_cannot_go_on_with_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = support::loaded(folder.path(), "darknet-yolo-64", SGD_STAGES);
    let run = folder.path().join("run");
    let stages = recipe.stages.split_off(1);
    train(&recipe, &run, false).unwrap();
    recipe.stages.extend(stages);
    recipe.optimizer = OptimizerConfig::default();
    let error = train(&recipe, &run, true).unwrap_err();
    assert!(error.to_string().contains("optimizer"), "{error}");
}

#[test]
fn a_run_is_not_overwritten_and_none_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = support::loaded(folder.path(), "darknet-yolo-64", STAGES);
    let run = folder.path().join("run");
    assert!(matches!(train(&recipe, &run, true), Err(TrainError::NoCheckpoint(_))));
    train(&recipe, &run, false).unwrap();
    assert!(matches!(train(&recipe, &run, false), Err(TrainError::Exists(_))));
    let before = state(&run, &recipe);
    train(&recipe, &run, true).unwrap();
    assert_eq!(state(&run, &recipe), before, "a finished run has nothing left to do");
}

#[test]
fn a_diverging_run_says_so_and_keeps_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = support::loaded(folder.path(), "darknet-yolo-64", STAGES);
    recipe.optimizer = OptimizerConfig::Adam(AdamSettings { clip_norm: f32::INFINITY, ..AdamSettings::default() });
    recipe.loss.coord_scale = f32::MAX;
    let run = folder.path().join("run");
    let error = train(&recipe, &run, false).unwrap_err();
    assert!(matches!(error, TrainError::NotANumber { step: 1, .. }), "{error}");
    assert_eq!(state(&run, &recipe).1, Progress::default());
}
