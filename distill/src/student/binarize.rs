//! Binary weights with straight-through gradients.

use burn::tensor::Tensor;

/// `α·sign(W)` for latent weights `[filters, channels, kernel, kernel]`: α is the mean of |W| of each filter, sign(0) = +1.
///
/// The gradient passes straight through where |W| ≤ 1 and α is held constant: dL/dW = α·dL/dW_b there, 0 elsewhere
/// (Rastegari et al., arXiv 1603.05279, without the term of α).
pub fn binarize(latent: Tensor<4>) -> Tensor<4> {
    let values = latent.clone().detach();
    let alpha = values.clone().abs().mean_dims(&[1, 2, 3]);
    let sign = values.greater_equal_elem(0.0).float().mul_scalar(2.0).sub_scalar(1.0);
    let carrier = latent.clamp(-1.0, 1.0); // its value cancels, its gradient stays
    (carrier.clone() - carrier.detach() + sign) * alpha
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, module::conv2d, ops::ConvOptions};

    /// Values and gradients of y = conv(x, binarize(W)) by hand, for two filters of two weights each.
    #[test]
    fn values_and_gradients_by_hand() {
        let device = Device::flex().autodiff();
        let tensor = |values: [f32; 4], shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device).require_grad()
        };
        let w = tensor([0.5, -1.5, 0.0, -0.2], [2, 2, 1, 1]);
        let x = Tensor::<4>::from_data(TensorData::new(vec![2.0f32, 3.0], [1, 2, 1, 1]), &device).require_grad();
        let y = conv2d(x.clone(), binarize(w.clone()), None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1));
        let values = |tensor: Tensor<4>| tensor.into_data().try_to_vec::<f32>().unwrap();
        let near = |found: Vec<f32>, expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, by hand {expected:?}");
        };
        // Filter 1: alpha = (0.5 + 1.5) / 2 = 1, signs + -: 2 - 3. Filter 2: alpha = 0.1, sign(0) = +1: 0.1 (2 - 3).
        near(values(y.clone()), [-1.0, -0.1]);
        let gradients = y.sum().backward();
        let dw = values(w.grad(&gradients).unwrap());
        // alpha x where |W| <= 1; nothing for -1.5.
        near(dw[..2].to_vec(), [2.0, 0.0]);
        near(dw[2..].to_vec(), [0.2, 0.3]);
        // Sum of alpha sign over the filters.
        near(values(x.grad(&gradients).unwrap()), [1.1, -1.1]);
    }
}
