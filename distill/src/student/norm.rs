//! Batch norm whose statistics are handed out and taken back, so that a batch may be computed in parts.

use super::cpu;
use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor,
        activation::relu,
        module::{batch_norm, batch_norm_train},
    },
};

/// Added to the variance, as in Darknet's GPU code.
pub const EPSILON: f64 = 1e-5;
/// Share of a step's statistics in the running ones.
const MOMENTUM: f32 = 0.1;

/// Batch norm over `[batch, channels, height, width]`: `y = scale · (x − mean) / sqrt(variance + ε) + shift`.
#[derive(Module, Debug)]
pub struct Norm {
    /// `[channels]`.
    pub scale: Param<Tensor<1>>,
    /// `[channels]`.
    pub shift: Param<Tensor<1>>,
    /// Running mean `[channels]`.
    pub mean: Param<Tensor<1>>,
    /// Running variance `[channels]`, the biased one (divided by the number of values).
    pub variance: Param<Tensor<1>>,
}

/// Mean and variance `[channels]` of one layer's sums over a batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor<1>,
    /// Biased variance.
    pub variance: Tensor<1>,
}

impl Norm {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        let constant = |tensor: Tensor<1>| Param::from_tensor(tensor).set_require_grad(false);
        Self {
            scale: Param::from_tensor(Tensor::ones([channels], device)),
            shift: Param::from_tensor(Tensor::zeros([channels], device)),
            mean: constant(Tensor::zeros([channels], device)),
            variance: constant(Tensor::ones([channels], device)),
        }
    }

    /// With the running statistics; then `max(y, slope·y)`.
    pub(super) fn forward(&self, x: Tensor<4>, slope: f32) -> Tensor<4> {
        rectified(batch_norm(x, self.scale.val(), self.shift.val(), self.mean.val(), self.variance.val(), EPSILON), slope)
    }

    /// With the statistics of `x`, which are returned too; then `max(y, slope·y)`.
    pub(super) fn learn(&self, x: Tensor<4>, slope: f32) -> (Tensor<4>, Moments) {
        let (scale, shift) = (self.scale.val(), self.shift.val());
        let (y, mean, variance) = if cpu::computes(&x) {
            cpu::normalise(x, scale, shift, EPSILON as f32, slope)
        } else {
            normalise(x, scale, shift, slope)
        };
        (y, Moments { mean: mean.detach().inner(), variance: variance.detach().inner() })
    }

    /// Puts these statistics in place of the running ones.
    pub(super) fn with_statistics(mut self, moments: Moments) -> Self {
        self.mean = self.mean.map(|_| Tensor::from_inner(moments.mean));
        self.variance = self.variance.map(|_| Tensor::from_inner(moments.variance));
        self
    }

    /// Moves the running statistics towards those of a batch.
    pub(super) fn absorb(mut self, moments: &Moments) -> Self {
        let toward = |running: Param<Tensor<1>>, new: &Tensor<1>| {
            let new = Tensor::from_inner(new.clone());
            running.map(|old| (old * (1.0 - MOMENTUM) + new * MOMENTUM).detach())
        };
        self.mean = toward(self.mean, &moments.mean);
        self.variance = toward(self.variance, &moments.variance);
        self
    }
}

/// As [`cpu::normalise`], with burn's own operations.
fn normalise(x: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>, slope: f32) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let result = batch_norm_train(x, scale, shift, EPSILON);
    (rectified(result.output, slope), result.mean, result.variance)
}

/// `max(y, slope·y)`, in fewer passes over memory than burn's own leaky rectifier.
pub(super) fn rectified(y: Tensor<4>, slope: f32) -> Tensor<4> {
    match slope {
        1.0 => y,
        0.0 => relu(y),
        slope => relu(y.clone()).mul_scalar(1.0 - slope) + y.mul_scalar(slope),
    }
}

impl Moments {
    /// The statistics of all values of equal parts together: `mean = E[means]`, `variance =
    /// E[variances] + E[(means − mean)²]`.
    ///
    /// # Panics
    /// Without parts.
    pub fn pooled(parts: &[Self]) -> Self {
        let average = |pick: fn(&Self) -> Tensor<1>| {
            let sum = parts.iter().map(pick).reduce(|a, b| a + b).expect("parts of one batch at least");
            sum / parts.len() as f32
        };
        let mean = average(|m| m.mean.clone());
        // Taken about the common mean, so that little is lost where means are large.
        let between = parts.iter().map(|m| (m.mean.clone() - mean.clone()).powi_scalar(2)).reduce(|a, b| a + b);
        let between = between.expect("parts of one batch at least") / parts.len() as f32;
        Self { variance: average(|m| m.variance.clone()) + between, mean }
    }

    /// The same on another device.
    pub fn to_device(self, device: &Device) -> Self {
        Self { mean: self.mean.to_device(device), variance: self.variance.to_device(device) }
    }

