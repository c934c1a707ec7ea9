//! The training loop: stages, epochs, steps; metrics and checkpoints in a folder of the run.
//!
//! A run's folder holds `recipe.yaml` (as used), `teacher.sha256` where there is a teacher, `steps.csv` and `epochs.csv`, the
//! same numbers as TensorBoard's event files, and `checkpoint/`, which always is a whole one. A run that was killed goes on
//! from it and ends with the same bits as one that was not.

mod ahead;
mod checkpoint;
mod error;
mod events;
mod learner;
mod metrics;
mod optimizer;
mod schedule;
mod step;
mod teacher;
mod times;

pub use ahead::fill_cache;
pub use checkpoint::{Checkpoint, Progress, RECIPE};
pub use error::TrainError;
pub use learner::Learner;
pub use teacher::TeacherFile;

use crate::{
    data::{Batch, Dataset, Loader, Sampler},
    device::{self, Compute},
    heads::HeadLoss,
    recipe::{Recipe, RecipeError, SetConfig, Stage},
    student::Student,
    transfer::{Lesson, Transfer},
    weights,
};
use burn::{
    module::Module,
    optim::ModuleOptimizer,
    tensor::{Device, Tensor, TensorData},
};
use indicatif::{ProgressBar, ProgressStyle};
use metrics::{Means, Metrics};
use onebit_detector::network::Network;
use std::{path::Path, sync::Arc, time::Instant};
use step::{Losses, step};
use times::{Times, timed};

/// Trains a recipe on the CPU in the folder `run`, from its checkpoint if `resume` is set.
///
/// # Errors
/// Broken data, a folder that cannot be written or already holds a run, a loss that is no longer a number.
pub fn train(recipe: &Recipe, run: &Path, resume: bool) -> Result<(), TrainError> {
    train_on(&[Compute::Cpu], recipe, run, resume)
}

/// [`train`] on devices that take the parts of a batch (`shards`) in turn. The first one holds the weights, has what the
/// others learned added to its own, and does everything else. Only the CPU gives the same bits again.
///
/// # Errors
/// As [`train`]; and if the program was built without a device, if one cannot be used, or if there are more of them than
/// parts.
pub fn train_on(devices: &[Compute], recipe: &Recipe, run: &Path, resume: bool) -> Result<(), TrainError> {
    let mut run = Run::open(device::open(devices, recipe.shards)?, recipe, run, resume)?;
    while let Some(stage) = recipe.stages.get(run.progress.stage) {
        run.stage(stage)?;
    }
    Ok(())
}

/// A run under way.
struct Run<'a> {
    recipe: &'a Recipe,
    folder: &'a Path,
    /// With gradients; the first one holds the weights.
    devices: Vec<Device>,
    training: Arc<Sampler>,
    /// For stages without a teacher, which have nothing to learn from unlabelled frames.
    labelled: Arc<Sampler>,
    validation: Option<Arc<Sampler>>,
    loss: HeadLoss,
    transfer: Option<Transfer>,
    metrics: Metrics,
    learner: Learner,
    /// A moving average of the student's weights, for evaluation; it starts anew with every stage.
    average: Option<Student>,
    optimizer: ModuleOptimizer,
    progress: Progress,
}

