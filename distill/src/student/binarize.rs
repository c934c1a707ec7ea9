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
