//! Bayer mosaics.

use crate::detection::ImageView;

/// Where red stands in each tile of 2×2 pixels; blue stands across from it, green on the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Row of the tile.
    pub(super) red_row: usize,
    /// Column of the tile.
    pub(super) red_column: usize,
}

const RED: usize = 0;
const GREEN: usize = 1;
const BLUE: usize = 2;

/// Fills in the two colours that each pixel lacks with the mean of its neighbours that have them (bilinear), halves
/// rounded up. Beyond the edge the image is mirrored about its outermost pixels, which keeps the pattern.
///
/// `mosaic` has a byte per pixel and at least 2×2 of them; `rgb` is overwritten with rows of three bytes per pixel.
pub(super) fn demosaic(mosaic: ImageView<'_>, pattern: Pattern, rgb: &mut Vec<u8>) {
    let (width, height) = (mosaic.width(), mosaic.height());
    rgb.resize(3 * width * height, 0);
    let mirrored = |i: usize, length: usize| {
        let before = if i == 0 { 1 } else { i - 1 };
        let after = if i + 1 == length { length - 2 } else { i + 1 };
        (before, after)
    };
    for (y, out) in rgb.chunks_exact_mut(3 * width).enumerate() {
        let (above, below) = mirrored(y, height);
        let [above, here, below] = [above, y, below].map(|y| mosaic.row(y));
        // A row has green and one other colour.
        let (own, other, own_column) =
            if y % 2 == pattern.red_row { (RED, BLUE, pattern.red_column) } else { (BLUE, RED, 1 - pattern.red_column) };
        for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
            let (left, right) = mirrored(x, width);
            if x % 2 == own_column {
                pixel[own] = here[x];
                pixel[GREEN] = mean([here[left], here[right], above[x], below[x]]);
                pixel[other] = mean([above[left], above[right], below[left], below[right]]);
            } else {
                pixel[GREEN] = here[x];
                pixel[own] = mean([here[left], here[right]]);
                pixel[other] = mean([above[x], below[x]]);
            }
        }
    }
}

fn mean<const N: usize>(values: [u8; N]) -> u8 {
    let sum: usize = values.into_iter().map(usize::from).sum();
    ((sum + N / 2) / N) as u8 // at most 255, as each value is
}