impl<'a> Run<'a> {
    fn open(devices: Vec<Device>, recipe: &'a Recipe, folder: &'a Path, resume: bool) -> Result<Self, TrainError> {
        let network = recipe.build_network().map_err(RecipeError::from)?;
        let training = frames(recipe, &recipe.data.train, &network)?;
        let labelled = Arc::new(training.labelled());
        let sets = &recipe.data.validation;
        let validation = if sets.is_empty() { None } else { Some(frames(recipe, sets, &network)?) };

        let transfer = Transfer::open(recipe, &network)?;
        for stage in &recipe.stages {
            check_batches(recipe, stage, if recipe.is_taught(stage) { &training } else { &labelled })?;
        }
        let teacher = recipe.teacher.as_ref().zip(transfer.as_ref()).map(|(config, transfer)| TeacherFile {
            sha256: transfer.teacher_sha256().to_owned(),
            path: config.file.clone(),
        });

        devices[0].seed(recipe.seed);
        let devices: Vec<_> = devices.into_iter().map(Device::autodiff).collect();
        let device = &devices[0];
        // First: it starts from the same weights with and without a teacher.
        let mut student = Student::new(&network, recipe.binarization, device);
        if let Some(file) = recipe.weights.as_ref().filter(|_| !resume) {
            let (with_weights, filled) = weights::load(file, &network, student)?;
            log::info!("{}: {filled}", file.display());
            student = with_weights;
        }
        let adapters = transfer.as_ref().map(|transfer| transfer.adapters(device)).unwrap_or_default();
        let (fresh, optimizer) = (Learner { student, adapters }, optimizer::new(&recipe.optimizer));
        let Checkpoint { learner, average, optimizer, progress } = if resume {
            let kept = checkpoint::kept(folder, recipe)?;
            teacher.iter().try_for_each(|teacher| teacher.check(folder))?;
            let checkpoint = Checkpoint::load(folder, fresh, optimizer)?;
            checkpoint::go_on(folder, kept, recipe)?;
            checkpoint
        } else {
            checkpoint::begin(folder, recipe)?;
            Checkpoint { learner: fresh, average: None, optimizer, progress: Progress::default() }
        };
        teacher.iter().try_for_each(|teacher| teacher.keep(folder))?;
        let average = average.map(|average| average.valid());
        let metrics = Metrics::open(folder, &progress)?;
        let loss = HeadLoss::new(&network, &recipe.loss);
        let run = Self {
            recipe,
            folder,
            devices,
            training,
            labelled,
            validation,
            loss,
            transfer,
            metrics,
            learner,
            average,
            optimizer,
            progress,
        };
        run.save()?; // so that there is something to resume from, whenever the run is killed
        Ok(run)
    }

    /// The rest of a stage.
    fn stage(&mut self, stage: &Stage) -> Result<(), TrainError> {
        self.learner.student.set_binary(&stage.binary);
        if self.progress.epoch == 0 {
            self.optimizer = optimizer::new(&self.recipe.optimizer);
        }
        self.average = match (self.recipe.ema, self.average.take()) {
            (None, _) => None,
            (Some(_), Some(mut average)) if self.progress.epoch > 0 => {
                average.set_binary(&stage.binary);
                Some(average)
            }
            (Some(_), _) => Some(self.learner.student.valid()),
        };
        let steps = Loader::len(self.frames(stage), self.recipe.batch);
        let bar = progress_bar((stage.epochs * steps) as u64, (self.progress.epoch * steps) as u64);
        let mut times = Times::default();
        loop {
            let (training, spent) = self.epoch(stage, steps, &bar)?;
            times += spent;
            self.progress.epoch += 1;
            let last = self.progress.epoch >= stage.epochs; // more, if a resumed recipe was shortened
            let look = last || self.progress.epoch.is_multiple_of(self.recipe.validate_every);
            let validation = self.validation.as_ref().filter(|_| look).map(|sampler| self.validate(sampler)).transpose()?;
            let message = self.metrics.epoch(&stage.name, &self.progress, &training, validation.as_ref())?;
            self.metrics.times(&stage.name, &self.progress, &spent)?;
            bar.suspend(|| log::info!("{message}"));
            if last {
                self.progress = Progress { stage: self.progress.stage + 1, epoch: 0, ..self.progress };
            }
            self.save()?;
            if last {
                bar.finish_and_clear();
                log::info!("{}: {times}", stage.name);
                if self.recipe.has_cache() && self.recipe.is_taught(stage) {
                    let Times { images, cached, .. } = times;
                    log::info!("{}: the features of {cached} of {images} pictures came from the cache", stage.name);
                }
                if times.is_loader_slow() {
                    log::warn!("training waits for frames: to read and decode them takes longer than a step");
                }
                return Ok(());
            }
        }
    }

