//! Convolutions in the form that is fastest on burn's CPU backend.

use burn::tensor::{Tensor, module::conv2d, ops::ConvOptions};

/// Feature maps of fewer rows are as fast by `conv2d`.
const MIN_ROWS: usize = 16;

/// A convolution with same padding of `x` `[batch, channels, height, width]` by `weight`
/// `[filters, channels / groups, kernel, kernel]`.
///
/// burn's flex backend takes the gradient of the weights as a convolution with a kernel as large as the map, which is
/// most of a step in early layers; there one matrix product over shifted copies gives the same values faster.
pub(super) fn same(x: Tensor<4>, weight: Tensor<4>, stride: usize, groups: usize) -> Tensor<4> {
    let [_, _, kernel, _] = weight.dims();
    let [_, _, height, _] = x.dims();
    if stride == 1 && groups == 1 && (kernel == 1 || height >= MIN_ROWS) {
        return by_columns(x, weight);
    }
    let padding = kernel / 2;
    conv2d(x, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups))
}

fn by_columns(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let [filters, _, k, _] = weight.dims();
    let columns = if k == 1 {
        x
    } else {
        let p = k / 2;
        let padded = x.pad((p, p, p, p), 0.0);
        let shifted = |tap: usize| {
            let (dy, dx) = (tap / k, tap % k);
            padded.clone().slice([0..n, 0..c, dy..dy + h, dx..dx + w])
        };
        Tensor::cat((0..k * k).map(shifted).collect(), 1)
    };
    let taps = k * k * c;
    let weight: Tensor<3> = weight.permute([0, 2, 3, 1]).reshape([1, filters, taps]);
    let columns: Tensor<3> = columns.reshape([n, taps, h * w]);
    weight.expand([n, filters, taps]).matmul(columns).reshape([n, filters, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    #[test]
    fn columns_equal_the_convolution_in_values_and_gradients() {
        let device = Device::flex().autodiff();
        for (kernel, stride) in [(1, 1), (3, 1), (3, 2)] {
            let x = Tensor::<4>::random([2, 3, 16, 18], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let w = Tensor::<4>::random([4, 3, kernel, kernel], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let p = kernel / 2;
            let options = ConvOptions::new([stride; 2], [p; 2], [1, 1], 1);
            let plain = conv2d(x.clone(), w.clone(), None, options);
            let ours = same(x.clone(), w.clone(), stride, 1);
            let tolerance = Tolerance::<f32>::absolute(1e-4);
            ours.to_data().assert_approx_eq(&plain.to_data(), tolerance);

            let (ours, plain) = ((ours.clone() * ours).sum().backward(), (plain.clone() * plain).sum().backward());
            for tensor in [x, w] {
                let (a, b) = (tensor.grad(&ours).unwrap(), tensor.grad(&plain).unwrap());
                a.to_data().assert_approx_eq::<f32>(&b.to_data(), Tolerance::relative(1e-4).set_absolute(1e-3));
            }
        }
    }
}
