//! One step: gradients of a batch, clipped, applied.

use super::{TrainError, images};
use crate::{
    data::Batch,
    heads::HeadLoss,
    recipe::Recipe,
    student::{Moments, Student},
};
use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::Tensor,
};
use std::thread;

/// What a step gives.
pub(super) struct Done {
    pub(super) student: Student,
    /// Each term of the loss, mean over the batch.
    pub(super) terms: Vec<(&'static str, f32)>,
    /// Norm of the gradients before they were clipped.
    pub(super) norm: f32,
}

/// What one part of a batch gives.
struct Part {
    gradients: GradientsParams,
    moments: Vec<Option<Moments>>,
    terms: Vec<(&'static str, f32)>,
}

/// Learns from a batch in equal parts, each in a thread of its own. Sums are taken in the order of the parts, so that the
/// result does not depend on which thread is first.
pub(super) fn step(
    student: Student,
    optimizer: &mut ModuleOptimizer,
    loss: &HeadLoss,
    parts: Vec<Batch>,
    rate: f64,
    recipe: &Recipe,
    seen: u64,
) -> Result<Done, TrainError> {
    let count = parts.len() as f32;
    // Each thread learns on a graph of its own. Threads whose graphs share the leaves would take turns at one lock, and
    // burn (0.22) takes that lock and the list of all graphs in both orders: two such threads can wait for each other.
    let device = student.devices().remove(0);
    let parts: Vec<_> = parts.into_iter().map(|batch| (student.clone().fork(&device), batch)).collect();
    let parts: Vec<Part> = thread::scope(|scope| {
        let start = |(student, batch): (Student, Batch)| scope.spawn(move || part(&student, loss, &batch, seen));
        let threads: Vec<_> = parts.into_iter().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });

    let step = seen / recipe.batch as u64 + 1;
    let terms = mean_terms(&parts);
    if let Some((name, _)) = terms.iter().find(|(_, value)| !value.is_finite()) {
        return Err(TrainError::NotANumber { step, what: format!("the loss term '{name}'") });
    }
    let (gradients, moments): (Vec<_>, Vec<_>) = parts.into_iter().map(|p| (p.gradients, p.moments)).unzip();
    let mut mean = MeanGradients { parts: gradients, scale: 1.0 / count, mean: GradientsParams::new(), squares: 0.0 };
    student.visit(&mut mean);
    let norm = mean.squares.sqrt() as f32;
    if !norm.is_finite() {
        return Err(TrainError::NotANumber { step, what: "the gradient".into() });
    }
    let mut gradients = mean.mean;
    if norm > recipe.optimizer.clip_norm() {
        let mut scale = Scale { gradients: &mut gradients, factor: recipe.optimizer.clip_norm() / norm };
        student.visit(&mut scale);
    }
    let student = optimizer.step(rate, student, gradients).clamped().absorb(&moments);
    Ok(Done { student, terms, norm })
}

fn part(student: &Student, loss: &HeadLoss, batch: &Batch, seen: u64) -> Part {
    let device = student.devices().remove(0);
    let (output, moments) = student.learn(images(batch, &device));
    let terms = loss.terms(output, batch, seen);
    let total = terms.iter().map(|(_, term)| term.clone()).reduce(|a, b| a + b).expect("a loss has terms");
    let gradients = GradientsParams::from_grads(total.backward(), student);
    let terms = terms.into_iter().map(|(name, term)| (name, term.into_scalar::<f32>())).collect();
    Part { gradients, moments, terms }
}

fn mean_terms(parts: &[Part]) -> Vec<(&'static str, f32)> {
    let mean = |index: usize| parts.iter().map(|part| part.terms[index].1).sum::<f32>() / parts.len() as f32;
    parts[0].terms.iter().enumerate().map(|(index, (name, _))| (*name, mean(index))).collect()
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
