//! One step: gradients of a batch, clipped, applied.

use super::{Learner, TrainError, images};
use crate::{
    heads::HeadLoss,
    recipe::Recipe,
    student::Moments,
    transfer::{Lesson, Transfer},
};
use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// What a step makes smaller.
pub(super) struct Losses<'a> {
    pub(super) head: &'a HeadLoss,
    pub(super) transfer: Option<&'a Transfer>,
    /// Of each tap.
    pub(super) weights: &'a [f32],
}

/// What a step gives.
pub(super) struct Done {
    pub(super) learner: Learner,
    /// Each term of the loss, mean over the batch.
    pub(super) terms: Vec<(String, f32)>,
    /// Norm of the gradients before they were clipped.
    pub(super) norm: f32,
    /// How long forward and backward took.
    pub(super) gradients: Duration,
    /// How long everything after them took.
    pub(super) update: Duration,
}

/// What one part of a batch gives.
struct Part {
    gradients: GradientsParams,
    moments: Vec<Option<Moments>>,
    terms: Vec<(String, f32)>,
}

/// Learns from a batch in equal parts, each in a thread of its own and on its own device. Sums are taken where the weights
/// are, in the order of the parts, so that the result does not depend on which thread is first.
pub(super) fn step(
    learner: Learner,
    optimizer: &mut ModuleOptimizer,
    losses: &Losses<'_>,
    parts: Vec<(Lesson, &Device)>,
    rate: f64,
    recipe: &Recipe,
    seen: u64,
) -> Result<Done, TrainError> {
    let start = Instant::now();
    let count = parts.len() as f32;
    // Each thread learns on a graph of its own. Threads whose graphs share the leaves would take turns at one lock, and
    // burn (0.22) takes that lock and the list of all graphs in both orders: two such threads can wait for each other.
    let parts: Vec<_> = parts.into_iter().map(|(lesson, device)| (learner.clone().fork(device), lesson, device)).collect();
    let parts: Vec<Part> = thread::scope(|scope| {
        let start = |(learner, lesson, device): (Learner, Lesson, _)| {
            scope.spawn(move || part(&learner, losses, &lesson, device, seen))
        };
        let threads: Vec<_> = parts.into_iter().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });

    let gradients_done = Instant::now();
    let step = seen / recipe.batch as u64 + 1;
    let terms = mean_terms(&parts);
    if let Some((name, _)) = terms.iter().find(|(_, value)| !value.is_finite()) {
        return Err(TrainError::NotANumber { step, what: format!("the loss term '{name}'") });
    }
    let device = learner.devices().remove(0).inner();
    let home = |part: Part| {
        let moments = part.moments.into_iter().map(|moments| Some(moments?.to_device(&device))).collect();
        (part.gradients.to_device(&device, &learner), moments)
    };
    let (gradients, moments): (Vec<_>, Vec<_>) = parts.into_iter().map(home).unzip();
    let mut mean = MeanGradients { parts: gradients, scale: 1.0 / count, mean: GradientsParams::new(), squares: 0.0 };
    learner.visit(&mut mean);
    let norm = mean.squares.sqrt() as f32;
    if !norm.is_finite() {
        return Err(TrainError::NotANumber { step, what: "the gradient".into() });
    }
    let mut gradients = mean.mean;
    if norm > recipe.optimizer.clip_norm() {
        let mut scale = Scale { gradients: &mut gradients, factor: recipe.optimizer.clip_norm() / norm };
        learner.visit(&mut scale);
    }
    let Learner { student, adapters } = optimizer.step(rate, learner, gradients);
    let learner = Learner { student: student.settled().absorb(&moments), adapters };
    Ok(Done { learner, terms, norm, gradients: gradients_done - start, update: gradients_done.elapsed() })
}

fn part(learner: &Learner, losses: &Losses<'_>, lesson: &Lesson, device: &Device, seen: u64) -> Part {
    let Lesson { batch, .. } = lesson;
    let (outputs, moments) = learner.student.learn(images(batch, device));
    let output = outputs[outputs.len() - 1].clone();
    let head = losses.head.terms(output, batch, seen).into_iter().map(|(name, term)| (name.to_owned(), term));
    let mut terms: Vec<_> = head.collect();
    if let Some(transfer) = losses.transfer {
        terms.extend(transfer.terms(&outputs, lesson, &learner.adapters, losses.weights));
    }
    let total = terms.iter().map(|(_, term)| term.clone()).reduce(|a, b| a + b).expect("a loss has terms");
    let gradients = GradientsParams::from_grads(total.backward(), learner);
    let terms = terms.into_iter().map(|(name, term)| (name, term.into_scalar::<f32>())).collect();
    Part { gradients, moments, terms }
}

fn mean_terms(parts: &[Part]) -> Vec<(String, f32)> {
    let mean = |index: usize| parts.iter().map(|part| part.terms[index].1).sum::<f32>() / parts.len() as f32;
    parts[0].terms.iter().enumerate().map(|(index, (name, _))| (name.clone(), mean(index))).collect()
}

/// Takes the mean of the parts' gradients and the sum of its squares.
struct MeanGradients {
    parts: Vec<GradientsParams>,
    scale: f32,
    mean: GradientsParams,
    squares: f64,
}

impl ModuleVisitor for MeanGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parts = self.parts.iter_mut().filter_map(|part| part.remove::<D>(param.id));
        if let Some(sum) = parts.reduce(|a, b| a + b) {
            let mean = sum.mul_scalar(self.scale);
            self.squares += f64::from((mean.clone() * mean.clone()).sum().into_scalar::<f32>());
            self.mean.register(param.id, mean);
        }
    }
}

/// Multiplies gradients by a factor.
struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let id: ParamId = param.id;
        if let Some(gradient) = self.gradients.remove::<D>(id) {
            self.gradients.register(id, gradient.mul_scalar(self.factor));
        }
    }
}
