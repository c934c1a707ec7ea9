//! Losses that compare two feature maps `[batch, channels, height, width]` of the same shape.
//!
//! Each gives one number; the gradient flows to the student's side alone, since the teacher's comes from outside the graph.

use burn::tensor::{Tensor, activation::log_softmax};

/// Added to a sum of squares before its root, so that a channel or map that is zero everywhere has a gradient (of zero).
const EPSILON: f32 = 1e-10;

/// Mean of the squared difference over pictures, channels and positions.
///
/// The features are compared as they are: with a teacher of another scale the weight has to make up for it.
pub fn l2(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    squared(student - teacher).mean()
}

/// Attention transfer (Zagoruyko & Komodakis, arXiv 1612.03928): the sum of squares over the channels is a map of where
/// the network looks. Both maps are scaled to a Euclidean norm of 1; the loss is their squared distance, 0 to 2, mean over
/// the pictures. The numbers of channels may differ.
pub fn attention(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    let [pictures, ..] = student.dims();
    let map = |features: Tensor<4>| {
        let [n, _, h, w] = features.dims();
        let map: Tensor<2> = squared(features).sum_dim(1).reshape([n, h * w]);
        let norm = (map.clone() * map.clone()).sum_dim(1).add_scalar(EPSILON).sqrt();
        map / norm
    };
    let difference = map(student) - map(teacher);
    (difference.clone() * difference).sum().div_scalar(pictures as f32)
}

/// Channel-wise distillation (Shu et al., arXiv 2011.13256): in each channel a softmax over the positions, of the features
/// divided by the temperature τ, says where it lies; the loss is τ² times the Kullback-Leibler divergence of the student's
/// from the teacher's, mean over pictures and channels.
pub fn cwd(student: Tensor<4>, teacher: Tensor<4>, temperature: f32) -> Tensor<1> {
    let [n, c, h, w] = student.dims();
    let logarithm =
        |features: Tensor<4>| -> Tensor<2> { log_softmax(features.reshape([n * c, h * w]).div_scalar(temperature), 1) };
    let (student, teacher) = (logarithm(student), logarithm(teacher));
    (teacher.clone().exp() * (teacher - student)).sum().mul_scalar(temperature * temperature / (n * c) as f32)
}

/// Distillation by Pearson correlation (Cao et al., PKD, arXiv 2207.02039): each channel is standardised over pictures and
/// positions; half the mean squared difference is then 1 minus the mean correlation of the channels, whatever their scales.
pub fn pkd(student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    let standardised = |features: Tensor<4>| {
        let centred = features.clone() - features.mean_dims(&[0, 2, 3]);
        let variance = squared(centred.clone()).mean_dims(&[0, 2, 3]);
        centred / variance.add_scalar(EPSILON).sqrt()
    };
    squared(standardised(student) - standardised(teacher)).mean().mul_scalar(0.5)
}

fn squared(features: Tensor<4>) -> Tensor<4> {
    features.clone() * features
}
