//! Batch norm with its own statistics, and the rectifier behind it.

use pulp::Arch;
use rayon::prelude::*;

/// Values summed side by side, so that the compiler can use vectors.
const LANES: usize = 32;

/// `y = max(z, slope·z)` with `z = scale · (x − mean) / sqrt(variance + ε) + shift`, for each channel.
pub(super) struct Affine<'a> {
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
    pub(super) epsilon: f32,
    /// From 0 (rectifier) to 1 (nothing).
    pub(super) slope: f32,
    /// The vectors that this processor has.
    pub(super) arch: Arch,
}

impl Affine<'_> {
    /// The output for `x` `[batch, channels, plane]`, and mean and biased variance of each channel.
    pub(super) fn forward(&self, x: &[f32], plane: usize) -> (Vec<f32>, Vec<(f32, f32)>) {
        let mut y = vec![0.0; x.len()];
        let x = self.by_channel(x.chunks_exact(plane));
        let y_planes = self.by_channel(y.chunks_exact_mut(plane));
        let channels = x.into_par_iter().zip(y_planes).enumerate();
        let moments = channels.map(|(channel, (x, y))| {
            self.arch.dispatch(
                #[inline(always)]
                || self.forward_channel(channel, &x, y),
            )
        });
        let moments = moments.collect();
        (y, moments)
    }

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn forward_channel(&self, channel: usize, x: &[&[f32]], y: Vec<&mut [f32]>) -> (f32, f32) {
        let [mean] = means_of(x, x, |x, _| [x]);
        let [variance] = means_of(x, x, |x, _| [(x - mean) * (x - mean)]);
        let (a, b) = self.line(channel, mean, variance);
        for (x, y) in x.iter().zip(y) {
            for (y, x) in y.iter_mut().zip(*x) {
                let z = x * a + b;
                *y = z.max(z * self.slope);
            }
        }
        (mean, variance)
    }

    /// The gradients of the input, and of scale and shift of each channel, where `y` is that of the output.
    ///
    /// With `x̂ = (x − mean) / sqrt(variance + ε)` and the gradient dz before the rectifier: `dshift = Σ dz`, `dscale = Σ dz·x̂`,
    /// and `dx = scale / sqrt(variance + ε) · (dz − mean(dz) − x̂·mean(dz·x̂))`, since mean and variance follow x (Ioffe and
    /// Szegedy, arXiv 1502.03167, section 3).
    pub(super) fn backward(
        &self,
        x: &[f32],
        moments: &[(f32, f32)],
        y: &[f32],
        plane: usize,
    ) -> (Vec<f32>, Vec<(f32, f32)>) {
        let mut of_x = vec![0.0; x.len()];
        let x = self.by_channel(x.chunks_exact(plane));
        let y = self.by_channel(y.chunks_exact(plane));
        let of_planes = self.by_channel(of_x.chunks_exact_mut(plane));
        let channels = x.into_par_iter().zip(y).zip(of_planes).zip(moments).enumerate();
        let of_affine = channels.map(|(channel, (((x, y), of_x), moments))| {
            self.arch.dispatch(
                #[inline(always)]
                || self.backward_channel(channel, *moments, &x, &y, of_x),
            )
        });
        let of_affine = of_affine.collect();
        (of_x, of_affine)
    }

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn backward_channel(
        &self,
        channel: usize,
        (mean, variance): (f32, f32),
        x: &[&[f32]],
        y: &[&[f32]],
        of_x: Vec<&mut [f32]>,
    ) -> (f32, f32) {
        let (a, b) = self.line(channel, mean, variance);
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        let before = |x: f32, dy: f32| if x * a + b > 0.0 { dy } else { dy * self.slope };
        let [mean_dz, mean_dz_x] = means_of(x, y, |x, dy| {
            let dz = before(x, dy);
            [dz, dz * ((x - mean) * inverse)]
        });
        for ((x, y), of_x) in x.iter().zip(y).zip(of_x) {
            for ((of_x, x), dy) in of_x.iter_mut().zip(*x).zip(*y) {
                *of_x = a * (before(*x, *dy) - mean_dz - (x - mean) * inverse * mean_dz_x);
            }
        }
        let count = x.iter().map(|x| x.len()).sum::<usize>() as f32;
        (mean_dz_x * count, mean_dz * count)
    }

    /// `z = a·x + b`.
    fn line(&self, channel: usize, mean: f32, variance: f32) -> (f32, f32) {
        let a = self.scale[channel] / (variance + self.epsilon).sqrt();
        (a, self.shift[channel] - mean * a)
    }

    /// The planes of each channel, from those in the order `[batch, channels]`.
    fn by_channel<P>(&self, planes: impl Iterator<Item = P>) -> Vec<Vec<P>> {
        let mut channels: Vec<Vec<P>> = self.scale.iter().map(|_| Vec::new()).collect();
        for (index, plane) in planes.enumerate() {
            channels[index % self.scale.len()].push(plane);
        }
        channels
    }
}

/// Means of `terms` over the values of planes side by side.
#[inline(always)] // as its callers
fn means_of<const N: usize>(x: &[&[f32]], y: &[&[f32]], terms: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    let (mut totals, mut count) = ([0.0; N], 0);
    for (x, y) in x.iter().zip(y) {
        let sums = sums(x, y, &terms);
        for term in 0..N {
            totals[term] += sums[term];
        }
        count += x.len();
    }
    totals.map(|total| (total / count as f64) as f32)
}

/// Sums of `terms` over two equally long slices.
#[inline(always)] // as its callers
fn sums<const N: usize>(x: &[f32], y: &[f32], terms: impl Fn(f32, f32) -> [f32; N]) -> [f64; N] {
    let (mut lanes, mut totals) = ([[0.0f32; LANES]; N], [0.0; N]);
    let (x_blocks, y_blocks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    // Loops in place of iterators' sums: what these call would not be compiled for the same vectors.
    for (x, y) in x_blocks.remainder().iter().zip(y_blocks.remainder()) {
        let values = terms(*x, *y);
        for term in 0..N {
            totals[term] += f64::from(values[term]);
        }
    }
    for (x, y) in x_blocks.zip(y_blocks) {
        for lane in 0..LANES {
            let values = terms(x[lane], y[lane]);
            for term in 0..N {
                lanes[term][lane] += values[term];
            }
        }
    }
    for (total, lanes) in totals.iter_mut().zip(lanes) {
        for lane in lanes {
            *total += f64::from(lane);
        }
    }
    totals
}
