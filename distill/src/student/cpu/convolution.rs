//! Convolutions with same padding, whose filters read all channels or each its own.
//!
//! Maps are copied to where zeros surround them, each row behind the one before with zeros between them. There a tap of a
//! kernel is a shift of the whole map, for output, gradient of the input and gradient of the weights alike, so that no matrix
//! of columns is made. Sums are computed at the few zeros between the rows as well, and dropped; with a stride, at all
//! positions.

use super::tiles::{Correlate, LANES, Products, ROWS, packed};
use pulp::Arch;
use rayon::prelude::*;

/// The sizes of one convolution.
pub(super) struct Convolution {
    batch: usize,
    /// Parts of channels and filters that have nothing to do with each other: one, or one for each channel.
    groups: usize,
    /// Of a group.
    channels: usize,
    /// Of a group.
    filters: usize,
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    arch: Arch,
}

/// What a thread needs for one image after the other.
#[derive(Default)]
struct Buffers {
    maps: Vec<f32>,
    sums: Vec<f32>,
}

impl Convolution {
    /// For inputs `[batch, channels, height, width]` and weights `[filters, channels, kernel, kernel]`, or `depthwise`
    /// `[channels, 1, kernel, kernel]`; kernels have odd sides.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], stride: usize, depthwise: bool) -> Self {
        let ([batch, all, height, width], [filters, channels, kernel, _]) = (x, weight);
        let groups = if depthwise { all } else { 1 };
        Self { batch, groups, channels, filters: filters / groups, height, width, kernel, stride, arch: Arch::new() }
    }

    /// `[batch, filters, rows, columns]`.
    pub(super) fn output(&self) -> [usize; 4] {
        let [rows, columns] = self.size(self.stride);
        [self.batch, self.groups * self.filters, rows, columns]
    }

    /// The output.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.output().iter().product()];
        let weights: Vec<_> = self.by_group(weight).map(|weight| packed(weight, self.taps())).collect();
        let groups = x.par_chunks(self.input_len()).zip(y.par_chunks_mut(self.output_len())).enumerate();
        // The zeros of a buffer stay what they are.
        groups.for_each_init(Buffers::default, |buffers, (index, (x, y))| {
            let weights = &weights[index % self.groups];
            let x = self.surrounded(x, 1, &mut buffers.maps);
            self.correlate(x, self.channels, weights, self.stride, &mut buffers.sums, y);
        });
        y
    }

    /// The gradients of the input, if it is `wanted`, and of the weights, where `y` is that of the output.
    pub(super) fn backward(&self, x: &[f32], weight: &[f32], y: &[f32], wanted: bool) -> (Option<Vec<f32>>, Vec<f32>) {
        let of_x_len = x.len();
        let (mut x_buffer, mut y_buffer) = (Vec::new(), Vec::new());
        let (x, y) = (self.surrounded(x, 1, &mut x_buffer), self.surrounded(y, self.stride, &mut y_buffer));
        let of_x = wanted.then(|| {
            let mut of_x = vec![0.0; of_x_len];
            let taps = self.filters * self.kernel * self.kernel;
            let weights: Vec<_> = self.by_group(weight).map(|weight| packed(&self.turned(weight), taps)).collect();
            let groups = of_x.par_chunks_mut(self.input_len()).zip(y.par_chunks(self.filters * self.plane())).enumerate();
            groups.for_each_init(Vec::new, |sums, (index, (of_x, y))| {
                self.correlate(y, self.filters, &weights[index % self.groups], 1, sums, of_x);
            });
            of_x
        });
        let mut of_weight = vec![0.0; weight.len()];
        let (shifts, rows) = (self.shifts(self.channels), self.filters.min(ROWS));
        // Each sum is taken by one thread, in the order of the images: the same bits each time.
        of_weight.par_chunks_mut(rows * self.taps()).enumerate().for_each(|(block, sums)| {
            self.arch.dispatch(Products {
                x,
                x_start: block * rows / self.filters * self.channels * self.plane(),
                shifts: &shifts,
                y,
                y_start: block * rows * self.plane() + self.inside(),
                plane: self.plane(),
                positions: self.positions(),
                images: self.batch,
                sums,
            });
        });
        (of_x, of_weight)
    }

    /// Maps with zeros around them, their values `step` apart.
    fn surrounded<'a>(&self, maps: &'a [f32], step: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let [height, width] = self.size(step);
        if self.plane() == height * width {
            return maps;
        }
        buffer.resize(maps.len() / (height * width) * self.plane(), 0.0);
        let maps = maps.par_chunks(height * width).zip(buffer.par_chunks_mut(self.plane()));
        maps.for_each(|(map, surrounded)| {
            let rows = surrounded[self.inside()..].chunks_mut(step * self.pitch());
            for (row, surrounded) in map.chunks_exact(width).zip(rows) {
                if step == 1 {
                    surrounded[..width].copy_from_slice(row);
                } else {
                    surrounded.iter_mut().step_by(step).zip(row).for_each(|(surrounded, value)| *surrounded = *value);
                }
            }
        });
        buffer
    }

    /// Filters over surrounded maps; every `stride`-th sum of every `stride`-th row is kept.
    fn correlate(
        &self,
        maps: &[f32],
        channels: usize,
        weights: &[f32],
        stride: usize,
        sums: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let (shifts, positions) = (self.shifts(channels), self.positions());
        let correlate = |y: &mut [f32]| self.arch.dispatch(Correlate { x: maps, shifts: &shifts, weights, y, positions });
        let [height, width] = self.size(stride);
        if positions == height * width {
            return correlate(out);
        }
        sums.resize(out.len() / (height * width) * positions, 0.0);
        correlate(sums);
        for (out, sums) in out.chunks_exact_mut(height * width).zip(sums.chunks_exact(positions)) {
            for (out, sums) in out.chunks_exact_mut(width).zip(sums.chunks(stride * self.pitch())) {
                if stride == 1 {
                    out.copy_from_slice(&sums[..width]);
                } else {
                    out.iter_mut().zip(sums.iter().step_by(stride)).for_each(|(out, sum)| *out = *sum);
                }
            }
        }
    }

    /// A group's weights as `[channels, filters, kernel, kernel]`, by which gradients of the output become those of the input.
    fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let area = self.kernel * self.kernel;
        let mut turned = vec![0.0; weight.len()];
        for (index, weight) in weight.chunks_exact(area).enumerate() {
            let (filter, channel) = (index / self.channels, index % self.channels);
            let turned = &mut turned[(channel * self.filters + filter) * area..][..area];
            turned.iter_mut().zip(weight.iter().rev()).for_each(|(turned, weight)| *turned = *weight);
        }
        turned
    }

    fn by_group<'a>(&self, weight: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        weight.chunks_exact(self.filters * self.taps())
    }

    /// How far from a position each tap finds its value in so many maps.
    fn shifts(&self, maps: usize) -> Vec<usize> {
        let kernel = self.kernel;
        let taps = (0..maps).flat_map(|map| (0..kernel).flat_map(move |y| (0..kernel).map(move |x| (map, y, x))));
        taps.map(|(map, y, x)| map * self.plane() + y * self.pitch() + x).collect()
    }

    /// Rows and columns, `step` apart.
    fn size(&self, step: usize) -> [usize; 2] {
        [self.height.div_ceil(step), self.width.div_ceil(step)]
    }

    /// From a value to the one below; the zeros right of a row are those left of the next one.
    fn pitch(&self) -> usize {
        self.width + self.kernel / 2
    }

    /// Positions of a map, those between its rows among them.
    fn positions(&self) -> usize {
        self.height * self.pitch()
    }

    /// Where a surrounded map's first value is.
    fn inside(&self) -> usize {
        self.kernel / 2 * (self.pitch() + 1)
    }

    /// Values of a surrounded map; zeros fill its last vector.
    fn plane(&self) -> usize {
        self.positions().next_multiple_of(LANES) + 2 * self.inside()
    }

    /// Weights of a filter.
    fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Values that a group reads of an image.
    fn input_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Values that a group makes of an image.
    fn output_len(&self) -> usize {
        self.filters * self.size(self.stride).iter().product::<usize>()
    }
}
