//! The knowledge transfer: the student's features, brought to the shape of the teacher's, are to be like them.
//!
//! A *tap* pairs a tensor of the teacher with a layer of the student. Its term of the loss is a weight, which may change
//! over a stage, times one of the losses of this module. What the losses have in common: both sides are maps
//! `[batch, channels, height, width]` of the same picture, the teacher's is constant, and the result is one number.

mod adapter;
mod error;
mod features;
mod foreground;
mod lesson;
mod output;

pub use adapter::{Adapter, Projection};
pub use error::TransferError;
pub use features::{attention, cwd, l2, pkd};
pub use foreground::{emphasis, fgd};
pub use lesson::{Lesson, Lessons};
pub use output::{RegionOutputs, output};

use crate::{
    data::Loader,
    recipe::{Recipe, Stage, TapConfig, TransferLoss},
    teacher::{FeatureMap, Teacher},
};
use burn::tensor::{Device, Tensor, TensorData};
use onebit_detector::network::{Head, InputSize, Network, Shape};
use std::sync::{Arc, Mutex};

/// After so many steps in a row in which a term is exactly zero the run stops.
const PATIENCE: usize = 10;

/// A teacher and the taps that the student learns from.
pub struct Transfer {
    teacher: Arc<Mutex<Teacher>>,
    sha256: String,
    tensors: Vec<String>,
    taps: Vec<Tap>,
    outputs: RegionOutputs,
}

/// One term of the loss.
struct Tap {
    config: TapConfig,
    name: String,
    /// Position of the student's layer.
    layer: usize,
    /// Position of the teacher's tensor in [`Transfer::tensors`].
    map: usize,
    student: Shape,
    teacher: Shape,
    /// Steps in a row in which the term was exactly zero.
    silent: usize,
}

impl Transfer {
    /// Loads a recipe's teacher, if it has one, and reads the shapes of its taps.
    ///
    /// # Errors
    /// If the teacher cannot be used, or a tap's shape cannot be brought together with that of the student's layer.
    pub fn open(recipe: &Recipe, network: &Network) -> Result<Option<Self>, TransferError> {
        let Some(config) = &recipe.teacher else { return Ok(None) };
        let mut tensors: Vec<String> = Vec::new();
        for tap in &recipe.transfer {
            if !tensors.contains(&tap.teacher) {
                tensors.push(tap.teacher.clone());
            }
        }
        let mut teacher = Teacher::load(config, tensors.clone())?;
        let Head::Region(head) = network.head();
        let outputs = RegionOutputs { anchors: head.anchors.len(), classes: network.classes().len() };
        let mut taps_in = |size: InputSize| -> Result<Vec<Tap>, TransferError> {
            let shapes = teacher.shapes(size)?;
            let window = network.with_input(size).expect("a recipe's window is checked");
            let tap = |config: &TapConfig| {
                let layer = window.layers().iter().position(|layer| layer.name == config.student);
                let layer = layer.expect("a recipe's taps are checked");
                let map = tensors.iter().position(|name| *name == config.teacher).expect("listed above");
                let (student, teacher) = (window.shapes()[layer], shapes[map]);
                Tap { config: config.clone(), name: config.name(), layer, map, student, teacher, silent: 0 }
            };
            let taps: Vec<Tap> = recipe.transfer.iter().map(tap).collect();
            taps.iter().try_for_each(|tap| tap.check(outputs))?;
            Ok(taps)
        };
        let windows: Vec<_> = recipe.windows().into_iter().map(&mut taps_in).collect::<Result<_, _>>()?;
        for other in &windows[1..] {
            windows[0].iter().zip(other).try_for_each(|(first, other)| first.check_same(other))?;
        }
        let taps = windows.into_iter().next().expect("a recipe has a window");
        let sha256 = teacher.sha256().to_owned();
        Ok(Some(Self { teacher: Arc::new(Mutex::new(teacher)), sha256, tensors, taps, outputs }))
    }

    /// SHA-256 of the teacher's file, in hexadecimal.
    pub fn teacher_sha256(&self) -> &str {
        &self.sha256
    }

    /// Names of the teacher's tensors that are looked at.
    pub fn tensors(&self) -> &[String] {
        &self.tensors
    }

