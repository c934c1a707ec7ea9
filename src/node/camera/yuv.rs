//! YUV 4:2:2: two pixels share their colour.

use crate::detection::ImageView;

/// Where the bytes of a pair of pixels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// U, Y of the left pixel, V, Y of the right one.
    Uyvy,
    /// Y of the left pixel, U, Y of the right one, V.
    Yuyv,
}

/// BT.601 for video range (Y 16 to 235), in 2²⁰ths, as OpenCV has them: cv_bridge gives the same pixels.
const SHIFT: i32 = 20;
const HALF: i32 = 1 << (SHIFT - 1);
const Y: i32 = 1_220_542; // 255 / 219
const RED_V: i32 = 1_673_527; // 1.596
const GREEN_U: i32 = -409_993; // -0.391
const GREEN_V: i32 = -852_492; // -0.813
const BLUE_U: i32 = 2_116_026; // 2.018

/// `pairs` has rows of two bytes per pixel, an even number of pixels each; `rgb` is overwritten with rows of three.
pub(super) fn to_rgb(pairs: ImageView<'_>, order: Order, rgb: &mut Vec<u8>) {
    let row_bytes = pairs.width() / 2 * 3;
    rgb.resize(row_bytes * pairs.height(), 0);
    for (y, out) in rgb.chunks_exact_mut(row_bytes).enumerate() {
        for (pair, out) in pairs.row(y).chunks_exact(4).zip(out.chunks_exact_mut(6)) {
            let [y0, u, y1, v] = match order {
                Order::Uyvy => [pair[1], pair[0], pair[3], pair[2]],
                Order::Yuyv => [pair[0], pair[1], pair[2], pair[3]],
            };
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let colour = [RED_V * v, GREEN_U * u + GREEN_V * v, BLUE_U * u].map(|part| part + HALF);
            for (luma, pixel) in [y0, y1].into_iter().zip(out.chunks_exact_mut(3)) {
                let luma = Y * (i32::from(luma) - 16).max(0);
                for (part, value) in colour.into_iter().zip(pixel) {
                    *value = ((luma + part) >> SHIFT).clamp(0, 255) as u8;
                }
            }
        }
    }
}
