//! Binary weights with straight-through gradients.
//!
//! A layer's latent weights `[filters, channels, kernel, kernel]` become `α·sign(W)` with one α for each filter:
//! [`signs`] of W, or of its [`standardised`] form, times [`magnitudes`] of the same, or times a learned α. The signs hold α
//! constant, and α the signs: dL/dW = α·dL/dW_b where the gradient passes, and dL/dα = Σ sign(W)·dL/dW_b where α is learned.

use burn::tensor::Tensor;

/// Added to a filter's variance, so that a filter of equal weights has a gradient.
const EPSILON: f32 = 1e-12;

/// `sign(W)`, sign(0) = +1. The gradient passes straight through where |W| ≤ 1 and is 0 elsewhere (Rastegari et al.,
/// arXiv 1603.05279).
pub fn signs(weights: Tensor<4>) -> Tensor<4> {
    let sign = weights.clone().detach().greater_equal_elem(0.0).float().mul_scalar(2.0).sub_scalar(1.0);
    let carrier = weights.clamp(-1.0, 1.0); // its value cancels, its gradient stays
    carrier.clone() - carrier.detach() + sign
}

/// Mean of |W| of each filter, `[filters, 1, 1, 1]`: the α for which `α·sign(W)` is nearest to W (Rastegari et al., without
/// the term of α in the gradient).
pub fn magnitudes(weights: Tensor<4>) -> Tensor<4> {
    weights.detach().abs().mean_dims(&[1, 2, 3])
}

/// `(W − mean) / std` of each filter, the standard deviation being that over all its weights: as many signs of either kind
/// carry the most information (Qin et al., IR-Net, arXiv 1909.10788, section 3.2). The gradient goes through mean and
/// deviation. IR-Net's α is rounded to a power of two; here it is not, and its estimator of the gradient, which changes
/// during training, is left out.
pub fn standardised(weights: Tensor<4>) -> Tensor<4> {
    let centred = weights.clone() - weights.mean_dims(&[1, 2, 3]);
    let variance = (centred.clone() * centred.clone()).mean_dims(&[1, 2, 3]);
    centred / variance.add_scalar(EPSILON).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, TensorData, module::conv2d, ops::ConvOptions};

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, by hand {expected:?}");
    }

    /// Values and gradients of y = conv(x, α sign(W)) by hand, for two filters of two weights each.
    #[test]
    fn values_and_gradients_by_hand() {
        let device = Device::flex().autodiff();
        let tensor = |values: &[f32], shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device).require_grad()
        };
        let w = tensor(&[0.5, -1.5, 0.0, -0.2], [2, 2, 1, 1]);
        let x = tensor(&[2.0, 3.0], [1, 2, 1, 1]);
        let convolved =
            |alpha| conv2d(x.clone(), signs(w.clone()) * alpha, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1));
        let y = convolved(magnitudes(w.clone()));
        // Filter 1: alpha = (0.5 + 1.5) / 2 = 1, signs + -: 2 - 3. Filter 2: alpha = 0.1, sign(0) = +1: 0.1 (2 - 3).
        near(&values(y.clone()), &[-1.0, -0.1]);
        let gradients = y.sum().backward();
        // alpha x where |W| <= 1; nothing for -1.5.
        near(&values(w.grad(&gradients).unwrap()), &[2.0, 0.0, 0.2, 0.3]);
        // Sum of alpha sign over the filters.
        near(&values(x.grad(&gradients).unwrap()), &[1.1, -1.1]);

        let alpha = tensor(&[0.5, -2.0], [2, 1, 1, 1]);
        let y = convolved(alpha.clone());
        near(&values(y.clone()), &[-0.5, 2.0]);
        let gradients = y.sum().backward();
        near(&values(w.grad(&gradients).unwrap()), &[1.0, 0.0, -4.0, -6.0]);
        // Sum of sign x over the weights of a filter.
        near(&values(alpha.grad(&gradients).unwrap()), &[-1.0, -1.0]);
    }

    #[test]
    fn standardised_weights_by_hand() {
        let tensor =
            |values: [f32; 4]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 1, 2, 2]), &Device::flex());
        // Mean 3, deviations -2, -1, 0, 3: variance 14 / 4.
        let deviation = 3.5f32.sqrt();
        let expected = [-2.0, -1.0, 0.0, 3.0].map(|d| d / deviation);
        near(&values(standardised(tensor([1.0, 2.0, 3.0, 6.0]))), &expected);
        near(&values(magnitudes(standardised(tensor([1.0, 2.0, 3.0, 6.0])))), &[1.5 / deviation]);
        near(&values(standardised(tensor([0.25; 4]))), &[0.0; 4]);
    }

    /// What the straight-through gradient is the gradient of: each weight's part of the sum is its standardised value, cut
    /// to -1..1, times the α of the moment.
    #[test]
    fn gradients_through_standardised_weights_equal_numerical_ones() {
        let device = Device::flex();
        device.seed(3);
        let device = device.autodiff();
        let random = || Tensor::<4>::random([2, 3, 2, 2], Distribution::Normal(0.1, 0.3), &device);
        let (w, g) = (random().detach().require_grad(), random().detach());
        let normal = standardised(w.clone());
        let alpha = magnitudes(normal.clone());
        let gradient = w.grad(&(signs(normal) * alpha * g.clone()).sum().backward()).unwrap();
        let [start, g] = [w, g].map(|tensor| values(tensor).into_iter().map(f64::from).collect::<Vec<_>>());
        let normal = |filter: &[f64]| -> Vec<f64> {
            let mean = filter.iter().sum::<f64>() / 12.0;
            let deviation = (filter.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / 12.0).sqrt();
            filter.iter().map(|w| (w - mean) / deviation).collect()
        };
        let mut cut = 0;
        for (index, gradient) in values(gradient).into_iter().enumerate() {
            let filter = &start[index / 12 * 12..][..12];
            let alpha = normal(filter).iter().map(|w| w.abs()).sum::<f64>() / 12.0;
            let moved = |by: f64| -> f64 {
                let mut filter = filter.to_vec();
                filter[index % 12] += by;
                let g = &g[index / 12 * 12..];
                normal(&filter).iter().zip(g).map(|(w, g)| alpha * w.clamp(-1.0, 1.0) * g).sum()
            };
            let numerical = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((f64::from(gradient) - numerical).abs() < 1e-4, "weight {index}: {gradient}, numerical {numerical}");
            cut += usize::from(normal(filter)[index % 12].abs() > 1.0);
        }
        assert!(cut > 0, "some weights lie where no gradient passes");
    }
}