    /// A fresh adapter for each tap. Seed the device first: same seed, same weights.
    pub fn adapters(&self, device: &Device) -> Vec<Adapter> {
        let adapter = |tap: &Tap| Adapter::new(tap.student, tap.teacher, tap.config.loss.needs_channels(), device);
        self.taps.iter().map(adapter).collect()
    }

    /// Weight of each tap when this share of the stage, 0 to 1, is done.
    pub fn weights(&self, stage: &Stage, share: f32) -> Vec<f32> {
        self.taps.iter().map(|tap| tap.config.weight.at(stage, share)).collect()
    }

    /// The batches with what the teacher sees in them.
    pub fn lessons(&self, batches: Loader) -> Lessons {
        Lessons::start(batches, &self.teacher, &self.tensors)
    }

    /// Each tap's weighted term by name, 0 where the weight is: from the student's outputs, layer by layer, for the lesson.
    pub fn terms(
        &self,
        outputs: &[Tensor<4>],
        lesson: &Lesson,
        adapters: &[Adapter],
        weights: &[f32],
    ) -> Vec<(String, Tensor<1>)> {
        let term = |((tap, adapter), weight): ((&Tap, &Adapter), &f32)| {
            let term = if *weight == 0.0 {
                Tensor::zeros([1], &outputs[0].device())
            } else {
                let student = adapter.forward(outputs[tap.layer].clone());
                self.loss(tap, student, lesson).mul_scalar(*weight)
            };
            (tap.name.clone(), term)
        };
        self.taps.iter().zip(adapters).zip(weights).map(term).collect()
    }

    fn loss(&self, tap: &Tap, student: Tensor<4>, lesson: &Lesson) -> Tensor<1> {
        let device = student.device();
        let FeatureMap { shape, values } = &lesson.features[tap.map];
        let teacher = Tensor::from_data(TensorData::new(values.clone(), *shape), &device);
        match tap.config.loss {
            TransferLoss::L2 => l2(student, teacher),
            TransferLoss::Attention => attention(student, teacher),
            TransferLoss::Cwd => cwd(student, teacher, tap.config.temperature.unwrap_or(1.0)),
            TransferLoss::Pkd => pkd(student, teacher),
            TransferLoss::Fgd => {
                let [_, _, height, width] = *shape;
                let emphasis = emphasis(&lesson.batch.labels, lesson.batch.size, [height, width], &device);
                fgd(student, teacher, emphasis)
            }
            TransferLoss::Output => output(student, teacher, self.outputs),
        }
    }

    /// Looks at the terms of a step, which had these weights.
    ///
    /// # Errors
    /// Names the term that has been exactly zero for `PATIENCE` steps, or for an epoch of `epoch` steps if that is shorter.
    pub fn watch(&mut self, terms: &[(String, f32)], weights: &[f32], epoch: usize) -> Result<(), TransferError> {
        for (tap, weight) in self.taps.iter_mut().zip(weights) {
            let zero = *weight != 0.0 && terms.iter().any(|(name, value)| *name == tap.name && *value == 0.0);
            tap.silent = if zero { tap.silent + 1 } else { 0 };
            if tap.silent >= PATIENCE.min(epoch) {
                return Err(TransferError::Silent { term: tap.name.clone(), steps: tap.silent });
            }
        }
        Ok(())
    }
}

impl Tap {
    /// In every window the map changes its size by the same factors: the adapter has no others.
    fn check_same(&self, other: &Self) -> Result<(), TransferError> {
        let (term, student, tap) = (self.name.clone(), other.student, other.teacher);
        let same = Adapter::resizes_alike([self.student, self.teacher], [student, tap]);
        if same { Ok(()) } else { Err(TransferError::Windows { term, student, tap }) }
    }

    fn check(&self, outputs: RegionOutputs) -> Result<(), TransferError> {
        let (term, student, tap) = (self.name.clone(), self.student, self.teacher);
        if self.config.loss == TransferLoss::Output && (student != tap || !outputs.fits(tap)) {
            return Err(TransferError::Head { term, student, tap });
        }
        if Adapter::fits(student, tap) { Ok(()) } else { Err(TransferError::Sizes { term, student, tap }) }
    }
}
