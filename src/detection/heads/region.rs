//! YOLO-v2's region layer.

use crate::{
    detection::{BBox, Detection},
    network::{Anchor, InputSize, RegionHead, Shape},
};

/// Decodes as Redmon and Farhadi (arXiv 1612.08242, §2) and Darknet's `region_layer.c`: in the cell `(x, y)`,
/// `cx = x + σ(tx)`, `cy = y + σ(ty)`, `w = anchor.w · exp(tw)`, `h = anchor.h · exp(th)`, all in cells, and
/// `score[class] = σ(objectness) · softmax(classes)[class]`. A box is found once for each class that reaches its threshold.
pub(super) fn decode(
    head: &RegionHead,
    input: InputSize,
    grid: Shape,
    thresholds: &[f32],
    output: impl Fn(usize, usize, usize) -> f32,
    mut found: impl FnMut(Detection),
) {
    let cell = (input.width as f32 / grid.width as f32, input.height as f32 / grid.height as f32);
    // A little low, since both functions round; the score itself decides.
    let floor = logit((thresholds.iter().copied().fold(f32::INFINITY, f32::min) - 1e-6).max(0.0));
    for (y, x) in (0..grid.height).flat_map(|y| (0..grid.width).map(move |x| (y, x))) {
        for (n, &Anchor(anchor_w, anchor_h)) in head.anchors.iter().enumerate() {
            let first = n * RegionHead::outputs_per_anchor(thresholds.len());
            let value = |i: usize| output(first + i, y, x);
            // A score is at most the objectness, so most cells are done here without an exponential. NaN ends here too.
            let objectness = value(4);
            if objectness.partial_cmp(&floor).is_none_or(|order| order.is_lt()) {
                continue;
            }
            let bbox = BBox {
                cx: (x as f32 + sigmoid(value(0))) * cell.0,
                cy: (y as f32 + sigmoid(value(1))) * cell.1,
                w: anchor_w * value(2).exp() * cell.0,
                h: anchor_h * value(3).exp() * cell.1,
            };
            if ![bbox.cx, bbox.cy, bbox.w, bbox.h].into_iter().all(f32::is_finite) {
                continue;
            }
            let classes = (0..thresholds.len()).map(|class| value(5 + class));
            let highest = classes.clone().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = classes.clone().map(|c| (c - highest).exp()).sum();
            let objectness = sigmoid(objectness);
            for ((class, logit), &threshold) in classes.enumerate().zip(thresholds) {
                let score = objectness * ((logit - highest).exp() / sum);
                if score >= threshold {
                    found(Detection { class, score, bbox });
                }
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Where the sigmoid is `p`, below 1; −∞ for 0.
fn logit(p: f32) -> f32 {
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests;
