//! From a frame to a picture for the training graph: enlarged, mirrored, cut, coloured, with the boxes that go with it.

use super::{
    DataError, Dataset, Frame, Label,
    image::{Picture, Rect},
};
use crate::recipe::{Augmentation, Recipe};
use image::RgbImage;
use nalgebra::{Matrix3, Point2, Vector2};
use onebit_detector::{detection::BBox, network::InputSize};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A picture and what is in it, in pixels of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The picture.
    pub picture: Picture,
    /// Objects and ignore regions, cut at its border.
    pub labels: Vec<Label>,
}

/// Makes pictures from the frames of a data set.
#[derive(Clone, Debug)]
pub struct Sampler {
    dataset: Dataset,
    augmentation: Augmentation,
    input: InputSize,
    window: InputSize,
}

impl Sampler {
    /// A sampler of `dataset` with the recipe's window and augmentation.
    pub fn new(dataset: Dataset, recipe: &Recipe) -> Self {
        Self { dataset, augmentation: recipe.augmentation.clone(), input: recipe.network.input, window: recipe.window() }
    }

    /// The frames.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The frame as the detector sees it: letterboxed into the network's input, nothing else changed.
    ///
    /// # Errors
    /// If the image cannot be decoded; names the file.
    pub fn plain(&self, frame: usize) -> Result<Sample, DataError> {
        let frame = &self.dataset.frames[frame];
        let image = decode(frame)?;
        let rect = Rect::all(self.input);
        let [width, height] = scene(frame, &image).map(|side| side * fit(scene(frame, &image), self.input));
        let margin = [(self.input.width as f32 - width) / 2.0, (self.input.height as f32 - height) / 2.0];
        let map = placement(&image, [width, height], margin, false);
        let mut sample = Sample { picture: Picture::grey(self.input), labels: Vec::new() };
        self.add(&mut sample, frame, &image, &map, rect);
        Ok(sample)
    }

    /// A picture of the window's size for training. Everything left to chance follows from `seed`.
    ///
    /// # Errors
    /// If an image cannot be decoded; names the file.
    pub fn augmented(&self, frame: usize, seed: u64) -> Result<Sample, DataError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sample = Sample { picture: Picture::grey(self.window), labels: Vec::new() };
        let mosaic = rng.random_bool(self.augmentation.mosaic.into());
        let rects = if mosaic { quarters(&mut rng, self.window) } else { vec![Rect::all(self.window)] };
        for (index, rect) in rects.into_iter().enumerate() {
            let other = self.dataset.epoch[rng.random_range(0..self.dataset.epoch.len())];
            let frame = &self.dataset.frames[if index == 0 { frame } else { other }];
            let image = decode(frame)?;
            let map = self.random_map(&mut rng, frame, &image, rect);
            self.add(&mut sample, frame, &image, &map, rect);
            let [hue, saturation, exposure] = self.random_colour(&mut rng);
            sample.picture.recolour(hue, saturation, exposure, rect);
        }
        Ok(sample)
    }

    /// Draws a frame into a part of the sample's picture and adds its labels, cut at the part's border.
    fn add(&self, sample: &mut Sample, frame: &Frame, image: &RgbImage, map: &Matrix3<f32>, rect: Rect) {
        sample.picture.draw(image, map, rect);
        sample.labels.extend(frame.labels.iter().filter_map(|label| self.cut(label, map, rect)));
    }

    /// A label as the picture shows it, or `None` if it does not.
    fn cut(&self, label: &Label, map: &Matrix3<f32>, rect: Rect) -> Option<Label> {
        let whole = transformed(&label.bbox, map);
        let seen = BBox::from_corners(rect.clip(whole.corners()));
        if seen.w <= 0.0 || seen.h <= 0.0 {
            return None;
        }
        let small = seen.w.min(seen.h) < self.augmentation.min_size;
        let hidden = seen.area() < self.augmentation.min_visible * whole.area();
        Some(Label { bbox: seen, class: label.class.filter(|_| !small && !hidden), weight: label.weight })
    }

    /// Where the frame lies in the picture: enlarged and perhaps mirrored by chance, and shifted so that the rectangle
    /// shows a part of it by chance, or one that holds an object.
    fn random_map(&self, rng: &mut ChaCha8Rng, frame: &Frame, image: &RgbImage, rect: Rect) -> Matrix3<f32> {
        let [low, high] = frame.scale.unwrap_or(self.augmentation.scale);
        let enlargement = low * (high / low).powf(rng.random());
        let stretch = (1.0 + self.augmentation.jitter).powf(rng.random_range(-1.0..=1.0)).sqrt();
        let [w, h] = scene(frame, image).map(|side| side * fit(scene(frame, image), self.input) * enlargement);
        let size = [w * stretch, h / stretch];
        let mirrored = rng.random_bool(self.augmentation.flip.into());

        let unplaced = placement(image, size, [0.0, 0.0], mirrored);
        let target = self.random_object(rng, frame).map(|bbox| transformed(&bbox, &unplaced));
        let sides = [(rect.x0, rect.x1), (rect.y0, rect.y1)].map(|(a, b)| (a as f32, b as f32));
        let centre = target.map(|b| [b.cx, b.cy]);
        let shift = [0, 1].map(|axis| random_shift(rng, sides[axis], size[axis], centre.map(|c| c[axis])));
        placement(image, size, shift, mirrored)
    }

    /// With the probability `focus` an object of the frame; first its class is drawn, then one of this class.
    fn random_object(&self, rng: &mut ChaCha8Rng, frame: &Frame) -> Option<BBox> {
        let mut classes: Vec<usize> = frame.objects().collect();
        classes.sort_unstable();
        classes.dedup();
        if !rng.random_bool(self.augmentation.focus.into()) || classes.is_empty() {
            return None;
        }
        let class = classes[rng.random_range(0..classes.len())];
        let boxes: Vec<_> = frame.labels.iter().filter(|l| l.class == Some(class)).map(|l| l.bbox).collect();
        Some(boxes[rng.random_range(0..boxes.len())])
    }

    fn random_colour(&self, rng: &mut ChaCha8Rng) -> [f32; 3] {
        let Augmentation { hue, saturation, exposure, .. } = self.augmentation;
        let mut factor = |largest: f32| largest.powf(rng.random_range(-1.0..=1.0));
        let [saturation, exposure] = [factor(saturation), factor(exposure)];
        [rng.random_range(-hue..=hue), saturation, exposure]
    }
}

