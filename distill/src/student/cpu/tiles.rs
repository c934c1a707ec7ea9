//! Sums of products over maps in which a tap of a kernel is a shift: the inner loops of convolutions and of their gradients,
//! as tiles of sums that stay in registers.

use pulp::{Simd, WithSimd};
use std::array;

/// Filters whose weights lie side by side.
const FILTERS: usize = 8;
/// Filters of a tile where there are few registers, or few filters.
const FEW: usize = 4;
/// Values of the longest vector.
pub(super) const LANES: usize = 16;
/// Vectors of positions in a tile.
const VECTORS: usize = 3;

/// `y[f][p] = Σ_k weights[f][k] · x[shifts[k] + p]`.
pub(super) struct Correlate<'a> {
    pub(super) x: &'a [f32],
    pub(super) shifts: &'a [usize],
    /// As [`packed`] has them.
    pub(super) weights: &'a [f32],
    /// A map of so many positions for each filter.
    pub(super) y: &'a mut [f32],
    pub(super) positions: usize,
}

/// Weights `[filters, taps]` in blocks of [`FILTERS`], tap by tap; the last block is filled up with zeros.
pub(super) fn packed(weights: &[f32], taps: usize) -> Vec<f32> {
    let filters = weights.len() / taps;
    let mut packed = vec![0.0; filters.next_multiple_of(FILTERS) * taps];
    for (filter, weights) in weights.chunks_exact(taps).enumerate() {
        let block = &mut packed[filter / FILTERS * FILTERS * taps..];
        for (tap, weight) in weights.iter().enumerate() {
            block[tap * FILTERS + filter % FILTERS] = *weight;
        }
    }
    packed
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.y.len() / self.positions {
            1 => self.tiles::<S, 1>(simd),
            2..=FEW => self.tiles::<S, FEW>(simd),
            _ if S::REGISTER_COUNT < 32 => self.tiles::<S, FEW>(simd),
            _ => self.tiles::<S, FILTERS>(simd),
        }
    }
}

impl Correlate<'_> {
    /// Tiles of `F` filters.
    #[inline(always)] // as its caller
    fn tiles<S: Simd, const F: usize>(&mut self, simd: S) {
        let mut from = 0;
        while from < self.positions {
            let whole = self.positions - from >= VECTORS * S::F32_LANES;
            if !whole {
                // The last vector has some positions that were computed before, if there are as many as fill one.
                from = from.min(self.positions.saturating_sub(S::F32_LANES));
            }
            for filter in (0..self.y.len() / self.positions).step_by(F) {
                if whole {
                    self.tile::<S, F, VECTORS>(simd, filter, from);
                } else {
                    self.tile::<S, F, 1>(simd, filter, from);
                }
            }
            from += if whole { VECTORS } else { 1 } * S::F32_LANES;
        }
    }

    /// `F` filters at `V` vectors of positions; one vector may be cut short.
    #[inline(always)] // as its caller
    fn tile<S: Simd, const F: usize, const V: usize>(&mut self, simd: S, filter: usize, from: usize) {
        let taps = self.shifts.len();
        let weights = &self.weights[filter / FILTERS * FILTERS * taps..][..FILTERS * taps];
        let length = (self.positions - from).min(V * S::F32_LANES);
        let mut sums = [[simd.splat_f32s(0.0); V]; F];
        for (shift, weights) in self.shifts.iter().zip(weights.chunks_exact(FILTERS)) {
            let x = &self.x[*shift + from..][..length];
            let weights = &weights[filter % FILTERS..][..F];
            // Loops over numbers, all unrolled: so the sums stay in registers.
            if V == 1 {
                let x = vector(simd, x);
                for f in 0..F {
                    sums[f][0] = simd.mul_add_e_f32s(simd.splat_f32s(weights[f]), x, sums[f][0]);
                }
            } else {
                let x = S::as_simd_f32s(&x[..V * S::F32_LANES]).0;
                for f in 0..F {
                    let weight = simd.splat_f32s(weights[f]);
                    for v in 0..V {
                        sums[f][v] = simd.mul_add_e_f32s(weight, x[v], sums[f][v]);
                    }
                }
            }
        }
        for (sums, y) in sums.iter().zip(self.y.chunks_exact_mut(self.positions).skip(filter)) {
            let y = &mut y[from..][..length];
            if V == 1 {
                simd.partial_store_f32s(y, sums[0]);
            } else {
                S::as_mut_simd_f32s(y).0.copy_from_slice(sums);
            }
        }
    }
}