    fn epoch(&mut self, stage: &Stage, steps: usize, bar: &ProgressBar) -> Result<(Means, Times), TrainError> {
        let (mut means, mut times, start) = (Means::default(), Times::default(), Instant::now());
        let batches = Loader::training(self.frames(stage), self.recipe.batch, self.recipe.seed, self.progress.epochs);
        let mut lessons: Box<dyn Iterator<Item = Result<Lesson, TrainError>>> = match &self.transfer {
            Some(transfer) if self.recipe.is_taught(stage) => Box::new(transfer.lessons(batches).map(|l| Ok(l?))),
            _ => Box::new(batches.map(|batch| Ok(Lesson::without_teacher(batch?)))),
        };
        for index in 0..steps {
            let (lesson, waited) = timed(|| lessons.next());
            let lesson = lesson.expect("an epoch has so many batches, or an error among them")?;
            let for_frames = lesson.waited.min(waited);
            times.loader += for_frames;
            times.teacher += waited - for_frames;
            times.cached += lesson.cached as u64;
            let at = self.progress.epoch * steps + index;
            let rate = stage.learning_rate.at(at, steps, stage.epochs);
            let share = at as f32 / (stage.epochs * steps) as f32;
            let weights = self.transfer.as_ref().map(|transfer| transfer.weights(stage, share)).unwrap_or_default();
            let devices = self.devices.iter().cycle();
            let parts = lesson.split(self.recipe.shards).into_iter().zip(devices).collect();
            let learner = self.learner.clone();
            let losses = Losses { head: &self.loss, transfer: self.transfer.as_ref(), weights: &weights };
            let done = step(learner, &mut self.optimizer, &losses, parts, rate, self.recipe, self.progress.seen)?;
            if let Some(transfer) = &mut self.transfer {
                transfer.watch(&done.terms, &weights, steps)?;
            }
            times.gradients += done.gradients;
            times.update += done.update;
            self.learner = done.learner;
            if let Some(ema) = self.recipe.ema {
                let share = schedule::ema_share(ema, at);
                self.average = self.average.take().map(|average| average.moved_toward(&self.learner.student, share));
            }
            self.progress.seen += self.recipe.batch as u64;
            self.progress.steps += 1;
            self.metrics.step(&stage.name, &self.progress, rate, &done.terms, done.norm)?;
            means.add(&done.terms);
            bar.set_message(format!(
                "{} {}/{} loss {:.3}",
                stage.name,
                self.progress.epoch + 1,
                stage.epochs,
                means.total()
            ));
            bar.inc(1);
        }
        self.progress.epochs += 1;
        times.images = (steps * self.recipe.batch) as u64;
        times.total = start.elapsed();
        Ok((means, times))
    }

    fn frames(&self, stage: &Stage) -> &Arc<Sampler> {
        if self.recipe.is_taught(stage) { &self.training } else { &self.labelled }
    }

    /// Mean loss of the head over the validation frames, as the detector sees them.
    fn validate(&self, sampler: &Arc<Sampler>) -> Result<Means, TrainError> {
        let student = self.average.clone().unwrap_or_else(|| self.learner.student.valid());
        let mut means = Means::default();
        for batch in Loader::validation(sampler) {
            let batch = batch?;
            let output = student.forward(images(&batch, &self.devices[0].clone().inner()));
            let terms = self.loss.terms(output, &batch, u64::MAX);
            means.add(
                &terms.into_iter().map(|(name, value)| (name.to_owned(), value.into_scalar::<f32>())).collect::<Vec<_>>(),
            );
        }
        Ok(means)
    }

    fn save(&self) -> Result<(), TrainError> {
        let (learner, average, optimizer) = (self.learner.clone(), self.average.clone(), self.optimizer.clone());
        Checkpoint { learner, average, optimizer, progress: self.progress }.save(self.folder)
    }
}

/// The frames to learn from, enough for a batch.
fn frames(recipe: &Recipe, sets: &[SetConfig], network: &Network) -> Result<Arc<Sampler>, TrainError> {
    Ok(Arc::new(Sampler::new(Dataset::load(&recipe.data, sets, network.classes())?, recipe)))
}

/// Do the frames of a stage fill a batch?
fn check_batches(recipe: &Recipe, stage: &Stage, sampler: &Sampler) -> Result<(), TrainError> {
    if Loader::len(sampler, recipe.batch) > 0 {
        return Ok(());
    }
    let (stage, frames) = (stage.name.clone(), sampler.dataset().epoch.len());
    Err(TrainError::NoBatch { stage, frames, batch: recipe.batch })
}

/// The pictures of a batch as a tensor `[pictures, 3, height, width]`.
pub fn images(batch: &Batch, device: &Device) -> Tensor<4> {
    let shape = [batch.labels.len(), 3, batch.size.height, batch.size.width];
    Tensor::from_data(TensorData::new(batch.values.clone(), shape), device)
}

fn progress_bar(steps: u64, done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left, {msg}");
    let bar = ProgressBar::new(steps).with_style(style.expect("the template is a constant"));
    bar.set_position(done);
    bar.reset_eta();
    bar
}