impl Rect {
    pub(super) fn all(size: InputSize) -> Self {
        Self { x0: 0, y0: 0, x1: size.width, y1: size.height }
    }

    fn clip(self, [left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
        let (x0, y0, x1, y1) = (self.x0 as f32, self.y0 as f32, self.x1 as f32, self.y1 as f32);
        [left.clamp(x0, x1), top.clamp(y0, y1), right.clamp(x0, x1), bottom.clamp(y0, y1)]
    }
}

fn decode(frame: &Frame) -> Result<RgbImage, DataError> {
    let fail = |source| DataError::Image { path: frame.image.clone(), source };
    Ok(image::open(&frame.image).map_err(fail)?.into_rgb8())
}

/// Width and height of the scene: the image's own, widened where the file was squeezed.
fn scene(frame: &Frame, image: &RgbImage) -> [f32; 2] {
    let (width, height) = (image.width() as f32, image.height() as f32);
    [frame.aspect.map_or(width, |aspect| aspect * height), height]
}

/// The factor with which the scene just fits into the input.
fn fit([width, height]: [f32; 2], input: InputSize) -> f32 {
    (input.width as f32 / width).min(input.height as f32 / height)
}

/// The map that takes pixels of the image to a rectangle of this size whose upper left corner is `shift`.
fn placement(image: &RgbImage, size: [f32; 2], shift: [f32; 2], mirrored: bool) -> Matrix3<f32> {
    let scale = Vector2::new(size[0] / image.width() as f32, size[1] / image.height() as f32);
    let scaled = Matrix3::new_nonuniform_scaling(&scale);
    let turned = if mirrored { Matrix3::new(-1.0, 0.0, size[0], 0.0, 1.0, 0.0, 0.0, 0.0, 1.0) } else { Matrix3::identity() };
    Matrix3::new_translation(&shift.into()) * turned * scaled
}

/// Where a frame of length `size` starts on one axis so that the window `from..to` lies within it, or it within the window
/// where it is smaller; with `centre` (a point of the frame), so that the window shows this point too.
fn random_shift(rng: &mut ChaCha8Rng, (from, to): (f32, f32), size: f32, centre: Option<f32>) -> f32 {
    let (one, other) = (from, to - size);
    let (mut low, mut high) = (one.min(other), one.max(other));
    if let Some(centre) = centre {
        let shown = (from - centre, to - centre);
        (low, high) = (low.max(shown.0), high.min(shown.1));
    }
    // An object at the frame's edge leaves no choice; rounding can turn the bounds around.
    if low < high { rng.random_range(low..high) } else { low.min(high) }
}

/// Two quarters above two others, the cut anywhere in the middle third.
fn quarters(rng: &mut ChaCha8Rng, size: InputSize) -> Vec<Rect> {
    let mut cut = |side: usize| rng.random_range(side / 3..=side - side / 3);
    let (x, y) = (cut(size.width), cut(size.height));
    let Rect { x1, y1, .. } = Rect::all(size);
    vec![
        Rect { x0: 0, y0: 0, x1: x, y1: y },
        Rect { x0: x, y0: 0, x1, y1: y },
        Rect { x0: 0, y0: y, x1: x, y1 },
        Rect { x0: x, y0: y, x1, y1 },
    ]
}

/// The box around a box's image.
fn transformed(bbox: &BBox, map: &Matrix3<f32>) -> BBox {
    let [x1, y1, x2, y2] = bbox.corners();
    let corners = [(x1, y1), (x2, y1), (x1, y2), (x2, y2)].map(|(x, y)| map.transform_point(&Point2::new(x, y)));
    let least = |values: [f32; 4]| values.into_iter().fold(f32::INFINITY, f32::min);
    let most = |values: [f32; 4]| values.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let (x, y) = (corners.map(|p| p.x), corners.map(|p| p.y));
    BBox::from_corners([least(x), least(y), most(x), most(y)])
}