    /// The mean of the statistics of equal parts of a batch.
    pub fn average(parts: &[Self]) -> Self {
        let average = |pick: fn(&Self) -> &Tensor<1>| {
            let sum = parts.iter().map(|m| pick(m).clone()).reduce(|a, b| a + b).expect("a batch has parts");
            sum / parts.len() as f32
        };
        Self { mean: average(|m| &m.mean), variance: average(|m| &m.variance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, TensorData, Tolerance};

    fn picture(values: [f32; 4], device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 2, 1, 2]), device)
    }

    fn vector(tensor: &Tensor<1>) -> Vec<f32> {
        tensor.clone().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn statistics_by_hand() {
        let device = Device::flex().autodiff();
        let norm = Norm::new(2, &device);
        let (y, moments) = norm.learn(picture([1.0, 3.0, 0.0, 8.0], &device), 1.0);
        assert_eq!(vector(&moments.mean), [2.0, 4.0]);
        assert_eq!(vector(&moments.variance), [1.0, 16.0], "divided by the number of values");
        let y: Vec<f32> = y.into_data().try_to_vec().unwrap();
        assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{y:?}");

        let other = Moments { mean: moments.mean.clone() + 2.0, variance: moments.variance.clone() + 4.0 };
        let both = Moments::average(&[moments, other]);
        assert_eq!((vector(&both.mean), vector(&both.variance)), (vec![3.0, 5.0], vec![3.0, 18.0]));

        let norm = norm.absorb(&both);
        let near = |found: Vec<f32>, expected: [f32; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(vector(&norm.mean.val()), [0.3, 0.5]));
        assert!(near(vector(&norm.variance.val()), [0.9 + 0.3, 0.9 + 1.8]));
        assert!(!norm.mean.is_require_grad() && norm.scale.is_require_grad());
    }

    #[test]
    fn pooled_statistics_are_those_of_all_values() {
        let device = Device::flex().autodiff();
        let norm = Norm::new(2, &device);
        let moments = |values| norm.learn(picture(values, &device), 1.0).1;
        let pooled = Moments::pooled(&[moments([1.0, 3.0, 0.0, 8.0]), moments([5.0, 7.0, 8.0, 0.0])]);
        // 1, 3, 5, 7 and 0, 8, 8, 0.
        assert_eq!((vector(&pooled.mean), vector(&pooled.variance)), (vec![4.0, 4.0], vec![5.0, 16.0]));
        let norm = norm.with_statistics(pooled);
        assert_eq!((vector(&norm.mean.val()), vector(&norm.variance.val())), (vec![4.0, 4.0], vec![5.0, 16.0]));
    }

    #[test]
    fn evaluation_uses_the_running_statistics() {
        let device = Device::flex();
        let norm = Norm::new(2, &device);
        let norm = Norm {
            mean: Param::from_tensor(Tensor::from_floats([1.0, 2.0], &device)),
            variance: Param::from_tensor(Tensor::from_floats([4.0, 0.25], &device)),
            ..norm
        };
        let y: Vec<f32> = norm.forward(picture([3.0, 1.0, 2.0, 3.0], &device), 1.0).into_data().try_to_vec().unwrap();
        assert!(y.iter().zip([1.0, 0.0, 0.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{y:?}");
    }

    #[test]
    fn ours_equals_burn_s_in_values_statistics_and_gradients() {
        let device = Device::flex();
        device.seed(5);
        let device = device.autodiff();
        for (slope, shape) in [(1.0, [2, 3, 4, 5]), (0.1, [3, 5, 7, 9]), (0.0, [1, 2, 1, 40]), (0.1, [2, 1, 33, 31])] {
            let random = |mean| Tensor::<4>::random(shape, Distribution::Normal(mean, 2.0), &device).require_grad();
            let [_, channels, ..] = shape;
            let vector = || Tensor::<1>::random([channels], Distribution::Normal(0.5, 1.0), &device).require_grad();
            let (x, scale, shift, place) = (random(3.0), vector(), vector(), random(0.0).detach());
            let ours = cpu::normalise(x.clone(), scale.clone(), shift.clone(), EPSILON as f32, slope);
            let burn_s = normalise(x.clone(), scale.clone(), shift.clone(), slope);
            let near = Tolerance::<f32>::relative(1e-4).set_absolute(1e-4);
            ours.0.to_data().assert_approx_eq(&burn_s.0.to_data(), near);
            ours.1.to_data().assert_approx_eq(&burn_s.1.to_data(), near);
            ours.2.to_data().assert_approx_eq(&burn_s.2.to_data(), near);

            let [ours, burn_s] = [ours.0, burn_s.0].map(|y| (y * place.clone()).sum().backward());
            x.grad(&ours).unwrap().to_data().assert_approx_eq(&x.grad(&burn_s).unwrap().to_data(), near);
            for vector in [scale, shift] {
                vector.grad(&ours).unwrap().to_data().assert_approx_eq(&vector.grad(&burn_s).unwrap().to_data(), near);
            }
        }
    }
}
