//! The loss that looks more at labelled objects and at what the teacher attends to.

use crate::data::Label;
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use onebit_detector::{detection::BBox, network::InputSize};

/// Temperature of the teacher's attention (FGD's own).
const TEMPERATURE: f32 = 0.5;
/// Weight of all background together; an object's is 1 (FGD's β is half its α).
const BACKGROUND: f32 = 0.5;

/// The focal part of FGD (Yang et al., Focal and Global Knowledge Distillation, arXiv 2111.11837): the squared difference
/// of two maps `[batch, channels, height, width]`, weighted at each position with `emphasis` (of [`emphasis`]) and with the
/// teacher's attention to positions and to channels; sum over positions, mean over pictures and channels.
///
/// The attention to a position is its share in a softmax over all of the mean magnitude of its channels, divided by the
/// temperature 0.5, times the number of positions; likewise for channels. FGD's own attention loss and global part are left
/// out.
pub fn fgd(student: Tensor<4>, teacher: Tensor<4>, emphasis: Tensor<4>) -> Tensor<1> {
    let [n, c, h, w] = teacher.dims();
    let magnitude = teacher.clone().abs();
    let attention = |means: Tensor<4>, count: usize| -> Tensor<2> {
        softmax(means.reshape([n, count]).div_scalar(TEMPERATURE), 1).mul_scalar(count as f32)
    };
    let positions: Tensor<4> = attention(magnitude.clone().mean_dim(1), h * w).reshape([n, 1, h, w]);
    let channels: Tensor<4> = attention(magnitude.mean_dims(&[2, 3]), c).reshape([n, c, 1, 1]);
    let difference = student - teacher;
    (difference.clone() * difference * (positions * emphasis) * channels).sum().div_scalar((n * c) as f32)
}

/// What a position of a map counts, `[pictures, 1, height, width]`, for pictures of `size` with these labels. The positions
/// that a labelled object touches share 1; where objects overlap, the smallest decides. All others share 0.5; ignore
/// regions are among them.
pub fn emphasis(labels: &[Vec<Label>], size: InputSize, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let scale = [width as f32 / size.width as f32, height as f32 / size.height as f32];
    let mut values = Vec::with_capacity(labels.len() * height * width);
    for labels in labels {
        let mut picture = vec![0f32; height * width];
        for label in labels.iter().filter(|label| label.class.is_some()) {
            emphasise(&mut picture, label.bbox, scale, [height, width]);
        }
        let background = picture.iter().filter(|value| **value == 0.0).count();
        let share = BACKGROUND / background as f32;
        values.extend(picture.into_iter().map(|value| if value == 0.0 { share } else { value }));
    }
    Tensor::from_data(TensorData::new(values, [labels.len(), 1, height, width]), device)
}

fn emphasise(picture: &mut [f32], bbox: BBox, scale: [f32; 2], [height, width]: [usize; 2]) {
    let [x0, y0, x1, y1] = bbox.corners();
    let touched = |from: f32, to: f32, scale: f32, cells: usize| {
        (from * scale).floor().max(0.0) as usize..((to * scale).ceil() as usize).min(cells)
    };
    let (columns, rows) = (touched(x0, x1, scale[0], width), touched(y0, y1, scale[1], height));
    let share = 1.0 / (columns.len() * rows.len()) as f32;
    for row in rows {
        for value in &mut picture[row * width..][columns.clone()] {
            *value = value.max(share);
        }
    }
}
