//! Convolutions of each channel by a filter of its own, tap by tap over whole rows.

use super::{columns::Geometry, norm::sum};
use pulp::Arch;
use rayon::prelude::*;

/// The sizes of a depthwise convolution with same padding.
pub(super) struct Depthwise {
    batch: usize,
    channels: usize,
    /// One channel of one image.
    plane: Geometry,
    taps: usize,
    input_len: usize,
    arch: Arch,
}

impl Depthwise {
    /// For inputs `[batch, channels, height, width]` and weights `[channels, 1, kernel, kernel]`.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], stride: usize) -> Self {
        let ([batch, channels, height, width], [_, _, kernel, _]) = (x, weight);
        let plane = Geometry::new([1, 1, height, width], [1, 1, kernel, kernel], stride);
        Self { batch, channels, plane, taps: kernel * kernel, input_len: height * width, arch: Arch::new() }
    }

    /// `[batch, channels, rows, columns]`.
    pub(super) fn output(&self) -> [usize; 4] {
        let [_, _, height, width] = self.plane.output();
        [self.batch, self.channels, height, width]
    }

    /// The output.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.output().iter().product()];
        let planes = x.par_chunks(self.input_len).zip(y.par_chunks_mut(self.output_len()));
        planes.enumerate().for_each(|(index, (x, y))| {
            let weight = self.filter(weight, index);
            self.arch.dispatch(|| self.forward_plane(x, weight, y));
        });
        y
    }

    /// The gradients of the input and of the weights, where `y` is that of the output.
    pub(super) fn backward(&self, x: &[f32], weight: &[f32], y: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut of_x = vec![0.0; x.len()];
        let inputs = x.par_chunks(self.input_len).zip(of_x.par_chunks_mut(self.input_len));
        let planes = inputs.zip(y.par_chunks(self.output_len())).enumerate();
        let of_planes: Vec<Vec<f32>> = planes
            .map(|(index, ((x, of_x), y))| {
                let weight = self.filter(weight, index);
                self.arch.dispatch(|| self.backward_plane(x, weight, y, of_x))
            })
            .collect();
        let mut of_weight = vec![0.0; self.channels * self.taps];
        for (index, of_plane) in of_planes.iter().enumerate() {
            let of_filter = &mut of_weight[index % self.channels * self.taps..][..self.taps];
            of_filter.iter_mut().zip(of_plane).for_each(|(sum, part)| *sum += part);
        }
        (of_x, of_weight)
    }

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn forward_plane(&self, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let mut buffer = Vec::new();
        let [_, _, height, width] = self.plane.output();
        for (tap, weight) in weight.iter().enumerate() {
            for (run, y) in self.plane.runs(tap, &(0..height)).zip(y.chunks_exact_mut(width)) {
                let Some(run) = run else { continue };
                let x = self.plane.row(x, &run, &mut buffer);
                for (y, x) in y[run.inside].iter_mut().zip(x) {
                    *y += weight * x;
                }
            }
        }
    }

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn backward_plane(&self, x: &[f32], weight: &[f32], y: &[f32], of_x: &mut [f32]) -> Vec<f32> {
        let mut buffer = Vec::new();
        let [_, _, height, width] = self.plane.output();
        let mut of_weight = Vec::with_capacity(self.taps);
        for (tap, weight) in weight.iter().enumerate() {
            let mut total = 0.0;
            for (run, y) in self.plane.runs(tap, &(0..height)).zip(y.chunks_exact(width)) {
                let Some(run) = run else { continue };
                let y = &y[run.inside.clone()];
                total += sum(self.plane.row(x, &run, &mut buffer), y, |x, y| x * y);
                self.plane.add_row(of_x, &run, y, *weight);
            }
            of_weight.push(total as f32);
        }
        of_weight
    }

    fn filter<'a>(&self, weight: &'a [f32], plane: usize) -> &'a [f32] {
        &weight[plane % self.channels * self.taps..][..self.taps]
    }

    fn output_len(&self) -> usize {
        self.plane.output().iter().product()
    }
}
