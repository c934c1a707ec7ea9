//! The largest of each 2x2 values.

use pulp::Arch;
use rayon::prelude::*;

/// The output for rows of `width` values; rows and width are even.
pub(super) fn forward(x: &[f32], width: usize) -> Vec<f32> {
    let (mut y, arch) = (vec![0.0; x.len() / 4], Arch::new());
    y.par_chunks_mut(width / 2).zip(x.par_chunks(2 * width)).for_each(|(y, x)| {
        let [upper, lower] = pairs(x, width);
        arch.dispatch(
            #[inline(always)]
            || {
                for ((y, [a, b]), [c, d]) in y.iter_mut().zip(upper).zip(lower) {
                    *y = a.max(*b).max(c.max(*d));
                }
            },
        );
    });
    y
}

/// The gradient of the input, where `y` is that of the output: it goes to the first of the largest values.
pub(super) fn backward(x: &[f32], y: &[f32], width: usize) -> Vec<f32> {
    let (mut of_x, arch) = (vec![0.0; x.len()], Arch::new());
    of_x.par_chunks_mut(2 * width).zip(x.par_chunks(2 * width)).zip(y.par_chunks(width / 2)).for_each(|((of_x, x), y)| {
        let [upper, lower] = pairs(x, width);
        let (of_upper, of_lower) = of_x.split_at_mut(width);
        let (of_upper, of_lower) = (of_upper.as_chunks_mut().0, of_lower.as_chunks_mut().0);
        arch.dispatch(
            #[inline(always)]
            || {
                for (((([a, b], [c, d]), of_upper), of_lower), y) in
                    upper.iter().zip(lower).zip(of_upper).zip(of_lower).zip(y)
                {
                    // Without a jump, so that vectors can be used.
                    let (above, left, right) = (a.max(*b) >= c.max(*d), a >= b, c >= d);
                    let (upper, lower) = if above { (*y, 0.0) } else { (0.0, *y) };
                    *of_upper = if left { [upper, 0.0] } else { [0.0, upper] };
                    *of_lower = if right { [lower, 0.0] } else { [0.0, lower] };
                }
            },
        );
    });
    of_x
}

/// Of two rows, the values two by two.
fn pairs(x: &[f32], width: usize) -> [&[[f32; 2]]; 2] {
    let (upper, lower) = x.split_at(width);
    [upper.as_chunks().0, lower.as_chunks().0]
}

#[cfg(test)]
mod tests {
    use super::super::pool;
    use burn::tensor::{Device, Distribution, Tensor, TensorData, module::max_pool2d, ops::MaxPoolOptions};

    #[test]
    fn by_hand() {
        let device = Device::flex().autodiff();
        let values = [1.0, 2.0, 5.0, 5.0, 4.0, 3.0, 5.0, -1.0, -1.0, -2.0, 0.0, 0.0, -3.0, -4.0, 0.0, 7.0f32];
        let x = Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 2, 2, 4]), &device).require_grad();
        let y = pool(x.clone());
        assert_eq!(y.to_data(), TensorData::new(vec![4.0f32, 5.0, -1.0, 7.0], [1, 2, 1, 2]));
        let place = Tensor::<4>::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0], [1, 2, 1, 2]), &device);
        let gradient = x.grad(&(y * place).sum().backward()).unwrap();
        let expected = [0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0f32];
        assert_eq!(gradient.to_data(), TensorData::new(expected.to_vec(), [1, 2, 2, 4]), "the first of equal ones");
    }

    #[test]
    fn ours_equals_burn_s_in_values_and_gradients() {
        let device = Device::flex();
        device.seed(11);
        let device = device.autodiff();
        let random = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (x, place) = (random([3, 5, 14, 22]).require_grad(), random([3, 5, 7, 11]));
        let (ours, burn_s) = (pool(x.clone()), max_pool2d(x.clone(), MaxPoolOptions::new([2, 2])));
        assert_eq!(ours.to_data(), burn_s.to_data());
        let [ours, burn_s] = [ours, burn_s].map(|y| x.grad(&(y * place.clone()).sum().backward()).unwrap().to_data());
        assert_eq!(ours, burn_s);
    }
}
