//! Convolutions with same padding, on every device.

use super::cpu;
use burn::tensor::{Tensor, module::conv2d, ops::ConvOptions};

/// A convolution with same padding of `x` `[batch, channels, height, width]` by `weight`
/// `[filters, channels / groups, kernel, kernel]`; there is one group or one for each channel.
pub(super) fn same(x: Tensor<4>, weight: Tensor<4>, stride: usize, groups: usize) -> Tensor<4> {
    if cpu::computes(&x) {
        return cpu::convolve(x, weight, stride, groups > 1);
    }
    let [_, _, kernel, _] = weight.dims();
    let padding = kernel / 2;
    conv2d(x, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    /// Odd sizes, maps of one row or column, more rows than one matrix of columns holds, and strides that leave a rest.
    #[test]
    fn ours_equal_burn_s_in_values_and_gradients() {
        let device = Device::flex();
        device.seed(7);
        let device = device.autodiff();
        let cases = [
            (1, 1, [5, 7]),
            (3, 1, [16, 18]),
            (3, 1, [7, 1]),
            (3, 1, [1, 9]),
            (3, 1, [60, 101]),
            (3, 2, [16, 18]),
            (3, 2, [7, 5]),
            (3, 2, [1, 1]),
            (1, 2, [6, 9]),
            (5, 1, [2, 3]),
        ];
        for ((kernel, stride, [height, width]), groups) in cases.into_iter().flat_map(|case| [(case, 1), (case, 6)]) {
            let random = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad();
            let (x, w) = (random([2, 6, height, width]), random([6, 6 / groups, kernel, kernel]));
            let p = kernel / 2;
            let burn_s = conv2d(x.clone(), w.clone(), None, ConvOptions::new([stride; 2], [p; 2], [1, 1], groups));
            let ours = same(x.clone(), w.clone(), stride, groups);
            ours.to_data().assert_approx_eq(&burn_s.to_data(), Tolerance::<f32>::absolute(1e-4));

            // A gradient that differs from place to place.
            let place = random(ours.dims()).detach();
            let [ours, burn_s] = [ours, burn_s].map(|y| (y * place.clone()).sum().backward());
            for tensor in [x, w] {
                let (a, b) = (tensor.grad(&ours).unwrap(), tensor.grad(&burn_s).unwrap());
                a.to_data().assert_approx_eq::<f32>(&b.to_data(), Tolerance::relative(1e-3).set_absolute(1e-3));
            }
        }
    }
}
