//! Convolutions as matrix products.
//!
//! A *column* holds what one output position sees: a value for each channel and tap. The columns of some output rows, side by
//! side, are a matrix `[taps, positions]`: `Y = W · columns`; backwards, `dW = dY · columnsᵀ`, and `Wᵀ · dY` are the gradients
//! of the columns, which are added where their values came from. A matrix of columns is made anew for each use, so small
//! that it stays in the cache.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use rayon::prelude::*;
use std::ops::Range;

/// Values in one matrix of columns: half of a usual second-level cache per core.
const COLUMNS: usize = 128 * 1024;

/// The sizes of one convolution with same padding.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
}

impl Geometry {
    /// For inputs `[batch, channels, height, width]` and weights `[filters, channels, kernel, kernel]`.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], stride: usize) -> Self {
        let ([batch, channels, height, width], [filters, _, kernel, _]) = (x, weight);
        Self { batch, channels, height, width, filters, kernel, stride }
    }

    /// `[batch, filters, rows, columns]`.
    pub(super) fn output(&self) -> [usize; 4] {
        [self.batch, self.filters, self.height.div_ceil(self.stride), self.width.div_ceil(self.stride)]
    }

    /// The output.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.output().iter().product()];
        let weight = self.weights(weight);
        let images = x.par_chunks(self.input_len()).zip(y.par_chunks_mut(self.output_len()));
        images.for_each(|(x, y)| {
            let mut buffer = Vec::new();
            for rows in self.pieces() {
                let columns = self.columns(x, &rows, &mut buffer);
                multiply(weight, columns, 0.0, self.piece_mut(y, self.filters, &rows));
            }
        });
        y
    }

    /// The gradients of the input, if it is `wanted`, and of the weights, where `y` is that of the output.
    pub(super) fn backward(&self, x: &[f32], weight: &[f32], y: &[f32], wanted: bool) -> (Option<Vec<f32>>, Vec<f32>) {
        let weight = self.weights(weight);
        let mut of_x = vec![0.0; if wanted { x.len() } else { 0 }];
        let mut of_images: Vec<Option<&mut [f32]>> = if wanted {
            of_x.chunks_mut(self.input_len()).map(Some).collect()
        } else {
            (0..self.batch).map(|_| None).collect()
        };
        let images = x.par_chunks(self.input_len()).zip(y.par_chunks(self.output_len())).zip(&mut of_images);
        let of_weights: Vec<Vec<f32>> = images
            .map(|((x, y), of_x)| {
                let mut of_weight = vec![0.0; self.filters * self.taps()];
                let (mut buffer, mut of_columns) = (Vec::new(), Vec::new());
                for rows in self.pieces() {
                    let y = self.piece(y, self.filters, &rows);
                    let columns = self.columns(x, &rows, &mut buffer);
                    let of_weight = view_mut(&mut of_weight, [self.filters, self.taps()], self.taps());
                    multiply(y, columns.t(), 1.0, of_weight);
                    if let Some(of_x) = of_x {
                        self.spread(weight.t(), y, &rows, &mut of_columns, of_x);
                    }
                }
                of_weight
            })
            .collect();
        // In the order of the images, whatever thread was first: the same bits each time.
        let sum = of_weights.into_iter().reduce(|mut sum, part| {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            sum
        });
        (wanted.then_some(of_x), sum.unwrap_or_else(|| vec![0.0; self.filters * self.taps()]))
    }

    /// The columns `[taps, positions]` of some output rows of an image.
    fn columns<'a>(&self, x: &'a [f32], rows: &Range<usize>, buffer: &'a mut Vec<f32>) -> ArrayView2<'a, f32> {
        if self.is_pointwise() {
            return self.piece(x, self.channels, rows);
        }
        let positions = self.positions(rows);
        buffer.resize(self.taps() * positions, 0.0);
        let mut strided = Vec::new();
        for (tap, values) in buffer.chunks_exact_mut(positions).enumerate() {
            for (run, values) in self.runs(tap, rows).zip(values.chunks_exact_mut(self.output()[3])) {
                let Some(run) = run else {
                    values.fill(0.0);
                    continue;
                };
                values[..run.inside.start].fill(0.0);
                values[run.inside.end..].fill(0.0);
                values[run.inside.clone()].copy_from_slice(self.row(x, &run, &mut strided));
            }
        }
        view(buffer, [self.taps(), positions], positions)
    }

    /// Adds the gradients of some rows' columns, `weight · y`, where the columns' values came from.
    fn spread(
        &self,
        weight: ArrayView2<'_, f32>,
        y: ArrayView2<'_, f32>,
        rows: &Range<usize>,
        buffer: &mut Vec<f32>,
        of_x: &mut [f32],
    ) {
        if self.is_pointwise() {
            return multiply(weight, y, 0.0, self.piece_mut(of_x, self.channels, rows));
        }
        let positions = self.positions(rows);
        buffer.resize(self.taps() * positions, 0.0);
        multiply(weight, y, 0.0, view_mut(buffer, [self.taps(), positions], positions));
        for (tap, values) in buffer.chunks_exact(positions).enumerate() {
            for (run, values) in self.runs(tap, rows).zip(values.chunks_exact(self.output()[3])) {
                let Some(run) = run else { continue };
                self.add_row(of_x, &run, &values[run.inside.clone()], 1.0);
            }
        }
    }

    /// Where each output row has this tap inside the image; `None` where it has not.
    pub(super) fn runs(&self, tap: usize, rows: &Range<usize>) -> impl Iterator<Item = Option<Run>> {
        let Self { height, width, kernel, stride, .. } = *self;
        let (channel, dy, dx) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
        let padding = kernel / 2;
        // Position p has column p·stride + dx − padding of the image.
        let first = padding.saturating_sub(dx).div_ceil(stride);
        let end = (width + padding).saturating_sub(dx).div_ceil(stride).clamp(first, width.div_ceil(stride));
        rows.clone().map(move |row| {
            let y = (row * stride + dy).checked_sub(padding).filter(|y| *y < height)?;
            (first < end)
                .then(|| Run { inside: first..end, start: (channel * height + y) * width + first * stride + dx - padding })
        })
    }

    /// The values of an image that a run has.
    #[inline(always)] // compiled for the caller's vectors
    pub(super) fn row<'a>(&self, x: &'a [f32], run: &Run, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let x = &x[run.start..];
        if self.stride == 1 {
            return &x[..run.inside.len()];
        }
        buffer.clear();
        buffer.extend(x.iter().step_by(self.stride).take(run.inside.len()));
        buffer
    }

    /// Adds `values`, times a factor, to those of an image that a run has.
    #[inline(always)] // compiled for the caller's vectors
    pub(super) fn add_row(&self, of_x: &mut [f32], run: &Run, values: &[f32], factor: f32) {
        let of_x = &mut of_x[run.start..];
        if self.stride == 1 {
            for (sum, value) in of_x.iter_mut().zip(values) {
                *sum += factor * value;
            }
        } else {
            for (sum, value) in of_x.iter_mut().step_by(self.stride).zip(values) {
                *sum += factor * value;
            }
        }
    }

    /// Output rows whose columns are made at once.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let [_, _, height, width] = self.output();
        let rows = (COLUMNS / (self.taps() * width).max(1)).clamp(1, height.max(1));
        (0..height).step_by(rows).map(move |start| start..(start + rows).min(height))
    }

    /// Some rows of a map `[channels, positions]` of the output's height and width.
    fn piece<'a>(&self, map: &'a [f32], channels: usize, rows: &Range<usize>) -> ArrayView2<'a, f32> {
        let [_, _, height, width] = self.output();
        view(&map[rows.start * width..], [channels, self.positions(rows)], height * width)
    }

    fn piece_mut<'a>(&self, map: &'a mut [f32], channels: usize, rows: &Range<usize>) -> ArrayViewMut2<'a, f32> {
        let [_, _, height, width] = self.output();
        view_mut(&mut map[rows.start * width..], [channels, self.positions(rows)], height * width)
    }

    fn weights<'a>(&self, weight: &'a [f32]) -> ArrayView2<'a, f32> {
        view(weight, [self.filters, self.taps()], self.taps())
    }

    /// Is the input the matrix of columns already?
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    fn positions(&self, rows: &Range<usize>) -> usize {
        rows.len() * self.output()[3]
    }

    fn input_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn output_len(&self) -> usize {
        self.output()[1..].iter().product()
    }
}

/// The positions of an output row that have a tap inside the image.
pub(super) struct Run {
    /// Which ones.
    pub(super) inside: Range<usize>,
    /// Where in the image the first one has it; the next ones are a stride apart.
    start: usize,
}

fn view(values: &[f32], [rows, columns]: [usize; 2], stride: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns).strides((stride, 1)), values).expect("a matrix lies in its values")
}

fn view_mut(values: &mut [f32], [rows, columns]: [usize; 2], stride: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns).strides((stride, 1)), values).expect("a matrix lies in its values")
}

/// `out = a · b + keep · out`.
fn multiply(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, keep: f32, mut out: ArrayViewMut2<'_, f32>) {
    ndarray::linalg::general_mat_mul(1.0, &a, &b, keep, &mut out);
}