/// `sums[f][k] = Σ_p y[f][p] · x[shifts[k] + p]`, over all images. What the last vector of positions has too much must be zero
/// in `y`.
pub(super) struct Products<'a> {
    pub(super) x: &'a [f32],
    /// Where the values begin that the first shift leads from, in an image.
    pub(super) x_start: usize,
    pub(super) shifts: &'a [usize],
    pub(super) y: &'a [f32],
    /// Where the first filter has its map in an image, and how far the next ones are.
    pub(super) y_start: usize,
    pub(super) plane: usize,
    pub(super) positions: usize,
    /// Equal parts of `x` and `y`.
    pub(super) images: usize,
    /// `[filters, taps]`.
    pub(super) sums: &'a mut [f32],
}

/// Filters of a tile of [`Products`].
pub(super) const ROWS: usize = 4;
/// Positions that are summed before the next taps have their turn, so that they stay in the cache.
const SEGMENT: usize = 1024;

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)] // compiled for the vectors that it is dispatched to
    fn with_simd<S: Simd>(self, simd: S) {
        match self.sums.len() / self.shifts.len() {
            1 => self.tiles::<S, 1, 9>(simd),
            _ if S::REGISTER_COUNT < 32 => self.tiles::<S, ROWS, 3>(simd),
            _ => self.tiles::<S, ROWS, 6>(simd),
        }
    }
}

impl Products<'_> {
    /// Tiles of `R` filters and `T` taps.
    #[inline(always)] // as its caller
    fn tiles<S: Simd, const R: usize, const T: usize>(mut self, simd: S) {
        let taps = self.shifts.len();
        for from in (0..self.positions).step_by(SEGMENT) {
            for filter in (0..self.sums.len() / taps).step_by(R) {
                for tap in (0..taps).step_by(T) {
                    self.tile::<S, R, T>(simd, filter, tap, from);
                }
            }
        }
    }

    /// A tile's sums over one segment of all images. Where it has more filters or taps than there are, the last one comes
    /// again, and its sum is left out.
    #[inline(always)] // as its caller
    fn tile<S: Simd, const R: usize, const T: usize>(&mut self, simd: S, filter: usize, tap: usize, from: usize) {
        let (taps, filters) = (self.shifts.len(), self.sums.len() / self.shifts.len());
        let vectors = (self.positions - from).min(SEGMENT).div_ceil(S::F32_LANES);
        let length = vectors * S::F32_LANES;
        let images = self.x.chunks_exact(self.x.len() / self.images).zip(self.y.chunks_exact(self.y.len() / self.images));
        let mut tile = [[simd.splat_f32s(0.0); T]; R];
        for (x, y) in images {
            let x_run = |t: usize| self.x_start + self.shifts[(tap + t).min(taps - 1)] + from;
            let y_run = |row: usize| self.y_start + (filter + row).min(filters - 1) * self.plane + from;
            let xs: [&[S::f32s]; T] = array::from_fn(|t| &S::as_simd_f32s(&x[x_run(t)..][..length]).0[..vectors]);
            let ys: [&[S::f32s]; R] = array::from_fn(|row| &S::as_simd_f32s(&y[y_run(row)..][..length]).0[..vectors]);
            for at in 0..vectors {
                for (tile, y) in tile.iter_mut().zip(ys) {
                    for (sum, x) in tile.iter_mut().zip(xs) {
                        *sum = simd.mul_add_e_f32s(y[at], x[at], *sum);
                    }
                }
            }
        }
        for (sums, tile) in self.sums.chunks_exact_mut(taps).skip(filter).zip(tile) {
            for (sum, lanes) in sums[tap..].iter_mut().zip(tile) {
                *sum += simd.reduce_sum_f32s(lanes);
            }
        }
    }
}

/// The first vector of some values, or all of them and zeros.
#[inline(always)] // as its callers
fn vector<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values).0.first() {
        Some(vector) => *vector,
        None => simd.partial_load_f32s(values),
    }
}
